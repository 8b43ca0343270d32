"""Arrays in the order of their indices, and statistics of their values that do not depend on how they lie in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float64, Shaped

COUNTED = 1 << 16
"""Whole numbers that span fewer values than this are counted rather than sorted."""


def in_index_order(array: Shaped[np.ndarray, "*shape"], dtype: Any = None) -> Shaped[np.ndarray, "*shape"]:
    """Return an array in C order, converted to ``dtype``; it is copied only if it has to be.

    Files have x fastest, so a copy in one go jumps from z to z through the whole volume; a plane of one y stays in the
    processor's cache while it is turned.
    """
    if array.ndim < 3 or array.flags.c_contiguous:
        return np.ascontiguousarray(array, dtype=dtype)
    out = np.empty(array.shape, array.dtype if dtype is None else dtype)
    for y in range(array.shape[1]):
        out[:, y] = array[:, y]
    return out


def percentiles(values: Shaped[np.ndarray, " n"], wanted: Sequence[float]) -> Float64[np.ndarray, " p"]:
    """Return percentiles, equal to the bit to those of ``np.percentile`` with the values as float64; 0 for no values.

    Whole numbers of a small span are counted, which takes a tenth of the time of partial sorting.
    """
    if not values.size:
        return np.zeros(len(wanted))
    low, high = values.min(), values.max()
    if values.dtype.kind not in "iu" or int(high) - int(low) >= COUNTED:
        return np.asarray(np.percentile(values.astype(np.float64), wanted))
    base = int(low) if low < 0 or high >= COUNTED else 0
    upto = np.cumsum(np.bincount(values.astype(np.int64) - base if base else values.astype(np.intp)))
    place = np.true_divide(np.asarray(wanted, np.float64), 100) * (values.size - 1)
    before = np.floor(place)
    # The value at a rank of the sorted numbers is the first one up to which there are more numbers than that.
    ranks = np.stack([before, np.minimum(before + 1, values.size - 1)]).astype(np.int64)
    first, second = np.searchsorted(upto, ranks, side="right").astype(np.float64) + base
    return between(first, second, place - before)


def mean_and_deviation(values: Shaped[np.ndarray, " n"]) -> tuple[float, float]:
    """Return mean and standard deviation, equal to the bit to numpy's of the values as float64; 0 for no values."""
    if not values.size:
        return 0.0, 0.0
    terms = values.astype(np.float64)
    mean = terms.mean()
    terms -= mean  # in place: memory for the differences, as numpy takes it, costs as much as computing them
    return float(mean), float(np.sqrt(np.multiply(terms, terms, out=terms).mean()))


def between(
    first: Float64[np.ndarray, " p"], second: Float64[np.ndarray, " p"], share: Float64[np.ndarray, " p"]
) -> Float64[np.ndarray, " p"]:
    """Interpolate linearly from the nearer end, which is how numpy rounds its percentiles."""
    step = second - first
    return np.where(share < 0.5, first + step * share, second - step * (1 - share))
