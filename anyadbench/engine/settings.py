"""What decides how a method is trained and scored: the user's settings and the engine's own sizes. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from anyadbench.engine.numerics import Policy
from anyadbench.methods.params import Value

TRAINING_BATCH = 16
"""Slices per step of a method without the parameter ``batch_size``."""

SCORING_BATCH = 16
"""Slices per scoring call; fixed, so that results do not depend on memory."""

EXACT_PIXELS = 2**28
"""Pixels over all rows up to which metrics are exact; beyond, a 24-bit histogram counts; the row says so."""

VALIDATION_SLICES = 48
"""Most validation normals that the pixel threshold is taken from, evenly spread."""

KEPT_SUBJECTS = 3
"""Test subjects of which a cell keeps maps by default."""

KEPT_SLICES = 3
"""Slices of each of them."""


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


def batch_size(params: Mapping[str, Value]) -> int:
    """Return the slices per step of a method with these parameters."""
    return int(params.get("batch_size", TRAINING_BATCH))


def batches_per_epoch(slices: int, size: int, drop_last: bool) -> int:
    """Return the steps per epoch, at least one.

    Args:
        slices: Training slices.
        size: Slices per step.
        drop_last: Whether an incomplete last batch is left out.
    """
    whole, rest = divmod(slices, size)
    return max(1, whole if drop_last or not rest else whole + 1)


def slices_seen(slices: int, size: int, drop_last: bool, steps: int) -> int:
    """Return how many slices the steps of a training hold, those of earlier epochs counted again."""
    per_epoch = batches_per_epoch(slices, size, drop_last)
    epochs, rest = divmod(steps, per_epoch)
    return epochs * min(slices, per_epoch * size) + min(slices, rest * size)


def training_steps(params: Mapping[str, Value], per_epoch: int) -> int:
    """Return the steps of a training with these parameters; 0 if neither ``steps`` nor ``epochs`` is among them."""
    return int(params.get("steps", 0)) or int(params.get("epochs", 0)) * per_epoch
