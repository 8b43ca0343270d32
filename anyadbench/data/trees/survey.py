"""Finding a tree's scans by the patterns of a layout."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from anyadbench.data.trees.files import Match, ScanFiles, Survey
from anyadbench.data.trees.grouping import identified
from anyadbench.data.trees.layouts import LAYOUTS, SKIP, Layout
from anyadbench.data.trees.problems import Problem
from anyadbench.data.trees.reader import reader_of
from anyadbench.errors import UserError
from anyadbench.names import is_junk, readable

VOLUMES = (".nii", ".nii.gz")
"""Files that are never by-products: in any tree, one that matches no pattern is reported."""


def walk(source: Path, unreadable: Callable[[OSError], None] = lambda error: None) -> Iterator[Path]:
    """Yield every file below a folder in a fixed order; links are followed, but never in a circle.

    Args:
        source: The folder.
        unreadable: Called with the error of each folder below that cannot be listed.
    """
    seen: set[str] = set()
    for folder, names, files in os.walk(source, onerror=unreadable, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            names.clear()
            continue
        seen.add(real)
        names[:] = sorted(name for name in names if not is_junk(name))
        yield from (Path(folder) / name for name in sorted(files))


def check_source(source: Path) -> Path:
    """Return the absolute path of an existing folder.

    Raises:
        UserError: If it is missing or not a folder.
    """
    if not source.exists():
        raise UserError(f"The folder {source} does not exist; check the path given as the source.")
    if not source.is_dir():
        raise UserError(f"{source} is a file, not a folder; give the folder that holds the data set.")
    return Path(os.path.abspath(source))


def survey(source: Path, layout: Layout) -> Survey:
    """Find the scans of a tree and the problems with its names.

    Raises:
        UserError: If the folder is missing, holds no scan of the layout, or holds another release as well.
    """
    root, reader = check_source(Path(source)), reader_of(layout)
    looked_at = (*VOLUMES, *reader.suffixes)
    endings = {ending for other in LAYOUTS.values() for ending in reader_of(other).suffixes} | set(looked_at)
    matches: list[Match] = []
    problems: list[Problem] = []
    foreign: dict[str, str] = {}
    unmatched: list[str] = []
    for path in walk(root, lambda error: problems.append(_unreadable(error, root))):
        relative = readable(path.relative_to(root).as_posix())
        # The given folder counts as part of the path: it may be a patient's folder.
        full = f"{readable(root.name)}/{relative}"
        if path.name.startswith("._"):
            problems.append(_junk(relative))
        elif is_junk(path.name) or not path.name.lower().endswith(tuple(endings)):
            continue
        elif groups := _groups(full, layout):
            meaning = _meaning(groups, layout)
            matches += [Match(path, meaning, groups)] if meaning != SKIP else []
        elif other := _other_layout(full, layout):
            foreign.setdefault(other, relative)
        elif path.name.lower().endswith(looked_at):
            unmatched.append(relative)
    if not matches:
        raise UserError(_nothing_found(source, layout, foreign))
    if foreign:
        other, example = sorted(foreign.items())[0]
        raise UserError(
            f"{source} holds files of {other} (e.g. {example}) beside {layout.name}; "
            "move each release into a folder of its own and give one of them."
        )
    problems += [_unknown(name, layout) for name in unmatched]
    found = reader.find(matches, layout, root)
    people = reader.people(root, layout)
    return Survey([identified(scan, layout, people) for scan in found.scans], [*problems, *found.problems])


def discover(source: Path, layout: Layout) -> list[ScanFiles]:
    """Return the readable scans of a tree, sorted by name; ``survey`` also reports what is wrong with the others."""
    return survey(source, layout).scans


def _groups(path: str, layout: Layout) -> dict[str, str | None] | None:
    """Return the named groups of the pattern that a path matches; ``None`` if the layout has no such file."""
    stem = reader_of(layout).stem(path)
    match = layout.match(stem) if stem is not None else None
    return match.groupdict() if match else None


def _meaning(groups: Mapping[str, str | None], layout: Layout) -> str:
    kind = str(groups["kind"]).lower()
    return layout.kinds.get(kind, layout.kinds.get(kind.replace("-", "_"), SKIP))


def _other_layout(path: str, layout: Layout) -> str | None:
    return next((other.name for other in LAYOUTS.values() if other.name != layout.name and _groups(path, other)), None)


def _unreadable(error: OSError, root: Path) -> Problem:
    relative = readable(Path(str(error.filename)).relative_to(root).as_posix())
    return Problem(relative, f"cannot be read ({error.strerror})", "check the permissions, or remove it")


def _junk(relative: str) -> Problem:
    return Problem(
        relative, "is a macOS archive leftover, not an image, and is ignored", "delete it", severity="warning"
    )


def _unknown(relative: str, layout: Layout) -> Problem:
    cause = f"does not match the file names of {layout.name} and is ignored"
    return Problem(relative, cause, f"rename it to match {layout.tree!r}, or remove it", severity="warning")


def _nothing_found(source: Path, layout: Layout, foreign: Mapping[str, str]) -> str:
    if foreign:
        other, example = sorted(foreign.items())[0]
        looks = f"but looks like {other} (e.g. {example})"
        return f"{source} holds no scan of {layout.name} {looks}; give {other} as the data set."
    if layout.general and any(source.glob("sub-*")):
        return f"{source} has subjects but no anatomy that {layout.name} reads; give a folder with {layout.tree}."
    return f"{source} holds no scan of {layout.name}; give a folder with files like {layout.tree}."
