"""Intervals of amounts, which have no upper end: on the plain scale."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from anyadbench.metrics.intervals.interval import LEVEL, reliable

if TYPE_CHECKING:
    from jaxtyping import Float64


def plain_ends(
    point: Float64[np.ndarray, " seeds"], jack: Float64[np.ndarray, "seeds n"], count: int
) -> tuple[float, float] | None:
    """Return the mean over seeds less and plus ``t(N - 1)`` jackknife standard errors; ``None`` where there is none.

    The noise of seeds is added as their variance over their number.

    Args:
        point: Values by seed.
        jack: Values without each subject, by seed.
        count: Number of subjects.
    """
    if reliable("", count) or np.isnan(point).any() or np.isnan(jack).any():
        return None
    mean, left_out = float(point.mean()), jack.mean(axis=0)
    variance = float((count - 1) / count * np.square(left_out - left_out.mean()).sum())
    variance += float(point.var(ddof=1)) / len(point) if len(point) > 1 else 0.0
    reach = float(stats.t.ppf((1 + LEVEL) / 2, count - 1)) * math.sqrt(variance)
    return mean - reach, mean + reach
