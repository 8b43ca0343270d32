"""One line per variant, test set and subset: several seeds become a mean, and nothing is imputed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from anyadbench.boards.aggregate.flags import row_flags
from anyadbench.boards.aggregate.model import Estimate, Line, Size, Variant, headline_metric
from anyadbench.boards.scans.lines import added_to_line
from anyadbench.results.read import CellRecord
from anyadbench.results.schema import CellResult, Row, Threshold

Found = tuple[CellResult, Row, CellRecord, int]


def has_numbers(row: Row) -> bool:
    """Whether a row has any metric."""
    return any(value is not None for value in row.metrics.values())


def shown_metrics(row: Row) -> list[str]:
    """Return the names of a row's metrics; where lesions are marked by boxes, of the defined ones and the headline.

    The headline says why it is undefined; columns of dashes for all others would say nothing.
    """
    kept = headline_metric(tuple(row.metrics))
    return [name for name, value in row.metrics.items() if row.boxes is None or value is not None or name == kept]


def counted_results(variant: Variant) -> list[CellResult]:
    """Return the results that lines use: all but those of whose rows newer cells of the same seed have every one."""
    taken: set[tuple[int, str, str]] = set()
    kept = []
    for cell in variant.cells:  # newest first within a seed
        if cell.result is None:
            continue
        places = {(cell.result.seed, row.test, row.subset) for row in cell.result.rows if has_numbers(row)}
        if not places or not places <= taken:
            kept.append(cell.result)
        taken |= places
    return kept


def variant_lines(variant: Variant, tests: Iterable[str], subsets: Iterable[str]) -> tuple[list[Line], int]:
    """Return a line for each test set and subset, and the number of repeated rows (same seed) left out."""
    by_place: dict[tuple[str, str], dict[int, Found]] = {}
    repeated = 0
    for cell in variant.cells:
        if cell.result is None:
            continue
        for number, row in enumerate(cell.result.rows):
            seeds = by_place.setdefault((row.test, row.subset), {})
            old = seeds.get(cell.result.seed)
            # One fit per subset leaves empty rows besides the one that counts; cells come newest first.
            if old is None or (has_numbers(row) and not has_numbers(old[1])):
                seeds[cell.result.seed] = (cell.result, row, cell, number)
            elif has_numbers(row):
                repeated += 1
    lines = []
    for test in tests:
        for subset in subsets:
            found = by_place.get((test, subset), {})
            lines.append(_line(variant, test, subset, [found[seed] for seed in sorted(found)]))
    return lines, repeated


def _line(variant: Variant, test: str, subset: str, found: Sequence[Found]) -> Line:
    if not found:
        return Line(variant.key, test, subset, reason="There is no result for this subset.")
    rows = [row for _, row, *_ in found]
    names = list(dict.fromkeys(name for row in rows for name in shown_metrics(row)))
    metrics = {name: _estimate(name, found) for name in names}
    first = rows[0]
    reasons = [row.reasons.get("row", "") for row in rows]
    return Line(
        variant=variant.key,
        test=test,
        subset=subset,
        sequences=tuple(first.sequences),
        feed=dict(first.feed),
        seeds=tuple(result.seed for result, *_ in found) if variant.kind != "reported" else (),
        n_subjects=first.n_subjects,
        n_scans=first.n_scans,
        n_slices=first.n_slices,
        n_normal=first.n_normal,
        n_abnormal=first.n_abnormal,
        metrics=metrics,
        sizes=_sizes(rows),
        threshold=_threshold(rows),
        flags=row_flags([result for result, *_ in found], rows),
        covered=any(estimate.value is not None for estimate in metrics.values()),
        reason=next((reason for reason in reasons if reason), ""),
        cell_ids=tuple(dict.fromkeys(result.cell_id for result, *_ in found)),
        fit_ids=tuple(dict.fromkeys(result.fit_id for result, *_ in found)),
        sources=tuple((cell, number) for *_, cell, number in found),
        **added_to_line(found),
    )


def _estimate(name: str, found: Sequence[Found]) -> Estimate:
    """Average one metric over seeds; a seed without it leaves the number undefined."""
    for result, row, *_ in found:
        if row.metrics.get(name) is None:
            reason = row.reasons.get(name) or row.reasons.get("row") or "The result gives no reason."
            return Estimate(None, reason=reason if len(found) == 1 else f"Seed {result.seed}: {reason}")
    values = [value for _, row, *_ in found if (value := row.metrics[name]) is not None]
    low, high = found[0][1].intervals.get(name, (None, None)) if len(found) == 1 else (None, None)
    return Estimate(sum(values) / len(values), low, high, seed_min=min(values), seed_max=max(values))


def _sizes(rows: Sequence[Row]) -> tuple[Size, ...]:
    """Average the metrics of lesion-size bins over seeds if all have the same bins."""
    bins = [[(item.low, item.high, item.n) for item in row.sizes] for row in rows]
    if any(found != bins[0] for found in bins):
        return ()
    sizes = []
    for place, (low, high, n) in enumerate(bins[0]):
        values = {
            name: [getattr(row.sizes[place], name) for row in rows] for name in ("image_auroc", "image_ap", "image_f1")
        }
        means = {name: None if None in found else sum(found) / len(found) for name, found in values.items()}
        sizes.append(Size(low, high, n, means))
    return tuple(sizes)


def _threshold(rows: Sequence[Row]) -> Threshold | None:
    """Average decisions over seeds and sum their counts (every seed decides on the same pixels)."""
    found = [row.threshold for row in rows if row.threshold is not None and row.boxes is None]
    if len(found) < len(rows):
        return None

    def mean(name: str) -> float | None:
        values = [getattr(item, name) for item in found]
        return None if None in values else sum(values) / len(values)

    return Threshold(
        value=sum(item.value for item in found) / len(found),
        dice=mean("dice"),
        sensitivity=mean("sensitivity"),
        specificity=mean("specificity"),
        precision=mean("precision"),
        tp=sum(item.tp for item in found),
        fp=sum(item.fp for item in found),
        fn=sum(item.fn for item in found),
        tn=sum(item.tn for item in found),
    )
