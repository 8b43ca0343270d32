"""Student's t distribution from scipy.special: scipy.stats gives the same bits, but its import takes half a second."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import stdtr, stdtrit

if TYPE_CHECKING:
    from jaxtyping import Float64


def two_sided(t: float | Float64[np.ndarray, "*b"], df: float | Float64[np.ndarray, "*b"]) -> Float64[np.ndarray, "*b"]:
    """Return the two-sided p-value of statistics at their degrees of freedom; NaN stays NaN."""
    return np.asarray(2.0 * stdtr(df, -np.abs(t)))


def quantile(q: float, df: float | Float64[np.ndarray, "*b"]) -> Float64[np.ndarray, "*b"]:
    """Return the value that t stays below with probability q, for each number of degrees of freedom."""
    return np.asarray(stdtrit(df, q))
