"""The conformance kit: does a method keep the contract of ``anyadbench.methods.contract.Method``?"""
