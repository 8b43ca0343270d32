"""The section on whole scans of the HTML page, and the same tables for other formats."""

from __future__ import annotations

from typing import Any

from anyadbench.boards.aggregate.model import Board
from anyadbench.boards.scans.boxes import BOXES_TITLE, RULE, box_tables
from anyadbench.boards.scans.curves import froc_curves, single_scans
from anyadbench.boards.scans.tables import (
    Table,
    alarm_tables,
    bin_tables,
    group_tables,
    has_scans,
    rules,
    scan_tables,
    site_tables,
)

SCANS_TITLE = "Whole scans"


def whole_scans(board: Board) -> dict[str, Any] | None:
    """Return the contents of the section; ``None`` if no line has any."""
    if not has_scans(board):
        return None
    return {
        "rules": rules(board),
        "scans": list(scan_tables(board)),
        "bins": list(bin_tables(board)),
        "froc": froc_curves(board),
        "single": single_scans(board),
        "alarms": list(alarm_tables(board)),
        "groups": list(group_tables(board)),
        "sites": list(site_tables(board)),
        "boxes": list(box_tables(board)),
        "box_rule": RULE,
    }


def added_tables(board: Board) -> dict[str, list[Table]]:
    """Return the tables by the title of their section."""
    return {
        SCANS_TITLE: [*scan_tables(board), *bin_tables(board)],
        "Alarms of healthy subjects": [*alarm_tables(board), *group_tables(board)],
        "By site": list(site_tables(board)),
        BOXES_TITLE: list(box_tables(board)),
    }
