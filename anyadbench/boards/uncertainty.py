"""Intervals, paired tests and tie groups of a board, from the resamples that its cells store.

All cells of a protocol draw the same subjects in the same resample, so a mean over subsets or seeds and a difference of
two methods are resampled by plain arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from anyadbench.boards.model import Estimate, Line, Summary, Variant
from anyadbench.boards.recompute import read_replicates
from anyadbench.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float, Float64

ALPHA = 0.05
"""Level of the tests that tie groups rest on, after Holm's correction."""

_LEVEL = 0.95


@dataclass
class Resamples:
    """Resamples by variant, test set and subset, read when they are first asked for.

    Attributes:
        problems: Why a variant has none, one sentence each.
    """

    problems: list[str] = field(default_factory=list)
    _cells: dict[Path, Float[np.ndarray, "rows m r"] | None] = field(default_factory=dict)
    _lines: dict[tuple[str, str, str], Float64[np.ndarray, "m r"] | None] = field(default_factory=dict)

    def of(self, line: Line) -> Float64[np.ndarray, "m r"] | None:
        """Return the resamples of a line's metrics (see `anyadbench.metrics.rownumbers.REPLICATED`)."""
        key = (line.variant, line.test, line.subset)
        if key not in self._lines:
            self._lines[key] = self._read(line)
        return self._lines[key]

    def metric(self, line: Line, metric: str) -> Float64[np.ndarray, " r"] | None:
        """Return the resamples of one metric."""
        from anyadbench.metrics.rownumbers import REPLICATED

        values, name = self.of(line), "pixel_f1" if metric == "dice" else metric
        return None if values is None or name not in REPLICATED else values[REPLICATED.index(name)]

    def _read(self, line: Line) -> Float64[np.ndarray, "m r"] | None:
        import numpy as np

        from anyadbench.metrics.bootstrap import over_seeds

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


def quantile_ends(values: Float64[np.ndarray, "n r"]) -> list[tuple[float | None, float | None]]:
    """Return the 95 % percentile interval of each row; none where under half of the resamples are defined."""
    import numpy as np

    from anyadbench.metrics.bootstrap import interval

    holes = np.isnan(values).any(axis=1)
    tail = (1 - _LEVEL) / 2
    found: list[tuple[float | None, float | None]] = [(None, None)] * len(values)
    whole = np.flatnonzero(~holes)
    if len(whole):
        lows, highs = np.quantile(values[whole], [tail, 1 - tail], axis=1)
        for row, low, high in zip(whole, lows, highs, strict=True):
            found[int(row)] = float(low), float(high)
    for row in np.flatnonzero(holes):
        low, high = interval(values[row])
        found[int(row)] = (None, None) if np.isnan(low) else (low, high)
    return found


def seed_intervals(line: Line, resamples: Resamples) -> Line:
    """Replace the span of several seeds' intervals by the interval of their mean, seeds and subjects resampled."""
    if len(line.seeds) < 2:
        return line
    metrics: dict[str, Estimate] = {}
    for name, estimate in line.metrics.items():
        values = resamples.metric(line, name) if estimate.low is not None else None
        if values is None:
            metrics[name] = estimate
        else:
            ((low, high),) = quantile_ends(values[None])
            metrics[name] = replace(estimate, low=low, high=high, nested=True)
    return replace(line, metrics=metrics)


def summary_values(
    item: Summary, lines: Mapping[str, Line], resamples: Resamples
) -> dict[str, Float64[np.ndarray, " r"]] | None:
    """Return the resamples of each required subset of a summary; ``None`` if one has none or the summary no mean."""
    if item.mean is None:
        return None
    found = {}
    for subset in item.subsets:
        values = resamples.metric(lines[subset], item.metric)
        if values is None:
            return None
        found[subset] = values
    return found


def with_intervals(
    item: Summary, values: Mapping[str, Float64[np.ndarray, " r"]], full: str
) -> tuple[Summary, Float64[np.ndarray, " r"]]:
    """Add intervals to mean, worst and drops; return the resamples of the mean, too."""
    import numpy as np

    table = np.stack(list(values.values()))
    mean = table.mean(axis=0)
    parts = [mean, table.min(axis=0), *(values[full] - values[subset] for subset in item.drops if full in values)]
    ends = quantile_ends(np.stack(parts))
    drops = dict(zip(item.drops, ends[2:], strict=False))
    return replace(item, mean_interval=ends[0], worst_interval=ends[1], drop_intervals=drops), mean


def tie_groups(items: Sequence[Summary], means: Mapping[str, Float64[np.ndarray, " r"]]) -> dict[str, int]:
    """Return the tie group of each ranked variant of one kind, test set and metric.

    The first of a group is compared with everyone behind it, by subject, with Holm's correction; the group ends at the
    first that it beats, who begins the next group. Within a group, the order may be chance.
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

    from anyadbench.metrics.bootstrap import holm

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
    """Return lines and summaries with nested intervals, and summaries with tie groups."""
    kinds = {variant.key: variant.kind for variant in variants}
    by_place: dict[tuple[str, str], dict[str, Line]] = {}
    for line in lines:
        by_place.setdefault((line.variant, line.test), {})[line.subset] = line
    groups: dict[tuple[str, str, str], list[Summary]] = {}
    means: dict[tuple[str, str, str], dict[str, Float64[np.ndarray, " r"]]] = {}
    done = []
    for item in summaries:
        key = (kinds[item.variant], item.test, item.metric)
        values = summary_values(item, by_place[item.variant, item.test], resamples)
        if values is not None:
            item, mean = with_intervals(item, values, full)
            means.setdefault(key, {})[item.variant] = mean
        groups.setdefault(key, []).append(item)
        done.append(item)
    ties = {key: tie_groups(items, means.get(key, {})) for key, items in groups.items()}
    tied = [replace(i, group=ties[kinds[i.variant], i.test, i.metric].get(i.variant)) for i in done]
    return [seed_intervals(line, resamples) for line in lines], tied
