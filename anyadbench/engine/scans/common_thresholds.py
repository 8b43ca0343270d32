"""Thresholds that all scans of a row share, for Dice at the best of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from anyadbench.metrics.core.ordered_bits import key_values

if TYPE_CHECKING:
    from jaxtyping import Int64

    from anyadbench.metrics.rows.row_state import RowState

COUNT = 31
"""Thresholds of a row: between two of them lie 3 % of the lesion pixels."""


def common_thresholds(state: RowState) -> tuple[float, ...]:
    """Return scores of lesion pixels of a row's slices at evenly spaced quantiles, falling; none without a lesion.

    The best threshold of a cohort lies where some of its lesion pixels have their scores. Each is the number just below
    such a score, because voxels count above a threshold; from a histogram, just below the score's bin.
    """
    keys, counts = _lesion_keys(state)
    ends = np.cumsum(counts)
    if not len(ends):
        return ()
    places = np.searchsorted(ends, (np.arange(COUNT) + 0.5) / COUNT * ends[-1], side="left")
    values = key_values((keys[places] - 1).astype(np.int32))
    return tuple(sorted({float(value) for value in values}, reverse=True))


def _lesion_keys(state: RowState) -> tuple[Int64[np.ndarray, " k"], Int64[np.ndarray, " k"]]:
    """Return ordered keys of lesion pixels inside the brain, ascending, and how many pixels each stands for."""
    if not state.exact:
        pooled = state.bins.pooled.inside
        arrays, bits = pooled.to_arrays(), pooled.bits
        held = arrays["lesion"] > 0
        first = (arrays["bins"][held].astype(np.int64) - (1 << (bits - 1))) << (32 - bits)
        return first, arrays["lesion"][held].astype(np.int64)
    packed = [one.inside.packed_lesions() for one in state.subjects.values()]
    keys, counts = np.unique(np.concatenate([np.empty(0, np.int64), *packed]) >> 32, return_counts=True)
    return keys, counts.astype(np.int64)
