"""Plots as inline SVG, coloured by the page's style sheet, so that they follow its light and dark themes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from anyadbench.boards.render.parts.elements import frame as _frame
from anyadbench.boards.render.parts.elements import line as _line
from anyadbench.boards.render.parts.elements import text as _text
from anyadbench.boards.render.parts.elements import titled
from anyadbench.boards.render.parts.elements import turned as _turned
from anyadbench.boards.render.text import clean, decimal

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Mark:
    """A value with its interval, drawn as a dot on a line.

    Attributes:
        style: Number of the series, from 0; it selects colour and shape.
    """

    group: str
    label: str
    value: float
    low: float | None
    high: float | None
    style: int


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return about ``count`` round numbers between ``low`` and ``high``."""
    span = high - low
    if not span > 0 or not math.isfinite(span):
        return [low]
    raw = span / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def shape(x: float, y: float, style: int, size: float = 4.0) -> Markup:
    """Return a marker; both colour and shape identify the series, so either one suffices."""
    kind = f"mark c{style % 7}"
    form = style % 4
    if form == 0:
        return Markup(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size:.1f}" class="{kind}"/>')
    if form == 1:
        half = 0.9 * size
        place = f'x="{x - half:.1f}" y="{y - half:.1f}" width="{2 * half:.1f}" height="{2 * half:.1f}"'
        return Markup(f'<rect {place} class="{kind}"/>')
    corners = {2: ((0, -1.2), (1.15, 0.9), (-1.15, 0.9)), 3: ((0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0))}[form]
    points = " ".join(f"{x + dx * size:.1f},{y + dy * size:.1f}" for dx, dy in corners)
    return Markup(f'<polygon points="{points}" class="{kind}"/>')


def interval_plot(
    marks: Sequence[Mark], title: str, references: Mapping[str, tuple[str, float]] | None = None
) -> Markup:
    """Draw one line per mark, grouped, on a common scale.

    Args:
        marks: Values with intervals, those of a group in a row.
        title: What the plot shows, for screen readers.
        references: For a group the name and the value of the best control, drawn through the group as a dashed line.
    """
    references = references or {}
    labelled = len({mark.label for mark in marks}) > 1
    indent = max(84.0, 16 + 9.0 * max(len(mark.group) for mark in marks))
    left, right, row, width = indent + (148.0 if labelled else 26.0), 64.0, 17.0, 760.0
    ends = [end for mark in marks for end in (mark.low, mark.high, mark.value) if end is not None]
    ends += [value for _, value in references.values()]
    low, high = min(ends), max(ends)
    pad = max(0.04 * (high - low), 0.01)
    low, high = max(low - pad, 0.0), min(high + pad, 1.0)
    scale = (width - left - right) / max(high - low, 1e-9)
    body: list[Markup] = []
    rows: list[Markup] = []
    y, group = 8.0, None
    for mark in marks:
        if mark.group != group:
            y += 0 if group is None else 8
            rows.append(_text(8, y + 12, mark.group, "group"))
            group = mark.group
            if group in references:
                name, value = references[group]
                tall = row * sum(other.group == group for other in marks)
                x = left + (value - low) * scale
                spoken = f"Best control on {group}: {name}, {value:.4f}"
                rows.append(titled(spoken, [_line(x, y, x, y + tall, "control")]))
        middle = y + row / 2
        x = left + (mark.value - low) * scale
        tip = f"{mark.label}, {mark.group}: {mark.value:.4f}"
        parts = [Markup(f"<g><title>{escape(clean(tip))}</title>")]
        if labelled:
            parts.append(_text(indent, y + 12, clean(mark.label, 22), "label"))
        if mark.low is not None and mark.high is not None:
            x1, x2 = left + (mark.low - low) * scale, left + (mark.high - low) * scale
            parts.append(_line(x1, middle, x2, middle, f"whisker s{mark.style % 7}"))
        parts += [shape(x, middle, mark.style), _text(width - right + 12, y + 12, decimal(mark.value), "number")]
        rows.append(Markup("").join(parts) + Markup("</g>"))
        y += row
    bottom = y + 6
    for tick in nice_ticks(low, high):
        x = left + (tick - low) * scale
        body += [_line(x, 4, x, bottom, "grid"), _text(x, bottom + 15, f"{tick:g}", "tick", "middle")]
    return _frame(width, bottom + 22, title, [*body, *rows])


def curve_plot(
    curves: Sequence[tuple[int, int, str, Points]],
    title: str,
    axes: tuple[str, str],
    x_end: float,
    reference: Points = (),
) -> Markup:
    """Draw curves in the unit square, clipped at ``x_end``.

    Args:
        curves: Colour number, dash number, name and points of each.
        title: What the plot shows, for screen readers.
        axes: Names of the x and the y axis.
        x_end: Right end of the x axis.
        reference: Points of the best control's curve, drawn below the others.
    """
    left, top, side = 40.0, 8.0, 210.0
    body: list[Markup] = []
    for tick in (0, 0.25, 0.5, 0.75, 1.0):
        x, y = left + tick * side, top + (1 - tick) * side
        body += [_line(x, top, x, top + side, "grid"), _line(left, y, left + side, y, "grid")]
        body.append(_text(left - 6, y + 4, f"{tick:g}", "tick", "end"))
        body.append(_text(x, top + side + 15, f"{tick * x_end:.3g}", "tick", "middle"))
    if x_end == 1.0 and "rate" in axes[0]:
        body.append(_line(left, top + side, left + side, top, "chance"))
    drawn = [("control", "best control", reference)] if reference else []
    drawn += [(f"curve s{colour % 7} d{dash % 4}", name, points) for colour, dash, name, points in curves]
    for kind, name, points in drawn:
        inside = [(x, y) for x, y in points if x <= x_end + 1e-9]
        path = " ".join(f"{left + x / x_end * side:.1f},{top + (1 - y) * side:.1f}" for x, y in inside)
        named = f"<title>{escape(clean(name))}</title>"
        body.append(Markup(f'<polyline points="{path}" class="{kind}">{named}</polyline>'))
    body.append(_text(left + side / 2, top + side + 32, axes[0], "axis", "middle"))
    body.append(_turned(top + side / 2, axes[1]))
    return _frame(left + side + 14, top + side + 40, title, body)


def line_plot(lines: Sequence[tuple[int, int, str, Points]], title: str, axes: tuple[str, str]) -> Markup:
    """Draw lines over steps; on a log scale where all values are positive and span more than 30-fold.

    Args:
        lines: Colour number, dash number, name and points of each.
        title: What the plot shows, for screen readers.
        axes: Names of the x and the y axis.
    """
    left, top, width, height = 58.0, 8.0, 330.0, 150.0
    xs, ys = ([point[i] for *_, points in lines for point in points] for i in (0, 1))
    logarithmic = min(ys) > 0 and max(ys) / min(ys) > 30
    change = math.log10 if logarithmic else float
    y0, y1 = change(min(ys)), change(max(ys))
    pad = 0.06 * (y1 - y0) or 0.5 * abs(y1) or 1.0
    y0, y1, x1 = y0 - pad, y1 + pad, max(xs)
    body: list[Markup] = []
    powers = [float(p) for p in range(math.ceil(y0), math.floor(y1) + 1)] if logarithmic else []
    for tick in powers if len(powers) > 1 else nice_ticks(y0, y1, 4):
        y = top + (1 - (tick - y0) / (y1 - y0)) * height
        body.append(_line(left, y, left + width, y, "grid"))
        body.append(_text(left - 6, y + 4, f"{10**tick if logarithmic else tick:.3g}", "tick", "end"))
    for tick in nice_ticks(0, x1, 4):
        x = left + tick / x1 * width
        body += [_line(x, top, x, top + height, "grid"), _text(x, top + height + 15, f"{tick:g}", "tick", "middle")]
    for colour, dash, name, points in lines:
        places = [(left + x / x1 * width, top + (1 - (change(y) - y0) / (y1 - y0)) * height) for x, y in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        named = Markup(f"<title>{escape(clean(name))}</title>")
        body.append(Markup(f'<polyline points="{path}" class="curve s{colour % 7} d{dash % 4}">{named}</polyline>'))
    body.append(_text(left + width / 2, top + height + 32, axes[0], "axis", "middle"))
    body.append(_turned(top + height / 2, axes[1]))
    return _frame(left + width + 14, top + height + 40, title, body)


def swatch(colour: int, dash: int) -> Markup:
    """Return a line sample for a legend."""
    return Markup(
        '<svg class="swatch" width="26" height="10" viewBox="0 0 26 10" aria-hidden="true">'
        f'<line x1="1" y1="5" x2="25" y2="5" class="curve s{colour % 7} d{dash % 4}"/></svg>'
    )


CONTROL_SWATCH = Markup(
    '<svg class="swatch" width="26" height="10" viewBox="0 0 26 10" aria-hidden="true">'
    '<line x1="1" y1="5" x2="25" y2="5" class="control"/></svg>'
)
"""Sample of the line that controls are drawn with."""
