"""The files of a user's tree: as they match a layout, and as scans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from anyadbench.data.trees.problems import Problem
from anyadbench.names import readable


@dataclass(frozen=True)
class Match:
    """A file whose name matches a layout.

    Attributes:
        path: The file.
        meaning: A sequence, or another meaning of ``anyadbench.data.trees.layouts``.
        groups: Named groups of the pattern that matched.
    """

    path: Path
    meaning: str
    groups: Mapping[str, str | None]


@dataclass(frozen=True)
class SliceFiles:
    """The files of one slice in a tree of PNGs: its number, its part of the split, and its files by meaning."""

    index: int
    part: str
    files: Mapping[str, Path]


@dataclass(frozen=True)
class Person:
    """What the names and tables of a tree say about a subject.

    Attributes:
        healthy: Whether the subject has no lesion.
        site: Site or scanner; empty if unknown.
        age: Age in years; ``None`` if unknown.
        sex: ``F``, ``M``, or empty if unknown.
    """

    healthy: bool = False
    site: str = ""
    age: float | None = None
    sex: str = ""

    def with_(self, other: Person) -> Person:
        """Return this person with what only the other knows; healthy if either says so."""
        age = other.age if self.age is None else self.age
        return Person(self.healthy or other.healthy, self.site or other.site, age, self.sex or other.sex)


@dataclass(frozen=True)
class ScanFiles:
    """The files of one scan.

    Attributes:
        scan: Name of the scan, as in the file names.
        subject: Name of the subject; splits are by subject.
        timepoint: Time point, or empty.
        files: File of each available sequence; the same file for all in a 4D layout.
        seg: Segmentation; a healthy subject may have none.
        root: Source folder.
        slices: In a tree of PNGs, the slices in order; ``files`` then holds the first file of each sequence.
        person: What is known about the subject.
    """

    scan: str
    subject: str
    timepoint: str
    files: Mapping[str, Path]
    seg: Path | None
    root: Path
    slices: tuple[SliceFiles, ...] = ()
    person: Person = Person()

    def relative(self, path: Path) -> str:
        """Return a path below the source folder, with forward slashes, as readable text."""
        return readable(path.relative_to(self.root).as_posix())

    @property
    def paths(self) -> list[Path]:
        """Each file once, sequences first."""
        of_slices = [path for item in self.slices for path in item.files.values()]
        return list(dict.fromkeys([*self.files.values(), *([self.seg] if self.seg else []), *of_slices]))


@dataclass
class Survey:
    """What was found in a tree: readable scans, and problems visible from the names alone."""

    scans: list[ScanFiles]
    problems: list[Problem]
