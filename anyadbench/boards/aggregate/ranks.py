"""The any-modality summary: mean and worst over subsets, the drop from all sequences, ranks, and who beats whom."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from anyadbench.boards.aggregate.flags import RANDOM
from anyadbench.boards.aggregate.model import Line, PairTable, Summary, Variant
from anyadbench.boards.aggregate.reported import NOT_STATED
from anyadbench.boards.aggregate.uncertainty import Means
from anyadbench.sequences import AS_AVAILABLE

if TYPE_CHECKING:
    from anyadbench.metrics.intervals.jackknife import Replicates

Lines = dict[tuple[str, str, str], Line]


def summarise(
    variants: Sequence[Variant],
    lines: Sequence[Line],
    tests: Iterable[str],
    subsets: Sequence[str],
    full: str,
    metrics: Iterable[str],
    unranked: Mapping[str, str] | None = None,
) -> tuple[list[Summary], dict[str, set[str]]]:
    """Return a summary for each variant, test set and metric, ranked within each kind.

    A variant is ranked if it has a number for every subset that the test set can serve, on as many slices as most
    others. Other variants keep their numbers but have no rank; no subset is dropped because one method lacks it.

    Args:
        variants: All variants.
        lines: Of all variants.
        tests: Names of the test sets.
        subsets: Labels of the subsets.
        full: Label of the subset with all sequences.
        metrics: Names of the metrics.
        unranked: Why a metric ranks nothing, by its name.

    Returns:
        The summaries, and for each test set the keys of variants that were scored on a different number of slices.
    """
    index = {(line.variant, line.test, line.subset): line for line in lines}
    counted = [subset for subset in subsets if subset not in (AS_AVAILABLE, NOT_STATED)]
    summaries: list[Summary] = []
    strangers: dict[str, set[str]] = {}
    names = list(metrics)
    for test in tests:
        strangers[test] = _other_slices(variants, index, test, counted)
        for kind in dict.fromkeys(variant.kind for variant in variants):
            group = [variant for variant in variants if variant.kind == kind]
            for metric in names:
                required = _required(group, index, test, counted, metric)
                if kind == "external":
                    required = _owed(variants, index, test, counted, metric)
                rows = [_summary(variant, index, test, metric, required, full) for variant in group]
                why = (unranked or {}).get(metric, "")
                summaries += _ranked(rows, strangers[test], {v.key: _unranked(v) or why for v in group})
    return summaries, strangers


def _other_slices(variants: Sequence[Variant], index: Lines, test: str, subsets: Sequence[str]) -> set[str]:
    """Return measured and oracle variants whose slice counts differ from the most common ones in any subset."""
    found: set[str] = set()
    tested = [variant.key for variant in variants if variant.kind != "reported"]
    for subset in subsets:
        counts = {
            key: (line.n_subjects, line.n_slices, line.n_abnormal)
            for key in tested
            if (line := index[key, test, subset]).covered
        }
        if len(set(counts.values())) > 1:
            tally = Counter(counts.values())
            # The larger test set wins a tie, so that the result does not depend on the order of folders.
            usual = max(tally, key=lambda item: (tally[item], item))
            found |= {key for key, count in counts.items() if count != usual}
    return found


def _required(group: Sequence[Variant], index: Lines, test: str, subsets: Sequence[str], metric: str) -> list[str]:
    """Return the subsets that the test set can serve: a variant has the number, or the data would define it."""
    required = []
    for subset in subsets:
        lines = [index[variant.key, test, subset] for variant in group]
        if any(line.value(metric) is not None or (line.n_normal and line.n_abnormal) for line in lines):
            required.append(subset)
    return required


def _owed(variants: Sequence[Variant], index: Lines, test: str, subsets: Sequence[str], metric: str) -> list[str]:
    """Return the subsets for which maps are due: all but those that no measured method could serve either.

    A map file that was not provided must not lower the requirements for a rank.
    """
    measured = [variant for variant in variants if variant.kind in ("measured", "oracle")]
    servable = _required(measured, index, test, subsets, metric)
    return [subset for subset in subsets if not measured or subset in servable]


def _summary(variant: Variant, index: Lines, test: str, metric: str, required: list[str], full: str) -> Summary:
    values = {
        subset: value for subset in required if (value := index[variant.key, test, subset].value(metric)) is not None
    }
    complete = bool(required) and len(values) == len(required)
    worst = min(values, key=lambda subset: values[subset]) if complete else ""
    whole = values.get(full)
    missing = [subset for subset in required if subset not in values]
    reason = ""
    if not required:
        reason = "The test set defines this metric for no subset."
    elif missing:
        reason = f"Incomplete: no number for {', '.join(missing)}."
    return Summary(
        variant=variant.key,
        test=test,
        metric=metric,
        mean=sum(values.values()) / len(values) if complete else None,
        worst=values[worst] if complete else None,
        worst_subset=worst,
        full=whole,
        drops={} if whole is None else {subset: whole - value for subset, value in values.items() if subset != full},
        covered=len(values),
        required=len(required),
        reason=reason,
        subsets=tuple(required),
    )


def _unranked(variant: Variant) -> str:
    """Return why a variant is never ranked; empty if it is."""
    if variant.kind == "oracle":
        return "Selected on test data: shown, never ranked."
    if variant.kind == "control":
        return "A control: shown, never ranked."
    if variant.kind == "reported":
        return "Reported by a publication: shown, never ranked."
    return "Random weights: shown, never ranked." if RANDOM in variant.flags else ""


def _ranked(rows: list[Summary], strangers: set[str], unranked: Mapping[str, str]) -> list[Summary]:
    eligible = [
        row.mean for row in rows if row.mean is not None and row.variant not in strangers and not unranked[row.variant]
    ]
    ranked = []
    for row in rows:
        if row.mean is None:
            ranked.append(row)
        elif unranked[row.variant]:
            ranked.append(replace(row, reason=unranked[row.variant]))
        elif row.variant in strangers:
            ranked.append(replace(row, reason="Scored on a different number of slices than the other methods."))
        else:
            ranked.append(replace(row, rank=1 + sum(mean > row.mean for mean in eligible)))
    return ranked


def add_tests(
    summaries: Sequence[Summary], variants: Sequence[Variant], means: Means
) -> tuple[list[Summary], dict[tuple[str, str, str], PairTable]]:
    """Return the summaries with tie groups and rank intervals, and who beats whom by kind, test set and metric.

    All pairs of the ranked variants of one kind are tested at once (`anyadbench.metrics.intervals.pairs`). A variant
    whose values cannot be read, or that was scored on other subjects, is left out of the tests, and the others are
    tested without it.
    """
    kinds = {variant.key: variant.kind for variant in variants}
    places: dict[tuple[str, str, str], list[int]] = {}
    for number, item in enumerate(summaries):
        if item.rank is not None:
            places.setdefault((kinds[item.variant], item.test, item.metric), []).append(number)
    done, tables = list(summaries), {}
    for place, numbers in places.items():
        ordered = sorted(numbers, key=lambda n: (summaries[n].rank or 0, summaries[n].variant))
        items, tables[place] = _tested([summaries[n] for n in ordered], means)
        for n, item in zip(ordered, items, strict=True):
            done[n] = item
    return done, tables


def _tested(items: Sequence[Summary], means: Means) -> tuple[list[Summary], PairTable]:
    from anyadbench.metrics.intervals.groups import rank_intervals, tie_groups
    from anyadbench.metrics.intervals.paired import paired, subjects_needed
    from anyadbench.metrics.intervals.pairs import all_pairs

    metric = items[0].metric
    lines, left_out = _testable(items, means)
    keys = tuple(item.variant for item in items if item.variant in lines)
    if left_out and len(keys) < 2:
        reason = f"No test: {next(iter(left_out.values()))}"
        return list(items), PairTable(tuple(item.variant for item in items), reason=reason, left_out=left_out)
    values = [lines[key] for key in keys]
    pairs = all_pairs(values, metric)
    if pairs.reason:
        return list(items), PairTable(keys, reason=pairs.reason, left_out=left_out)
    groups, (best, last) = tie_groups(pairs.point, pairs.beats), rank_intervals(pairs.beats)
    place = {key: n for n, key in enumerate(keys)}
    found = [
        replace(
            item,
            group=int(groups[n]) or None,
            # Where nothing is known of a method, it may be better than any other.
            ranks=(int(best[n]), int(last[n]) + len(left_out)),
            needed=None if n == 0 else subjects_needed(paired(values[0], values[n], metric)),
        )
        if (n := place.get(item.variant)) is not None
        else item
        for item in items
    ]
    adjusted = tuple(tuple(None if math.isnan(value) else value for value in row) for row in pairs.adjusted.tolist())
    return found, PairTable(keys, tuple(map(tuple, pairs.beats.tolist())), adjusted, left_out=left_out)


def _testable(items: Sequence[Summary], means: Means) -> tuple[dict[str, Replicates], dict[str, str]]:
    """Return the means that can be tested together by variant, and why each of the others cannot."""
    lines, left_out = {}, {}
    for item in items:
        found = means.get((item.variant, item.test, item.metric), "There are no values without each subject.")
        if isinstance(found, str):
            left_out[item.variant] = found
        else:
            lines[item.variant] = found
    tally = Counter(line.subjects for line in lines.values())
    # The larger cohort wins a tie, so that the result does not depend on the order of folders.
    usual = max(tally, key=lambda names: (tally[names], len(names), names), default=())
    for key in [key for key, line in lines.items() if line.subjects != usual]:
        own = len(lines.pop(key).subjects)
        left_out[key] = f"It was scored on {own} subjects, which are not the {len(usual)} of the other methods."
    return lines, left_out
