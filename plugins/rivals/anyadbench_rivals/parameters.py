"""Parameters that several descriptors share."""

from __future__ import annotations

from anyadbench.api import Param


def image_size(size: int, source: str, multiple_of: int) -> Param:
    """Return the parameter for the side to which slices are resized."""
    doc = f"Side in pixels to which slices are resized; {source}."
    return Param("image_size", size, doc, minimum=multiple_of, maximum=2048, multiple_of=multiple_of)


def training(batch: int, epochs: int, source: str) -> tuple[Param, ...]:
    """Return the parameters for the length of training."""
    return (
        Param("batch_size", batch, f"Slices per step; {source}.", minimum=1),
        Param("epochs", epochs, f"Passes over the training normals, 0 to count steps; {source}.", minimum=0),
        Param("steps", 0, "Training steps, 0 to count epochs; choice of the smaller budgets.", minimum=0),
        Param("drop_last", True, f"Whether an incomplete last batch is dropped; {source}."),
    )


def whole(name: str, default: int, doc: str, least: int = 1) -> Param:
    """Return a parameter for a whole number of at least ``least``."""
    return Param(name, default, doc, minimum=least)


def positive(name: str, default: float, doc: str) -> Param:
    """Return a parameter for a non-negative number."""
    return Param(name, default, doc, minimum=0)
