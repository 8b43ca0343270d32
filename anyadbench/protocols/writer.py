"""Writing a protocol as a file, with every rule in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from anyadbench.protocols.model import Protocol, ScoringRules, TestSet
from anyadbench.sequences import format_subset

_TEXT_END = '"""'


def to_toml(protocol: Protocol) -> str:
    """Return a protocol as TOML tables with its defaults filled in; the text reads back as the same protocol."""
    return "\n".join(_lines(protocol)) + "\n"


def _lines(protocol: Protocol) -> Iterator[str]:
    top = ("name", "version", "title", "sequences")
    yield from _entries({key: getattr(protocol, key) for key in top})
    yield from _entries({"subsets": _labels(protocol.subsets), "as_available": protocol.as_available})
    rest = ("weights", "budget", "threads", "selection", "candidates", "oracle", "notes")
    yield from _entries({key: getattr(protocol, key) for key in rest})
    train = {"dataset": protocol.train, "normals": protocol.normals, "shots": protocol.shots or "all"}
    yield from _table("[train]", train)
    for name, header in (("slices", ""), ("split", ""), ("healthy_split", "split.healthy"), ("intensity", "")):
        yield from _table(f"[{header or name}]", vars(getattr(protocol, name)))
    geometry = {key: _size(value, "none") for key, value in vars(protocol.geometry).items()}
    yield from _table("[geometry]", geometry)
    rules = {field.name: getattr(protocol.scoring, field.name) for field in fields(ScoringRules)}
    yield from _table("[scoring]", {"grid": _size(protocol.scoring_grid, "native"), **rules})
    for test in protocol.tests:
        yield from _table("[[test]]", _test(test))


def _test(test: TestSet) -> dict[str, Any]:
    values = {"name": test.name, "dataset": test.dataset, "split": test.split, "feed": dict(test.feed)}
    # Without the key a test set has the protocol's subsets, and a row "as available" with them.
    return values | ({"subsets": _labels(test.subsets)} if test.subsets else {})


def _labels(subsets: tuple[tuple[str, ...], ...]) -> list[str]:
    return [format_subset(subset) for subset in subsets]


def _size(size: tuple[int, int], absent: str) -> str | list[int]:
    return list(size) if any(size) else absent


def _table(header: str, values: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    yield header
    yield from _entries(values)


def _entries(values: Mapping[str, Any]) -> Iterator[str]:
    for key, value in values.items():
        yield f"{key} = {_value(value)}"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, Mapping):
        inner = ", ".join(f"{key} = {_value(item)}" for key, item in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    return repr(value)


def _text(value: str) -> str:
    if "\n" not in value:
        return f'"{_escaped(value)}"'
    return "\n".join([_TEXT_END, *map(_escaped, value.split("\n"))]) + _TEXT_END


def _escaped(line: str) -> str:
    """Escape quotes, backslashes, and characters that TOML forbids or that could control a terminal."""
    quoted = line.replace("\\", "\\\\").replace('"', '\\"')
    return "".join(c if c.isprintable() else f"\\U{ord(c):08X}" for c in quoted)
