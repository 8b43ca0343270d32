"""Paired comparison of two methods: by subject, per subset, and for their mean."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from anyadbench.boards.aggregate.load import load_boards
from anyadbench.boards.aggregate.model import Board, Line, Variant
from anyadbench.boards.aggregate.uncertainty import Replicated
from anyadbench.errors import UserError, suggest
from anyadbench.results.cellfiles import RowKey, SliceRecord, read_slice_table

if TYPE_CHECKING:
    from anyadbench.metrics.intervals.jackknife import Replicates

MEAN = "mean of the subsets"


@dataclass(frozen=True)
class Comparison:
    """One metric on one subset.

    Attributes:
        first: Value of the first method, averaged over its seeds.
        second: Value of the second.
        effect: First minus second.
        low: Low end of the effect's 95 % interval; ``None`` if there are too few subjects.
        high: High end.
        p_value: Two-sided, of the paired test by subject; ``None`` without one.
        p_holm: Corrected by Holm's method over all subsets, and their mean, of this metric and test set.
        n: Subjects of the comparison.
        needed: About how many subjects would separate the two, if the effect is what was seen; ``None`` if no number
            would, or there is no test.
        claim: ``methods`` if seeds are in the test, which then is about the methods; ``models`` if it is about these
            trained models only, since one of the two has a single seed.
        reason: Why there is no p-value.
    """

    test: str
    subset: str
    metric: str
    first: float
    second: float
    effect: float
    low: float | None
    high: float | None
    p_value: float | None
    p_holm: float | None = None
    n: int = 0
    needed: int | None = None
    claim: str = ""
    reason: str = ""


def compare(
    runs: Path, names: tuple[str, str], protocol: str | None = None, metrics: Sequence[str] = ()
) -> tuple[Board, tuple[Variant, Variant], list[Comparison]]:
    """Compare two methods of a runs folder.

    Args:
        runs: Folder written by 'anyadbench run'.
        names: For each, the method's name, its label on the board, or the beginning of its key.
        protocol: Required if several protocols have both.
        metrics: Metrics to compare; by default all.

    Raises:
        UserError: If a method is missing or ambiguous, or both were not scored on the same slices.
    """
    board = _board(load_boards(runs, protocol), names)
    first, second = (_find(board, name) for name in names)
    if first.key == second.key:
        raise UserError(f"{names[0]!r} and {names[1]!r} are the same variant, {first.label}; name two different ones.")
    unknown = sorted(set(metrics) - set(board.metrics))
    if unknown:
        raise UserError(f"Unknown metric {unknown[0]!r}.{suggest(unknown[0], board.metrics)}")
    replicated, found = Replicated(), []
    for test in board.tests:
        pairs = _pairs(board, test, first, second)
        for metric in metrics or board.metrics:
            item = board.summary(first.key, test, metric)
            counted = item.subsets if item is not None else ()  # no scan may serve a subset of the protocol
            found += compared_lines(test, metric, pairs, counted, (replicated, replicated))
    if not found:
        raise UserError(f"{first.label} and {second.label} share no subset with a number; run both on one protocol.")
    return board, (first, second), found


def _board(boards: Sequence[Board], names: tuple[str, str]) -> Board:
    shared = [board for board in boards if all(matching(board, name) for name in names)]
    if len(shared) == 1:
        return shared[0]
    if not shared:
        known = sorted({v.method.name for board in boards for v in board.variants})
        missing = next((n for n in names if not any(matching(board, n) for board in boards)), None)
        if missing is not None:
            raise UserError(f"There is no result of {missing!r}.{suggest(missing, known)}")
        raise UserError(f"No protocol has results of both {names[0]!r} and {names[1]!r}; run both on one protocol.")
    raise UserError(f"Both methods have results of {', '.join(b.slug for b in shared)}; choose one with --protocol.")


def matching(board: Board, name: str) -> list[Variant]:
    """Return the variants that a name means: a label, else a method's name, else the beginning of a key."""
    exact = [variant for variant in board.variants if variant.label == name]
    by_name = [variant for variant in board.variants if variant.method.name == name]
    by_key = [variant for variant in board.variants if len(name) >= 4 and variant.key.startswith(name)]
    return [variant for variant in exact or by_name or by_key if variant.kind != "reported"]


def _find(board: Board, name: str) -> Variant:
    found = matching(board, name)
    if len(found) > 1:
        listed = "; ".join(f"{variant.key} ({variant.label})" for variant in found)
        raise UserError(f"{name!r} was run in several ways: {listed}. Give the beginning of a key instead.")
    return found[0]


def _pairs(board: Board, test: str, first: Variant, second: Variant) -> dict[str, tuple[Line, Line]]:
    pairs = {}
    for subset in board.subsets:
        ours, theirs = board.line(first.key, test, subset), board.line(second.key, test, subset)
        if ours is not None and theirs is not None and ours.covered and theirs.covered:
            _require_same_slices(ours, theirs)
            pairs[subset] = (ours, theirs)
    return pairs


def same_slices(ours: Line, theirs: Line) -> bool:
    """Whether two lines were scored on the same slices."""
    tables = []
    for line in (ours, theirs):
        rows = _slices(line.sources[0][0].folder).get((line.test, line.subset), [])
        tables.append({(row["scan"], row["slice"], row["label"]) for row in rows})
    return tables[0] == tables[1]


def _require_same_slices(ours: Line, theirs: Line) -> None:
    if not same_slices(ours, theirs):
        raise UserError(
            f"The two methods were scored on different slices of {ours.test}, {ours.subset}; run both on the same data."
        )


@lru_cache(maxsize=2)
def _slices(folder: Path) -> dict[RowKey, list[SliceRecord]]:
    return read_slice_table(folder)


def compared_lines(
    test: str,
    metric: str,
    pairs: Mapping[str, tuple[Line, Line]],
    counted: Sequence[str],
    replicated: tuple[Replicated, Replicated],
) -> list[Comparison]:
    """Compare pairs of lines on the same slices in one metric, and their mean.

    Args:
        test: Test set.
        metric: Metric.
        pairs: Lines of both, by subset.
        counted: Subsets of the mean, which needs them all and at least two.
        replicated: Values without each subject of the first lines and of the second.
    """
    from anyadbench.metrics import step_down
    from anyadbench.metrics.intervals.jackknife import mean_of

    rows: list[Comparison] = []
    kept: list[tuple[float, float, Replicates, Replicates]] = []
    for subset, (ours, theirs) in pairs.items():
        one, other = ours.value(metric), theirs.value(metric)
        if one is None or other is None:
            continue
        values = replicated[0].own(ours), replicated[1].own(theirs)
        rows.append(_row(test, subset, metric, one, other, *values))
        if subset in counted and values[0] is not None and values[1] is not None:
            kept.append((one, other, values[0], values[1]))
    if len(kept) == len(counted) > 1:
        one, other = sum(item[0] for item in kept) / len(kept), sum(item[1] for item in kept) / len(kept)
        try:
            means = mean_of([item[2] for item in kept]), mean_of([item[3] for item in kept])
            rows.append(_row(test, MEAN, metric, one, other, *means))
        except UserError as error:
            rows.append(_untested(test, MEAN, metric, one, other, f"No test: {error}"))
    adjusted = step_down([math.nan if row.p_value is None else row.p_value for row in rows]).tolist()
    return [
        replace(row, p_holm=None if math.isnan(value) else value) for row, value in zip(rows, adjusted, strict=True)
    ]


def _untested(test: str, subset: str, metric: str, one: float, other: float, reason: str) -> Comparison:
    return Comparison(test, subset, metric, one, other, one - other, None, None, None, reason=reason)


def _row(
    test: str, subset: str, metric: str, one: float, other: float, ours: Replicates | None, theirs: Replicates | None
) -> Comparison:
    from anyadbench.metrics.intervals.paired import paired, subjects_needed

    if ours is None or theirs is None or metric not in ours.metrics or metric not in theirs.metrics:
        return _untested(test, subset, metric, one, other, "No test: there are no values without each subject.")
    found = paired(ours, theirs, metric)
    low, high, p_value = (None if math.isnan(value) else value for value in (found.low, found.high, found.p))
    return Comparison(
        test, subset, metric, one, other, one - other, low, high, p_value, n=found.n, needed=subjects_needed(found),
        claim=found.claim, reason=found.reason,
    )  # fmt: skip
