"""Metrics that plugins add, computed from the slice table and the pixel statistics of each cell."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

from anyadbench.errors import UserError
from anyadbench.metrics.names import BALANCED, BRAIN, HEIGHT, METRICS
from anyadbench.metrics.rows.plugin_metrics import AddedMetric, RowScores
from anyadbench.plugins import collect
from anyadbench.plugins.blame import blame
from anyadbench.plugins.guard import PluginError, guarded
from anyadbench.results.cellfiles import SLICE_COLUMNS, RowKey, SliceRecord, read_slice_table
from anyadbench.results.read import CellRecord
from anyadbench.results.schema import Row
from anyadbench.sequences import format_subset

if TYPE_CHECKING:
    from anyadbench.metrics.core.ranking import Steps
    from anyadbench.metrics.rows.row_pixels import RowPixels

_COLUMNS = [name for name in SLICE_COLUMNS if name not in ("test", "subset")]


def added_metrics() -> tuple[list[AddedMetric], list[str]]:
    """Return the metrics of all plugins, and a sentence for each that cannot be used."""
    offered, broken = collect("anyadbench_metrics")
    problems = [item.message for item in broken]
    found: dict[str, AddedMetric] = {}
    for metric in (metric for metrics in offered for metric in metrics):
        if not isinstance(metric, AddedMetric):
            problems.append(f"A plugin's metric is a {type(metric).__name__}, not an AddedMetric; it was left out.")
        elif metric.name in (*METRICS, *BALANCED, *BRAIN, *HEIGHT):
            problems.append(f"A plugin's metric has the name of a built-in metric, {metric.name!r}; it was left out.")
        elif metric.name in found:
            problems.append(f"Two plugins add a metric {metric.name!r}; the second was left out.")
        else:
            found[metric.name] = metric
    return list(found.values()), problems


def with_added_metrics(records: Sequence[CellRecord]) -> tuple[list[CellRecord], list[str]]:
    """Add the metrics of plugins to every row, and return the board's notices on them."""
    metrics, notices = added_metrics()
    if not metrics:
        return list(records), notices
    notices += [f"{metric.name}: {metric.title} A plugin's metric, without an interval." for metric in metrics]
    return [_with(record, metrics) for record in records], notices


def _with(record: CellRecord, metrics: Sequence[AddedMetric]) -> CellRecord:
    if record.result is None:
        return record
    stored = _Stored(record)
    rows = [_row(row, stored, metrics) if row.n_slices else row for row in record.result.rows]
    return replace(record, result=record.result.model_copy(update={"rows": rows}))


def _row(row: Row, stored: _Stored, metrics: Sequence[AddedMetric]) -> Row:
    values: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    for metric in metrics:
        values[metric.name], reason = _value(metric, row, stored)
        if reason:
            reasons[metric.name] = reason
    return row.model_copy(update={"metrics": {**row.metrics, **values}, "reasons": {**row.reasons, **reasons}})


def _value(metric: AddedMetric, row: Row, stored: _Stored) -> tuple[float | None, str]:
    try:
        scores = stored.scores(row.test, row.subset)
        value = guarded(lambda: float(metric.compute(scores)), f"the plugin's metric {metric.name!r}", limit=0)
    except UserError as error:
        return None, str(error)
    except PluginError as error:  # only its column stays empty
        cause = error.__cause__
        if isinstance(cause, UserError):
            return None, str(cause)
        own = str(getattr(metric.compute, "__module__", ""))
        return None, f"The plugin's metric failed: {(blame(cause, own) if cause is not None else '') or error}"
    return (value, "") if math.isfinite(value) else (None, "The plugin's metric is undefined here.")


class _Stored:
    """Reads a cell's ``scores`` folder when a metric needs it. The folder may come from anyone."""

    def __init__(self, record: CellRecord) -> None:
        self._folder = record.folder
        self._full = format_subset(record.result.protocol.sequences) if record.result is not None else ""

    def scores(self, test: str, subset: str) -> RowScores:
        """Return one row's scores.

        Raises:
            UserError: If the files are missing or damaged.
        """
        import pandas as pd

        mine = self._slices.get((test, subset))
        if mine is None:
            raise UserError(f"{self._folder.name}/scores/slices.csv has no slice of this row.")
        return RowScores(pd.DataFrame(mine, columns=_COLUMNS), _Pixels(self, (test, subset)))

    @cached_property
    def _slices(self) -> Mapping[RowKey, list[SliceRecord]]:
        return read_slice_table(self._folder)

    @cached_property
    def pixels(self) -> Mapping[RowKey, RowPixels]:
        """Pixel statistics of every row."""
        from anyadbench.boards.aggregate.recompute import read_statistics

        return read_statistics(self._folder, self._full).pixels


class _Pixels(Mapping[str, "Steps"]):
    """The pixel statistics of one row by subject, read on first use."""

    def __init__(self, stored: _Stored, place: RowKey) -> None:
        self._stored, self._place = stored, place

    @cached_property
    def _rows(self) -> dict[str, Callable[[], Steps]]:
        row = self._stored.pixels.get(self._place)
        if row is None:
            return {}
        return {name: partial(row.cohort.subject, index) for index, name in enumerate(row.subjects)}

    def __getitem__(self, subject: str) -> Steps:
        return self._rows[subject]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)
