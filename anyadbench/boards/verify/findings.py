"""What the check of a cell finds, and the comparison of what files say with what follows from others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyadbench.results.schema import CellResult

if TYPE_CHECKING:
    from anyadbench.boards.verify.twins import Prints

EXACT = 1e-12
RESAMPLED = 1e-9
"""Resampled values may differ between processors in the last bits; everything else is identical."""


@dataclass
class CellReport:
    """The findings of a check.

    Attributes:
        problems: One sentence each, with file, place, and what is wrong.
        numbers: Number of values recomputed and compared.
        absent: Optional files with a recorded hash that are missing.
        width: Largest distance between the ends of a pixel metric of a published row.
        remarks: What could not be checked.
        result: The result, if its statistics can be read.
        prints: What no other training's scores may share (see `anyadbench.boards.verify.twins`).
    """

    folder: Path
    problems: list[str] = field(default_factory=list)
    numbers: int = 0
    absent: list[str] = field(default_factory=list)
    width: float = 0.0
    remarks: list[str] = field(default_factory=list)
    result: CellResult | None = None
    prints: Prints = field(default_factory=dict)

    def note(self, name: str, text: str) -> None:
        """Add a problem with one of the cell's files."""
        self.problems.append(f"{self.folder.name}/{name}: {text}")


def at(data: Any, name: str) -> Any:
    """Return an entry of nested mappings by its dotted name; ``None`` if there is none."""
    for part in name.split("."):
        data = data.get(part) if isinstance(data, Mapping) else None
    return data


def compare(report: CellReport, name: str, source: str, where: str, wanted: Any, found: Any) -> None:
    """Note each value of ``found`` that differs from the one that ``source`` gives."""
    for path, ours, theirs in _differences("", wanted, found, report):
        report.note(name, f"{where}{path} is {shown(theirs)}, but {source} gives {shown(ours)}.")


def shown(value: Any) -> str:
    """Return a value as a sentence shows it."""
    text = "nothing" if value is None else repr(value)
    return text if len(text) < 80 else text[:77] + "..."


def _differences(path: str, ours: Any, theirs: Any, report: CellReport) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        for key in dict.fromkeys([*ours, *theirs]):
            yield from _differences(f"{path}.{key}" if path else str(key), ours.get(key), theirs.get(key), report)
    elif isinstance(ours, list | tuple) and isinstance(theirs, list | tuple) and len(ours) == len(theirs):
        for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from _differences(f"{path}[{number}]", one, other, report)
    else:
        report.numbers += 1
        close = RESAMPLED if "intervals" in path else EXACT
        if isinstance(ours, float) and isinstance(theirs, float | int):
            if not abs(ours - theirs) <= close * max(1.0, abs(ours)):
                yield path, ours, theirs
        elif ours != theirs or type(ours) is not type(theirs):
            yield path, ours, theirs
