"""Every number against the best control on the same slices: what the brain's outline or plain brightness reaches."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from anyadbench.boards.aggregate.model import Against, Line, Summary, Variant, Verdict
from anyadbench.errors import UserError

if TYPE_CHECKING:
    from anyadbench.boards.aggregate.uncertainty import Means, Replicated
    from anyadbench.metrics.intervals.jackknife import Replicates

ALPHA = 0.05
BRIGHTNESS = "control:intensity"
"""Method whose lowest subset is the one that a board calls the hardest."""

NOT_ABOVE = "not above the controls"
"""Flag of a line that no test shows to be better than the best control in the headline metric."""


def against_controls(lines: Sequence[Line], variants: Sequence[Variant], replicated: Replicated) -> list[Line]:
    """Compare every line with the best control of its test set and subset, metric by metric; `judged` decides.

    A control that was scored on other test data is no rival.
    """
    keys = {variant.key for variant in variants if variant.kind == "control"}
    tested = {variant.key for variant in variants if variant.kind not in ("control", "reported")}
    controls: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        if line.variant in keys and line.covered:
            controls.setdefault((line.test, line.subset), []).append(line)
    done = []
    for line in lines:
        rivals = [one for one in controls.get((line.test, line.subset), []) if same_data(line, one)]
        if line.variant not in tested or not rivals or not line.covered:
            done.append(line)
            continue
        found = {}
        for metric in line.metrics:
            best = _best({rival.variant: rival.value(metric) for rival in rivals})
            ours = line.value(metric)
            if best is None or ours is None:
                continue
            key, value = best
            mine = replicated.own(line)
            theirs = replicated.own(next(rival for rival in rivals if rival.variant == key))
            found[metric] = compared(key, ours - value, mine, theirs, metric)
        done.append(replace(line, against=found))
    return done


def means_against_controls(
    summaries: Sequence[Summary],
    lines: Sequence[Line],
    variants: Sequence[Variant],
    means: Means,
) -> list[Summary]:
    """Compare every mean over subsets with that of the best control on the same subsets; `judged` decides.

    Args:
        summaries: Of all variants.
        lines: Of all variants.
        variants: All variants.
        means: Values without a subject of each mean, or why there are none, by variant, test set and metric.
    """
    kinds = {variant.key: variant.kind for variant in variants}
    index = {(line.variant, line.test, line.subset): line for line in lines}
    controls: dict[tuple[str, str], dict[str, Summary]] = {}
    for item in summaries:
        if kinds[item.variant] == "control" and item.mean is not None:
            controls.setdefault((item.test, item.metric), {})[item.variant] = item
    done = []
    for item in summaries:
        rivals = controls.get((item.test, item.metric), {})
        same = {
            key: one.mean
            for key, one in rivals.items()
            if one.subsets == item.subsets
            and all(
                same_data(index[item.variant, item.test, subset], index[key, item.test, subset])
                for subset in item.subsets
            )
        }
        best = _best(same)
        if kinds[item.variant] in ("control", "reported") or item.mean is None or best is None:
            done.append(item)
            continue
        key, value = best
        mine, theirs = (_values(means.get((name, item.test, item.metric))) for name in (item.variant, key))
        done.append(replace(item, against=compared(key, item.mean - value, mine, theirs, item.metric)))
    return done


def same_data(one: Line, other: Line) -> bool:
    """Whether two lines have as many subjects, slices and abnormal slices, as they have on the same test data."""
    return (one.n_subjects, one.n_slices, one.n_abnormal) == (other.n_subjects, other.n_slices, other.n_abnormal)


def compared(
    control: str, difference: float, mine: Replicates | None, theirs: Replicates | None, metric: str
) -> Against:
    """Return the paired comparison of a number with a control's; `judged` decides whether it is better."""
    from anyadbench.metrics.intervals.paired import paired

    test, reason = None, "No test: there are no values without each subject."
    if mine is not None and theirs is not None and metric in mine.metrics and metric in theirs.metrics:
        try:
            test = paired(mine, theirs, metric)
            reason = test.reason
        except UserError:
            reason = "No test: the control was scored on other subjects."
    p = _number(test.p) if test is not None else None
    low, high = (None, None) if test is None else (_number(test.low), _number(test.high))
    verdict: Verdict = "below" if difference <= 0 else "untested" if p is None else "not better"
    t, df = (None, None) if test is None else (_number(test.t), _number(test.df))
    return Against(control, difference, low, high, p, verdict, reason, t=t, df=df)


def judged(lines: Sequence[Line], summaries: Sequence[Summary], headline: str) -> tuple[list[Line], list[Summary]]:
    """Decide which numbers are better than their controls, and flag the lines that are not in the headline metric.

    A board says how many methods beat the controls on how many subsets. For this to be wrong at most once in twenty
    boards, the p-values of all methods, of their subsets and of their means are corrected together, for each test set
    and metric (`anyadbench.metrics.intervals.paired.family_p`).
    """
    from anyadbench.metrics.intervals.paired import family_p

    families: dict[tuple[str, str], list[Against]] = {}
    for line in lines:
        for metric, found in line.against.items():
            families.setdefault((line.test, metric), []).append(found)
    for item in summaries:
        if item.against is not None:
            families.setdefault((item.test, item.metric), []).append(item.against)
    corrected = {
        place: iter(family_p([_or_nan(one.t) for one in family], [_or_nan(one.df) for one in family]).tolist())
        for place, family in families.items()
    }
    decided = []
    for line in lines:
        against = {name: _decided(one, next(corrected[line.test, name])) for name, one in line.against.items()}
        flagged = headline in against and against[headline].verdict != "better"
        decided.append(replace(line, against=against, flags=(*line.flags, NOT_ABOVE) if flagged else line.flags))
    means = [
        item
        if item.against is None
        else replace(item, against=_decided(item.against, next(corrected[item.test, item.metric])))
        for item in summaries
    ]
    return decided, means


def _decided(found: Against, adjusted: float) -> Against:
    p = _number(adjusted)
    if p is None:
        return found
    return replace(found, p_holm=p, verdict="better" if found.difference > 0 and p <= ALPHA else found.verdict)


def hardest_subsets(
    lines: Iterable[Line],
    variants: Iterable[Variant],
    metrics: Sequence[str],
    required: Mapping[tuple[str, str], set[str]],
    strangers: Mapping[str, set[str]],
) -> dict[tuple[str, str], str]:
    """Return, by test set and metric, the required subset on which the brightness control is lowest.

    Args:
        lines: Of all variants.
        variants: All variants.
        metrics: Names of the metrics.
        required: Required subsets by test set and metric.
        strangers: Variants that were scored on other data than most, by test set: none of them decides.
    """
    keys = {variant.key for variant in variants if variant.method.name == BRIGHTNESS}
    found: dict[tuple[str, str], dict[str, float]] = {}
    for line in lines:
        for metric in metrics if line.variant in keys - strangers[line.test] else ():
            value = line.value(metric)
            if value is not None and line.subset in required.get((line.test, metric), ()):
                found.setdefault((line.test, metric), {})[line.subset] = value
    return {place: min(values, key=lambda name: values[name]) for place, values in found.items()}


def _best(values: Mapping[str, float | None]) -> tuple[str, float] | None:
    known = {key: value for key, value in values.items() if value is not None}
    return max(known.items(), key=lambda item: (item[1], item[0])) if known else None


def _values(found: Replicates | str | None) -> Replicates | None:
    return None if isinstance(found, str) else found


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
