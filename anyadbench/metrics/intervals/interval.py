"""95 % intervals of a metric by the jackknife: on the logit scale, corrected for skewness, with honest freedom.

The rule was chosen by simulation; docs/statistics.md holds the figures, and ``benchmarks/coverage.py`` prints them.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from anyadbench.metrics.intervals.student import quantile
from anyadbench.metrics.names import BALANCED, BRAIN, HEIGHT, METRICS, MIN_SUBJECTS

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64

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
_SAME = "No interval: the value is the same without any of the subjects."
_AT_ONCE = 2**20
"""Values without a subject that are taken together: 8 MB, and several times as much on the way."""


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
    reason = reliable(metric, len(line.subjects)) or _degenerate(point[None, None], jack[None, None])[0][0]
    if reason:
        return _none(reason)
    low, high, degrees = (float(part) for part in ends(point, jack, rule_of(metric, len(line.subjects))))
    return Interval(low, high, METHOD, degrees, "", _remark(line.seeds, float(point.mean()), low, high))


def intervals(line: Replicates, *, mean: bool = False) -> dict[str, Interval]:
    """Return the 95 % interval of every metric of a line, as `interval` does, in a few calls for all of them.

    Args:
        line: Values, and values without each subject, of each seed.
        mean: Whether the line is a mean over subsets.
    """
    return intervals_of([line], mean=mean)[0]


def intervals_of(lines: Sequence[Replicates], *, mean: bool = False) -> list[dict[str, Interval]]:
    """Return what `intervals` does of each line, in a few calls for all lines of the same shape.

    Args:
        lines: Values, and values without each subject, of each seed.
        mean: Whether the lines are means over subsets.
    """
    shapes: dict[tuple[int, int, tuple[str, ...]], list[int]] = {}
    for number, line in enumerate(lines):
        shapes.setdefault((line.seeds, len(line.subjects), line.metrics), []).append(number)
    found: dict[int, dict[str, Interval]] = {}
    for (seeds, count, names), numbers in shapes.items():
        step = max(1, _AT_ONCE // max(seeds * count * len(names), 1))
        for start in range(0, len(numbers), step):
            part = numbers[start : start + step]
            found |= zip(part, _of_one_shape([lines[number] for number in part], mean), strict=True)
    return [found[number] for number in range(len(lines))]


def _of_one_shape(lines: Sequence[Replicates], mean: bool) -> list[dict[str, Interval]]:
    """Return the intervals of lines with as many seeds and subjects, and the same metrics."""
    names, seeds, count = lines[0].metrics, lines[0].seeds, len(lines[0].subjects)
    unreliable = [reliable(name, count) for name in names]
    if all(unreliable):
        return [{name: _none(reason) for name, reason in zip(names, unreliable, strict=True)} for _ in lines]
    point = np.stack([line.point.T for line in lines])
    jack = np.stack([np.moveaxis(line.jack, 2, 0) for line in lines])
    found: list[dict[str, Interval]] = [{} for _ in lines]
    pending: dict[Rule, list[tuple[int, int]]] = {}
    for row, degenerate in enumerate(_degenerate(point, jack)):
        for column, name in enumerate(names):
            reason = unreliable[column] or degenerate[column]
            # Every metric has its place now, so that all stay in the order of the line.
            found[row][name] = _none(reason)
            if not reason:
                pending.setdefault(rule_of(name, count, mean=mean), []).append((row, column))
    for rule, places in pending.items():
        rows, columns = (np.array(side) for side in zip(*places, strict=True))
        values = point[rows, columns]
        ranges = ends(values.T, np.moveaxis(jack[rows, columns], 1, 0), rule)
        numbers = (part.tolist() for part in (values.mean(axis=1), *ranges))
        for (row, column), at, low, high, degrees in zip(places, *numbers, strict=True):
            found[row][names[column]] = Interval(low, high, METHOD, degrees, "", _remark(seeds, at, low, high))
    return found


def _none(reason: str) -> Interval:
    return Interval(np.nan, np.nan, METHOD, np.nan, reason)


def _remark(seeds: int, value: float, low: float, high: float) -> str:
    remarks = [ONE_SEED] if seeds == 1 else []
    if not low <= value <= high:
        remarks.append(OUTSIDE)
    return "; ".join(remarks)


def _degenerate(
    point: Float64[np.ndarray, "lines m seeds"], jack: Float64[np.ndarray, "lines m seeds n"]
) -> list[list[str]]:
    """Return why each metric of each line has no interval; empty where it has one."""
    value, exactly = point.mean(axis=-1), "No interval: the value is exactly {}, and the subjects show no variation."
    cases = {
        "No interval: the metric is undefined.": np.isnan(point).any(axis=-1),
        "No interval: without one of the subjects there is no lesion, or no normal, left.": (
            np.isnan(jack).any(axis=(-2, -1))
        ),
        exactly.format(0): value == 0.0,
        exactly.format(1): value == 1.0,
        _SAME: _flat(point, jack),
    }
    found = np.full(value.shape, "", dtype=object)
    for reason, here in reversed(cases.items()):  # the first of several reasons counts
        found[here] = reason
    return list(found.tolist())


def without_spread(point: Float64[np.ndarray, " seeds"], jack: Float64[np.ndarray, "seeds n"]) -> str:
    """Return why values have no interval that neither subjects nor seeds change; empty if one of them does.

    Args:
        point: Values by seed.
        jack: Values without each subject, by seed.
    """
    return _SAME if _flat(point, jack) else ""


def _flat(point: Float64[np.ndarray, "*b seeds"], jack: Float64[np.ndarray, "*b seeds n"]) -> Bool[np.ndarray, "*b"]:
    noise = _TINY * np.maximum(1.0, np.abs(point).max(axis=-1))
    return np.asarray((np.ptp(jack.mean(axis=-2), axis=-1) < noise) & (np.ptp(point, axis=-1) < noise))


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
    mean, left_out, count = point.mean(axis=0), jack.mean(axis=0), jack.shape[-1]
    shares = influences(mean, left_out, scale)
    subject, added = variance(shares), seed_variance(point, jack, scale, interaction=True)
    own = freedom(np.where(subject > 0, effective_subjects(shares), 1.0), count, rule.factor)
    total = subject + added
    degrees = satterthwaite(subject, own, (added, len(point) - 1))
    t, error = quantile((1.0 + LEVEL) / 2.0, degrees), np.sqrt(total)
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
