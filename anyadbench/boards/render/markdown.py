"""Boards as Markdown, for a README or a code host's preview."""

from __future__ import annotations

import re
from collections.abc import Sequence

from anyadbench.boards.aggregate.flags import EXPLANATIONS
from anyadbench.boards.aggregate.model import KINDS, Board, Line, Summary, Variant
from anyadbench.boards.render.page_tables import compared_with
from anyadbench.boards.render.text import (
    DASH,
    KIND_TITLES,
    clean,
    decimal,
    metric_label,
    metric_short,
    plural,
    rank_text,
    seed_text,
    span,
)
from anyadbench.boards.render.verdicts import verdicts
from anyadbench.results.read import CellRecord

_SPECIAL = re.compile(r"([\\`*_{}\[\]#!|~$@])")


def escape(text: str) -> str:
    """Make text from a result inert in Markdown: no markup, no HTML, no link, no mention, no table cell."""
    shown = clean(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    shown = _SPECIAL.sub(r"\\\1", shown)
    return shown.replace("://", ":&#47;&#47;").replace("www.", "www&#46;")


def board_markdown(board: Board) -> str:
    """Return the whole board as Markdown."""
    info = board.protocol
    parts = [
        f"# {escape(info.title)}",
        f"Protocol {escape(board.slug)}, version {info.version}, hash {escape(info.hash)}; "
        f"metrics version {escape(board.metric_version)}. Higher is better. Brackets contain 95 % intervals over test "
        "subjects, and over seeds if there are several. Ranks need a number for every subset. Letters after ranks are "
        "tie groups: paired tests of all pairs over subjects, with Holm's correction, do not separate a method from "
        "the first of its group.",
        *(escape(text) for text in verdicts(board)),
    ]
    for test in board.tests:
        for kind in KINDS:
            group = [variant for variant in board.variants if variant.kind == kind]
            if group and kind != "control":
                group += compared_with(board, kind)
                parts.append(f"## {escape(test)}: {KIND_TITLES[kind].lower()}")
                parts.append(_summary_table(board, group, test))
                parts += [_subset_table(board, group, test, metric) for metric in board.metrics]
                parts += _decision_table(board, group, test) + _size_table(board, group, test)
    parts += _notes(board)
    return "\n\n".join(parts) + "\n"


def _grid(heads: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    marks = ["---"] * left + ["--:"] * (len(heads) - left)
    return "\n".join("| " + " | ".join(row) + " |" for row in (heads, marks, *rows))


def _name(variant: Variant) -> str:
    flags = f" ({', '.join(variant.flags)})" if variant.flags else ""
    return escape(variant.label) + escape(flags)


def _summary_table(board: Board, group: Sequence[Variant], test: str) -> str:
    """Return one row per method, controls last."""
    heads = ["Method", "Seeds", "Weights", "Missing", "Coverage"]
    heads += [f"{metric_short(metric)} mean" for metric in board.metrics] + [f"Rank ({metric_short(board.headline)})"]
    rows = []
    for variant in group:
        items = [board.summary(variant.key, test, metric) for metric in board.metrics]
        head = board.summary(variant.key, test, board.headline)
        assert head is not None
        rows.append(
            [
                _name(variant),
                seed_text(variant.seeds),
                escape(variant.weights.name),
                escape(variant.method.missing),
                f"{head.covered}/{head.required}",
                *(_mean(item) for item in items),
                rank_text(head.rank, head.group),
            ]
        )
    return _grid(heads, rows, left=4)


def _mean(item: Summary | None) -> str:
    return DASH if item is None else f"{decimal(item.mean)} {span(*item.mean_interval)}".strip()


def _subset_table(board: Board, group: Sequence[Variant], test: str, metric: str) -> str:
    rows = []
    for variant in group:
        item = board.summary(variant.key, test, metric)
        cells = [_cell(board.line(variant.key, test, subset), metric) for subset in board.subsets]
        ends = [decimal(item.mean), decimal(item.worst)] if item else [DASH, DASH]
        rows.append([_name(variant), *cells, *ends])
    heads = ["Method", *(escape(subset) for subset in board.subsets), "Mean", "Worst"]
    return f"### {escape(metric_label(metric))}\n\n" + _grid(heads, rows)


def _cell(line: Line | None, metric: str) -> str:
    estimate = line.metrics.get(metric) if line is not None else None
    if estimate is None or estimate.value is None:
        return DASH
    if estimate.low is None or estimate.high is None:
        return decimal(estimate.value)
    return f"{decimal(estimate.value)} [{decimal(estimate.low)}, {decimal(estimate.high)}]"


def _decision_table(board: Board, group: Sequence[Variant], test: str) -> list[str]:
    rows = []
    for variant in group:
        for subset in board.subsets:
            line = board.line(variant.key, test, subset)
            found = line.threshold if line is not None else None
            if found is not None:
                shares = (found.dice, found.sensitivity, found.specificity, found.precision)
                counts = (found.tp, found.fp, found.fn, found.tn)
                rows.append([_name(variant), escape(subset), *map(decimal, shares), *map(str, counts)])
    heads = ["Method", "Subset", "Dice", "Sensitivity", "Specificity", "Precision", "TP", "FP", "FN", "TN"]
    title = "### At the threshold from validation normals (pixels)\n\n"
    return [title + _grid(heads, rows, left=2)] if rows else []


def _size_table(board: Board, group: Sequence[Variant], test: str) -> list[str]:
    """Return image AUROC by lesion size with all sequences, or "as available" if nothing else has sizes."""
    lines = [(variant, board.line(variant.key, test, board.full)) for variant in group]
    sized = [(variant, line.sizes) for variant, line in lines if line is not None and line.sizes]
    if not sized:
        return []
    heads = ["Method", *(f"{size.label} px (n = {size.n})" for size in sized[0][1])]
    rows = [[_name(variant), *(decimal(size.metrics["image_auroc"]) for size in sizes)] for variant, sizes in sized]
    return [f"### Image AUROC by lesion size, {escape(board.full)}\n\n" + _grid(heads, rows)]


def _notes(board: Board) -> list[str]:
    labels = {variant.key: variant.label for variant in board.variants}
    sizes = [_size(line) for line in _sizes(board)]
    missing: dict[str, None] = {}
    flagged: dict[str, None] = {}
    for line in board.lines:
        for estimate in line.metrics.values():
            if estimate.reason:
                missing[f"{labels[line.variant]}, {line.test}, {line.subset}: {line.reason or estimate.reason}"] = None
        if not line.covered and not line.metrics:
            missing[f"{labels[line.variant]}, {line.test}, {line.subset}: {line.reason}"] = None
        for flag in line.flags:
            flagged[f"{labels[line.variant]}, {line.test}, {line.subset}: {flag}. {EXPLANATIONS[flag]}"] = None
    departures = [f"{v.label}: {text}" for v in board.variants for text in v.method.departures]
    sources = [f"{v.label}: {v.source}" for v in board.variants if v.source]
    special = [f"{v.label}: {flag}. {EXPLANATIONS.get(flag, '')}" for v in board.variants for flag in v.flags]
    failures = [_failure(record) for record in board.failures]
    unreadable = [record.problem or "" for record in board.unreadable]
    sections = {
        "Test data": sizes,
        f"Missing numbers ({DASH})": list(missing),
        "Flags": [*special, *flagged],
        "Departures from the publications": departures,
        "Sources": list(dict.fromkeys(sources)),
        "Cells without a result": failures,
        "Unreadable results": unreadable,
        "Notices": list(board.notices),
    }
    filled = {title: lines for title, lines in sections.items() if lines}
    return [f"## {title}\n\n" + "\n".join(f"* {escape(text)}" for text in lines) for title, lines in filled.items()]


def _failure(record: CellRecord) -> str:
    seed = DASH if record.seed is None else record.seed
    return f"{record.method or record.folder.name}, seed {seed}: {record.state}. {record.error or ''}"


def _sizes(board: Board) -> list[Line]:
    """Return the line with the most slices for each test set and subset."""
    found: dict[tuple[str, str], Line] = {}
    for line in board.lines:
        place = (line.test, line.subset)
        if place not in found or line.n_slices > found[place].n_slices:
            found[place] = line
    return list(found.values())


def _size(line: Line) -> str:
    return (
        f"{line.test}, {line.subset}: {plural(line.n_subjects, 'subject')}, {plural(line.n_scans, 'scan')}, "
        f"{plural(line.n_slices, 'slice')} ({line.n_abnormal} with a lesion)"
    )
