"""Intervals of a board's lines and summaries, from the values without a subject that its cells store."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from anyadbench.boards.aggregate.model import Ends, Estimate, Line, Summary
from anyadbench.boards.aggregate.recompute import read_replicates
from anyadbench.errors import UserError
from anyadbench.results.cellfiles import RowKey

if TYPE_CHECKING:
    from anyadbench.metrics.intervals.interval import Interval
    from anyadbench.metrics.intervals.jackknife import Replicates
    from anyadbench.metrics.rows.replicates import RowReplicates

_NONE_STORED = "No interval: the result stores no values without each subject."
Means = dict[tuple[str, str, str], "Replicates | str"]
"""Values without a subject of each mean by variant, test set and metric, or why there are none."""


@dataclass
class Replicated:
    """Values without each subject by line, read on first use.

    Attributes:
        problems: Why a cell has none, one sentence each.
    """

    problems: list[str] = field(default_factory=list)
    _reasons: dict[tuple[str, str, str], str] = field(default_factory=dict)
    _unread: dict[Path, str] = field(default_factory=dict)
    _cells: dict[Path, Mapping[RowKey, RowReplicates]] = field(default_factory=dict)
    _lines: dict[tuple[str, str, str], RowReplicates | None] = field(default_factory=dict)

    def of(self, line: Line) -> RowReplicates | None:
        """Return the values of a line, all its seeds together; ``None`` if a cell has none."""
        key = (line.variant, line.test, line.subset)
        if key not in self._lines:
            self._lines[key] = self._read(line)
        return self._lines[key]

    def own(self, line: Line) -> Replicates | None:
        """Return the values of a line on all its subjects."""
        found = self.of(line)
        return None if found is None else found.own

    def reason(self, line: Line) -> str:
        """Return why a line has no values, naming the file; empty if it has them."""
        return self._reasons.get((line.variant, line.test, line.subset), "") if self.of(line) is None else ""

    def _read(self, line: Line) -> RowReplicates | None:
        from anyadbench.metrics.rows.replicates import RowReplicates

        found = []
        for record, number in line.sources:
            if record.folder not in self._cells:
                self._cells[record.folder] = {}
                try:
                    if record.result is not None and record.result.files:
                        self._cells[record.folder] = read_replicates(record.folder, record.result)
                except UserError as error:
                    self.problems.append(str(error))
                    self._unread[record.folder] = str(error)
            row = record.result.rows[number] if record.result is not None else None
            values = self._cells[record.folder].get((row.test, row.subset)) if row is not None else None
            if values is None:
                file = f"{record.folder.name}/scores/jackknife.npz"
                lacking = f"{file} has no values of {line.subset} without each subject."
                self._reasons[line.variant, line.test, line.subset] = self._unread.get(record.folder, lacking)
                return None
            found.append(values)
        try:
            return RowReplicates.over_seeds(found) if found else None
        except UserError as error:
            self.problems.append(f"{line.test}, {line.subset}: {error}")
            self._reasons[line.variant, line.test, line.subset] = str(error)
            return None


def with_intervals(lines: Sequence[Line], replicated: Replicated) -> list[Line]:
    """Return the lines with the interval of every number, or the reason why it has none."""
    from anyadbench.metrics.intervals.interval import intervals_of, reliable

    values = [replicated.own(line) if line.covered and line.sources else None for line in lines]
    known = iter(intervals_of([own for own in values if own is not None]))
    done = []
    for line, own in zip(lines, values, strict=True):
        found = {} if own is None else next(known)
        metrics = {
            name: _estimate(estimate, found.get(name), reliable(name, line.n_subjects))
            for name, estimate in line.metrics.items()
        }
        done.append(replace(line, metrics=metrics))
    return done


def _estimate(estimate: Estimate, found: Interval | None, unreliable: str) -> Estimate:
    if estimate.value is None:
        return estimate
    if found is None:
        if estimate.low is not None and not unreliable:
            return estimate
        return replace(estimate, low=None, high=None, no_interval=unreliable or _NONE_STORED)
    if found.reason:
        return replace(estimate, low=None, high=None, no_interval=found.reason)
    return replace(estimate, low=found.low, high=found.high, remark=found.remark)


def summary_intervals(
    summaries: Sequence[Summary], lines: Sequence[Line], full: str, replicated: Replicated
) -> tuple[list[Summary], Means]:
    """Return the summaries with intervals of means and drops, and the values without a subject of each mean."""
    by_place: dict[tuple[str, str], dict[str, Line]] = {}
    for line in lines:
        by_place.setdefault((line.variant, line.test), {})[line.subset] = line
    joined = _means(summaries, by_place, replicated)
    done, means = [], Means()
    for item in summaries:
        mine = by_place[item.variant, item.test]
        item = _with_drops(item, mine, full, replicated)
        if item.mean is None:
            done.append(item)
            continue
        entry = joined[item.variant, item.test, item.subsets]
        if isinstance(entry, str) or item.metric not in entry[0].metrics:
            why = (
                entry if isinstance(entry, str) else "the result stores no values of this metric without each subject."
            )
            means[item.variant, item.test, item.metric] = why
            done.append(replace(item, no_interval=f"No interval: {why}"))
            continue
        means[item.variant, item.test, item.metric] = entry[0]
        ends = entry[1][item.metric]
        pair: Ends = (None, None) if ends.reason else (ends.low, ends.high)
        done.append(replace(item, mean_interval=pair, no_interval=ends.reason))
    return done, means


def _means(
    summaries: Sequence[Summary], by_place: Mapping[tuple[str, str], Mapping[str, Line]], replicated: Replicated
) -> dict[tuple[str, str, tuple[str, ...]], tuple[Replicates, dict[str, Interval]] | str]:
    """Return every mean and its intervals, or why there are none, by variant, test set and subsets."""
    from anyadbench.metrics.intervals.interval import intervals_of
    from anyadbench.metrics.intervals.jackknife import mean_of

    found: dict[tuple[str, str, tuple[str, ...]], Replicates | str] = {}
    for item in summaries:
        place = (item.variant, item.test, item.subsets)
        if item.mean is None or place in found:
            continue
        mine = by_place[item.variant, item.test]
        parts = [replicated.own(mine[subset]) for subset in item.subsets]
        try:
            if None in parts:
                raise UserError(next(why for subset in item.subsets if (why := replicated.reason(mine[subset]))))
            found[place] = mean_of([part for part in parts if part is not None])
        except UserError as error:
            found[place] = str(error)
    means = [one for one in found.values() if not isinstance(one, str)]
    known = iter(intervals_of(means, mean=True))
    return {place: one if isinstance(one, str) else (one, next(known)) for place, one in found.items()}


def _with_drops(item: Summary, mine: Mapping[str, Line], full: str, replicated: Replicated) -> Summary:
    """Replace a summary's drops by those on the subjects that have every sequence, with intervals."""
    from anyadbench.metrics.intervals.paired import paired

    whole = replicated.own(mine[full]) if full in mine and item.drops else None
    if whole is None or item.metric not in whole.metrics:
        # Without values of single subjects a drop is known only where both subsets have the same ones.
        count = mine[full].n_subjects if full in mine else None
        same = {subset: drop for subset, drop in item.drops.items() if mine[subset].n_subjects == count}
        return replace(item, drops=same)
    drops, ends = {}, {}
    for subset in item.drops:
        part = replicated.of(mine[subset])
        if part is None or part.common.subjects != whole.subjects or part.common.seeds != whole.seeds:
            continue
        test = paired(whole, part.common, item.metric, same_runs=True)
        if math.isnan(test.difference):
            continue
        drops[subset] = test.difference
        if not math.isnan(test.low):
            ends[subset] = (test.low, test.high)
    return replace(item, drops=drops, drop_intervals=ends)
