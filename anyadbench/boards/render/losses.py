"""The losses of a method's training on a page, from the short curves in ``result.json``, which are not trusted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anyadbench.boards.aggregate.model import Variant
from anyadbench.boards.render import svg
from anyadbench.results import TrainingCurve

MOST_LINES = 14
"""Lines of one plot: seven colours, twice."""

MOST_POINTS = 200
"""Points of a line that are read; the program's own results have fewer."""


def training_plot(variant: Variant) -> dict[str, Any] | None:
    """Return plot, legend and seed of the lowest seed with losses, and how many lines are left out; or ``None``.

    With one model per subset, a line is named by the subset, too.
    """
    for cell in sorted(variant.cells, key=lambda cell: cell.result.seed if cell.result is not None else 0):
        lines = _lines(cell.result.training) if cell.result is not None else []
        if cell.result is None or not lines:
            continue
        styled = [(i % 7, i // 7, name, points) for i, (name, points) in enumerate(lines[:MOST_LINES])]
        spoken = f"Losses of {variant.label} over its training steps, seed {cell.result.seed}"
        return {
            "seed": cell.result.seed,
            "plot": svg.line_plot(styled, spoken, ("step", "loss")),
            "legend": [(name, svg.swatch(colour, dash)) for colour, dash, name, _ in styled],
            "left_out": max(0, len(lines) - MOST_LINES),
        }
    return None


def _lines(curves: Sequence[TrainingCurve]) -> list[tuple[str, svg.Points]]:
    found: list[tuple[str, svg.Points]] = []
    for curve in curves:
        for name, values in curve.losses.items():
            pairs = zip(curve.steps[:MOST_POINTS], values[:MOST_POINTS], strict=False)
            points = [(float(step), value) for step, value in pairs if value is not None and step > 0]
            if points:
                found.append((f"{name}, {curve.subset}" if curve.subset else name, points))
    return found
