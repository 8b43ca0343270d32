"""A section that a plugin adds to a board's HTML page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from anyadbench.boards.aggregate.model import Board


@dataclass(frozen=True)
class ReportSection:
    """A section of the page.

    Its HTML is shown in a frame without scripts, forms or outgoing links, under the page's own policy of loading
    nothing: images must be data URIs or SVG, and styles must be inside the section. Escape everything that comes from
    the board, with ``html.escape`` or a template.

    Attributes:
        title: Its heading, also shown in the page's bar.
        render: Takes the ``Board`` and returns the content of the frame's body.
        height: Height of the frame in pixels; taller content scrolls.
    """

    title: str
    render: Callable[[Board], str]
    height: int = 360
