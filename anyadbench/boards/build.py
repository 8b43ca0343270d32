"""Writing boards: one folder per protocol with CSV, Markdown and the HTML page."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from anyadbench.boards.aggregate.load import load_boards
from anyadbench.boards.aggregate.model import Board
from anyadbench.boards.render.csvfile import leaderboard_csv, summary_csv
from anyadbench.boards.render.markdown import board_markdown
from anyadbench.boards.render.terminal import plain_console
from anyadbench.boards.render.terminal import print_board as print_table
from anyadbench.errors import UserError

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


def board_files(board: Board) -> dict[str, str]:
    """Return the text of each file of a board by name."""
    from anyadbench.boards.render.html import board_html

    tables = {"leaderboard.csv": leaderboard_csv(board), "summary.csv": summary_csv(board)}
    return {**tables, "leaderboard.md": board_markdown(board), "report.html": board_html(board, tables)}


def build_boards(runs: Path, out: Path, protocol: str | None = None, reported: Path | None = None) -> list[BuiltBoard]:
    """Write the boards of a runs folder to ``out``, replacing each file in one step.

    Args:
        runs: Folder written by 'anyadbench run'.
        out: Folder for one folder per protocol; created if missing.
        protocol: Name of the only protocol wanted.
        reported: Folder with tables from publications, whose rows are added.

    Raises:
        UserError: If there is nothing to show or ``out`` cannot be written.
    """
    from anyadbench.boards.render.html import index_html

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
    """Write a file under a temporary name and rename it, so that no reader ever sees a partial file."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
        # mkstemp makes files that only their owner can read; a board is for everyone the umask allows.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(name, 0o666 & ~mask)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def print_board(board: BuiltBoard | Board, console: Console | None = None, method: str | None = None) -> None:
    """Print a board as tables, and the paths of its files if it was written.

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
