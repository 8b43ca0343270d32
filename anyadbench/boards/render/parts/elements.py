"""Elements of inline SVG, coloured by the page's style sheet; all text is escaped here."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape

from anyadbench.boards.render.text import clean


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> Markup:
    """Return text at a place in pixels; ``anchor`` is ``start``, ``middle`` or ``end``."""
    # Only text needs escaping; formatting everything through Markup would take half of a large page's time.
    return Markup(f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(clean(words))}</text>')


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    """Return a straight line."""
    return Markup(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>')


def turned(y: float, words: str) -> Markup:
    """Return the name of a vertical axis, centred at ``y`` on the left edge."""
    place = f'transform="translate(11 {y:.0f}) rotate(-90)"'
    return Markup(f'<text {place} class="axis" text-anchor="middle">{escape(clean(words))}</text>')


def titled(title: str, body: Sequence[Markup]) -> Markup:
    """Return elements as a group whose title appears under the pointer and to screen readers."""
    return Markup(f"<g><title>{escape(clean(title))}</title>{''.join(body)}</g>")


def frame(width: float, height: float, title: str, body: Sequence[Markup]) -> Markup:
    """Return a whole picture of a size in pixels."""
    size = f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}"'
    return Markup(f'<svg {size} role="img" aria-label="{escape(clean(title))}">{"".join(body)}</svg>')
