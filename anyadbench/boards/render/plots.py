"""The plots of the HTML page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from anyadbench.boards.aggregate.model import Board, Variant
from anyadbench.boards.render import svg
from anyadbench.boards.render.cell_details import CURVES, CurvePoints, read_curves
from anyadbench.boards.render.page_tables import compared_with, kinds
from anyadbench.boards.render.parts.costs import COMPARED, COUNTS, CostRow, cost_label, cost_rows, cost_text, ordered
from anyadbench.boards.render.parts.pareto import Method, pareto_plot
from anyadbench.boards.render.parts.references import best_control, best_mean
from anyadbench.boards.render.text import decimal, metric_label

PRO_LIMIT = 0.3
"""False-positive rate up to which AUPRO is integrated."""

_PLOTS = {
    "roc": ("Pixel ROC", ("false-positive rate", "sensitivity"), 1.0),
    "pr": ("Pixel precision and recall", ("recall", "precision"), 1.0),
    "pro": ("Per-region overlap", ("false-positive rate", "region overlap"), PRO_LIMIT),
    "image_roc": ("Slice ROC", ("false-positive rate", "sensitivity"), 1.0),
}
MAX_CURVES = 12
"""Methods whose curves are drawn, in order of rank: each takes four plots."""

MAX_DRAWN = 20
"""Methods of each kind that plots show, in order of rank: more would be indistinguishable. Tables contain all."""


def intervals(board: Board) -> list[dict[str, Any]]:
    """Return an interval plot for each kind, test set and metric that has values."""
    found = []
    for kind, group in kinds(board):
        for test in board.tests if kind != "control" else ():
            for metric in board.metrics:
                rivals = compared_with(board, kind)
                marks = _marks(board, [*group[:MAX_DRAWN], *rivals], test, metric)
                if marks:
                    title = f"{metric_label(metric)} with intervals on {test}, {kind}"
                    drawn = svg.interval_plot(marks, title, _references(board, marks, test, metric) if rivals else {})
                    found.append({"kind": kind, "test": test, "metric": metric, "plot": drawn})
    return found


def _references(board: Board, marks: Sequence[svg.Mark], test: str, metric: str) -> dict[str, tuple[str, float]]:
    """Return name and value of the best control of each subset with a mark."""
    found = {}
    for subset in dict.fromkeys(one.group for one in marks):
        best = best_control(board, test, subset, metric)
        if best is not None:
            found[subset] = (best[0].label, best[1])
    return found


def _marks(board: Board, group: Sequence[Variant], test: str, metric: str) -> list[svg.Mark]:
    marks = []
    for subset in board.subsets:
        for style, variant in enumerate(group):
            line = board.line(variant.key, test, subset)
            estimate = line.metrics.get(metric) if line is not None else None
            if estimate is not None and estimate.value is not None:
                marks.append(svg.Mark(subset, variant.label, estimate.value, estimate.low, estimate.high, style))
    return marks


def curve_styles(subsets: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return colour and dash of each subset: the dash shows how many sequences, the colour which."""
    styles = {}
    counts: dict[int, int] = defaultdict(int)
    sizes = sorted({subset.count("+") for subset in subsets}, reverse=True)
    for subset in subsets:
        size = subset.count("+")
        styles[subset] = ((counts[size] + 2 * sizes.index(size)) % 7, sizes.index(size) % 4)
        counts[size] += 1
    return styles


def curves(board: Board) -> list[dict[str, Any]]:
    """Return the curves of every variant (from its lowest seed with curves) on every test set."""
    styles = curve_styles(board.subsets)
    references = {test: _reference_curves(board, test) for test in board.tests}
    found = []
    for variant in board.variants[:MAX_CURVES]:
        for cell in variant.cells:
            data = read_curves(cell.folder)
            if data:
                seed = cell.result.seed if cell.result is not None else None
                for test in board.tests:
                    name, reference = references[test]
                    plots = _curve_plots(variant, test, data, styles, reference)
                    if plots:
                        legend = [(subset, svg.swatch(*style)) for subset, style in styles.items()]
                        legend += [(name, svg.CONTROL_SWATCH)] if reference else []
                        found.append({"variant": variant, "test": test, "seed": seed, "plots": plots, "legend": legend})
                break
    return found


def _reference_curves(board: Board, test: str) -> tuple[str, Mapping[str, CurvePoints]]:
    """Return the name and the curves of the best control with all sequences; no curves if it has none."""
    best = best_control(board, test, board.full, board.headline)
    for cell in best[0].cells if best is not None else ():
        found = read_curves(cell.folder).get((test, board.full))
        if best is not None and found:
            return f"{best[0].label}, {board.full}", found
    return "", {}


def _curve_plots(
    variant: Variant,
    test: str,
    data: Any,
    styles: dict[str, tuple[int, int]],
    reference: Mapping[str, CurvePoints],
) -> list[tuple[str, Markup]]:
    plots = []
    for name in CURVES:
        title, axes, x_end = _PLOTS[name]
        drawn: list[tuple[int, int, str, CurvePoints]] = []
        for subset, (colour, dash) in styles.items():
            points = data.get((test, subset), {}).get(name)
            if points:
                drawn.append((colour, dash, subset, points))
        if drawn:
            spoken = f"{title} of {variant.label} on {test}, one curve for each of {len(drawn)} subsets"
            plots.append((title, svg.curve_plot(drawn, spoken, axes, x_end, reference.get(name, ()))))
    return plots


def costs(board: Board) -> dict[str, Any]:
    """Return the costs of each variant as a numbered table, and quality against cost on the first test set.

    A plot of seconds or memory has the methods of one kind of device.
    """
    table = cost_rows(board)
    names = ordered(name for one in table for name in one.costs)
    kinds = list(dict.fromkeys(one.device for one in table if one.variant.kind == "measured"))
    plots = [
        plot
        for name in (COMPARED if board.tests else ())
        for device in ([""] if name in COUNTS or len(kinds) < 2 else kinds)
        if (plot := _cost_plot(board, table, name, device)) is not None
    ]
    rows = []
    for one in table:
        item = board.summary(one.variant.key, board.tests[0], board.headline) if board.tests else None
        texts = [cost_text(one.costs.get(name)) for name in names]
        rows.append((one.variant, decimal(item.mean if item else None), one.place, texts))
    return {"names": [cost_label(name) for name in names], "rows": rows, "plots": plots}


def _cost_plot(board: Board, table: Sequence[CostRow], name: str, device: str) -> Markup | None:
    """Draw quality against a cost on one kind of device, or on any if it is empty; ``None`` for less than two methods.

    Methods have the number of their row in the table, the first if they have several.
    """
    test, metric = board.tests[0], board.headline
    methods: dict[str, Method] = {}
    for number, one in enumerate(table, 1):
        item = board.summary(one.variant.key, test, metric)
        drawn = one.variant.kind == "measured" and device in ("", one.device) and name in one.costs
        if drawn and item is not None and item.mean is not None:
            methods.setdefault(one.variant.key, Method(number, one.variant.label, one.costs[name], item.mean))
    if len(methods) < 2:
        return None
    best = best_mean(board, test, metric)
    control = None if best is None else (best[0].label, best[1])
    cost = f"{cost_label(name)} on {device}" if device else cost_label(name)
    axes = (cost, f"{metric_label(metric)}, mean of the subsets")
    spoken = f"{axes[1]} against {axes[0]} on {test}, {len(methods)} methods"
    return pareto_plot(list(methods.values()), spoken, axes, control)
