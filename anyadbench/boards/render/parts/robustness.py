"""How a metric depends on the number of sequences that a method is shown: one small plot per method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from markupsafe import Markup

from anyadbench.boards.aggregate.model import Board
from anyadbench.boards.render.parts.elements import frame, line, text
from anyadbench.boards.render.parts.references import best_mean
from anyadbench.boards.render.parts.robustness_numbers import Curve, by_count
from anyadbench.boards.render.svg import nice_ticks
from anyadbench.boards.render.text import decimal, metric_label

_LEFT, _TOP, _WIDTH, _HEIGHT = 30.0, 6.0, 150.0, 84.0


@dataclass(frozen=True)
class Robustness:
    """The plots of one test set and metric: the name of each method, and its plot; ``control`` names the dashed line.

    Attributes:
        backdrop: Axes and control, which all plots show.
    """

    test: str
    metric: str
    control: str
    backdrop: Markup
    plots: tuple[tuple[str, Markup], ...]


def robustness(board: Board) -> list[Robustness]:
    """Return the plots of each test set and metric that has values for subsets of different sizes."""
    found, numbers = [], count()
    shown = [variant for variant in board.variants if variant.kind not in ("reported", "control")]
    for test in board.tests:
        for metric in board.metrics:
            curves = {variant.key: by_count(board, variant, test, metric) for variant in shown}
            curves = {key: curve for key, curve in curves.items() if curve.values}
            if len({size for curve in curves.values() for size in curve.values}) < 2:
                continue
            best = best_mean(board, test, metric)
            control = by_count(board, best[0], test, metric) if best is not None else None
            scale = _scale([*curves.values(), *([control] if control is not None else [])])
            name = f"axes-{next(numbers)}"
            labels = {key: board.variant(key).label for key in curves}
            spoken = f"{metric_label(metric)} by number of sequences"
            plots = [(labels[key], _plot(c, scale, name, f"{labels[key]}, {spoken}")) for key, c in curves.items()]
            backdrop = _backdrop(scale, control, name)
            found.append(Robustness(test, metric, best[0].label if best is not None else "", backdrop, tuple(plots)))
    return found


@dataclass(frozen=True)
class _Scale:
    sizes: int
    low: float
    high: float

    def place(self, size: int, value: float) -> str:
        """Return a place in pixels."""
        x = _LEFT + 10 + (size - 1) / max(self.sizes - 1, 1) * (_WIDTH - 20)
        return f"{x:.0f} {_TOP + (1 - (value - self.low) / (self.high - self.low)) * _HEIGHT:.1f}"


def _scale(curves: Sequence[Curve]) -> _Scale:
    values = [value for curve in curves for found in curve.values.values() for value in found]
    low, high = min(values), max(values)
    pad = max(0.04 * (high - low), 0.01)
    return _Scale(max(size for curve in curves for size in curve.values), low - pad, high + pad)


def _backdrop(scale: _Scale, control: Curve | None, name: str) -> Markup:
    bottom = _TOP + _HEIGHT
    body = []
    for tick in nice_ticks(scale.low, scale.high, 3):
        y = _TOP + (1 - (tick - scale.low) / (scale.high - scale.low)) * _HEIGHT
        body += [line(_LEFT, y, _LEFT + _WIDTH, y, "grid"), text(_LEFT - 4, y + 4, f"{tick:g}", "tick", "end")]
    for size in range(1, scale.sizes + 1):
        x = float(scale.place(size, scale.low).split()[0])
        body.append(text(x, bottom + 13, str(size), "tick", "middle"))
    if control is not None and control.means:
        body.append(_path(control, scale, "control"))
    return Markup(
        f'<svg class="unseen" width="0" height="0" aria-hidden="true"><symbol id="{name}" overflow="visible">'
        f"{Markup('').join(body)}</symbol></svg>"
    )


def _path(curve: Curve, scale: _Scale, kind: str) -> Markup:
    points = "L".join(scale.place(size, value) for size, value in curve.means.items())
    return Markup(f'<path d="M{points}" class="{kind}"/>')


def _plot(curve: Curve, scale: _Scale, name: str, spoken: str) -> Markup:
    dots = "".join(f"M{scale.place(size, value)}h0" for size, found in curve.values.items() for value in found)
    body = [Markup(f'<use href="#{name}"/>'), Markup(f'<path d="{dots}" class="dots s1"/>')]
    if curve.means:
        body.append(_path(curve, scale, "curve s0"))
    means = ", ".join(f"{size}: {decimal(value)}" for size, value in curve.means.items())
    return frame(_LEFT + _WIDTH + 4, _TOP + _HEIGHT + 18, f"{spoken}: {means}", body)
