"""The check of a submission: cells by themselves, and boards against the cells that they were built from."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from anyadbench.boards.aggregate.model import Board
from anyadbench.boards.verify.cell import check_cell
from anyadbench.boards.verify.findings import CellReport
from anyadbench.boards.verify.twins import twins
from anyadbench.errors import UserError

BOARD_FILES = ("leaderboard.csv", "summary.csv", "leaderboard.md", "report.html", "scans.csv", "shots.csv")
INDEX = "index.html"
"""The page that links boards, beside their folders."""

_KEYS = ("kind", "variant", "test", "subset", "metric", "subjects", "subject", "scan", "seed")
_LINK = re.compile(r'href="([^"/]+)/report\.html"')


@dataclass
class CheckReport:
    """The findings of a check.

    Attributes:
        boards: Board files that were compared with the results.
        shared: One sentence for each pair of cells that share scores without sharing the model.
    """

    cells: list[CellReport] = field(default_factory=list)
    shared: list[str] = field(default_factory=list)
    boards: list[Path] = field(default_factory=list)
    board_problems: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """All problems: of single cells, of pairs of cells, and of boards."""
        return [*(text for cell in self.cells for text in cell.problems), *self.shared, *self.board_problems]

    @property
    def numbers(self) -> int:
        """Number of values recomputed."""
        return sum(cell.numbers for cell in self.cells)


def check(path: Path, runs: Path | None = None) -> CheckReport:
    """Check a cell, a runs folder, a board, or a folder with several of them.

    Args:
        path: ``result.json``, a board file, or a folder.
        runs: Runs folder of boards that are not next to theirs.

    Raises:
        UserError: If there is nothing to check, or a board's results are missing.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist; give a cell, a runs folder, or a board.")
    report = CheckReport()
    if path.name == "result.json" or (path.is_dir() and (path / "result.json").is_file()):
        report.cells.append(check_cell(path if path.is_dir() else path.parent))
        return report
    known_files = (*BOARD_FILES, INDEX)
    if path.is_file() and path.name not in known_files:
        raise UserError(
            f"{path} is neither result.json nor one of {', '.join(known_files)}; give one of these or a folder."
        )
    for folder in _cells(path) if path.is_dir() else []:
        report.cells.append(check_cell(folder))
    known = [(cell.folder.name, cell.result, cell.prints) for cell in report.cells if cell.result is not None]
    report.shared += twins(known)
    _check_boards(report, path, runs)
    if not (report.cells or report.boards):
        raise UserError(f"{path} contains no cell and no board; give a cell, a runs folder, or a board.")
    return report


def _cells(path: Path) -> list[Path]:
    """Return the finished cells below a folder; unfinished ones are not part of a submission."""
    found = (file.parent for file in path.rglob("result.json") if not file.is_symlink())
    return sorted(folder for folder in found if not folder.name.endswith(".partial"))


def _results_of(folder: Path) -> Path:
    """Return the results that a board was built from: ``../..`` of a runs folder, or ``../results``."""
    for place in (folder.parent.parent, folder.parent / "results", folder.parent.parent / "results"):
        if (place / "cells").is_dir():
            return place
    raise UserError(f"{folder} has no results next to it to recompute it from; name the runs folder with --runs DIR.")


def _check_boards(report: CheckReport, path: Path, runs: Path | None) -> None:
    """Compare a board's file, or the boards and their indices below a folder, with what the results give."""
    below = [] if path.is_file() else sorted(file for name in BOARD_FILES for file in path.rglob(name))
    files = below if path.is_dir() else [path] if path.name in BOARD_FILES else []
    loaded: dict[Path, dict[str, Board]] = {}
    for folder in dict.fromkeys(file.parent for file in files):
        results = runs or _results_of(folder)
        named = [file for file in files if file.parent == folder]
        _check_board(report, folder, named, results, _boards_of(report, results, loaded))
    indices = {file.parent.parent / INDEX for file in below} if path.is_dir() else {path} - set(files)
    for index in sorted(one for one in indices if one.is_file() and (path == one or path in one.parents)):
        results = runs or _results_of(index.parent / "board")
        _check_index(report, index, _boards_of(report, results, loaded))


def _boards_of(report: CheckReport, runs: Path, loaded: dict[Path, dict[str, Board]]) -> dict[str, Board]:
    """Return the boards of a runs folder by name; none, and a problem, if there are none."""
    from anyadbench.boards.aggregate.load import load_boards, reported_of

    if runs not in loaded:
        loaded[runs] = {}
        try:
            loaded[runs] = {board.slug: board for board in load_boards(runs, reported=reported_of(runs))}
        except UserError as error:
            report.board_problems.append(str(error))
    return loaded[runs]


def _check_board(report: CheckReport, folder: Path, files: list[Path], runs: Path, boards: dict[str, Board]) -> None:
    from anyadbench.boards.build import board_files

    report.boards += files
    if folder.name not in boards:
        report.board_problems.append(f"{folder}: {runs} has no results of a protocol of this name.")
        return
    wanted = board_files(boards[folder.name])
    for file in files:
        where, text = f"{folder.name}/{file.name}", _text(report, file)
        if text is None:
            continue
        if file.name not in wanted:
            report.board_problems.append(f"{where}: the results give no such file; build the board again.")
        elif file.suffix == ".csv":
            report.board_problems += _table_differences(where, wanted[file.name], text)
        elif text != wanted[file.name]:
            report.board_problems.append(_line_difference(where, wanted[file.name], text))


def _check_index(report: CheckReport, file: Path, boards: dict[str, Board]) -> None:
    """Compare an index with that of the boards that it links: a run writes one of its own protocol alone."""
    from anyadbench.boards.render.html import index_html

    report.boards.append(file)
    text = _text(report, file)
    if text is None:
        return
    linked = [unquote(name) for name in _LINK.findall(text)]
    unknown = next((name for name in linked if name not in boards), None)
    where = f"{file.parent.name}/{file.name}"
    if unknown is not None:
        report.board_problems.append(f"{where}: there are no results of {unknown}, which it links.")
        return
    wanted = index_html([board for name, board in boards.items() if name in linked])
    if text != wanted:
        report.board_problems.append(_line_difference(where, wanted, text))


def _text(report: CheckReport, file: Path) -> str | None:
    """Return the text of a file; ``None``, and a problem, if it cannot be read."""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        report.board_problems.append(f"{file} cannot be read as text; build the board again.")
        return None


def _table_differences(where: str, wanted: str, found: str) -> list[str]:
    ours, theirs = _rows(wanted), _rows(found)
    problems = []
    for key in dict.fromkeys([*ours, *theirs]):
        name = ", ".join(part for part in key if part)
        if key not in theirs or key not in ours:
            problems.append(f"{where}: the row {name} is {'missing' if key in ours else 'not in any result'}.")
            continue
        for column in dict.fromkeys([*ours[key], *theirs[key]]):
            one, other = ours[key].get(column), theirs[key].get(column)
            if one != other:
                problems.append(f"{where}: {name}: {column} is {other!r}, but the results give {one!r}.")
    if not problems and wanted != found:
        problems.append(_line_difference(where, wanted, found))
    return problems


def _rows(text: str) -> Mapping[tuple[str, ...], dict[str, str]]:
    rows = {}
    for number, entry in enumerate(csv.DictReader(io.StringIO(text))):
        key = tuple(entry.get(name) or "" for name in _KEYS)
        rows[key if key not in rows else (*key, str(number))] = {str(k): str(v) for k, v in entry.items()}
    return rows


def _line_difference(where: str, wanted: str, found: str) -> str:
    ours, theirs = wanted.splitlines(), found.splitlines()
    number = next(
        (i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs))
    )
    a, b = (lines[number] if number < len(lines) else "" for lines in (ours, theirs))
    start = next((i for i, (c, d) in enumerate(zip(a, b, strict=False)) if c != d), min(len(a), len(b)))
    cut = slice(max(0, start - 20), start + 40)
    return f"{where}, line {number + 1}: is {b[cut]!r}, but the results give {a[cut]!r}."
