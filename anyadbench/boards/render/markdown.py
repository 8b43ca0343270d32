"""Boards as Markdown, for a README or a code host's preview."""

from __future__ import annotations

import re
from collections.abc import Sequence

from anyadbench.boards.aggregate.model import KINDS, Board, Line, Summary, Variant
from anyadbench.boards.encoders.table import encoder_tables
from anyadbench.boards.render.page_tables import compared_with, largest_lines
from anyadbench.boards.render.parts.costs import cost_label, cost_rows, cost_text, ordered
from anyadbench.boards.render.parts.notices import grouped_notices, missing
from anyadbench.boards.render.parts.prevalence import prevalence_text
from anyadbench.boards.render.parts.references import MARK_MEANINGS, comparison, mark
from anyadbench.boards.render.parts.robustness_numbers import by_count
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
from anyadbench.boards.scans.boxes import BOXES_TITLE, RULE
from anyadbench.boards.scans.page import SCANS_TITLE, added_tables
from anyadbench.boards.scans.tables import rules
from anyadbench.boards.shots.plots import shot_plots
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
        "the first of its group. A method's worst subset has no interval: the smallest of several numbers is too small "
        "by chance.",
        *(escape(text) for text in verdicts(board)),
        *([_mark_legend()] if board.controls else []),
    ]
    for test in board.tests:
        for kind in KINDS:
            group = [variant for variant in board.variants if variant.kind == kind]
            if group and kind != "control":
                group += compared_with(board, kind)
                parts.append(f"## {escape(test)}: {KIND_TITLES[kind].lower()}")
                parts.append(_summary_table(board, group, test))
                parts += [_subset_table(board, group, test, metric) for metric in board.metrics]
                parts += _robustness_table(board, group, test)
                parts += _decision_table(board, group, test) + _size_table(board, group, test)
    parts += _encoder_tables(board) + _shot_tables(board) + _added_tables(board) + _cost_table(board) + _notes(board)
    return "\n\n".join(parts) + "\n"


def _mark_legend() -> str:
    return "Against the best control: " + "; ".join(f"{sign} {meaning}" for sign, meaning in MARK_MEANINGS) + "."


def _grid(heads: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    marks = ["---"] * left + ["--:"] * (len(heads) - left)
    return "\n".join("| " + " | ".join(row) + " |" for row in (heads, marks, *rows))


def _name(variant: Variant) -> str:
    flags = f" ({', '.join(variant.flags)})" if variant.flags else ""
    return escape(variant.label) + escape(flags)


def _summary_table(board: Board, group: Sequence[Variant], test: str) -> str:
    """Return one row per method, controls last; what tests decide is about the headline metric."""
    metric = board.headline
    heads = ["Method", "Seeds", "Weights", "Missing", "Coverage"]
    heads += [f"{metric_short(name)} mean" for name in board.metrics]
    heads += [f"Rank ({metric_short(metric)})", "Ranks left open", "Beats", "Against the best control"]
    heads += [f"Hardest: {escape(board.hardest[test, metric])}"] if (test, metric) in board.hardest else []
    heads += ["Subjects needed"]
    rows = []
    for variant in group:
        items = [board.summary(variant.key, test, name) for name in board.metrics]
        head = board.summary(variant.key, test, metric)
        assert head is not None
        against = comparison(board, head.against)
        cells = [_name(variant), seed_text(variant.seeds), escape(variant.weights.name), escape(variant.method.missing)]
        cells += [f"{head.covered}/{head.required}", *(_mean(item) for item in items), rank_text(head.rank, head.group)]
        cells.append(DASH if head.ranks is None else f"{head.ranks[0]} to {head.ranks[1]}")
        cells.append(_beats(board, variant, test))
        cells.append(DASH if against is None else f"{against[0]} {against[1]}".strip())
        if (test, metric) in board.hardest:
            one = head.hardest
            cells.append(DASH if one is None else f"{decimal(one.value)} {span(one.low, one.high)}".strip())
        cells.append(DASH if head.needed is None else str(head.needed))
        rows.append(cells)
    return _grid(heads, rows, left=4)


def _beats(board: Board, variant: Variant, test: str) -> str:
    """Return how many of the other ranked methods a method is significantly better than."""
    table = board.pairs.get((variant.kind, test, board.headline))
    if table is None or not table.beats or variant.key not in table.keys:
        return DASH
    return f"{sum(table.beats[table.keys.index(variant.key)])} of {len(table.keys) - 1}"


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
    sign = mark(line.against.get(metric)) if line is not None else ""
    return f"{decimal(estimate.value)} {sign} {span(estimate.low, estimate.high)}".replace("  ", " ").strip()


def _robustness_table(board: Board, group: Sequence[Variant], test: str) -> list[str]:
    """Return the headline metric by the number of sequences shown, as mean over the subsets of that size."""
    curves = [(variant, by_count(board, variant, test, board.headline)) for variant in group]
    sizes = sorted({size for _, curve in curves for size in curve.values})
    if len(sizes) < 2:
        return []
    rows = [[_name(variant), *(decimal(curve.means.get(size)) for size in sizes)] for variant, curve in curves]
    title = f"### {escape(metric_label(board.headline))} by number of sequences\n\n"
    return [title + _grid(["Method", *(plural(size, "sequence") for size in sizes)], rows)]


def _encoder_tables(board: Board) -> list[str]:
    return [
        f"## {escape(part.test)}: {escape(metric_label(part.metric))} by encoder\n\n"
        + _grid([*map(escape, part.heads)], [[*map(escape, row)] for row in part.rows])
        for part in encoder_tables(board)
    ]


def _shot_tables(board: Board) -> list[str]:
    """Return the headline metric by the number of training subjects, from protocols that differ in nothing else."""
    found = []
    for part in shot_plots(board):
        if part.metric == board.headline:
            title = f"## {escape(part.test)}: {escape(metric_label(part.metric))} by number of training subjects\n\n"
            found.append(title + _grid(part.heads, [[*map(escape, row)] for row in part.rows]))
    return found


def _added_tables(board: Board) -> list[str]:
    """Return whole scans, alarms of healthy subjects, and sites."""
    found = []
    for title, tables in added_tables(board).items():
        notes = rules(board) if title == SCANS_TITLE else [RULE] if title == BOXES_TITLE else []
        parts = [f"## {title}", *map(escape, notes)]
        for part in tables:
            rows = [[f"{escape(cell.text)} {escape(cell.below)}".strip() for cell in row] for row in part.rows]
            parts.append(f"### {escape(part.test)}: {escape(part.title)}\n\n" + _grid([*map(escape, part.heads)], rows))
        found += parts if tables else []
    return found


def _cost_table(board: Board) -> list[str]:
    """Return what methods cost, with a row for each kind of device."""
    table = cost_rows(board)
    names = ordered(name for one in table for name in one.costs)
    rows = [
        [_name(one.variant), escape(one.place), *(cost_text(one.costs.get(name)) for name in names)] for one in table
    ]
    heads = ["Method", "Device", *(escape(cost_label(name)) for name in names)]
    return ["## Costs\n\n" + _grid(heads, rows, left=2)] if rows else []


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
    departures = [f"{v.label}: {text}" for v in board.variants for text in v.method.departures]
    sources = [f"{v.label}: {v.source}" for v in board.variants if v.source]
    notices = grouped_notices(board)
    flags = [
        f"{item.flag} ({item.count}): {item.sentence} Affects {'; '.join(item.places)}."
        for item in notices
        if item.flag
    ]
    sections = {
        "Test data": [_size(line) for line in largest_lines(board).values()],
        f"Missing numbers ({DASH})": missing(board),
        "Flags": flags,
        "Departures from the publications": departures,
        "Sources": list(dict.fromkeys(sources)),
        "Cells without a result": [_failure(record) for record in board.failures],
        "Unreadable results": [record.problem or "" for record in board.unreadable],
        "Notices": list(board.notices),
    }
    filled = {title: lines for title, lines in sections.items() if lines}
    return [f"## {title}\n\n" + "\n".join(f"* {escape(text)}" for text in lines) for title, lines in filled.items()]


def _failure(record: CellRecord) -> str:
    seed = DASH if record.seed is None else record.seed
    return f"{record.method or record.folder.name}, seed {seed}: {record.state}. {record.error or ''}"


def _size(line: Line) -> str:
    return (
        f"{line.test}, {line.subset}: {plural(line.n_subjects, 'subject')}, {plural(line.n_scans, 'scan')}, "
        f"{plural(line.n_slices, 'slice')} ({line.n_abnormal} with a lesion); "
        f"prevalence: {prevalence_text(line) or DASH}"
    )
