"""The criterion by which two computations of the same maps agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float

SPREAD = 0.01
"""Largest rounding difference as a share of the maps' standard deviation: all values of a map can be small."""

ULPS = 8
"""Last digits of float32 that rounding may always change."""


def allowed(values: Float[np.ndarray, ...], tolerance: float) -> float:
    """Return the largest difference that counts as rounding.

    Args:
        values: Maps or scores of one of the two computations.
        tolerance: Relative to the largest absolute value, at least 1.
    """
    largest = float(np.abs(values).max())
    wanted = min(tolerance * max(1.0, largest), SPREAD * float(values.std()))
    return max(wanted, ULPS * float(np.finfo(np.float32).eps) * largest)
