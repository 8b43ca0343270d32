"""Contents of the HTML page's tables."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anyadbench.boards.aggregate.lines import counted_results
from anyadbench.boards.aggregate.model import KINDS, Board, Line, Summary, Variant
from anyadbench.boards.render.cell_details import read_manifest
from anyadbench.boards.render.csvfile import leaderboard_csv, summary_csv
from anyadbench.boards.render.parts.prevalence import prevalence_text
from anyadbench.boards.render.parts.references import comparison, mark, verdict_text
from anyadbench.boards.render.parts.remarks import own_remark, shared_remark
from anyadbench.boards.render.text import DASH, clean, decimal, metric_label, named_seeds, plural, seed_text
from anyadbench.sequences import AS_AVAILABLE


@dataclass(frozen=True)
class Card:
    """One headline number."""

    label: str
    value: str
    note: str = ""


_THRESHOLDS = {
    "subjects": "thresholds from other subjects",
    "slice block": "thresholds from slices of the same subjects",
    "none": "no thresholds",
}
"""Where validation normals come from, as a selection records it."""


def kinds(board: Board) -> list[tuple[str, list[Variant]]]:
    """Return the variants of each kind that occurs."""
    found = [(kind, [variant for variant in board.variants if variant.kind == kind]) for kind in KINDS]
    return [(kind, group) for kind, group in found if group]


def compared_with(board: Board, kind: str) -> tuple[Variant, ...]:
    """Return the controls that are listed below the rows of a kind: those of numbers that were computed here."""
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
    trained = [
        _trained(name, found)
        for name, found in values.items()
        if name not in ("parameters", "seen_slices")  # they are in the table of costs
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


def _trained(name: str, found: Sequence[object]) -> str:
    """Return a fact on training as a phrase; methods share the slices but differ in their steps."""
    if name == "validation" and all(one in _THRESHOLDS for one in found):
        return " or ".join(_THRESHOLDS[str(one)] for one in found)
    if len(found) > 3:
        return f"{name} differ by method"
    listed = " or ".join(map(str, found))
    return f"{listed} {name}" if name in ("subjects", "slices", "steps") else f"{name.replace('_', ' ')}: {listed}"


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
    done = sum(len(variant.cells) for variant in board.variants if variant.kind != "reported")
    problems = len(board.failures) + len(board.unreadable)
    if done or problems:  # rows of publications have no cells
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


@dataclass(frozen=True)
class RankingRow:
    """One row of a ranking.

    Attributes:
        drop: The subset with the largest loss, and the loss.
        against: Difference from the best control with its mark, its interval, and the whole sentence.
    """

    variant: Variant
    item: Summary
    drop: tuple[str, float] | None
    against: tuple[str, str, str] | None


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
                rows = [
                    RankingRow(board.variant(item.variant), item, _largest_drop(item), comparison(board, item.against))
                    for item in items
                ]
                hardest = board.hardest.get((test, metric), "")
                found.append({"kind": kind, "test": test, "metric": metric, "rows": rows, "hardest": hardest})
    return found


def _largest_drop(item: Summary) -> tuple[str, float] | None:
    return max(item.drops.items(), key=lambda pair: pair[1], default=None)


@dataclass(frozen=True)
class ResultRow:
    """One row of the results: a line, its flags, how common lesions are, and marks against the best control.

    Attributes:
        remark: What none of its intervals holds.
        remarks: What is remarkable about single intervals, by metric.
    """

    label: str
    line: Line
    flags: tuple[str, ...]
    prevalence: str
    marks: Mapping[str, tuple[str, str]]
    remark: str
    remarks: Mapping[str, str]


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
                        marks = {
                            metric: (mark(one), verdict_text(board, one))
                            for metric, one in line.against.items()
                            if mark(one)
                        }
                        flags, remark = (*variant.flags, *line.flags), shared_remark(line)
                        remarks = {name: own_remark(one, remark) for name, one in line.metrics.items()}
                        rows.append(
                            ResultRow(variant.label, line, flags, prevalence_text(line), marks, remark, remarks)
                        )
        found.append({"kind": kind, "rows": rows})
    return found


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


def methods(board: Board) -> list[dict[str, Any]]:
    """Return the provenance of each variant."""
    found = []
    for variant in board.variants:
        first = next(cell for cell in variant.cells if cell.result is not None)
        result = first.result
        assert result is not None
        weights = variant.weights
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
            "Numerics": _numerics(variant),
            "Seeds": seed_text(variant.seeds),
            "Cells": ", ".join(dict.fromkeys(cell.result.cell_id for cell in variant.cells if cell.result)),
            "Fits": ", ".join(dict.fromkeys(cell.result.fit_id for cell in variant.cells if cell.result)),
        }
        found.append({"variant": variant, "entries": entries, "manifest": read_manifest(first.folder)})
    return found


def _numerics(variant: Variant) -> str:
    """Return the numeric policy of a variant's results; of several, each with its seeds."""
    found: dict[str, list[int]] = {}
    for result in counted_results(variant):
        numerics = result.numerics
        text = (
            f"{numerics.device}, {numerics.dtype}, TF32 {'on' if numerics.tf32 else 'off'}, "
            f"{'deterministic' if numerics.deterministic else 'not forced deterministic'}, "
            f"{plural(numerics.threads, 'thread')}"
        )
        found.setdefault(text, []).append(result.seed)
    if len(found) < 2:
        return "".join(found)
    return "; ".join(f"{named_seeds(seeds)}: {text}" for text, seeds in found.items())


def tables(board: Board) -> dict[str, str]:
    """Return the CSV files as text, by name."""
    return {"leaderboard.csv": leaderboard_csv(board), "summary.csv": summary_csv(board)}


def downloads(files: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return CSV files as data URIs, so that the page contains the whole board."""
    head = "data:text/csv;charset=utf-8;base64,"
    return [(name, head + base64.b64encode(text.encode()).decode("ascii")) for name, text in files.items()]
