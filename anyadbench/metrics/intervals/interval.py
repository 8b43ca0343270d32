"""95 % intervals of a metric by the jackknife: on the logit scale, corrected for skewness, with honest freedom.

The rule was chosen by simulation; docs/statistics.md holds the figures, and ``benchmarks/coverage.py`` prints them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

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

if TYPE_CHECKING:
    from jaxtyping import Float64

    from anyadbench.metrics.intervals.jackknife import Replicates

LEVEL = 0.95
MIN_SUBJECTS = 5
"""With fewer subjects there is no interval."""

METHOD = "jackknife-t on the logit scale, corrected for skewness"
ONE_SEED = "one seed: its noise is not in the interval"


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


_PIXELS = Rule(0.6)
RULES = {
    "image_f1": Rule(0.75, True),
    "image_f1_balanced": Rule(0.75, True),
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
}
"""Rules by metric; the others have the plain rule. Chosen by simulation (docs/statistics.md)."""

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
        remark: What is not in it.
    """

    low: float
    high: float
    method: str
    df: float
    reason: str = ""
    remark: str = ""


def reliable(metric: str, n: int) -> str | None:
    """Return why no interval of a metric is printed at N subjects, or ``None`` if one is.

    The simulated coverage of the nominal 95 % is in docs/statistics.md; metrics that are not in its tables, such as
    those of plugins, follow the rule of the image metrics.

    Args:
        metric: Name of the metric.
        n: Subjects of the row.
    """
    if n < MIN_SUBJECTS:
        return f"No interval: {n} test subject{'s' if n != 1 else ''}, and an interval needs {MIN_SUBJECTS}."
    return None


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
    low, high, degrees = ends(point, jack, RULES.get(metric, Rule()))
    remark = ONE_SEED if line.seeds == 1 else ""
    return Interval(float(low), float(high), METHOD, float(degrees), "", remark)


def intervals(line: Replicates) -> dict[str, Interval]:
    """Return the 95 % interval of every metric of a line, as `interval` does, in a few calls for all of them."""
    found: dict[str, Interval] = {}
    pending: dict[Rule, list[str]] = {}
    short = reliable("", len(line.subjects))
    for name in line.metrics:
        reason = short or _degenerate(*line.metric(name))
        if reason:
            found[name] = Interval(np.nan, np.nan, METHOD, np.nan, reason)
        else:
            pending.setdefault(RULES.get(name, Rule()), []).append(name)
    remark = ONE_SEED if line.seeds == 1 else ""
    for rule, names in pending.items():
        places = [line.metrics.index(name) for name in names]
        low, high, degrees = ends(line.point[:, places], np.moveaxis(line.jack[:, :, places], 1, 2), rule)
        for name, *values in zip(names, low.tolist(), high.tolist(), degrees.tolist(), strict=True):
            found[name] = Interval(values[0], values[1], METHOD, values[2], "", remark)
    return {name: found[name] for name in line.metrics}


def _degenerate(point: Float64[np.ndarray, " seeds"], jack: Float64[np.ndarray, "seeds n"]) -> str:
    if np.isnan(point).any():
        return "No interval: the metric is undefined."
    if np.isnan(jack).any():
        return "No interval: without one of the subjects there is no lesion, or no normal, left."
    value = point.mean()
    if value in (0.0, 1.0):
        return f"No interval: the value is exactly {value:.0f}, and the subjects show no variation."
    if (np.ptp(jack.mean(axis=0)) < _TINY) and np.ptp(point) < _TINY:
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
    mean, left_out, count = point.mean(axis=0), jack.mean(axis=0), jack.shape[-1]
    shares = influences(mean, left_out, scale)
    subject, added = variance(shares), seed_variance(point, jack, scale)
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
