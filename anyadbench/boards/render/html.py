"""The board as one self-contained HTML page: no network, no second file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from anyadbench.boards.aggregate.flags import EXPLANATIONS
from anyadbench.boards.aggregate.model import KINDS, Board
from anyadbench.boards.encoders.table import encoder_tables
from anyadbench.boards.render import page_tables, plots, svg
from anyadbench.boards.render.gallery import make_gallery
from anyadbench.boards.render.heat_colours import level_rules
from anyadbench.boards.render.losses import training_plot
from anyadbench.boards.render.parts.heat_maps import heat_maps
from anyadbench.boards.render.parts.notices import grouped_notices, missing
from anyadbench.boards.render.parts.references import MARK_MEANINGS
from anyadbench.boards.render.parts.robustness import robustness
from anyadbench.boards.render.parts.significance import matrices
from anyadbench.boards.render.plugin_sections import added_sections
from anyadbench.boards.render.text import (
    DASH,
    KIND_TITLES,
    clean,
    decimal,
    group_letter,
    metric_label,
    metric_short,
    plural,
    seed_text,
    signed,
    span,
)
from anyadbench.boards.render.verdicts import verdicts
from anyadbench.boards.scans.page import whole_scans
from anyadbench.boards.shots.plots import shot_plots

if TYPE_CHECKING:
    from jinja2 import Environment


def board_html(board: Board, tables: Mapping[str, str] | None = None) -> str:
    """Return the page; all text from results is escaped, and only the page's own script may run.

    Args:
        board: The board.
        tables: Text of the CSV files by name, if available.
    """
    environment = _environment()
    script, style = _asset("page.js"), f"{_asset('page.css')}\n{level_rules()}"
    context: Mapping[str, Any] = {
        "board": board,
        "script": script,
        "style": style,
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        "facts": page_tables.facts(board),
        "cards": page_tables.cards(board),
        "sections": page_tables.ranking(board),
        "results": page_tables.results(board),
        "verdicts": verdicts(board),
        "notices": grouped_notices(board),
        "matrices": matrices(board),
        "robustness": robustness(board),
        "shots": shot_plots(board),
        "encoders": encoder_tables(board),
        "heat": heat_maps(board),
        "mark_meanings": MARK_MEANINGS,
        "control_swatch": svg.CONTROL_SWATCH,
        "decisions": page_tables.decisions(board),
        "sizes": page_tables.sizes(board),
        "whole": whole_scans(board),
        "coverage": page_tables.coverage(board),
        "missing": missing(board),
        "methods": page_tables.methods(board),
        "trainings": {variant.key: training_plot(variant) for variant in board.variants},
        "intervals": plots.intervals(board),
        "curves": plots.curves(board),
        "costs": plots.costs(board),
        "max_drawn": plots.MAX_DRAWN,
        "max_curves": plots.MAX_CURVES,
        "gallery": make_gallery(board),
        "added": added_sections(board),
        "downloads": page_tables.downloads(tables or page_tables.tables(board)),
    }
    return environment.get_template("page.html.j2").render(context)


def index_html(boards: Sequence[Board]) -> str:
    """Return a page with links to several boards, each in a folder named after its slug."""
    entries = []
    for board in boards:
        kinds = {kind: sum(variant.kind == kind for variant in board.variants) for kind in KINDS}
        counts = [f"{count} {kind}" for kind, count in kinds.items() if count]
        entries.append({"board": board, "counts": ", ".join(counts), "card": page_tables.leader(board)})
    context: Mapping[str, Any] = {"entries": entries, "style": _asset("page.css")}
    return _environment().get_template("index.html.j2").render(context)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("anyadbench.boards.render", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "decimal": decimal,
        "metric": metric_label,
        "metric_short": metric_short,
        "clean": clean,
        "seeds": seed_text,
        "letter": group_letter,
        "ends": lambda pair: span(*pair),
        "plural": plural,
        "signed": signed,
    }
    environment.globals |= {"DASH": DASH, "KIND_TITLES": KIND_TITLES, "EXPLANATIONS": EXPLANATIONS, "asset": Markup}
    return environment


@lru_cache(maxsize=4)
def _asset(name: str) -> str:
    """Return a script or style sheet of this package as text."""
    from importlib.resources import files

    return (files("anyadbench.boards.render") / "templates" / name).read_text(encoding="utf-8").strip()
