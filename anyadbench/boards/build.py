"""Writing boards: one folder per protocol with CSV, Markdown and the HTML page."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from anyadbench.boards.added import with_added_metrics
from anyadbench.boards.aggregate import make_boards
from anyadbench.boards.csvfile import leaderboard_csv, summary_csv
from anyadbench.boards.markdown import board_markdown
from anyadbench.boards.model import Board
from anyadbench.boards.reported import read_reported
from anyadbench.boards.table import plain_console
from anyadbench.boards.table import print_board as print_table
from anyadbench.errors import UserError, suggest
from anyadbench.results.read import read_cells

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class BuiltBoard:
    """Where one board was written."""

    protocol: str
    folder: Path
    leaderboard: Path
    summary: Path
    markdown: Path
    report: Path
    board: Board


def load_boards(runs: Path, protocol: str | None = None, reported: Path | None = None) -> list[Board]:
    """Aggregate a runs folder.

    Args:
        runs: Folder with a folder ``cells``.
        protocol: Name of the only protocol wanted.
        reported: Folder with tables from publications.

    Raises:
        UserError: If it is no runs folder, or holds no finished result (of ``protocol``).
    """
    records, notices = with_added_metrics(read_cells(runs))
    boards = make_boards(records, protocol, read_reported(reported) if reported is not None else ())
    if boards:
        return [replace(board, notices=(*board.notices, *notices)) for board in boards]
    known = sorted({record.result.protocol.name for record in records if record.result is not None})
    if protocol is not None and known:
        raise UserError(f"{runs} holds no finished result of protocol {protocol!r}.{suggest(protocol, known)}")
    problem = next((record.problem for record in records if record.problem), None)
    failed = next((f"{r.method or r.folder.name} failed: {r.error}" for r in records if r.state == "failed"), None)
    why = f" The first problem: {problem or failed}" if problem or failed else ""
    raise UserError(f"{runs} holds no finished result; run a method first with 'anyadbench run'.{why}")


def reported_of(runs: Path) -> Path | None:
    """Return the folder with tables from publications beside results, if there is one."""
    folder = runs.parent / "reported"
    return folder if runs.name == "results" and folder.is_dir() else None


def board_files(board: Board) -> dict[str, str]:
    """Return the text of each file of a board by name."""
    from anyadbench.boards.html import board_html

    tables = {"leaderboard.csv": leaderboard_csv(board), "summary.csv": summary_csv(board)}
    return {**tables, "leaderboard.md": board_markdown(board), "report.html": board_html(board, tables)}


def build_boards(runs: Path, out: Path, protocol: str | None = None, reported: Path | None = None) -> list[BuiltBoard]:
    """Write the boards of a runs folder to ``out``, each file replaced in one step.

    Args:
        runs: Folder that 'anyadbench run' wrote.
        out: Folder that receives one folder per protocol; it is made if missing.
        protocol: Name of the only protocol wanted.
        reported: Folder with tables from publications, whose rows are added.

    Raises:
        UserError: If there is nothing to show or ``out`` cannot be written.
    """
    from anyadbench.boards.html import index_html

    built = []
    for board in load_boards(runs, protocol, reported):
        folder = out / board.slug
        files = board_files(board)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, text in files.items():
                write_text(folder / name, text)
        except OSError as error:
            raise UserError(f"{folder} cannot be written ({error.strerror}); give another folder with --out.") from None
        first, second, third, last = (folder / name for name in files)
        built.append(BuiltBoard(board.slug, folder, first, second, third, last, board))
    write_text(out / "index.html", index_html([one.board for one in built]))
    return built


def write_text(path: Path, text: str) -> None:
    """Write a file under a temporary name and rename it, so that nobody ever sees half of it."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
        # mkstemp makes files that only their owner can read; a board is for everybody the umask allows.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(name, 0o666 & ~mask)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def print_board(board: BuiltBoard | Board, console: Console | None = None, method: str | None = None) -> None:
    """Print a board as tables, and where its files are if it was written.

    Args:
        board: The board.
        console: Where to print; standard output by default.
        method: Name of the only method to show.
    """
    if isinstance(board, Board):
        print_table(board, console=console, method=method)
        return
    out = console or plain_console()
    print_table(board.board, console=out, method=method)
    for name, path in (("Report", board.report), ("Table", board.leaderboard)):
        out.print(f"{name}: {path}", markup=False, soft_wrap=True)
