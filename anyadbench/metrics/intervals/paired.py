"""Paired comparison of two methods by subject: difference, interval, p-value, and Holm's step-down.

The scale and the degrees of freedom were chosen by simulation; docs/statistics.md holds the figures, and
``benchmarks/error_rates.py`` prints them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.errors import UserError
from anyadbench.metrics.intervals.scales import ARCSINE, PLAIN, effective_subjects, freedom, influences, variance
from anyadbench.metrics.intervals.seeds import satterthwaite, seed_variance
from anyadbench.metrics.intervals.student import quantile, two_sided

if TYPE_CHECKING:
    from jaxtyping import Float64

    from anyadbench.metrics.intervals.jackknife import Replicates

LEVEL = 0.95
MIN_SUBJECTS = 8
"""With fewer subjects there is no p-value: the level of the test was simulated from 8 on (docs/statistics.md)."""

FACTOR = 0.75
"""On the degrees of freedom of a single comparison."""

METHODS, MODELS = "methods", "models"


@dataclass(frozen=True)
class Paired:
    """Difference of one metric between two methods on the same subjects.

    Attributes:
        difference: First minus second, each averaged over its seeds.
        se: Standard error of the difference.
        low: Low end of its 95 % interval, which holds 0 exactly if p is above .05; NaN without one.
        high: High end.
        t: The statistic, on the arcsine scale.
        df: Its degrees of freedom.
        p: Two-sided p-value; NaN without one.
        claim: ``methods`` if both have several seeds, whose variance is then in the test; else ``models``: the test is
            about these trained models, and another seed may turn it round.
        subject_share: Share of the variance that more subjects would reduce; the rest is that of seeds.
        n: Number of subjects.
        reason: Why there is no p-value.
    """

    difference: float
    se: float = np.nan
    low: float = np.nan
    high: float = np.nan
    t: float = np.nan
    df: float = np.nan
    p: float = np.nan
    claim: str = MODELS
    subject_share: float = np.nan
    n: int = 0
    reason: str = ""


def paired(first: Replicates, second: Replicates, metric: str, *, same_runs: bool = False) -> Paired:
    """Compare two methods, or one method's runs on two subsets, by subject.

    Both values are taken to the arcsine scale. The variance of their difference is that of the jackknife, which keeps
    the subjects paired, plus that of each method's seeds (see `seed_variance`); seeds of two methods are independent
    draws, and seeds of one method on two subsets are paired. t has Satterthwaite's degrees of freedom.

    Args:
        first: Values and values without each subject, of each seed.
        second: The other's, on the same subjects.
        metric: Name of the metric.
        same_runs: Whether both are the same runs, as for the drop between two subsets.

    Raises:
        UserError: If the subjects differ.
    """
    if first.subjects != second.subjects:
        raise UserError("The two methods were scored on different subjects; run both on the same data.")
    if same_runs and first.seeds != second.seeds:
        raise UserError("The two subsets have different numbers of seeds; run every seed on both.")
    (ours, our_jack), (theirs, their_jack) = first.metric(metric), second.metric(metric)
    difference = float(ours.mean() - theirs.mean())
    claim = METHODS if min(first.seeds, second.seeds) > 1 else MODELS
    n = len(first.subjects)
    reason = no_test(n)
    if np.isnan(difference):
        reason = "No test: the metric is undefined for one of the two."
    elif np.isnan(our_jack).any() or np.isnan(their_jack).any():
        reason = "No test: without one of the subjects there is no lesion, or no normal, left."
    if reason:
        return Paired(difference, claim=claim, n=n, reason=reason)
    values = (float(ours.mean()), float(theirs.mean()))
    return _tested(values, *compared(ours, our_jack, theirs, their_jack, same_runs=same_runs), claim, n)


def compared(
    ours: Float64[np.ndarray, "s ..."],
    our_jack: Float64[np.ndarray, "s ... n"],
    theirs: Float64[np.ndarray, "z ..."],
    their_jack: Float64[np.ndarray, "z ... n"],
    *,
    same_runs: bool = False,
) -> tuple[Float64[np.ndarray, "*b"], Float64[np.ndarray, "*b"], Float64[np.ndarray, "*b"], Float64[np.ndarray, "*b"]]:
    """Return, of many comparisons at once: gap on the arcsine scale, its variance over subjects, all its variance, df.

    Args:
        ours: Values by seed.
        our_jack: Values without each subject, by seed.
        theirs: The other's values by seed.
        their_jack: Without each subject.
        same_runs: As for `paired`.
    """
    one, other = ours.mean(axis=0), theirs.mean(axis=0)
    shares = influences(one, our_jack.mean(axis=0), ARCSINE) - influences(other, their_jack.mean(axis=0), ARCSINE)
    if same_runs:
        gaps = ARCSINE.forward(ours) - ARCSINE.forward(theirs)
        left_out = ARCSINE.forward(our_jack) - ARCSINE.forward(their_jack)
        added = [(seed_variance(gaps, left_out, PLAIN), len(ours) - 1)]
    else:
        sides = ((ours, our_jack), (theirs, their_jack))
        added = [(seed_variance(point, jack, ARCSINE), len(point) - 1) for point, jack in sides]
    subject = variance(shares)
    effective = np.where(subject > 0, effective_subjects(shares), 1.0)
    df = satterthwaite(subject, freedom(effective, shares.shape[-1], FACTOR), *added)
    total = subject + sum(part for part, _ in added)
    return ARCSINE.forward(one) - ARCSINE.forward(other), subject, total, df


def no_test(n: int) -> str:
    """Return why there is no p-value at N subjects; empty if there is one."""
    if n >= MIN_SUBJECTS:
        return ""
    return f"No p-value: {n} test subject{'s' if n != 1 else ''}, and a test needs {MIN_SUBJECTS}."


def _tested(
    values: tuple[float, float],
    gap: np.ndarray,
    subject: np.ndarray,
    total: np.ndarray,
    df: np.ndarray,
    claim: str,
    n: int,
) -> Paired:
    """Return the test of two values from what `compared` gives."""
    one, difference = values[0], values[0] - values[1]
    if not total > 0.0:
        reason = "No test: the difference is the same without any of the subjects."
        return Paired(difference, 0.0, claim=claim, n=n, reason=reason)
    error, t = float(np.sqrt(total)), float(gap / np.sqrt(total))
    reach = float(quantile((1 + LEVEL) / 2, df)) * error
    # The chord of the scale between the two values takes the interval back, so it agrees with the p-value.
    chord = difference / float(gap) if abs(gap) > 1e-9 else 2.0 * float(np.sqrt(one * (1.0 - one)))
    return Paired(
        difference=difference,
        se=chord * error,
        # The chord is a straight line, and may lead beyond the largest difference that there is.
        low=max(difference - chord * reach, -1.0),
        high=min(difference + chord * reach, 1.0),
        t=t,
        df=float(df),
        p=float(two_sided(t, df)),
        claim=claim,
        subject_share=float(subject / total),
        n=n,
    )


def step_down(p_values: Sequence[float] | Float64[np.ndarray, " k"]) -> Float64[np.ndarray, " k"]:
    """Return p-values adjusted for their number by Holm's step-down method (Scand. J. Stat. 1979); NaN stays NaN.

    The i-th smallest of k is multiplied by k - i + 1, and no adjusted value is below that of a smaller p-value. It
    holds the family-wise error for any dependence between the tests.
    """
    values = np.asarray(p_values, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    adjusted = np.full(values.shape, np.nan)
    factors = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(values[order] * factors))
    return adjusted


def family_p(
    t: Sequence[float] | Float64[np.ndarray, " k"], df: Sequence[float] | Float64[np.ndarray, " k"]
) -> Float64[np.ndarray, " k"]:
    """Return the p-values of many comparisons, corrected together by Holm's method; NaN stays NaN.

    No comparison has more degrees of freedom than their median: the largest of hundreds of statistics are those whose
    own degrees of freedom are overrated.

    Args:
        t: Statistics.
        df: Their degrees of freedom.
    """
    statistics, freedoms = np.asarray(t, dtype=np.float64), np.asarray(df, dtype=np.float64)
    known = freedoms[~np.isnan(freedoms)]
    if len(known):
        freedoms = np.minimum(freedoms, np.median(known))
    return step_down(two_sided(statistics, freedoms))


def subjects_needed(test: Paired, power: float = 0.8) -> int | None:
    """Return about how many subjects would separate two methods at 5 %, if the true difference equals the observed one.

    With v the subjects' variance at n subjects, s that of seeds and d the gap on the test's scale, the smallest N with
    ``v n / N + s <= (d / (t(.975) + t(power)))^2``, the quantiles of t at the test's degrees of freedom, scaled with N
    (Julious, Sample Sizes for Clinical Trials, 2010, ch. 3). It is for this comparison alone: a board corrects for all
    its pairs.

    Args:
        test: What `paired` gives.
        power: Wanted chance that the test separates them.

    Returns:
        At least 8; ``None`` where no number of subjects is enough, because the seeds differ too much or the difference
        is 0, or where there is no test.
    """
    if np.isnan(test.t) or test.t == 0.0:
        return None
    wanted = test.n
    for _ in range(50):
        df = max(test.df * wanted / test.n, 1.0)
        allowed = (test.t / float(quantile(0.975, df) + quantile(power, df))) ** 2 - (1.0 - test.subject_share)
        if allowed <= 0.0:
            return None
        found = max(int(np.ceil(test.n * test.subject_share / allowed)), MIN_SUBJECTS)
        if found == wanted:
            break
        wanted = found
    return wanted
