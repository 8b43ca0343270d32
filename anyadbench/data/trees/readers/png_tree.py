"""The tree of 8-bit PNG slices as read by the AnyAD release: one file for each sequence of each slice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from anyadbench.data.trees.files import Match, ScanFiles, SliceFiles, Survey
from anyadbench.data.trees.grouping import ScanMatches, group_by_scan, name_warnings
from anyadbench.data.trees.layouts import SEGMENTATION, Layout
from anyadbench.data.trees.problems import Problem, errors
from anyadbench.data.trees.reader import TreeReader
from anyadbench.sequences import SEQUENCES

if TYPE_CHECKING:
    from anyadbench.data.trees.scan_slices import Part

Slices = Mapping[tuple[int, str], Mapping[str, list[Path]]]
"""Files by meaning, for each slice's number and part of the split."""


class PngReader(TreeReader["Part"]):
    """Reads the tree with the part of the split that contains each slice."""

    name = "png"
    suffixes = (".png",)

    def find(self, matches: Sequence[Match], layout: Layout, root: Path) -> Survey:
        """Sort files into slices and scans, and report slices and patients that are in two parts of the split."""
        found = [(item, _slices(item)) for item in group_by_scan(matches)]
        scans: list[ScanFiles] = []
        problems = list(_patients_in_two_parts(found, root))
        for item, by_slice in found:
            wrong = list(_slice_problems(by_slice, item.scan, root))
            meanings = (*SEQUENCES, SEGMENTATION)
            slices = tuple(
                SliceFiles(index, part, {name: min(kinds[name]) for name in meanings if name in kinds})
                for (index, part), kinds in sorted(by_slice.items())
            )
            files = item.files
            images = {name: files[name][0] for name in SEQUENCES if name in files}
            scan = ScanFiles(item.scan, item.subject, item.timepoint, images, None, root, slices)
            problems += [*wrong, *name_warnings(scan, layout)]
            if images and not errors(wrong):
                scans.append(scan)
        return Survey(scans, problems)

    def read_scan(self, files: ScanFiles, layout: Layout) -> tuple[Part | None, list[Problem]]:
        """Read and check the slices of one scan."""
        from anyadbench.data.trees.png import png_part

        return png_part(files)

    def cut(self, content: Part, layout: Layout) -> Part:
        """Return the slices, which are cut already."""
        return content


PNG = PngReader()
"""The reader that layouts call ``png``."""


def _slices(item: ScanMatches) -> Slices:
    found: dict[tuple[int, str], dict[str, list[Path]]] = {}
    for match in item.matches:
        at = (int(match.groups["slice"] or 0), str(match.groups["part"]).lower())
        found.setdefault(at, {}).setdefault(match.meaning, []).append(match.path)
    return found


def _slice_problems(found: Slices, scan: str, root: Path) -> Iterator[Problem]:
    """Yield what is wrong with the names of one scan's slices: two files for one slice, or a slice in two parts."""
    parts: dict[int, str] = {}
    for (index, part), kinds in sorted(found.items()):
        first = min(path for paths in kinds.values() for path in paths).relative_to(root).as_posix()
        twice = next((paths for paths in kinds.values() if len(paths) > 1), None)
        if twice:
            names = [path.relative_to(root).as_posix() for path in sorted(twice)]
            yield Problem(names[0], f"and {names[1]} are the same slice", "keep one of them", scan=scan)
        if index in parts:
            cause = f"is slice {index} of {scan}, which is in {parts[index]} as well as in {part}"
            yield Problem(first, cause, "keep each slice in one part", scan=scan)
        parts[index] = part


def _patients_in_two_parts(found: Iterable[tuple[ScanMatches, Slices]], root: Path) -> Iterator[Problem]:
    """Yield a warning for each patient with slices in both train and test, at any time point."""
    parts: dict[str, dict[str, tuple[Path, str]]] = {}
    for item, slices in found:
        for (_, part), kinds in slices.items():
            first = min(path for paths in kinds.values() for path in paths)
            known = parts.setdefault(item.subject, {})
            known[part] = min(known.get(part, (first, item.scan)), (first, item.scan))
    for subject, files in sorted(parts.items()):
        if "train" in files and len(files) > 1:
            path, scan = files["train"]
            cause = f"belongs to {subject}, who has slices in both train and test"
            fix = "split by patient, or the test scores include a patient seen in training"
            yield Problem(path.relative_to(root).as_posix(), cause, fix, "warning", scan)
