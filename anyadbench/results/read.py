"""Reading a runs folder: one record per cell, whatever state its files are in.

A runs folder may come from anyone, so nothing in it is trusted: links inside a cell are not followed, sizes are
bounded, and damage in one cell becomes a sentence in that cell's record and never stops the others.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from anyadbench.errors import UserError
from anyadbench.results.schema import SCHEMA_VERSION, CellResult

STATES = ("done", "failed", "running", "interrupted", "pending")
PARTIAL = ".partial"
"""Suffix of a folder whose cell is not complete."""

MAX_JSON_BYTES = 32 * 2**20
"""Larger JSON files are refused; no result of this schema comes close."""

Migration = Callable[[dict[str, Any]], dict[str, Any]]


LOG_LINES = 60
"""Lines of its log that a failed cell keeps: a crash lists the calls of every thread."""


def _from_version_1(data: dict[str, Any]) -> dict[str, Any]:
    """Version 2 added lesion-size bins, file hashes and sources, which all may be empty."""
    return {**data, "schema_version": 2}


def _from_version_2(data: dict[str, Any]) -> dict[str, Any]:
    """Version 3 dropped ``dice`` from metrics and intervals: it was ``pixel_f1`` under a second name."""
    rows = data.get("rows")
    kept = [_without_dice(row) for row in rows] if isinstance(rows, list) else rows
    return {**data, "rows": kept, "schema_version": 3}


def _from_version_3(data: dict[str, Any]) -> dict[str, Any]:
    """Version 4 added losses and training coverage; intervals, by percentile bootstrap before, were too short."""
    rows = data.get("rows")
    if isinstance(rows, list):
        rows = [{**row, "intervals": {}} if isinstance(row, dict) else row for row in rows]
    return {**data, "rows": rows, "schema_version": 4}


def _from_version_4(data: dict[str, Any]) -> dict[str, Any]:
    """Version 5 added metrics inside the brain and of scores normalised by height, which older results lack."""
    return {**data, "schema_version": 5}


def _without_dice(row: Any) -> Any:
    if not isinstance(row, dict):
        return row  # the schema names it
    kept = dict(row)
    for part in ("metrics", "intervals", "error_bound", "reasons"):
        values = row.get(part)
        if isinstance(values, dict) and values.get("dice") == values.get("pixel_f1"):
            kept[part] = {name: value for name, value in values.items() if name != "dice"}
    return kept


MIGRATIONS: Mapping[int, Migration] = {1: _from_version_1, 2: _from_version_2, 3: _from_version_3, 4: _from_version_4}
"""For each earlier schema version, the function that turns its data into those of the next version."""


@dataclass(frozen=True)
class CellRecord:
    """One cell as found on disk.

    Attributes:
        folder: The cell's folder.
        state: One of ``STATES``, or ``"unreadable"`` if ``cell.json`` has none of them.
        method: Method name as planned; empty if unknown.
        protocol: Protocol name as planned; empty if unknown.
        seed: Run seed; ``None`` if unknown.
        error: First line of the error that stopped a failed cell.
        result: The result of a finished cell.
        problem: Why the cell cannot be used, as one sentence; ``None`` if nothing is wrong with its files.
        finished: When the cell ended, from its file (ISO 8601); orders repeated cells.
        log_tail: Last lines of the log of a cell that did not finish.
    """

    folder: Path
    state: str
    method: str
    protocol: str
    seed: int | None
    error: str | None = None
    result: CellResult | None = None
    problem: str | None = None
    finished: str = ""
    log_tail: tuple[str, ...] = ()


def inside(folder: Path, name: str) -> Path | None:
    """Return the file ``folder/name`` if it is a regular one; links below ``folder`` are not followed."""
    path = os.fspath(folder)
    try:
        for part in name.split("/"):
            path = os.path.join(path, part)
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode):
                return None
        return Path(path) if stat.S_ISREG(mode) else None
    except OSError:
        return None


def read_json(folder: Path, name: str) -> Any:
    """Read ``folder/name`` as JSON.

    Raises:
        UserError: If the file is missing, a link, too large, or is not JSON.
    """
    path = inside(folder, name)
    if path is None:
        raise UserError(f"{folder.name}/{name} is missing or a link; run the cell again.")
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise UserError(f"{folder.name}/{name} is larger than {MAX_JSON_BYTES >> 20} MB; run the cell again.")
        return json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"{folder.name}/{name} cannot be read ({error.strerror}); check its permissions.") from None
    except (ValueError, RecursionError):
        raise UserError(f"{folder.name}/{name} is not JSON, or is cut short; run the cell again.") from None


def load_result(data: object, source: str) -> CellResult:
    """Check the content of a ``result.json`` of this or an earlier schema version.

    Args:
        data: The parsed JSON.
        source: The file's name in messages.

    Raises:
        UserError: If the version is newer than this program's, or a field is missing, unknown or of the wrong type.
    """
    if not isinstance(data, dict):
        raise UserError(f"{source} does not hold a JSON object; run the cell again.")
    version = data.get("schema_version", 1)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise UserError(f"{source} has no valid schema_version; run the cell again.")
    if version > SCHEMA_VERSION:
        raise UserError(
            f"{source} has schema version {version}, and this anyadbench reads up to {SCHEMA_VERSION}; "
            "update anyadbench."
        )
    for step in range(version, SCHEMA_VERSION):
        data = MIGRATIONS[step](data)
    try:
        return CellResult.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise UserError(f"{source} does not fit the schema at {where[:120]}: {first['msg']}; run it again.") from None


def read_cells(runs: Path) -> list[CellRecord]:
    """Read every cell of ``runs``, sorted by folder name.

    Names that begin with a dot are unfinished writes and are left out, and so are folders that end in ``.partial`` as
    long as nothing is recorded in them.

    Raises:
        UserError: If ``runs`` is not a runs folder.
    """
    cells = runs / "cells"
    if not cells.is_dir():
        raise UserError(f"{runs} holds no folder 'cells'; give the folder that 'anyadbench run --runs' wrote.")
    root = cells.resolve()
    records = []
    for folder in sorted(cells.iterdir(), key=lambda path: path.name):
        if folder.name.startswith(".") or not folder.is_dir():
            continue
        if folder.name.endswith(PARTIAL) and not (folder / "cell.json").exists():
            continue
        if folder.is_symlink() and not folder.resolve().is_relative_to(root):
            problem = f"{folder.name} is a link out of {cells.name}; copy the cell into the folder."
            records.append(CellRecord(folder, "unreadable", "", "", None, problem=problem))
            continue
        records.append(_read_cell(folder))
    return records


def _text(value: object) -> str:
    return value[:2000] if isinstance(value, str) else ""


def _read_cell(folder: Path) -> CellRecord:
    try:
        head = read_json(folder, "cell.json")
    except UserError as error:
        return CellRecord(folder, "unreadable", "", "", None, problem=str(error))
    if not isinstance(head, dict) or head.get("state") not in STATES:
        problem = f"{folder.name}/cell.json has no known state; run the cell again."
        return CellRecord(folder, "unreadable", "", "", None, problem=problem)
    result, problem_text = _result_of(folder, head)
    planned = {name: value for name, value in head.items() if value is not None}
    if result is not None:
        planned |= {"method": result.method.name, "protocol": result.protocol.name, "seed": result.seed}
    elif "method" not in planned:
        planned = _plan(folder) | planned
    seed = planned.get("seed")
    tail = head.get("log_tail")
    return CellRecord(
        folder=folder,
        # A cell is done only once its folder has been renamed.
        state="interrupted" if head["state"] == "done" and folder.name.endswith(PARTIAL) else head["state"],
        method=_text(planned.get("method")),
        protocol=_text(planned.get("protocol")),
        seed=seed if isinstance(seed, int) and not isinstance(seed, bool) else None,
        error=_text(head.get("error")) or None,
        result=result,
        problem=problem_text,
        finished=_text(head.get("finished")),
        log_tail=tuple(_text(line) for line in tail[-LOG_LINES:]) if isinstance(tail, list) else (),
    )


def _plan(folder: Path) -> dict[str, Any]:
    """Return ``plan.json``, which describes a cell before anything else is known about it; empty if unusable."""
    if inside(folder, "plan.json") is None:
        return {}
    try:
        plan = read_json(folder, "plan.json")
    except UserError:
        return {}
    return plan if isinstance(plan, dict) else {}


def _result_of(folder: Path, head: Mapping[str, Any]) -> tuple[CellResult | None, str | None]:
    """Return the result of a finished cell, or a sentence on why there is none."""
    if head["state"] != "done" or folder.name.endswith(PARTIAL):
        return None, None
    try:
        result = load_result(read_json(folder, "result.json"), f"{folder.name}/result.json")
    except UserError as error:
        return None, str(error)
    said = (head.get("cell_id"), head.get("method"), head.get("protocol"), head.get("seed"))
    found = (result.cell_id, result.method.name, result.protocol.name, result.seed)
    for name, one, other in zip(("cell_id", "method", "protocol", "seed"), said, found, strict=True):
        if one is not None and one != other:
            return None, f"{folder.name}: cell.json and result.json disagree about {name}; run the cell again."
    return result, None
