"""Sections that plugins add to the HTML page, each in a sandboxed frame that can only display."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from anyadbench.boards.aggregate.model import Board
from anyadbench.boards.aggregate.report_section import ReportSection
from anyadbench.plugins import collect
from anyadbench.plugins.guard import PluginError, guarded

_STYLE = (
    "html{background:#fff;color:#1a1f26;font:15px/1.5 system-ui,sans-serif}body{margin:12px}img,svg{max-width:100%}"
)


@dataclass(frozen=True)
class AddedSection:
    """A section in the form that the page's template uses; ``problem`` explains why there is no ``document``."""

    id: str
    title: str
    height: int
    document: str = ""
    problem: str = ""


def _body(section: ReportSection, board: Board) -> str:
    return str(section.render(board))


def added_sections(board: Board) -> list[AddedSection]:
    """Render the sections of all plugins; one that fails shows its problem instead."""
    offered, broken = collect("anyadbench_report_sections")
    found: list[AddedSection] = []
    for section in (section for sections in offered for section in sections):
        place = f"added-{len(found) + 1}"
        if not isinstance(section, ReportSection):
            problem = f"A plugin's report section is a {type(section).__name__}, not a ReportSection."
            found.append(AddedSection(place, "Plugin", 0, problem=problem))
            continue
        try:
            body = guarded(partial(_body, section, board), f"the plugin's section {section.title!r}", limit=0)
        except PluginError as error:  # the rest of the page is unaffected
            text = f"The section cannot be shown: {error}"
            found.append(AddedSection(place, section.title, 0, problem=text))
            continue
        document = f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><style>{_STYLE}</style><body>{body}</body>'
        found.append(AddedSection(place, section.title, max(60, min(section.height, 4000)), document))
    for item in broken:
        found.append(AddedSection(f"added-{len(found) + 1}", item.name, 0, problem=item.message))
    return found
