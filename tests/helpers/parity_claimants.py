"""Functions that claim a parity fixture, right and wrong ones."""

from __future__ import annotations

import numpy as np

from anyadbench.api import ParityFixture


def tiny_claimant(fixture: ParityFixture) -> dict[str, np.ndarray]:
    """Return the sum of the weights and of the images, in place of a method's numbers."""
    return {"sum": np.asarray(fixture.state("net")["a.weight"].sum()), "images": fixture.images[0, 0, 0, :1]}


def no_numbers(fixture: ParityFixture) -> None:
    """Return nothing, in place of a method's numbers."""


def raising(fixture: ParityFixture) -> dict[str, np.ndarray]:
    """Raise, like a method with a defect."""
    raise RuntimeError("first\n  second")
