"""The conformance kit: does a method fulfil the contract of ``anyadbench.methods.contract.Method``?"""
