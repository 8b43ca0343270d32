"""Tables about the people of a data set: age, sex, site, and who is healthy."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from anyadbench.data.trees.files import Person
from anyadbench.data.trees.problems import Problem
from anyadbench.errors import UserError
from anyadbench.names import readable
from anyadbench.tables import Line, number, read_table

HEALTHY = frozenset(
    {"control", "controls", "con", "ctrl", "hc", "healthy", "healthy control", "healthy controls", "healthy_control",
     "cn", "hv", "nc", "normal", "healthy volunteer", "healthy-control", "cognitively normal"}
)  # fmt: skip
"""Values of a group that mark a healthy person, in lower case."""

UNKNOWN = frozenset({"", "n/a", "na", "nan", "none", "unknown"})
"""Values that say nothing; BIDS uses ``n/a``."""

_GROUP = ("group", "diagnosis", "dx", "participant_group", "clinical_status", "patient_status")
_SITE = ("site", "center", "centre", "scanner", "site_id")
_SEX_OF = ("sex", "gender", "m/f")
_SEX = {"f": "F", "female": "F", "woman": "F", "m": "M", "male": "M", "man": "M"}
_AGE = re.compile(r"(?P<value>[\d.,]+)\s*\+?\s*(?P<unit>[a-z.]*)", re.IGNORECASE)
_YEARS = {
    **dict.fromkeys(("", "y", "yr", "yrs", "year", "years", "yo", "y.o."), 1.0),
    **dict.fromkeys(("m", "mo", "mos", "month", "months"), 1 / 12),
    **dict.fromkeys(("w", "wk", "wks", "week", "weeks"), 7 / 365.25),
    **dict.fromkeys(("d", "day", "days"), 1 / 365.25),
}
"""Years in each unit of an age; DICOM writes ``031Y``, ``018M``, ``006W`` and ``010D``."""


@dataclass(frozen=True)
class Entry:
    """What one line of a table says about a person.

    Attributes:
        name: The person, as the table writes it.
        line: Number of the line.
        person: What it says.
        group: Value of the column that says who is healthy; empty if none does.
        unread: Cells whose age or sex cannot be read.
    """

    name: str
    line: int
    person: Person
    group: str = ""
    unread: tuple[str, ...] = ()


def read_rows(path: Path, key: str) -> list[Line]:
    """Return a table's lines, with the names of its columns in lower case.

    Args:
        path: The table.
        key: The column that it must have.

    Raises:
        UserError: If it cannot be read, lacks the column, or a line has no value there.
    """
    table = read_table(path, str(path), "fix the table or remove it")
    if key not in table.columns:
        raise UserError(f"{path} lacks the column {key!r}; add it, with the name of each subject.")
    nameless = next((line for line in table.lines if not line.cells[key]), None)
    if nameless is not None:
        raise UserError(f"{path}, line {nameless.number}, has no {key}; name the subject, or remove the line.")
    return list(table.lines)


def read_people(path: Path, key: str) -> list[Entry]:
    """Return the lines of a table with columns such as ``age``, ``sex``, ``site`` and ``group``.

    Raises:
        UserError: As ``read_rows``, or if two columns contradict each other on whether a person is healthy.
    """
    return [entry_of(path, line, key) for line in read_rows(path, key)]


def entry_of(path: Path, line: Line, key: str) -> Entry:
    """Return what one line says; raises as ``read_people``."""
    row, name = line.cells, readable(line.cells[key])
    groups = {column: row[column] for column in _GROUP if row.get(column, "").lower() not in UNKNOWN}
    if len({text.lower() in HEALTHY for text in groups.values()}) > 1:
        said = " and ".join(f"{text!r} in {column}" for column, text in groups.items())
        raise UserError(f"{path}, line {line.number}, calls {name} {said}; correct the one that is wrong.")
    age, sex = _first(row, ("age",)), _first(row, _SEX_OF)
    unread = [f"age {age!r}"] if age and age_of(age) is None else []
    unread += [f"sex {sex!r}"] if sex and sex.lower() not in (*_SEX, "o", "other") else []
    return Entry(name, line.number, person_of(row), next(iter(groups.values()), ""), tuple(unread))


def by_subject(path: Path, entries: Sequence[Entry], subjects: Iterable[str]) -> dict[str, Entry]:
    """Return what a table says about each of the subjects that it lists.

    A name means a subject if it is the same except for case, the prefix ``sub-`` and, where that fits one subject
    alone, leading zeros, which spreadsheets drop: ``SUB-01``, ``01`` and ``1`` mean ``sub-01``.

    Raises:
        UserError: If two lines contradict each other; it names both.
    """
    found: dict[str, Entry] = {}
    meant = _Resolver(subjects)
    for entry in entries:
        subject = meant(entry.name)
        if subject:
            before = found.get(subject)
            found[subject] = entry if before is None else _same(path, subject, before, entry)
    return found


def table_warnings(file: str, entries: Sequence[Entry], subjects: Sequence[str]) -> Iterator[Problem]:
    """Yield what is odd about a table: lines of nobody, subjects without one, repeated lines, and unread cells.

    Args:
        file: The table, as problems name it.
        entries: Its lines.
        subjects: The subjects of the tree.
    """
    meant = _Resolver(subjects)
    named = [(entry, meant(entry.name)) for entry in entries]
    known = Counter(subject for _, subject in named if subject)
    strangers = [entry.name for entry, subject in named if not subject]
    lacking = sorted(set(subjects) - set(known))
    example = f"name people as the files do, such as {subjects[0]}" if subjects else ""
    if not known:
        cause = f"lists {len(entries)} people, none of whom is a subject of the tree, and is not used"
        yield _warning(file, cause, example)
        return
    if strangers:
        cause = (
            f"lists {len(strangers)} of {len(entries)} people who are no subject of the tree, such as {strangers[0]}"
        )
        yield _warning(file, cause, example)
    if lacking:
        cause = f"lacks {len(lacking)} of {len(set(subjects))} subjects, such as {lacking[0]}, of whom nothing is known"
        yield _warning(file, cause, "add a line for each")
    for subject, lines in known.items():
        if lines > 1:
            own = ", ".join(str(entry.line) for entry, one in named if one == subject)
            yield _warning(file, f"lists {subject} {lines} times (lines {own})", "keep one line")
    unread = [f"{text} (line {entry.line})" for entry, subject in named if subject for text in entry.unread]
    if unread:
        cause = f"has {len(unread)} cells that cannot be read and count as unknown, such as the {unread[0]}"
        yield _warning(file, cause, "write ages in years, and sex as F or M")


def _warning(file: str, cause: str, fix: str) -> Problem:
    return Problem(file, cause, fix, "warning")


def _same(path: Path, subject: str, first: Entry, second: Entry) -> Entry:
    """Return what two lines say of one subject together.

    Raises:
        UserError: If they contradict each other.
    """
    groups, one, other = (first.group, second.group), first.person, second.person
    if not all(groups) or one.healthy == other.healthy:
        groups = ("", "")
    people = {"ages": (one.age, other.age), "sexes": (one.sex, other.sex), "sites": (one.site, other.site)}
    for what, (a, b) in {"groups": groups, **people}.items():
        if a not in (None, "") and b not in (None, "") and a != b:
            where = f"{path}, lines {first.line} and {second.line}, give {subject} two {what}"
            raise UserError(f"{where} ({a} and {b}); keep the right line.")
    return Entry(first.name, first.line, one.with_(other), first.group or second.group)


class _Resolver:
    """Finds the subject that a table's name means; empty if there is none, or more than one."""

    def __init__(self, subjects: Iterable[str]) -> None:
        self._keys: list[dict[str, set[str]]] = [{}, {}, {}]
        for subject in set(subjects):
            for keys, key in zip(self._keys, _keys(subject), strict=True):
                keys.setdefault(key, set()).add(subject)

    def __call__(self, name: str) -> str:
        for keys, key in zip(self._keys, _keys(name), strict=True):
            if meant := keys.get(key):
                return next(iter(meant)) if len(meant) == 1 else ""
        return ""


def _keys(name: str) -> tuple[str, str, str]:
    """Return a name, its form without case and prefix, and that form without leading zeros."""
    plain = name.lower().replace("_", "-").removeprefix("sub-")
    bare = plain[:-2] if re.fullmatch(r"\d+\.0", plain) else plain
    return name, plain, re.sub(r"\d+", lambda digits: digits[0].lstrip("0") or "0", bare)


def person_of(row: Mapping[str, str]) -> Person:
    """Return what a row says about a person; empty where it says nothing."""
    group = _first(row, _GROUP).lower()
    sex = _SEX.get(_first(row, _SEX_OF).lower(), "")
    return Person(group in HEALTHY, readable(_first(row, _SITE)), age_of(_first(row, ("age",))), sex)


def age_of(text: str) -> float | None:
    """Return an age in years; BIDS writes ``89+`` for the oldest, and units such as ``031Y`` or ``18 months`` count."""
    found = _AGE.fullmatch(text.strip())
    factor = _YEARS.get(found["unit"].lower()) if found else None
    if found is None or factor is None:
        return None
    try:
        age = number(found["value"]) * factor
    except ValueError:
        return None
    return age if math.isfinite(age) and 0 <= age < 150 else None


def _first(row: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((row[name] for name in names if row.get(name, "").lower() not in UNKNOWN), "")
