"""Whether the methods of a board rank as in publications: rank correlation with each reported table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from anyadbench.boards.aggregate.flags import RANDOM
from anyadbench.boards.aggregate.model import Agreement, Summary, Variant
from anyadbench.boards.aggregate.reported import NOT_STATED
from anyadbench.results.read import CellRecord

LEAST = 5
"""With fewer shared methods a rank correlation says nothing, and none is given."""


def agreements(
    variants: Iterable[Variant],
    summaries: Iterable[Summary],
    reported: Sequence[CellRecord],
    strangers: Mapping[str, set[str]],
) -> tuple[Agreement, ...]:
    """Return Spearman's coefficient of measured means and reported values, by table, test set and metric.

    Methods are matched by name; of a method that was run in several ways, the highest mean counts, whether the metric
    is ranked or not. A reported value is the one whose input is not stated, or else the mean over the stated subsets.

    Args:
        variants: The board's variants; those with random weights are left out.
        summaries: Their summaries.
        reported: Rows of publications, of any protocol.
        strangers: Variants that were scored on other data than most, by test set; they are left out.
    """
    measured = _measured(variants, summaries, strangers)
    tables: dict[str, dict[str, dict[str, float]]] = {}
    for record in reported:
        if record.result is not None:
            found = tables.setdefault(record.result.protocol.name, {})
            for metric, value in _values(record).items():
                found.setdefault(metric, {})[record.result.method.name] = value
    done = []
    for source, metrics in sorted(tables.items()):
        for (test, metric), ours in measured.items():
            theirs = metrics.get(metric, {})
            shared = sorted(ours.keys() & theirs.keys())
            if len(shared) >= LEAST:
                rho = _spearman([ours[name] for name in shared], [theirs[name] for name in shared])
                if rho is not None:
                    done.append(Agreement(source, test, metric, rho, len(shared)))
    return tuple(done)


def _measured(
    variants: Iterable[Variant], summaries: Iterable[Summary], strangers: Mapping[str, set[str]]
) -> dict[tuple[str, str], dict[str, float]]:
    """Return the highest mean of each method by test set and metric."""
    names = {
        variant.key: variant.method.name
        for variant in variants
        if variant.kind == "measured" and RANDOM not in variant.flags
    }
    found: dict[tuple[str, str], dict[str, float]] = {}
    for item in summaries:
        name = names.get(item.variant)
        if name is not None and item.mean is not None and item.variant not in strangers[item.test]:
            means = found.setdefault((item.test, item.metric), {})
            means[name] = max(item.mean, means.get(name, item.mean))
    return found


def _values(record: CellRecord) -> Mapping[str, float]:
    rows = record.result.rows if record.result is not None else []
    unstated = [row for row in rows if row.subset == NOT_STATED]
    found: dict[str, list[float]] = {}
    for row in unstated or rows:
        for metric, value in row.metrics.items():
            if value is not None:
                found.setdefault(metric, []).append(value)
    return {metric: sum(values) / len(values) for metric, values in found.items()}


def _spearman(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """Return the coefficient; ``None`` if one side is constant."""
    from scipy import stats

    if len(set(ours)) < 2 or len(set(theirs)) < 2:
        return None
    return float(stats.spearmanr(ours, theirs).statistic)
