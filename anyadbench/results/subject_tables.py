"""The tables of subjects that a cell stores: scores of whole subjects, and their sites."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from anyadbench.errors import UserError
from anyadbench.files import atomic_text
from anyadbench.results.read import inside
from anyadbench.tables import guarded, unguarded

if TYPE_CHECKING:
    from anyadbench.metrics.scans.whole_scans import SubjectScore

HEALTHY = "scores/healthy.csv"
SITES = "scores/sites.csv"

_SCORE_COLUMNS = ("test", "subset", "part", "subject", "healthy", "score", "age", "sex", "site")
_SITE_COLUMNS = ("test", "subject", "site")
_MOST_BYTES = 64 * 2**20


def write_scores(path: Path, scores: Sequence[SubjectScore]) -> None:
    """Write the scores of subjects; numbers read back exactly."""
    lines = []
    for one in scores:
        age = "" if one.age is None else repr(float(one.age))
        names = (guarded(one.test), guarded(one.subset), one.part, guarded(one.subject))
        lines.append((*names, int(one.healthy), repr(float(one.score)), age, guarded(one.sex), guarded(one.site)))
    _write(path, _SCORE_COLUMNS, lines)


def write_sites(path: Path, sites: Mapping[str, Mapping[str, str]]) -> None:
    """Write the site of each subject by test set."""
    lines = [
        [guarded(cell) for cell in (test, name, site)] for test, own in sites.items() for name, site in own.items()
    ]
    _write(path, _SITE_COLUMNS, lines)


def read_scores(folder: Path) -> tuple[SubjectScore, ...]:
    """Read the scores of a cell's subjects; none if there is no such file.

    Raises:
        UserError: If the file is damaged; the sentence names the line.
    """
    from anyadbench.metrics.scans.whole_scans import SubjectScore

    found = []
    for number, cells in _lines(folder, HEALTHY, _SCORE_COLUMNS):
        try:
            age = float(cells["age"]) if cells["age"] else None
            score = float(cells["score"])
            if cells["part"] not in ("val", "test") or cells["healthy"] not in ("0", "1"):
                raise ValueError
            if not math.isfinite(score) or (age is not None and not 0 <= age < 150):
                raise ValueError
        except ValueError:
            raise _damaged(folder, HEALTHY, number) from None
        found.append(
            SubjectScore(
                cells["test"], cells["subset"], cells["part"], cells["subject"], cells["healthy"] == "1", score, age,
                cells["sex"], cells["site"],
            )
        )  # fmt: skip
    places = [(one.test, one.subset, one.part, one.subject) for one in found]
    if len(set(places)) < len(places):
        raise UserError(f"{folder.name}/{HEALTHY} contains a subject twice; run the cell again.")
    return tuple(found)


def read_sites(folder: Path) -> dict[str, dict[str, str]]:
    """Read the sites of a cell's subjects by test set; none if there is no such file.

    Raises:
        UserError: If the file is damaged; the sentence names the line.
    """
    found: dict[str, dict[str, str]] = {}
    for number, cells in _lines(folder, SITES, _SITE_COLUMNS):
        own = found.setdefault(cells["test"], {})
        if own.setdefault(cells["subject"], cells["site"]) != cells["site"]:
            raise _damaged(folder, SITES, number)
    return found


def _write(path: Path, columns: Sequence[str], lines: Sequence[Sequence[object]]) -> None:
    with atomic_text(path) as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(lines)


def _lines(folder: Path, name: str, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    path = inside(folder, name)
    if path is None:
        return
    if path.stat().st_size > _MOST_BYTES:
        raise UserError(f"{folder.name}/{name} is too large; run the cell again.")
    number = 1
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            for cells in csv.DictReader(stream):
                number += 1
                if None in cells or None in cells.values():
                    raise ValueError
                yield number, {column: unguarded(cells[column]) for column in columns}
    except (OSError, ValueError, KeyError, csv.Error):
        raise _damaged(folder, name, number) from None


def _damaged(folder: Path, name: str, number: int) -> UserError:
    return UserError(f"{folder.name}/{name} is damaged near line {number}; run the cell again.")
