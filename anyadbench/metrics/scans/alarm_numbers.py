"""Alarms per healthy subject at thresholds from split-conformal calibration."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from scipy import stats

from anyadbench.metrics.scans.whole_scans import SubjectScore

PROMISES = (0.01, 0.05, 0.10)
"""Shares of healthy subjects that alarm at most."""

LEVEL = 0.95
BROKEN_P = 0.05
"""A promise is broken if at most this share of calibrations would see as many alarms."""

_AGES = ((0.0, 40.0, "below 40"), (40.0, 60.0, "40 to 59"), (60.0, math.inf, "from 60"))


def needed_subjects(promise: float) -> int:
    """Return the fewest healthy validation subjects for a promise: the ceiling of 1 / promise, less 1."""
    return math.ceil(1 / promise - 1e-9) - 1


def conformal_threshold(scores: Sequence[float], promise: float) -> float | None:
    """Return the ceil((n + 1) (1 - promise))-th smallest score; ``None`` if n is too small.

    A new subject that is exchangeable with these n has a higher score with a probability of at most ``promise``
    (Papadopoulos et al., ECML 2002; Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005).
    """
    place = math.ceil((len(scores) + 1) * (1 - promise) - 1e-9)
    return sorted(scores)[place - 1] if place <= len(scores) else None


def broken_p(alarms: int, healthy: int, validation: int, promise: float) -> float:
    """Return the chance of at least as many alarms if test and validation subjects are exchangeable.

    The share of the population above the k-th of n scores has the distribution Beta(n + 1 - k, k), so the number of
    alarms is beta-binomial: a binomial test that allows for the chance in the threshold itself.
    """
    place = math.ceil((validation + 1) * (1 - promise) - 1e-9)
    return float(stats.betabinom.sf(alarms - 1, healthy, validation + 1 - place, place))


def proportion_interval(count: int, total: int) -> tuple[float, float]:
    """Return the 95 % interval of a proportion (Clopper and Pearson, Biometrika 1934)."""
    tail = (1 - LEVEL) / 2
    low = float(stats.beta.ppf(tail, count, total - count + 1)) if count else 0.0
    high = float(stats.beta.ppf(1 - tail, count + 1, total - count)) if count < total else 1.0
    return low, high


def alarm_numbers(scores: Sequence[SubjectScore], test: str, subset: str) -> list[dict[str, Any]]:
    """Return the fields of `anyadbench.results.Alarms` for each promise; nothing without a healthy test subject.

    Args:
        scores: All subjects of a cell.
        test: Test set of the row.
        subset: Its subset.
    """
    own = [one for one in scores if one.subset == subset]
    validation = [one.score for one in own if one.part == "val" and one.healthy]
    tested = [one for one in own if one.part == "test" and one.test == test]
    healthy = [one for one in tested if one.healthy]
    patients = [one for one in tested if not one.healthy]
    if not healthy:
        return []
    return [_alarms(promise, validation, healthy, patients) for promise in PROMISES]


def _alarms(
    promise: float, validation: Sequence[float], healthy: Sequence[SubjectScore], patients: Sequence[SubjectScore]
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "promise": promise, "n_validation": len(validation), "n_healthy": len(healthy), "n_patients": len(patients),
    }  # fmt: skip
    threshold = conformal_threshold(validation, promise)
    if threshold is None:
        need = needed_subjects(promise)
        reason = (
            f"At most {100 * promise:g} % alarms can be promised from {need} healthy validation subjects on, and there "
            f"are {len(validation)}."
        )
        return found | {"reason": reason}
    alarms = sum(one.score > threshold for one in healthy)
    low, high = proportion_interval(alarms, len(healthy))
    p = broken_p(alarms, len(healthy), len(validation), promise)
    found |= {"threshold": threshold, "alarms": alarms, "rate": alarms / len(healthy), "low": low, "high": high}
    found |= {"p": p, "broken": p <= BROKEN_P, "groups": _groups(healthy, threshold)}
    if patients:
        caught = sum(one.score > threshold for one in patients)
        low, high = proportion_interval(caught, len(patients))
        found |= {"detected": caught, "sensitivity": caught / len(patients)}
        found |= {"sensitivity_low": low, "sensitivity_high": high}
    return found


def _groups(healthy: Sequence[SubjectScore], threshold: float) -> list[dict[str, Any]]:
    """Return alarms by age, sex and site; of each, only if the table names it for some subject."""
    naming: dict[str, Callable[[SubjectScore], str]] = {
        "age": lambda one: age_group(one.age),
        "sex": lambda one: one.sex,
        "site": lambda one: one.site,
    }
    found = []
    for by, name_of in naming.items():
        total = Counter(name_of(one) for one in healthy)
        alarms = Counter(name_of(one) for one in healthy if one.score > threshold)
        for name in _ordered(by, total) if any(total) else ():
            low, high = proportion_interval(alarms[name], total[name])
            label = name or "not stated"
            found.append({"by": by, "name": label, "n": total[name], "alarms": alarms[name], "low": low, "high": high})
    return found


def age_group(age: float | None) -> str:
    """Return the group of an age in years; empty if it is unknown."""
    if age is None:
        return ""
    return next((name for low, high, name in _AGES if low <= age < high), "")


def _ordered(by: str, names: Iterable[str]) -> list[str]:
    order = [name for *_, name in _AGES] if by == "age" else sorted(names)
    present = set(names)
    return [name for name in order if name in present and name] + ([""] if "" in present else [])
