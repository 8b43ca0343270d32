"""Tables about the people of a data set: age, sex, site, and who is healthy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from anyadbench.data.trees.files import Person
from anyadbench.errors import UserError
from anyadbench.names import readable
from anyadbench.tables import number, read_table

HEALTHY = frozenset(
    {"control", "controls", "con", "ctrl", "hc", "healthy", "healthy control", "healthy controls", "healthy_control",
     "cn", "hv", "nc", "normal", "healthy volunteer", "healthy-control", "cognitively normal"}
)  # fmt: skip
"""Values of a group that mark a healthy person, in lower case."""

UNKNOWN = frozenset({"", "n/a", "na", "nan", "none", "unknown"})
"""Values that say nothing; BIDS uses ``n/a``."""

_GROUP = ("group", "diagnosis", "dx", "participant_group", "clinical_status", "patient_status")
_SITE = ("site", "center", "centre", "scanner", "site_id")
_SEX = {"f": "F", "female": "F", "woman": "F", "m": "M", "male": "M", "man": "M"}


def read_rows(path: Path, key: str) -> list[Mapping[str, str]]:
    """Return a table's rows as texts, with the names of its columns in lower case.

    Args:
        path: The table.
        key: The column that it must have.

    Raises:
        UserError: If it cannot be read or lacks the column.
    """
    table = read_table(path, str(path), "fix the table or remove it")
    if key not in table.columns:
        raise UserError(f"{path} lacks the column {key!r}; add it, with the name of each subject.")
    return [line.cells for line in table.lines if line.cells.get(key)]


def read_people(path: Path, key: str) -> dict[str, Person]:
    """Return each person of a table with columns such as ``age``, ``sex``, ``site`` and ``group``.

    Raises:
        UserError: As ``read_rows``.
    """
    return {readable(row[key]): person_of(row) for row in read_rows(path, key)}


def person_of(row: Mapping[str, str]) -> Person:
    """Return what a row says about a person; empty where it says nothing."""
    group = _first(row, _GROUP).lower()
    sex = _SEX.get(_first(row, ("sex", "gender", "m/f")).lower(), "")
    return Person(group in HEALTHY, readable(_first(row, _SITE)), age_of(_first(row, ("age",))), sex)


def age_of(text: str) -> float | None:
    """Return an age in years; BIDS writes ``89+`` for the oldest."""
    try:
        age = number(text.rstrip("+"))
    except ValueError:
        return None
    return age if math.isfinite(age) and 0 <= age < 150 else None


def _first(row: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((row[name] for name in names if row.get(name, "").lower() not in UNKNOWN), "")
