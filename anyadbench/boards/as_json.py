"""Boards as JSON and back, every value as it was: tuples, paths, keys that are not text, and numbers to the bit."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from anyadbench.boards.aggregate import model
from anyadbench.results import read, schema

CLASSES: dict[str, Any] = {
    name: one
    for module in (schema, read, model)
    for name, one in vars(module).items()
    if isinstance(one, type) and (dataclasses.is_dataclass(one) or issubclass(one, BaseModel))
}
"""What boards consist of, by name."""

_PLAIN = frozenset({type(None), str, int, float, bool})


def to_json(value: Any) -> str:
    """Return a value as JSON; cells, which a board mentions again and again, are written once.

    Raises:
        TypeError: If something in it is neither plain nor a part of boards.
    """
    cells: list[Any] = []
    body = _plain(value, cells, {})
    return json.dumps({"cells": cells, "body": body}, separators=(",", ":"))


def from_json(text: str) -> Any:
    """Return what ``to_json`` wrote.

    Raises:
        ValueError: If the text is nothing that ``to_json`` writes; ``LookupError`` and ``TypeError`` mean the same.
    """
    whole = json.loads(text)
    cells: list[Any] = []
    for cell in whole["cells"]:
        cells.append(_restored(cell, cells))
    return _restored(whole["body"], cells)


def _plain(value: Any, cells: list[Any], known: dict[int, int]) -> Any:
    if type(value) in _PLAIN:
        return value
    if isinstance(value, read.CellRecord):
        if id(value) not in known:
            found = _fields(value, cells, known)
            known[id(value)] = len(cells)
            cells.append(found)
        return {"cell": known[id(value)]}
    if isinstance(value, Path):
        return {"path": str(value)}
    if isinstance(value, (tuple, list)):
        return {type(value).__name__: _each(value, cells, known)}
    if isinstance(value, dict):
        pairs = zip(_each(value, cells, known), _each(value.values(), cells, known), strict=True)
        return {"dict": list(pairs)}
    if isinstance(value, BaseModel):
        return {"class": type(value).__name__, "of": _plain(value.model_dump(), cells, known)}
    if dataclasses.is_dataclass(value):
        return _fields(value, cells, known)
    raise TypeError(f"{type(value).__name__} is no part of a board")


def _each(values: Iterable[Any], cells: list[Any], known: dict[int, int]) -> list[Any]:
    # Most of a board is numbers and text, which need no call of their own.
    return [value if type(value) in _PLAIN else _plain(value, cells, known) for value in values]


def _fields(value: Any, cells: list[Any], known: dict[int, int]) -> Any:
    items = {one.name: getattr(value, one.name) for one in dataclasses.fields(value) if one.init}
    return {"class": type(value).__name__, "of": _plain(items, cells, known)}


def _restored(value: Any, cells: list[Any]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, inner), *of) = value.items()
    if kind == "cell":
        return cells[inner]
    if kind == "path":
        return Path(inner)
    if kind in ("tuple", "list"):
        items = [_restored(item, cells) for item in inner]
        return tuple(items) if kind == "tuple" else items
    if kind == "dict":
        return {_restored(key, cells): _restored(item, cells) for key, item in inner}
    found = CLASSES[inner]
    values = _restored(of[0][1], cells)
    return found.model_validate(values) if issubclass(found, BaseModel) else found(**values)
