"""Whether the methods of a board rank as in publications: rank correlation with each reported table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from anyadbench.boards.aggregate.model import Agreement, Summary, Variant
from anyadbench.boards.aggregate.reported import NOT_STATED
from anyadbench.results.read import CellRecord

LEAST = 5
"""With fewer shared methods a rank correlation says nothing, and none is given."""


def agreements(
    variants: Iterable[Variant], summaries: Iterable[Summary], reported: Sequence[CellRecord]
) -> tuple[Agreement, ...]:
    """Return Spearman's coefficient of measured means and reported values, by table and metric.

    Methods are matched by name; of a method that was run in several ways, the best rank counts. A reported value is the
    one whose input is not stated, or else the mean over the stated subsets.

    Args:
        variants: The board's variants.
        summaries: Their summaries.
        reported: Rows of publications, of any protocol.
    """
    measured = _measured(variants, summaries)
    tables: dict[str, dict[str, dict[str, float]]] = {}
    for record in reported:
        if record.result is not None:
            found = tables.setdefault(record.result.protocol.name, {})
            for metric, value in _values(record).items():
                found.setdefault(metric, {})[record.result.method.name] = value
    done = []
    for source, metrics in sorted(tables.items()):
        for metric, theirs in metrics.items():
            ours = measured.get(metric, {})
            shared = sorted(ours.keys() & theirs.keys())
            if len(shared) >= LEAST:
                rho = _spearman([ours[name] for name in shared], [theirs[name] for name in shared])
                if rho is not None:
                    done.append(Agreement(source, metric, rho, len(shared)))
    return tuple(done)


def _measured(variants: Iterable[Variant], summaries: Iterable[Summary]) -> dict[str, dict[str, float]]:
    names = {variant.key: variant.method.name for variant in variants if variant.kind == "measured"}
    found: dict[str, dict[str, float]] = {}
    ranks: dict[tuple[str, str], int] = {}
    for item in summaries:
        name = names.get(item.variant)
        if name is None or item.rank is None or item.mean is None:
            continue
        place = (item.metric, name)
        if item.rank < ranks.get(place, item.rank + 1):
            ranks[place] = item.rank
            found.setdefault(item.metric, {})[name] = item.mean
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
