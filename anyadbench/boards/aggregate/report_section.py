"""A section that a plugin adds to the HTML page of a board."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from anyadbench.boards.aggregate.model import Board


@dataclass(frozen=True)
class ReportSection:
    """A section of the page.

    Its HTML goes into a frame without scripts, forms or links out, under the page's own policy that nothing is loaded
    from anywhere: pictures have to be data URIs or SVG, styles stand in the section. Whatever it puts in from a board
    has to be escaped, by ``html.escape`` or a template.

    Attributes:
        title: Its heading, also in the page's bar.
        render: Takes the ``Board``, returns what stands in the frame's body.
        height: Height of the frame in pixels; what is taller scrolls.
    """

    title: str
    render: Callable[[Board], str]
    height: int = 360
