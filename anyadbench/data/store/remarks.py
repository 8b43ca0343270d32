"""What was noticed in scans while a store was built and kept none out, such as a background that was subtracted."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from anyadbench.data.store.store import SliceStore, store_json
from anyadbench.data.trees.problems import Problem
from anyadbench.errors import UserError
from anyadbench.files import write_text

WARNINGS = "warnings.json"


def write_warnings(folder: Path, problems: Iterable[Problem]) -> None:
    """Write the problems that kept no scan out to ``warnings.json``; an empty list if there were none."""
    listed = sorted(problem for problem in problems if problem.severity == "warning")
    write_text(folder / WARNINGS, json.dumps([problem.as_json() for problem in listed], indent=1), fsync=False)


def read_warnings(store: SliceStore) -> list[Problem]:
    """Return the problems that kept no scan out of a store.

    Raises:
        UserError: If they cannot be read.
    """
    return read_problems(store.path / WARNINGS)


def read_problems(path: Path) -> list[Problem]:
    """Return the problems that a file of a store lists.

    Raises:
        UserError: If it cannot be read.
    """
    listed = store_json(path, list)
    try:
        return [Problem(**{name: str(value) for name, value in item.items()}) for item in listed]
    except (TypeError, AttributeError) as error:
        raise UserError(f"{path} lists no problems ({error}); delete the store and prepare it again.") from error


def remark(store: SliceStore) -> str:
    """Return one line about the warnings of a store, with the first of them; empty if there is none."""
    found = read_warnings(store)
    if not found:
        return ""
    first = f"{found[0].file} {found[0].cause}"
    if len(found) == 1:
        return f"{store.dataset}: {first}"
    return f"{store.dataset}: {first}; {len(found) - 1} more warnings are listed in {store.path / WARNINGS}"
