"""What several run seeds add to the variance of their mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from anyadbench.metrics.intervals.scales import PLAIN, Scale, influences, variance

if TYPE_CHECKING:
    from jaxtyping import Float64


def seed_variance(
    point: Float64[np.ndarray, "s ..."],
    jack: Float64[np.ndarray, "s ... n"],
    scale: Scale,
    *,
    interaction: bool = False,
) -> Float64[np.ndarray, "*b"]:
    """Return the variance that seeds add to the mean over seeds.

    Subjects and seeds are crossed random effects: the mean's variance is V(subject)/N + V(seed)/S + V(interaction)/NS
    (Searle, Casella and McCulloch, Variance Components, 1992, ch. 4). The jackknife of the mean over seeds holds the
    first and the third term, and the variance between seeds, s^2/S, the second and the third; so the third, from the
    influences' scatter about their mean over seeds, is subtracted once, and the result is never below 0. It has
    S - 1 degrees of freedom.

    Args:
        point: Values by seed; the result is 0 for one seed.
        jack: Values without each subject, by seed.
        scale: On which the variances are wanted.
        interaction: Whether to leave the third term in both, as intervals do: what is subtracted is itself an estimate,
            and made the intervals of three seeds too short (docs/statistics.md).
    """
    count = len(point)
    if count < 2:
        return np.zeros(point.shape[1:])
    with np.errstate(divide="ignore", invalid="ignore"):
        moved = scale.forward(point)
        # A seed of exactly 0 or 1 is infinite on the scale: all of its line are taken there by the slope at their mean.
        ends, slope = np.isinf(moved).any(axis=0), scale.slope(point.mean(axis=0))
        between = np.where(ends, point.var(axis=0, ddof=1) * slope**2, moved.var(axis=0, ddof=1)) / count
        if interaction:
            return np.asarray(between)
        plain = influences(point, jack, PLAIN) * slope[..., None]
        shares = np.where(ends[..., None], plain, influences(point, jack, scale))
    inner = variance(shares - shares.mean(axis=0)).sum(axis=0) / (count * (count - 1))
    return np.asarray(np.maximum(between - inner, 0.0))


def satterthwaite(
    subject: Float64[np.ndarray, "*b"], subject_freedom: Float64[np.ndarray, "*b"], *seeds: tuple[np.ndarray, int]
) -> Float64[np.ndarray, "*b"]:
    """Return the degrees of freedom of a sum of variances (Satterthwaite, Biometrics Bulletin 1946).

    ``(sum V)^2 / sum(V^2 / f)``.

    Args:
        subject: Variance over subjects.
        subject_freedom: Its degrees of freedom.
        seeds: Further variances, each with its degrees of freedom; one with 0 degrees is left out.
    """
    total, noise = subject, subject**2 / subject_freedom
    for part, degrees in seeds:
        if degrees > 0:
            total, noise = total + part, noise + part**2 / degrees
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.maximum(total**2 / noise, 1.0))
