"""Scales on which a metric is closer to normal, and a metric's influences on such a scale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit, logit

if TYPE_CHECKING:
    from jaxtyping import Float64


@dataclass(frozen=True)
class Scale:
    """A monotone change of values.

    Attributes:
        forward: To the scale.
        backward: Back from it.
        slope: Derivative of ``forward``.
    """

    name: str
    forward: Callable[[np.ndarray], np.ndarray]
    backward: Callable[[np.ndarray], np.ndarray]
    slope: Callable[[np.ndarray], np.ndarray]


def _arcsine(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.arcsin(np.sqrt(np.clip(values, 0.0, 1.0))))


def _from_arcsine(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.sin(np.clip(values, 0.0, np.pi / 2)) ** 2)


LOGIT = Scale("logit", logit, expit, lambda p: 1.0 / (p * (1.0 - p)))
"""log(p / (1 - p)): intervals are made on it."""

ARCSINE = Scale("arcsine", _arcsine, _from_arcsine, lambda p: 0.5 / np.sqrt(p * (1.0 - p)))
"""asin(sqrt(p)), the variance-stabilising scale of a proportion: finite everywhere, and tests are made on it."""

PLAIN = Scale("plain", np.asarray, np.asarray, np.ones_like)
"""Values as they are: for differences that were taken on another scale, and for amounts of either sign."""

LOG = Scale("log", np.log, np.exp, lambda v: 1.0 / v)
"""Logarithms, for mean counts: a few scans have most of the false alarms."""


def influences(
    point: Float64[np.ndarray, "*b"], jack: Float64[np.ndarray, "*b n"], scale: Scale
) -> Float64[np.ndarray, "*b n"]:
    """Return each subject's influence c(i) on the scale; their squares add up to the jackknife variance.

    ``c(i) = -sqrt((N - 1) / N) * (g(i) - mean g)`` with g(i) the value without subject i on the scale (Efron and
    Tibshirani, An Introduction to the Bootstrap, 1993, eq. 11.5). Where a value without a subject is infinite on the
    scale (exactly 0 or 1), the influences of the plain values are multiplied by the slope at the point instead.

    Args:
        point: Values of the sample.
        jack: Values without each subject.
        scale: The scale.
    """
    count = jack.shape[-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        moved, slope = scale.forward(jack), scale.slope(point)[..., None]
    ends = np.isinf(moved).any(axis=-1, keepdims=True)
    chosen = np.where(ends, jack, moved)
    with np.errstate(invalid="ignore"):
        centred = chosen.mean(axis=-1, keepdims=True) - chosen
        return np.asarray(np.sqrt((count - 1) / count) * np.where(ends, centred * slope, centred))


def variance(shares: Float64[np.ndarray, "*b n"]) -> Float64[np.ndarray, "*b"]:
    """Return the jackknife variance: the sum of squared influences."""
    return np.asarray(np.square(shares).sum(axis=-1))


def effective_subjects(shares: Float64[np.ndarray, "*b n"]) -> Float64[np.ndarray, "*b"]:
    """Return P, the effective number of subjects behind a variance: (sum c^2)^2 / sum c^4, between 1 and N.

    One subject that carries the whole variance gives 1, equal shares give N, and normal influences N/3.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        squares = np.square(shares)
        return np.asarray(squares.sum(axis=-1) ** 2 / np.square(squares).sum(axis=-1))


def skewness(shares: Float64[np.ndarray, "*b n"]) -> Float64[np.ndarray, "*b"]:
    """Return a, the skewness of the statistic: sum c^3 / (sum c^2)^1.5."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((shares**3).sum(axis=-1) / variance(shares) ** 1.5)


def freedom(
    effective: Float64[np.ndarray, "*b"], count: int, factor: float | Float64[np.ndarray, "*b"]
) -> Float64[np.ndarray, "*b"]:
    """Return degrees of freedom ``factor * (2 P - 1)``, at least 1 and at most N - 1.

    Satterthwaite's rule (Biometrics Bulletin 1946) gives 2 V^2 / Var(V); with fourth moments for Var(V) this is
    2 P / (1 - P / N), of which 2 P - 1 is a lower bound. Fourth moments of few subjects are too small, which the factor
    makes up for; it was chosen by simulation (docs/statistics.md).
    """
    return np.asarray(np.clip(factor * (2.0 * effective - 1.0), 1.0, max(count - 1, 1)))
