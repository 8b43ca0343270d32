"""The curves as small plots and as rows of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from anyadbench.boards.aggregate.model import Board, ShotCurve
from anyadbench.boards.render.parts.elements import frame, line, text
from anyadbench.boards.render.svg import nice_ticks
from anyadbench.boards.render.text import DASH, decimal, metric_label, span

_LEFT, _TOP, _WIDTH, _HEIGHT = 30.0, 6.0, 150.0, 84.0


@dataclass(frozen=True)
class ShotPlots:
    """The curves of one test set and metric.

    Attributes:
        plots: Name of each method, and its plot.
        heads: Heads of the table.
        rows: The name of each method, controls included, and its mean and interval by number of subjects.
    """

    test: str
    metric: str
    plots: tuple[tuple[str, Markup], ...]
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def count_label(shots: int) -> str:
    """Return a number of training subjects as text, 0 as ``all``."""
    return str(shots) if shots else "all"


def shot_plots(board: Board) -> list[ShotPlots]:
    """Return plots and tables of each test set and metric."""
    found = []
    for test in board.tests:
        for metric in board.metrics:
            curves = [curve for curve in board.shots if (curve.test, curve.metric) == (test, metric)]
            if curves:
                counts = sorted({point.shots for curve in curves for point in curve.points}, key=lambda n: n or 1e9)
                found.append(_plots(curves, counts))
    return found


def _plots(curves: Sequence[ShotCurve], counts: Sequence[int]) -> ShotPlots:
    controls = [curve for curve in curves if curve.kind == "control"]
    control = max(controls, key=lambda curve: (curve.points[-1].mean, curve.variant), default=None)
    first = curves[0]
    scale = _scale(curves, counts)
    shown = [curve for curve in curves if curve.kind != "control"]
    return ShotPlots(
        first.test,
        first.metric,
        tuple((curve.label, _plot(curve, control, scale)) for curve in shown),
        ("Method", *(_head(count) for count in counts)),
        tuple((curve.label, *_cells(curve, counts)) for curve in [*shown, *controls]),
    )


def _head(count: int) -> str:
    return f"{count_label(count)} subject{'' if count == 1 else 's'}"


def _cells(curve: ShotCurve, counts: Sequence[int]) -> list[str]:
    by_count = {point.shots: point for point in curve.points}
    cells = []
    for count in counts:
        point = by_count.get(count)
        cells.append(DASH if point is None else f"{decimal(point.mean)} {span(point.low, point.high)}".strip())
    return cells


@dataclass(frozen=True)
class _Scale:
    counts: Sequence[int]
    low: float
    high: float

    def x(self, shots: int) -> float:
        return _LEFT + 10 + self.counts.index(shots) / max(len(self.counts) - 1, 1) * (_WIDTH - 20)

    def y(self, value: float) -> float:
        return _TOP + (1 - (value - self.low) / (self.high - self.low)) * _HEIGHT


def _scale(curves: Sequence[ShotCurve], counts: Sequence[int]) -> _Scale:
    ends = [end for curve in curves for point in curve.points for end in (point.mean, point.low, point.high)]
    values = [end for end in ends if end is not None]
    pad = max(0.04 * (max(values) - min(values)), 0.01)
    return _Scale(counts, min(values) - pad, max(values) + pad)


def _plot(curve: ShotCurve, control: ShotCurve | None, scale: _Scale) -> Markup:
    body = []
    for tick in nice_ticks(scale.low, scale.high, 3):
        y = scale.y(tick)
        body += [line(_LEFT, y, _LEFT + _WIDTH, y, "grid"), text(_LEFT - 4, y + 4, f"{tick:g}", "tick", "end")]
    for count in scale.counts:
        body.append(text(scale.x(count), _TOP + _HEIGHT + 13, count_label(count), "tick", "middle"))
    if control is not None:
        body.append(_path(control, scale, "control"))
    for point in curve.points:
        if point.low is not None and point.high is not None:
            x = scale.x(point.shots)
            body.append(line(x, scale.y(point.low), x, scale.y(point.high), "whisker s0"))
    dots = "".join(f"M{scale.x(point.shots):.1f} {scale.y(point.mean):.1f}h0" for point in curve.points)
    body += [_path(curve, scale, "curve s0"), Markup(f'<path d="{dots}" class="dots s0"/>')]
    means = ", ".join(f"{count_label(point.shots)}: {decimal(point.mean)}" for point in curve.points)
    spoken = f"{curve.label}, {metric_label(curve.metric)} by number of training subjects: {means}"
    return frame(_LEFT + _WIDTH + 4, _TOP + _HEIGHT + 18, spoken, body)


def _path(curve: ShotCurve, scale: _Scale, kind: str) -> Markup:
    points = "L".join(f"{scale.x(point.shots):.1f} {scale.y(point.mean):.1f}" for point in curve.points)
    return Markup(f'<path d="M{points}" class="{kind}"/>')
