"""Contents of the HTML page's tables."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anyadbench.boards.aggregate.model import KINDS, Board, Estimate, Line, Summary, Variant
from anyadbench.boards.render.cell_details import read_manifest
from anyadbench.boards.render.csvfile import leaderboard_csv, summary_csv
from anyadbench.boards.render.heat_colours import Shade, shade
from anyadbench.boards.render.text import DASH, clean, decimal, metric_label, plural, seed_text
from anyadbench.sequences import AS_AVAILABLE


@dataclass(frozen=True)
class Card:
    """One headline number."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class HeatCell:
    """A coloured number; ``shade`` is ``None`` where there is no number."""

    text: str
    shade: Shade | None
    title: str


@dataclass(frozen=True)
class HeatMap:
    """One heat map: rows of cells, and the values at both ends of its colours, per row if rows differ in kind."""

    test: str
    metric: str
    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, tuple[HeatCell, ...]], ...]


def kinds(board: Board) -> list[tuple[str, list[Variant]]]:
    """Return the variants of each kind that occurs."""
    found = [(kind, [variant for variant in board.variants if variant.kind == kind]) for kind in KINDS]
    return [(kind, group) for kind, group in found if group]


def compared_with(board: Board, kind: str) -> tuple[Variant, ...]:
    """Return the controls that stand below the rows of a kind: those of numbers that were computed here."""
    return () if kind in ("reported", "control") else board.controls


def largest_lines(board: Board) -> dict[tuple[str, str], Line]:
    """Return for each test set and subset the line with the most slices: the size of the test data."""
    found: dict[tuple[str, str], Line] = {}
    for line in board.lines:
        place = (line.test, line.subset)
        if place not in found or line.n_slices > found[place].n_slices:
            found[place] = line
    return found


def facts(board: Board) -> list[tuple[str, str]]:
    """Return facts on training and testing, as names and values."""
    info = board.protocol
    train = [cell.result.train for variant in board.variants for cell in variant.cells if cell.result is not None]
    values = {name: list(dict.fromkeys(one[name] for one in train if name in one)) for one in train for name in one}
    # Methods share the slices but differ in their steps.
    trained = [
        f"{name}: {', '.join(map(str, found)) if len(found) < 4 else 'differ by method'}"
        for name, found in values.items()
    ]
    sizes = largest_lines(board)
    tested = []
    for test in board.tests:
        lines = [sizes[test, subset] for subset in board.subsets if (test, subset) in sizes]
        most = max(lines, key=lambda line: line.n_slices, default=None)
        if most is not None:
            counts = f"{plural(most.n_subjects, 'subject')}, {plural(most.n_slices, 'slice')}"
            tested.append(f"{test}: up to {counts} ({most.n_abnormal} with a lesion)")
    return [
        ("Protocol", f"{board.slug}, version {info.version}"),
        ("Sequences", ", ".join(info.sequences)),
        ("Trained on", "; ".join(trained) or "not recorded"),
        ("Tested on", "; ".join(tested) or "nothing"),
        ("Protocol hash", clean(info.hash, 16)),
        ("Metrics version", board.metric_version),
    ]


def cards(board: Board) -> list[Card]:
    """Return the headline numbers of the only method, or of the best on the first test set."""
    if not board.tests:
        return []
    test, metric = board.tests[0], board.headline
    group = next((group for kind, group in kinds(board) if kind == "measured"), list(board.variants))
    items = [item for variant in group if (item := board.summary(variant.key, test, metric)) is not None]
    best = next((item for item in items if item.rank == 1), items[0] if items else None)
    found = []
    if best is not None:
        name = board.variant(best.variant).label
        title = f"{metric_label(metric)}, mean of subsets"
        lead = name if len(group) == 1 else f"{name}, first of {sum(item.rank is not None for item in items)} ranked"
        found.append(Card(title, decimal(best.mean), best.reason or lead))
        found.append(Card("Worst subset", decimal(best.worst), best.worst_subset))
        found.append(Card("All sequences", decimal(best.full), board.full))
        for other in ("pixel_auroc", "image_auroc", "aupro"):
            item = board.summary(best.variant, test, other)
            if item is not None and other != metric:
                found.append(Card(f"{metric_label(other)}, mean", decimal(item.mean), name))
    done = sum(len(variant.cells) for variant in board.variants)
    problems = len(board.failures) + len(board.unreadable)
    found.append(Card("Finished cells", str(done), f"{problems} without a result" if problems else "none missing"))
    return found


def leader(board: Board) -> Card | None:
    """Return the best measured method on the first test set, or the best of another kind if none is measured."""
    for kind, group in kinds(board):
        for variant in group:
            item = board.summary(variant.key, board.tests[0], board.headline) if board.tests else None
            if item is not None and item.rank == 1:
                note = f"{variant.label}, {kind}"
                return Card(metric_label(board.headline), decimal(item.mean), note)
    return None


def ranking(board: Board) -> list[dict[str, Any]]:
    """Return a ranked table for each kind, test set and metric."""
    found = []
    for kind, group in kinds(board):
        for test in board.tests if kind != "control" else ():
            for metric in board.metrics:
                items = [item for variant in group if (item := board.summary(variant.key, test, metric)) is not None]
                items.sort(key=lambda item: (item.rank is None, item.rank or 0, -(item.mean or 0.0)))
                controls = [board.summary(one.key, test, metric) for one in compared_with(board, kind)]
                items += [item for item in controls if item is not None]
                rows = [(board.variant(item.variant), item, _largest_drop(item)) for item in items]
                hardest = board.hardest.get((test, metric), "")
                found.append({"kind": kind, "test": test, "metric": metric, "rows": rows, "hardest": hardest})
    return found


def _largest_drop(item: Summary) -> tuple[str, float] | None:
    return max(item.drops.items(), key=lambda pair: pair[1], default=None)


def results(board: Board) -> list[dict[str, Any]]:
    """Return all lines by kind."""
    found: list[dict[str, Any]] = []
    for kind, group in kinds(board):
        rows = []
        for variant in group:
            for test in board.tests:
                for subset in board.subsets:
                    line = board.line(variant.key, test, subset)
                    if line is not None:
                        rows.append((variant.label, line, [*variant.flags, *line.flags]))
        found.append({"kind": kind, "rows": rows})
    return found


def heat_maps(board: Board) -> list[HeatMap]:
    """Return methods against subsets for each metric, or metrics against subsets if there is only one method."""
    found = []
    for kind, group in kinds(board):
        for test in board.tests if kind != "control" else ():
            rows = [*group, *compared_with(board, kind)]
            if len(rows) == 1:
                found.append(_heat_of_one(board, rows[0], test))
            else:
                found += [_heat_of_many(board, kind, rows, test, metric) for metric in board.metrics]
    return found


def _heat_of_one(board: Board, variant: Variant, test: str) -> HeatMap:
    rows = []
    for metric in board.metrics:
        lines = [board.line(variant.key, test, subset) for subset in board.subsets]
        estimates = [line.metrics.get(metric) if line is not None else None for line in lines]
        rows.append((metric_label(metric), _heat_row(board, estimates, _range(estimates), variant.label)))
    caption = f"{variant.label} on {test}; colours run from the lowest to the highest value of each row"
    return HeatMap(test, "", caption, board.subsets, tuple(rows))


def _heat_of_many(board: Board, kind: str, group: Sequence[Variant], test: str, metric: str) -> HeatMap:
    table = {
        variant.label: [
            line.metrics.get(metric) if (line := board.line(variant.key, test, subset)) is not None else None
            for subset in board.subsets
        ]
        for variant in group
    }
    low, high = _range(estimate for row in table.values() for estimate in row)
    rows = tuple((label, _heat_row(board, row, (low, high), label)) for label, row in table.items())
    caption = f"{metric_label(metric)} on {test}, {kind}; colours run from {decimal(low)} to {decimal(high)}"
    return HeatMap(test, metric, caption, board.subsets, rows)


def _range(estimates: Iterable[Estimate | None]) -> tuple[float, float]:
    """Return the range of the values, at least .05 wide, so that noise does not show as contrast."""
    values = [estimate.value for estimate in estimates if estimate is not None and estimate.value is not None]
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    middle, half = (low + high) / 2, max((high - low) / 2, 0.025)
    return middle - half, middle + half


def _heat_row(
    board: Board, estimates: Sequence[Estimate | None], ends: tuple[float, float], label: str
) -> tuple[HeatCell, ...]:
    cells = []
    for subset, estimate in zip(board.subsets, estimates, strict=True):
        if estimate is None or estimate.value is None:
            reason = estimate.reason if estimate is not None else "There is no result for this subset."
            cells.append(HeatCell(DASH, None, f"{label}, {subset}: {reason}"))
        else:
            level = (estimate.value - ends[0]) / (ends[1] - ends[0])
            cells.append(HeatCell(decimal(estimate.value), shade(level), f"{label}, {subset}: {estimate.value:.4f}"))
    return tuple(cells)


def decisions(board: Board) -> list[tuple[Variant, list[Line]]]:
    """Return the lines of each variant that have decisions at a threshold."""
    found = []
    for variant in board.variants:
        lines = [line for line in board.lines if line.variant == variant.key and line.threshold is not None]
        if lines:
            found.append((variant, lines))
    return found


def sizes(board: Board) -> list[dict[str, Any]]:
    """Return image AUROC by lesion size for each test set: with all sequences, and as available."""
    found = []
    for test in board.tests:
        for subset in (board.full, AS_AVAILABLE):
            lines = [(v.label, board.line(v.key, test, subset)) for v in board.variants]
            sized = [(label, line.sizes) for label, line in lines if line is not None and line.sizes]
            if sized and any(size.n for size in sized[0][1]):
                heads = [(size.label, size.n) for size in sized[0][1]]
                rows = [(label, [size.metrics["image_auroc"] for size in bins]) for label, bins in sized]
                title = f"{metric_label('image_auroc')}, {subset}"
                found.append({"test": test, "title": title, "heads": heads, "rows": rows})
    return found


def coverage(board: Board) -> list[dict[str, Any]]:
    """Return the subsets that each variant covers, and their test data."""
    rows = []
    for variant in board.variants:
        for test in board.tests:
            item = board.summary(variant.key, test, board.headline)
            if item is not None:
                lines = [board.line(variant.key, test, subset) for subset in board.subsets]
                rows.append({"variant": variant, "test": test, "summary": item, "lines": lines})
    return rows


def missing(board: Board) -> list[str]:
    """Return a sentence for each missing number, or one for a line whose numbers share a reason."""
    labels = {variant.key: variant.label for variant in board.variants}
    found: dict[str, None] = {}
    for line in board.lines:
        where = f"{labels[line.variant]}, {line.test}, {line.subset}"
        if not line.covered and line.reason:
            found[f"{where}: {line.reason}"] = None
            continue
        by_reason: dict[str, list[str]] = {}
        for metric in board.metrics:
            estimate = line.metrics.get(metric)
            if estimate is not None and estimate.reason:
                by_reason.setdefault(estimate.reason, []).append(metric_label(metric))
        for reason, names in by_reason.items():
            found[f"{where}, {', '.join(names)}: {reason}"] = None
    return list(found)


def flags(board: Board) -> list[tuple[str, str]]:
    """Return each flag that occurs, with the rows where it does."""
    labels = {variant.key: variant.label for variant in board.variants}
    found: dict[str, dict[str, list[str]]] = {}
    for variant in board.variants:
        for flag in variant.flags:
            found.setdefault(flag, {}).setdefault(variant.label, [])
    for line in board.lines:
        for flag in line.flags:
            found.setdefault(flag, {}).setdefault(labels[line.variant], []).append(line.subset)
    return [
        (flag, "; ".join(_where(board, label, subsets) for label, subsets in places.items()))
        for flag, places in found.items()
    ]


def _where(board: Board, label: str, subsets: Sequence[str]) -> str:
    distinct = list(dict.fromkeys(subsets))
    if not distinct or len(distinct) == len(board.subsets):
        return label
    return f"{label} ({', '.join(distinct)})"


def methods(board: Board) -> list[dict[str, Any]]:
    """Return the provenance of each variant."""
    found = []
    for variant in board.variants:
        first = next(cell for cell in variant.cells if cell.result is not None)
        result = first.result
        assert result is not None
        weights, numerics = variant.weights, result.numerics
        entries: Mapping[str, str] = {
            "Distribution": f"{variant.method.distribution} {variant.method.version}",
            "Code hash": variant.method.code_hash,
            "Budget": variant.method.budget,
            "Training mask": variant.method.training_mask,
            "Missing sequences": variant.method.missing,
            "Weights": f"{weights.name} ({weights.kind}, {weights.architecture or 'no network'})",
            "Weights sha256": weights.sha256 or DASH,
            "Weights licence": weights.licence or DASH,
            "Weights from": weights.provenance or DASH,
            "Numerics": f"{numerics.device}, {numerics.dtype}, TF32 {'on' if numerics.tf32 else 'off'}, "
            f"{'deterministic' if numerics.deterministic else 'not forced deterministic'}, "
            f"{plural(numerics.threads, 'thread')}",
            "Seeds": seed_text(variant.seeds),
            "Cells": ", ".join(dict.fromkeys(cell.result.cell_id for cell in variant.cells if cell.result)),
            "Fits": ", ".join(dict.fromkeys(cell.result.fit_id for cell in variant.cells if cell.result)),
        }
        found.append({"variant": variant, "entries": entries, "manifest": read_manifest(first.folder)})
    return found


def tables(board: Board) -> dict[str, str]:
    """Return the CSV files as text, by name."""
    return {"leaderboard.csv": leaderboard_csv(board), "summary.csv": summary_csv(board)}


def downloads(files: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return CSV files as data URIs, so that the page contains the whole board."""
    head = "data:text/csv;charset=utf-8;base64,"
    return [(name, head + base64.b64encode(text.encode()).decode("ascii")) for name, text in files.items()]
