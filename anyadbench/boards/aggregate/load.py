"""The boards of a runs folder, and the tables of publications next to it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from anyadbench.boards.aggregate.assemble import make_boards
from anyadbench.boards.aggregate.model import Board
from anyadbench.boards.aggregate.plugin_metrics import with_added_metrics
from anyadbench.boards.aggregate.reported import read_reported
from anyadbench.boards.shots.curves import with_shots
from anyadbench.boards.shots.families import families, relatives
from anyadbench.errors import UserError, suggest
from anyadbench.results.read import read_cells


def load_boards(
    runs: Path, protocol: str | None = None, reported: Path | None = None, *, family: bool = False
) -> list[Board]:
    """Aggregate a runs folder.

    Args:
        runs: Folder with a folder ``cells``.
        protocol: Name of the only protocol wanted.
        reported: Folder with tables from publications.
        family: Whether to return the boards that show the same curve over numbers of training subjects too.

    Raises:
        UserError: If it is not a runs folder, or has no finished result (of ``protocol``).
    """
    records, notices = with_added_metrics(read_cells(runs))
    tables = read_reported(reported) if reported is not None else ()
    known = families(records)
    wanted = [None] if protocol is None else relatives(records, protocol, known)
    boards = [board for name in wanted for board in make_boards(records, name, tables)]
    boards = [board for board in with_shots(boards, known) if family or protocol in (None, board.protocol.name)]
    if boards:
        return [replace(board, notices=(*board.notices, *notices)) for board in boards]
    names = sorted({record.result.protocol.name for record in records if record.result is not None})
    if protocol is not None and names:
        raise UserError(f"{runs} has no finished result of protocol {protocol!r}.{suggest(protocol, names)}")
    problem = next((record.problem for record in records if record.problem), None)
    failed = next((f"{r.method or r.folder.name} failed: {r.error}" for r in records if r.state == "failed"), None)
    why = f" The first problem: {problem or failed}" if problem or failed else ""
    raise UserError(f"{runs} has no finished result; run a method first with 'anyadbench run'.{why}")


def reported_of(runs: Path) -> Path | None:
    """Return the folder with tables from publications next to the results, if it exists."""
    folder = runs.parent / "reported"
    return folder if runs.name == "results" and folder.is_dir() else None
