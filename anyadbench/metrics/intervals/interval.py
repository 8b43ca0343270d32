"""95 % intervals of a metric by the jackknife: on the logit scale, corrected for skewness, with honest freedom.

The rule was chosen by simulation; docs/statistics.md holds the figures, and ``benchmarks/coverage.py`` prints them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.metrics.intervals.scales import (
    LOGIT,
    Scale,
    effective_subjects,
    freedom,
    influences,
    skewness,
    variance,
)
from anyadbench.metrics.intervals.seeds import satterthwaite, seed_variance
from anyadbench.metrics.names import BALANCED, BRAIN, HEIGHT, METRICS, MIN_SUBJECTS

if TYPE_CHECKING:
    from jaxtyping import Float64

    from anyadbench.metrics.intervals.jackknife import Replicates

LEVEL = 0.95
METHOD = "jackknife-t on the logit scale, corrected for skewness"
ONE_SEED = "one seed: its noise is not in the interval"
OUTSIDE = "the centre is corrected for bias, and the value lies outside the interval"


@dataclass(frozen=True)
class Rule:
    """What the interval of a metric needs beyond the rest.

    Attributes:
        factor: On the degrees of freedom.
        unbiased: Whether the centre is corrected for bias. The best F1 over all thresholds is a maximum, so a small
            sample overrates it, and a mean over subsets narrows the interval but not the bias.
    """

    factor: float = 1.0
    unbiased: bool = False


WHOLE_SCANS = (
    "dice", "dice_best", "dice_common", "lesion_ap", "froc_1_4", "froc_1_2", "froc_1", "froc_2", "froc_4", "froc_8",
    "froc", "lesion_f1", "lesion_sensitivity", "lesion_precision", "lesion_f1_below_100ul", "lesion_f1_100ul_to_1ml",
    "lesion_f1_1ml_to_10ml", "lesion_f1_from_10ml",
)  # fmt: skip
"""Numbers from 0 to 1 of whole scans."""

BOXES = ("hit_rate", "acc50", "ap30", "ap50", "ap", "froc", "sensitivity")
"""Numbers from 0 to 1 of boxes."""

_PIXELS, _BOXES = Rule(0.6), Rule(0.4, True)
RULES = {
    "image_f1": Rule(0.75, True),
    "image_f1_balanced": Rule(0.6),
    "image_f1_height": Rule(0.75, True),
    "pixel_auroc": _PIXELS,
    "pixel_ap": _PIXELS,
    "pixel_f1": _PIXELS,
    "brain_auroc": _PIXELS,
    "brain_ap": _PIXELS,
    "brain_f1": _PIXELS,
    "dice": _PIXELS,
    "dice_best": _PIXELS,
    "dice_common": _PIXELS,
    "acc50": Rule(0.75),
    "ap30": _BOXES,
    "ap50": _BOXES,
    "ap": _BOXES,
}
"""Rules by metric; the others have the plain rule. Chosen by simulation (docs/statistics.md)."""

MEAN_RULES = {"image_f1_balanced": Rule(0.5, True)}
"""Rules of means over subsets: they narrow the interval but not the bias, and averaged, the bias is better known."""

FEW = 8
_AREAS = ("aupro", "brain_aupro_05", "brain_aupro_30")
FEW_RULES = {name: Rule(0.5) for name, rule in RULES.items() if rule is _PIXELS} | dict.fromkeys(_AREAS, Rule(0.6))
"""Rules below `FEW` subjects, where those above made the intervals of pixel metrics too short."""

SMALLEST = (
    dict.fromkeys((*METRICS, *BALANCED, *BRAIN, *HEIGHT), MIN_SUBJECTS)
    | dict.fromkeys((*WHOLE_SCANS, *BOXES), MIN_SUBJECTS)
    | {"dice": 8, "dice_best": 8, "dice_common": 12, "lesion_ap": 12}
    | {"ap30": 12, "ap50": 12, "ap": 12}
)
"""Smallest number of subjects with an interval, by metric. From there on it held the truth for 93 % or more of the
simulated cohorts, less the simulation's own error (docs/statistics.md)."""

_TINY = 1e-12


@dataclass(frozen=True)
class Interval:
    """An interval, or why there is none.

    Attributes:
        low: Low end; NaN without an interval.
        high: High end.
        method: How it was made.
        df: Degrees of freedom.
        reason: Why there is none; empty if there is one.
        remark: What is not in it, and whether the value is not.
    """

    low: float
    high: float
    method: str
    df: float
    reason: str = ""
    remark: str = ""


def rule_of(metric: str, n: int, *, mean: bool = False) -> Rule:
    """Return the rule of a metric at N subjects, of one subset or of a mean over several."""
    plain = RULES.get(metric, Rule())
    if mean:
        plain = MEAN_RULES.get(metric, plain)
    return FEW_RULES.get(metric, plain) if n < FEW else plain


def too_few(n: int) -> str:
    """Return why N subjects are too few for the interval of any number; empty if they are not."""
    if n >= MIN_SUBJECTS:
        return ""
    return f"No interval: {n} test subject{'s' if n != 1 else ''}, and an interval needs {MIN_SUBJECTS}."


def reliable(metric: str, n: int) -> str:
    """Return why no interval of a metric is printed at N subjects; empty if one is.

    Args:
        metric: Name of the metric. One that is not in `SMALLEST` was not simulated, and has no interval.
        n: Subjects of the row.
    """
    if n < MIN_SUBJECTS:
        return too_few(n)
    smallest = SMALLEST.get(metric)
    if smallest is None:
        return "No interval: how often one of this metric holds the truth was not simulated."
    if n >= smallest:
        return ""
    return f"No interval: with {n} test subjects it would hold the truth less often than it says; it needs {smallest}."


def interval(line: Replicates, metric: str) -> Interval:
    """Return the 95 % interval of a line's mean over seeds.

    Args:
        line: Values, and values without each subject, of each seed.
        metric: Name of the metric.
    """
    point, jack = line.metric(metric)
    reason = reliable(metric, len(line.subjects)) or _degenerate(point, jack)
    if reason:
        return Interval(np.nan, np.nan, METHOD, np.nan, reason)
    low, high, degrees = ends(point, jack, rule_of(metric, len(line.subjects)))
    remark = _remark(line.seeds, float(point.mean()), float(low), float(high))
    return Interval(float(low), float(high), METHOD, float(degrees), "", remark)


def intervals(line: Replicates, *, mean: bool = False) -> dict[str, Interval]:
    """Return the 95 % interval of every metric of a line, as `interval` does, in a few calls for all of them.

    Args:
        line: Values, and values without each subject, of each seed.
        mean: Whether the line is a mean over subsets.
    """
    found: dict[str, Interval] = {}
    pending: dict[Rule, list[str]] = {}
    count = len(line.subjects)
    for name in line.metrics:
        reason = reliable(name, count) or _degenerate(*line.metric(name))
        if reason:
            found[name] = Interval(np.nan, np.nan, METHOD, np.nan, reason)
        else:
            pending.setdefault(rule_of(name, count, mean=mean), []).append(name)
    for rule, names in pending.items():
        places = [line.metrics.index(name) for name in names]
        low, high, degrees = ends(line.point[:, places], np.moveaxis(line.jack[:, :, places], 1, 2), rule)
        points = line.point[:, places].mean(axis=0)
        for name, at, *values in zip(names, *(part.tolist() for part in (points, low, high, degrees)), strict=True):
            remark = _remark(line.seeds, at, values[0], values[1])
            found[name] = Interval(values[0], values[1], METHOD, values[2], "", remark)
    return {name: found[name] for name in line.metrics}


def _remark(seeds: int, value: float, low: float, high: float) -> str:
    remarks = [ONE_SEED] if seeds == 1 else []
    if not low <= value <= high:
        remarks.append(OUTSIDE)
    return "; ".join(remarks)


def _degenerate(point: Float64[np.ndarray, " seeds"], jack: Float64[np.ndarray, "seeds n"]) -> str:
    if np.isnan(point).any():
        return "No interval: the metric is undefined."
    if np.isnan(jack).any():
        return "No interval: without one of the subjects there is no lesion, or no normal, left."
    value = point.mean()
    if value in (0.0, 1.0):
        return f"No interval: the value is exactly {value:.0f}, and the subjects show no variation."
    return without_spread(point, jack)


def without_spread(point: Float64[np.ndarray, " seeds"], jack: Float64[np.ndarray, "seeds n"]) -> str:
    """Return why values have no interval that neither subjects nor seeds change; empty if one of them does.

    Args:
        point: Values by seed.
        jack: Values without each subject, by seed.
    """
    noise = _TINY * max(1.0, float(np.abs(point).max()))
    if np.ptp(jack.mean(axis=0)) < noise and np.ptp(point) < noise:
        return "No interval: the value is the same without any of the subjects."
    return ""


def ends(
    point: Float64[np.ndarray, "s ..."], jack: Float64[np.ndarray, "s ... n"], rule: Rule, scale: Scale = LOGIT
) -> tuple[Float64[np.ndarray, "*b"], Float64[np.ndarray, "*b"], Float64[np.ndarray, "*b"]]:
    """Return low ends, high ends and degrees of freedom of the mean over seeds.

    On the scale, with V the jackknife variance plus that of the seeds, T = (estimate - truth) / sqrt(V) and its
    skewness a: ``g(T) = T + a/3 T^2 + a^2/27 T^3 + a/6`` is taken as t-distributed (Hall, J. R. Stat. Soc. B 1992),
    with Satterthwaite's degrees of freedom. The ends are ``estimate - sqrt(V) * g^-1(+-t)``, mapped back. Where the
    rule says so, the jackknife bias ``(N - 1) * (mean without a subject - estimate)`` is subtracted from the estimate
    (Quenouille, Biometrika 1956).

    Args:
        point: Values by seed, on the logit scale each above 0 and below 1.
        jack: Values without each subject, by seed.
        rule: That of the metric.
        scale: Scale on which the interval is made.
    """
    from scipy import stats  # importing it takes most of a second, and prediction imports this module

    mean, left_out, count = point.mean(axis=0), jack.mean(axis=0), jack.shape[-1]
    shares = influences(mean, left_out, scale)
    subject, added = variance(shares), seed_variance(point, jack, scale, interaction=True)
    own = freedom(np.where(subject > 0, effective_subjects(shares), 1.0), count, rule.factor)
    total = subject + added
    degrees = satterthwaite(subject, own, (added, len(point) - 1))
    t, error = stats.t.ppf((1.0 + LEVEL) / 2.0, degrees), np.sqrt(total)
    # Seeds are taken as symmetric: their variance takes part of the skewness away.
    with np.errstate(divide="ignore", invalid="ignore"):
        skew = np.where(subject > 0, skewness(shares) * (subject / total) ** 1.5, 0.0)
    centre = scale.forward(mean)
    if rule.unbiased:
        centre = centre - (count - 1) * (left_out.mean(axis=-1) - mean) * scale.slope(mean)
    low, high = centre - error * _unskewed(t, skew), centre - error * _unskewed(-t, skew)
    return scale.backward(low), scale.backward(high), degrees


def _unskewed(x: Float64[np.ndarray, "*b"], skew: Float64[np.ndarray, "*b"]) -> Float64[np.ndarray, "*b"]:
    """Return the inverse of Hall's transformation: ``3/a * (cbrt(1 + a (x - a/6)) - 1)``, and x for no skewness."""
    safe = np.where(np.abs(skew) < 1e-6, 1.0, skew)
    return np.where(np.abs(skew) < 1e-6, x, 3.0 / safe * (np.cbrt(1.0 + safe * (x - safe / 6.0)) - 1.0))
