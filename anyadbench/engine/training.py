"""How a method is trained, as the user and the protocol decided it. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

from anyadbench.engine.numerics import Policy
from anyadbench.methods.params import Value


@dataclass(frozen=True)
class Training:
    """How a method is trained, as the user and the protocol decided it.

    Attributes:
        params: Resolved parameters.
        budget: Budget that they come from.
        missing: Policy for missing sequences.
        seed: Run seed.
        policy: Numeric policy.
    """

    params: dict[str, Value]
    budget: str
    missing: str
    seed: int
    policy: Policy
