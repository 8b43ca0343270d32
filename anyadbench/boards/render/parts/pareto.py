"""Quality against cost: every method as a point, the front of those that none beats in both, and the best control."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from anyadbench.boards.render.parts.elements import frame, line, text, titled, turned
from anyadbench.boards.render.parts.labels import Box, place_labels
from anyadbench.boards.render.svg import nice_ticks, shape
from anyadbench.boards.render.text import clean

_FEW = 8
"""Up to this many methods, all points have names; of more, those on the front have, and the others numbers."""

_LEFT, _TOP, _WIDTH, _HEIGHT = 48.0, 14.0, 480.0, 300.0


@dataclass(frozen=True)
class Method:
    """One method: its number in the table, its name, what it costs, and how good it is."""

    number: int
    name: str
    cost: float
    quality: float


@dataclass(frozen=True)
class _Scale:
    """Where costs and qualities are drawn; costs on a log scale if they span more than 30-fold."""

    x0: float
    x1: float
    y0: float
    y1: float
    logarithmic: bool

    def place(self, cost: float, quality: float) -> tuple[float, float]:
        """Return a place in pixels."""
        along = math.log10(cost) if self.logarithmic else cost
        x = _LEFT + (along - self.x0) / (self.x1 - self.x0) * _WIDTH
        return x, _TOP + (1 - (quality - self.y0) / (self.y1 - self.y0)) * _HEIGHT


def pareto_front(methods: Sequence[Method]) -> list[Method]:
    """Return the methods that no other beats in quality at the same cost or less, cheapest first."""
    front: list[Method] = []
    for method in sorted(methods, key=lambda one: (one.cost, -one.quality, one.number)):
        if not front or method.quality > front[-1].quality:
            front.append(method)
    return front


def pareto_plot(
    methods: Sequence[Method], title: str, axes: tuple[str, str], control: tuple[str, float] | None = None
) -> Markup:
    """Draw quality against cost.

    Args:
        methods: At least one.
        title: What the plot shows, for screen readers.
        axes: Names of the cost and of the quality.
        control: Name and quality of the best control, drawn as a dashed line.
    """
    front = pareto_front(methods)
    scale = _scale(methods, control)
    body = _axes(scale, axes)
    steps = _steps(front, scale)
    lines = [_around(one, other) for one, other in pairwise(steps)]
    if control is not None:
        y = scale.place(methods[0].cost, control[1])[1]
        body.append(
            titled(f"Best control: {control[0]}, {control[1]:.4f}", [line(_LEFT, y, _LEFT + _WIDTH, y, "control")])
        )
        lines.append(_around((_LEFT, y), (_LEFT + _WIDTH, y)))
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in steps)
    body.append(Markup(f'<polyline points="{path}" class="front"><title>Pareto front</title></polyline>'))
    # Points of the front choose their labels first.
    ordered = [*front, *sorted((one for one in methods if one not in front), key=lambda one: one.number)]
    places = [scale.place(one.cost, one.quality) for one in ordered]
    texts = [_texts(one, named=one in front or len(methods) <= _FEW) for one in ordered]
    edge = (_LEFT + 1, 1.0, _LEFT + _WIDTH + 12, _TOP + _HEIGHT - 1)
    for one, (x, y), label in zip(ordered, places, place_labels(places, texts, edge, lines), strict=True):
        tip = f"{one.number} {clean(one.name)}: {one.cost:.4g}, {one.quality:.4f}"
        parts = [shape(x, y, 0 if one in front else 4, 4.5)]
        if label is not None:
            parts.append(text(label.x, label.y, label.text, "label", label.anchor))
        body.append(titled(tip, parts))
    return frame(_LEFT + _WIDTH + 14, _TOP + _HEIGHT + 42, title, body)


def _texts(one: Method, *, named: bool) -> list[str]:
    return [f"{one.number} {clean(one.name, 24)}", str(one.number)] if named else [str(one.number)]


def _scale(methods: Sequence[Method], control: tuple[str, float] | None) -> _Scale:
    xs, ys = [one.cost for one in methods], [one.quality for one in methods]
    ys += [control[1]] if control is not None else []
    logarithmic = min(xs) > 0 and max(xs) / min(xs) > 30
    x0, x1 = (math.log10(min(xs)) - 0.1, math.log10(max(xs)) + 0.1) if logarithmic else (0.0, 1.08 * (max(xs) or 1.0))
    pad = max(0.08 * (max(ys) - min(ys)), 0.02)
    return _Scale(x0, x1, min(ys) - pad, min(max(ys) + pad, 1.02), logarithmic)


def _axes(scale: _Scale, axes: tuple[str, str]) -> list[Markup]:
    body: list[Markup] = []
    powers = [float(p) for p in range(math.ceil(scale.x0), math.floor(scale.x1) + 1)]
    bottom = _TOP + _HEIGHT
    for tick in powers if scale.logarithmic else nice_ticks(scale.x0, scale.x1, 5):
        x = _LEFT + (tick - scale.x0) / (scale.x1 - scale.x0) * _WIDTH
        name = f"{10**tick:g}" if scale.logarithmic else f"{tick:,.6g}"
        body += [line(x, _TOP, x, bottom, "grid"), text(x, bottom + 15, name, "tick", "middle")]
    for tick in nice_ticks(scale.y0, scale.y1, 5):
        y = _TOP + (1 - (tick - scale.y0) / (scale.y1 - scale.y0)) * _HEIGHT
        body += [line(_LEFT, y, _LEFT + _WIDTH, y, "grid"), text(_LEFT - 6, y + 4, f"{tick:g}", "tick", "end")]
    body.append(text(_LEFT + _WIDTH / 2, bottom + 33, axes[0], "axis", "middle"))
    body.append(turned(_TOP + _HEIGHT / 2, axes[1]))
    return body


def _steps(front: Sequence[Method], scale: _Scale) -> list[tuple[float, float]]:
    """Return the corners of the front as steps: at each cost the best quality that it buys."""
    corners: list[tuple[float, float]] = []
    for one in front:
        x, y = scale.place(one.cost, one.quality)
        corners += [(x, corners[-1][1]), (x, y)] if corners else [(x, y)]
    return [*corners, (_LEFT + _WIDTH, corners[-1][1])]


def _around(one: tuple[float, float], other: tuple[float, float]) -> Box:
    """Return the box of a horizontal or vertical line."""
    return (
        min(one[0], other[0]) - 1,
        min(one[1], other[1]) - 1,
        max(one[0], other[0]) + 1,
        max(one[1], other[1]) + 1,
    )
