"""The plots of the HTML page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from anyadbench.boards.aggregate.model import Board, Variant
from anyadbench.boards.render import svg
from anyadbench.boards.render.cell_details import CURVES, CurvePoints, read_curves
from anyadbench.boards.render.page_tables import compared_with, kinds
from anyadbench.boards.render.text import decimal, metric_label

PRO_LIMIT = 0.3
"""False-positive rate up to which AUPRO is integrated."""

_PLOTS = {
    "roc": ("Pixel ROC", ("false-positive rate", "sensitivity"), 1.0),
    "pr": ("Pixel precision and recall", ("recall", "precision"), 1.0),
    "pro": ("Per-region overlap", ("false-positive rate", "region overlap"), PRO_LIMIT),
    "image_roc": ("Slice ROC", ("false-positive rate", "sensitivity"), 1.0),
}
_MAX_COSTS = 6
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
                marks = _marks(board, [*group[:MAX_DRAWN], *compared_with(board, kind)], test, metric)
                if marks:
                    title = f"{metric_label(metric)} with intervals on {test}, {kind}"
                    found.append(
                        {"kind": kind, "test": test, "metric": metric, "plot": svg.interval_plot(marks, title)}
                    )
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
    found = []
    for variant in board.variants[:MAX_CURVES]:
        for cell in variant.cells:
            data = read_curves(cell.folder)
            if data:
                seed = cell.result.seed if cell.result is not None else None
                for test in board.tests:
                    plots = _curve_plots(variant, test, data, styles)
                    if plots:
                        legend = [(subset, svg.swatch(*style)) for subset, style in styles.items()]
                        found.append({"variant": variant, "test": test, "seed": seed, "plots": plots, "legend": legend})
                break
    return found


def _curve_plots(
    variant: Variant, test: str, data: Any, styles: dict[str, tuple[int, int]]
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
            plots.append((title, svg.curve_plot(drawn, spoken, axes, x_end)))
    return plots


def costs(board: Board) -> dict[str, Any]:
    """Return time and memory of each variant, averaged over its cells, and plots against the headline metric."""
    table: list[tuple[Variant, dict[str, float]]] = []
    for variant in board.variants:
        sums: dict[str, list[float]] = defaultdict(list)
        for cell in variant.cells:
            if cell.result is not None:
                memory = {f"memory_{name}": value for name, value in cell.result.memory.items()}
                for name, value in {**cell.result.timings, **memory}.items():
                    sums[name].append(value)
        _add_rate(sums)
        if sums:
            table.append((variant, {name: sum(values) / len(values) for name, values in sums.items()}))
    names = list(dict.fromkeys(name for _, values in table for name in values))
    plots = []
    for name in names[:_MAX_COSTS] if board.tests else []:
        points = []
        for style, (variant, values) in enumerate(table[:MAX_DRAWN]):
            item = board.summary(variant.key, board.tests[0], board.headline)
            if name in values and item is not None and item.mean is not None and variant.kind == "measured":
                points.append((variant.label, values[name], item.mean, style))
        if len(points) > 1:
            label = cost_label(name)
            axes = (label, f"{metric_label(board.headline)}, mean")
            plots.append(svg.scatter_plot(points, f"{axes[1]} against {label}", axes))
    rows = [(variant, [cost_text(values.get(name)) for name in names]) for variant, values in table]
    return {"names": [cost_label(name) for name in names], "rows": rows, "plots": plots}


def _add_rate(sums: dict[str, list[float]]) -> None:
    """Replace the number of scored slices, which is not a cost, by the time per slice."""
    counts = sums.pop("scored_slices", [])
    seconds = sums.get("score_seconds", [])
    if counts and len(counts) == len(seconds) and all(count > 0 for count in counts):
        sums["score_per_slice_ms"] = [1000 * time / count for time, count in zip(seconds, counts, strict=True)]


def cost_label(name: str) -> str:
    """Return the name of a time or memory figure with its unit in brackets, if the name ends in one."""
    stem, _, unit = name.rpartition("_")
    units = {"seconds": "s", "s": "s", "ms": "ms", "mb": "MB", "gb": "GB"}
    return f"{stem.replace('_', ' ')} ({units[unit]})" if stem and unit in units else name.replace("_", " ")


def cost_text(value: float | None) -> str:
    """Return three significant digits, without an exponent."""
    if value is None:
        return decimal(None)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
