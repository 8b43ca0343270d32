"""Descriptors of the methods in ``broken_methods``, by the name of their class in capitals."""

from __future__ import annotations

from dataclasses import replace

from anyadbench.methods.descriptor import MISSING, MethodDescriptor


def describe(cls: str) -> MethodDescriptor:
    name = "".join("-" + c.lower() if c.isupper() else c for c in cls).strip("-")
    policies = ("native", "black") if cls == "UnknownPolicy" else ("native",)
    assert set(policies) <= set(MISSING)
    return MethodDescriptor(
        name=name, title=cls, summary="Broken.", factory=f"broken_methods:{cls}", missing_policies=policies
    )


GOOD = describe("Good")
KEEPSINTHEMODULE = describe("KeepsInTheModule")
HASHESTEXT = describe("HashesText")
WASTEFUL = describe("Wasteful")
DIES = describe("Dies")
UNAVAILABLE = replace(DIES, name="unavailable", unavailable="it needs a point cloud")
NUMBER = 3
