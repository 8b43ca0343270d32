"""Intervals, paired tests and tie groups of a board, from the resamples that its cells store.

All cells of a protocol draw the same subjects in the same resample, so a mean over subsets or seeds, or a difference of
two methods, is resampled by plain arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from anyadbench.boards.aggregate.model import Ends, Line, Summary, Variant
from anyadbench.boards.aggregate.recompute import read_replicates
from anyadbench.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float, Float64

ALPHA = 0.05
"""Level of the tests that define tie groups, after Holm's correction."""

_LEVEL = 0.95


@dataclass
class Resamples:
    """Resamples by variant, test set and subset, read on first use.

    Attributes:
        problems: Why a variant has none, one sentence each.
    """

    problems: list[str] = field(default_factory=list)
    _cells: dict[Path, Float[np.ndarray, "rows m r"] | None] = field(default_factory=dict)
    _lines: dict[tuple[str, str, str], Float64[np.ndarray, "m r"] | None] = field(default_factory=dict)

    def of(self, line: Line) -> Float64[np.ndarray, "m r"] | None:
        """Return the resamples of a line's metrics (see `anyadbench.metrics.rows.row_numbers.REPLICATED`)."""
        key = (line.variant, line.test, line.subset)
        if key not in self._lines:
            self._lines[key] = self._read(line)
        return self._lines[key]

    def metric(self, line: Line, metric: str) -> Float64[np.ndarray, " r"] | None:
        """Return the resamples of one metric."""
        from anyadbench.metrics.rows.row_numbers import REPLICATED

        values = self.of(line)
        return None if values is None or metric not in REPLICATED else values[REPLICATED.index(metric)]

    def _read(self, line: Line) -> Float64[np.ndarray, "m r"] | None:
        import numpy as np

        from anyadbench.metrics.intervals.bootstrap import over_seeds

        found = []
        for record, number in line.sources:
            if record.folder not in self._cells:
                self._cells[record.folder] = None
                try:
                    if record.result is not None and record.result.files:
                        self._cells[record.folder] = read_replicates(record.folder, record.result)
                except UserError as error:
                    self.problems.append(str(error))
            values = self._cells[record.folder]
            if values is None or np.isnan(values[number]).all():
                return None
            found.append(values[number])
        return over_seeds(np.stack(found)) if found else None


def quantile_ends(values: Float[np.ndarray, "n r"]) -> list[Ends]:
    """Return the 95 % percentile interval of each line; none if less than half of the resamples are defined."""
    import numpy as np

    from anyadbench.metrics.intervals.bootstrap import interval

    holes = np.isnan(values).any(axis=1)
    tail = (1 - _LEVEL) / 2
    found: list[Ends] = [(None, None)] * len(values)
    whole = np.flatnonzero(~holes)
    if len(whole):
        lows, highs = np.quantile(values[whole].astype(np.float64), [tail, 1 - tail], axis=1).tolist()
        for row, low, high in zip(whole.tolist(), lows, highs, strict=True):
            found[row] = low, high
    for row in np.flatnonzero(holes).tolist():
        low, high = interval(values[row])
        found[row] = (None, None) if np.isnan(low) else (low, high)
    return found


def seed_intervals(lines: Sequence[Line], resamples: Resamples) -> list[Line]:
    """Replace the span of several seeds' intervals by their mean's interval, resampling seeds and subjects."""
    import numpy as np

    from anyadbench.metrics.rows.row_numbers import REPLICATED

    several = {
        i: values for i, line in enumerate(lines) if len(line.seeds) > 1 and (values := resamples.of(line)) is not None
    }
    # One call for all lines: separate quantiles of small arrays take longer than everything else here.
    ends = quantile_ends(np.concatenate(list(several.values()))) if several else []
    found = list(lines)
    for place, i in enumerate(several):
        mine = dict(zip(REPLICATED, ends[place * len(REPLICATED) :], strict=False))
        metrics = dict(found[i].metrics)
        for name, estimate in metrics.items():
            low, high = mine.get(name, (None, None))
            if estimate.low is not None and low is not None:
                metrics[name] = replace(estimate, low=low, high=high, nested=True)
        found[i] = replace(found[i], metrics=metrics)
    return found


def summary_values(
    item: Summary, lines: Mapping[str, Line], resamples: Resamples
) -> dict[str, Float64[np.ndarray, " r"]] | None:
    """Return the resamples of each required subset of a summary; ``None`` if one, or the mean, is missing."""
    if item.mean is None:
        return None
    found = {}
    for subset in item.subsets:
        values = resamples.metric(lines[subset], item.metric)
        if values is None:
            return None
        found[subset] = values
    return found


def resampled_parts(
    item: Summary, values: Mapping[str, Float64[np.ndarray, " r"]], full: str
) -> Float64[np.ndarray, "n r"]:
    """Return resamples of a summary's mean, of its worst, and of each drop."""
    import numpy as np

    table = np.stack(list(values.values()))
    drops = [values[full] - values[subset] for subset in item.drops if full in values]
    return np.stack([table.mean(axis=0), table.min(axis=0), *drops])


def tie_groups(items: Sequence[Summary], means: Mapping[str, Float64[np.ndarray, " r"]]) -> dict[str, int]:
    """Return the tie group of each ranked variant of one kind, test set and metric.

    The first of a group is compared with everyone behind it, by subject, with Holm's correction; the group ends before
    the first variant that it beats, which starts the next group. Within a group, the order may be chance.
    """
    import numpy as np

    order = sorted((item for item in items if item.rank is not None), key=lambda item: (item.rank or 0, item.variant))
    if any(item.variant not in means for item in order) or not order:
        return {}
    groups: dict[str, int] = {}
    start = group = 0
    while start < len(order):
        rest = order[start + 1 :]
        beaten = _beaten(means[order[start].variant], np.stack([means[item.variant] for item in rest])) if rest else []
        size = 1 + next((n for n, worse in enumerate(beaten) if worse), len(rest))
        group += 1
        groups |= {item.variant: group for item in order[start : start + size]}
        start += size
    return groups


def _beaten(leader: Float64[np.ndarray, " r"], others: Float64[np.ndarray, "n r"]) -> list[bool]:
    import numpy as np

    from anyadbench.metrics.intervals.bootstrap import holm

    differences = leader - others
    defined = (~np.isnan(differences)).sum(axis=1)
    side = np.minimum((differences <= 0).sum(axis=1), (differences >= 0).sum(axis=1))
    p_values = np.where(defined > 0, np.minimum(1.0, 2 * (side + 1) / (defined + 1)), 1.0)
    adjusted = holm({str(number): float(p) for number, p in enumerate(p_values)})
    ahead = (differences > 0).sum(axis=1) > (differences < 0).sum(axis=1)
    return [adjusted[str(number)] <= ALPHA and bool(ahead[number]) for number in range(len(others))]


def add_uncertainty(
    lines: Sequence[Line], summaries: Sequence[Summary], variants: Sequence[Variant], full: str, resamples: Resamples
) -> tuple[list[Line], list[Summary]]:
    """Return lines and summaries with nested intervals; summaries also have tie groups."""
    import numpy as np

    by_place: dict[tuple[str, str], dict[str, Line]] = {}
    for line in lines:
        by_place.setdefault((line.variant, line.test), {})[line.subset] = line
    parts: dict[int, Float64[np.ndarray, "n r"]] = {}
    for number, item in enumerate(summaries):
        values = summary_values(item, by_place[item.variant, item.test], resamples)
        if values is not None:
            parts[number] = resampled_parts(item, values, full)
    ends = quantile_ends(np.concatenate(list(parts.values()))) if parts else []
    done, start = list(summaries), 0
    for number, part in parts.items():
        item, mine = done[number], ends[start : start + len(part)]
        start += len(part)
        drops = dict(zip(item.drops, mine[2:], strict=False))
        done[number] = replace(item, mean_interval=mine[0], worst_interval=mine[1], drop_intervals=drops)
    return seed_intervals(lines, resamples), _grouped(done, parts, variants)


def _grouped(
    summaries: Sequence[Summary], parts: Mapping[int, Float64[np.ndarray, "n r"]], variants: Sequence[Variant]
) -> list[Summary]:
    """Return the summaries with the tie groups of each kind, test set and metric."""
    kinds = {variant.key: variant.kind for variant in variants}
    places: dict[tuple[str, str, str], list[int]] = {}
    for number, item in enumerate(summaries):
        places.setdefault((kinds[item.variant], item.test, item.metric), []).append(number)
    found = list(summaries)
    for numbers in places.values():
        means = {summaries[n].variant: parts[n][0] for n in numbers if n in parts}
        groups = tie_groups([summaries[n] for n in numbers], means)
        for n in numbers:
            found[n] = replace(summaries[n], group=groups.get(summaries[n].variant))
    return found
