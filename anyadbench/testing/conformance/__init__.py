"""The conformance kit: does a method keep the contract of :class:`anyadbench.methods.base.Method`?"""
