"""Writing boards: one folder per protocol with CSV, Markdown and the HTML page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from anyadbench.boards.aggregate.load import load_boards
from anyadbench.boards.aggregate.model import Board
from anyadbench.boards.cache import BoardCache, Kept
from anyadbench.boards.render.csvfile import leaderboard_csv, summary_csv
from anyadbench.boards.render.markdown import board_markdown
from anyadbench.boards.render.terminal import plain_console
from anyadbench.boards.render.terminal import print_board as print_table
from anyadbench.boards.scans.csvfile import scans_csv
from anyadbench.boards.shots.csvfile import shots_csv
from anyadbench.files import make_folder, write_text, write_together

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
    added = {"scans.csv": scans_csv(board), "shots.csv": shots_csv(board)}
    added = {name: text for name, text in added.items() if text}
    page = board_html(board, tables | added)
    return {**tables, "leaderboard.md": board_markdown(board), "report.html": page, **added}


def build_boards(
    runs: Path, out: Path, protocol: str | None = None, reported: Path | None = None, option: str = "--out"
) -> list[BuiltBoard]:
    """Write the boards of a runs folder to ``out``; a board's files are replaced together or not at all.

    Boards whose results have not changed come from a cache, see ``anyadbench.boards.cache``, with the same bytes.

    Args:
        runs: Folder written by 'anyadbench run'.
        out: Folder for one folder per protocol; created if missing.
        protocol: Name of the only protocol wanted; boards that share its curve are written too, and not returned.
        reported: Folder with tables from publications, whose rows are added.
        option: The command's option that chose the folder, for errors.

    Raises:
        UserError: If there is nothing to show or ``out`` cannot be written.
    """
    cache = BoardCache(runs, protocol, reported)
    kept = cache.read()
    if kept is None:
        kept = _made(runs, protocol, reported)
        cache.write(kept)
    built = []
    for board, files in kept.boards:
        folder = out / board.slug
        make_folder(folder, option)
        write_together({folder / name: text.encode("utf-8") for name, text in files.items()}, option)
        first, second, third, last = (folder / name for name in list(files)[:4])
        built.append(BuiltBoard(board.slug, folder, first, second, third, last, board))
    write_text(out / "index.html", kept.index, option)
    return [one for one in built if protocol in (None, one.board.protocol.name)]


def _made(runs: Path, protocol: str | None, reported: Path | None) -> Kept:
    from anyadbench.boards.render.html import index_html

    # A new cell changes the curve on every board of its family.
    found = load_boards(runs, protocol, reported, family=True)
    boards = tuple((board, board_files(board)) for board in found)
    return Kept(boards, index_html([board for board, _ in boards]))


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
