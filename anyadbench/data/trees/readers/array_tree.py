"""The arrays of Brain-OmniA: one ``.npy`` file for each slice, with every sequence and the label.

Source: preprocessing scripts of github.com/zhibaishouheilab/UniTransAD at 35f3d93.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from anyadbench.data.trees.files import Match, Person, ScanFiles, SliceFiles, Survey
from anyadbench.data.trees.layouts import FOUR_D, Layout
from anyadbench.data.trees.problems import Problem
from anyadbench.data.trees.reader import TreeReader

if TYPE_CHECKING:
    from anyadbench.data.trees.scan_slices import Part

CHANNELS: Mapping[str, tuple[str, ...]] = {
    "brats2021": ("t1", "t2", "t1ce", "flair", "seg"),
    "msd": ("flair", "t1", "t1ce", "t2", "seg"),
    "mslub": ("t1", "t2", "flair", "seg"),
    "isles": ("adc", "dwi", "flair", "seg"),
    "wmh": ("t1", "flair", "seg"),
    "ixi": ("t1", "t2", "pd"),
    "brisc": ("t1", "seg"),
}
"""What the first axis of an array holds, by set."""

FIRST_SLICE, SLICES = 50, 60
"""Axial slices of each subject: 50 to 109. Files are numbered from 1 through the subjects of a folder."""

_PICTURES = ("brisc",)
"""Sets of single pictures."""


class ArrayReader(TreeReader["Part"]):
    """Reads the arrays; a folder's name says which set it is, and so what the channels are."""

    name = "arrays"
    suffixes = (".npy",)

    def find(self, matches: Sequence[Match], layout: Layout, root: Path) -> Survey:
        """Sort arrays into subjects by their numbers; the folders' own division is not kept."""
        found: dict[tuple[str, str, int], dict[int, Path]] = {}
        problems: list[Problem] = []
        for match in matches:
            kind, part = str(match.groups["set"]).upper(), str(match.groups["kind"]).lower()
            number = int(match.groups["slice"] or 0)
            per = 1 if channels_of(kind)[0] in _PICTURES else SLICES
            subject, index = divmod(number - 1, per)
            slices = found.setdefault((kind, part, subject), {})
            if index in slices:
                path = match.path.relative_to(root).as_posix()
                cause = f"and {slices[index].relative_to(root).as_posix()} are the same slice"
                problems.append(Problem(path, cause, "keep one of them"))
            slices.setdefault(index, match.path)
        scans = [_scan(*key, slices, root, layout) for key, slices in sorted(found.items())]
        problems += [problem for scan in scans for problem in _warnings(scan)]
        return Survey(scans, problems)

    def read_scan(self, files: ScanFiles, layout: Layout) -> tuple[Part | None, list[Problem]]:
        """Read and check the slices of one subject."""
        from anyadbench.data.trees.readers.array_slices import array_part

        return array_part(files, channels_of(files.scan)[1])

    def cut(self, content: Part, layout: Layout) -> Part:
        """Return the slices, which are cut already."""
        return content


ARRAYS = ArrayReader()
"""The reader that layouts call ``arrays``."""


def channels_of(name: str) -> tuple[str, tuple[str, ...]]:
    """Return the set that a folder's or scan's name begins with, and its channels."""
    known = next(known for known in CHANNELS if name.lower().startswith(known))
    return known, CHANNELS[known]


def _scan(kind: str, part: str, subject: int, slices: Mapping[int, Path], root: Path, layout: Layout) -> ScanFiles:
    name = f"{kind}_{part}_{subject + 1:04d}"
    known, channels = channels_of(kind)
    first = 0 if known in _PICTURES else FIRST_SLICE
    items = tuple(SliceFiles(first + index, "", {FOUR_D: path}) for index, path in sorted(slices.items()))
    images = {sequence: items[0].files[FOUR_D] for sequence in channels if sequence != "seg"}
    return ScanFiles(name, name, "", images, None, root, items, Person(layout.is_healthy(name)))


def _warnings(scan: ScanFiles) -> Iterator[Problem]:
    expected = 1 if channels_of(scan.scan)[0] in _PICTURES else SLICES
    if len(scan.slices) != expected:
        cause = (
            f"is the first of {len(scan.slices)} slices of {scan.scan}, where the set has {expected} of each subject"
        )
        yield Problem(
            scan.relative(scan.paths[0]), cause, "add the missing files if you have them", "warning", scan.scan
        )
