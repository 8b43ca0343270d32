"""Reading one whole scan and reporting every problem with it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from anyadbench.data.store.ordering import in_index_order
from anyadbench.data.trees.background import not_stripped, settle
from anyadbench.data.trees.files import ScanFiles
from anyadbench.data.trees.layouts import REGIONS, Layout
from anyadbench.data.trees.problems import BadFile, Problem, errors, labelled_though_healthy
from anyadbench.data.trees.resampling import on_grid
from anyadbench.data.trees.volume import Volume, check_siblings

if TYPE_CHECKING:
    from jaxtyping import Float64, Shaped, UInt8

MIN_BRAIN = 0.01
"""Slices in which the brain covers less than this fraction of the field are not stored."""


_HASHED = 1 << 16
"""Values that are converted and hashed at a time: what fits the processor's cache."""


class VolumeSource(Protocol):
    """Reads single files, as an ``anyadbench.data.trees.readers.volume_tree.VolumeReader`` does."""

    def volume(self, path: Path) -> Volume:
        """Return a 3D image."""

    def labels(self, path: Path) -> Volume:
        """Return a segmentation."""

    def channels(self, path: Path, names: Sequence[str]) -> Mapping[str, Volume]:
        """Return the sequences of a 4D image by name."""


@dataclass(frozen=True, eq=False)
class Scan:
    """One scan in memory.

    Attributes:
        files: Its files.
        volumes: Sequences in canonical order, all on one grid.
        labels: Regions of ``anyadbench.data.trees.layouts.REGIONS`` on the same grid; 0 for none.
        hashes: SHA-256 of each sequence's values in LPS order, independent of the file's orientation and type.
    """

    files: ScanFiles
    volumes: Mapping[str, Volume]
    labels: UInt8[np.ndarray, "x y z"]
    hashes: Mapping[str, str]

    @property
    def grid(self) -> Volume:
        """A volume that defines the grid of all."""
        return next(iter(self.volumes.values()))

    def brain(self) -> Float64[np.ndarray, " z"]:
        """Return, for each axial slice, the fraction of its field where some sequence is not 0."""
        return self._brain

    @cached_property
    def _brain(self) -> Float64[np.ndarray, " z"]:
        shown = np.zeros(self.grid.shape[::-1], bool)
        for volume in self.volumes.values():
            shown |= volume.shown.transpose(2, 1, 0)
        return np.array([np.count_nonzero(plane) for plane in shown]) / shown[0].size


def hash_array(array: Shaped[np.ndarray, "*shape"]) -> str:
    """Return the SHA-256 of an array's shape and values as float32."""
    digest = hashlib.sha256(repr(array.shape).encode())
    flat = in_index_order(array).ravel()
    for start in range(0, flat.size, _HASHED):
        digest.update(np.ascontiguousarray(flat[start : start + _HASHED], dtype=np.float32).data)
    return digest.hexdigest()


def read_scan(files: ScanFiles, layout: Layout, source: VolumeSource) -> tuple[Scan | None, list[Problem]]:
    """Read and check a scan.

    Args:
        files: Its files.
        layout: Its layout.
        source: Reads each file.

    Returns:
        The scan, or ``None`` if a problem excludes it; and every problem found.
    """
    problems: list[Problem] = []

    def attempt(read: Callable[[], object]) -> bool:
        try:
            read()
        except BadFile as bad:
            problems.append(Problem(_below(files.root, bad.file), bad.cause, bad.fix, scan=files.scan))
            return False
        return True

    volumes: dict[str, Volume] = {}
    if layout.channels:
        path = next(iter(files.files.values()))
        attempt(lambda: volumes.update(source.channels(path, layout.channels)))
    else:
        for name, path in files.files.items():
            attempt(lambda name=name, path=path: volumes.update({name: source.volume(path)}))  # type: ignore[misc]
    first = next(iter(volumes.values()), None)
    for volume in () if layout.channels or layout.grid else list(volumes.values())[1:]:
        attempt(lambda volume=volume: check_siblings(first, volume))  # type: ignore[arg-type,misc]
    hashes = {name: hash_array(volume.ordered) for name, volume in volumes.items()}
    problems += _content_problems(files, volumes, hashes, layout)
    for name in volumes if not errors(problems) else ():
        attempt(lambda name=name: volumes.update({name: _settled(files, name, volumes[name], problems)}))  # type: ignore[misc]
    first = volumes.get(layout.grid, first)
    if layout.grid and not errors(problems):
        problems += _to_one_grid(files, volumes, first)
    labels = None if first is None else np.zeros(first.shape, np.uint8)
    if files.seg is not None:
        seg: list[Volume] = []
        seg_path = files.seg
        if attempt(lambda: seg.append(source.labels(seg_path))) and first is not None:
            attempt(lambda: check_siblings(first, seg[0]))
            labels, found = _regions(files, seg_path, seg[0], layout)
            problems += found
            problems += [
                Problem(files.relative(seg_path), note, "no action is needed", "warning", files.scan)
                for note in seg[0].notes
            ]
    if errors(problems) or labels is None:
        return None, problems
    problems = list(dict.fromkeys(problems))  # what is repaired in a 4D image is noted of each of its sequences
    scan = Scan(files, volumes, labels, hashes)
    if float(scan.brain().max()) < MIN_BRAIN:
        cause = f"belongs to a scan in which no axial slice shows brain on {100 * MIN_BRAIN:g} % of its field"
        first_file = files.relative(files.paths[0])
        problems.append(Problem(first_file, cause, "replace the scan, or leave it out", scan=files.scan))
        return None, problems
    return scan, problems


def _regions(
    files: ScanFiles, path: Path, seg: Volume, layout: Layout
) -> tuple[UInt8[np.ndarray, "x y z"], list[Problem]]:
    """Return a segmentation's regions, and what is odd about them."""
    labels, found = harmonise(seg.array, layout)
    file = files.relative(path)
    # Where the labels decide what is abnormal, one that is not listed could be either.
    severity = "warning" if layout.abnormal is None else "error"
    problems = [Problem(file, *text, severity, files.scan) for text in found]
    if files.person.healthy and (count := int(np.count_nonzero(labels))):
        problems.append(labelled_though_healthy(file, files.subject, files.scan, count))
    return labels, problems


def harmonise(
    labels: UInt8[np.ndarray, "*shape"], layout: Layout
) -> tuple[UInt8[np.ndarray, "*shape"], list[tuple[str, str]]]:
    """Convert a release's label values to regions.

    Returns:
        The regions, and (cause, fix) for labels that the layout does not list.
    """
    table = np.full(256, REGIONS["other"], np.uint8)
    table[0] = 0
    for value, region in layout.labels.items():
        table[value] = REGIONS[region]
    # Nearly all voxels are 0, so only the others are looked up; raveled both ways in the order of the memory.
    regions, flat = np.zeros_like(labels), labels.ravel(order="K")
    places = np.flatnonzero(flat != 0)  # on booleans it is several times as fast
    values = flat[places]
    regions.ravel(order="K")[places] = table[values]
    counts = np.bincount(values, minlength=256)
    odd = [value for value in np.flatnonzero(counts) if value and int(value) not in layout.labels]
    if not odd:
        return regions, []
    listed = ", ".join(f"{value} ({counts[value]} voxels)" for value in odd)
    cause = f"holds labels that {layout.name} does not have: {listed}"
    if layout.abnormal is None:
        return regions, [(cause, "check them; they count as abnormal, in no known region")]
    known = ", ".join(f"{value} {region}" for value, region in layout.labels.items())
    return regions, [(cause, f"give the segmentation of the release, whose labels are {known}")]


def _to_one_grid(files: ScanFiles, volumes: dict[str, Volume], grid: Volume | None) -> list[Problem]:
    """Resample volumes to the grid of one of them, and report which ones."""
    found: list[Problem] = []
    for name, volume in volumes.items():
        volumes[name] = moved = on_grid(volume, grid or volume)
        found += [
            Problem(files.relative(files.files[name]), note, "no action is needed", "warning", files.scan)
            for note in moved.notes[len(volume.notes) :]
        ]
    return found


def _settled(files: ScanFiles, name: str, volume: Volume, problems: list[Problem]) -> Volume:
    """Return a volume with the background 0, and report what was done.

    Raises:
        BadFile: If it has no background, so that air or the skull would count as brain.
    """
    if volume.ends[0] == volume.ends[1]:
        fix = "replace it, or remove it so that the sequence counts as missing"
        raise BadFile(volume.path, f"has the value {volume.array.flat[0]:g} everywhere", fix)
    found = settle(volume)
    file, nothing = files.relative(files.files[name]), "no action is needed"
    problems += [Problem(file, cause, nothing, "warning", files.scan) for cause in (*volume.notes, *found.notes)]
    if reason := not_stripped(found.volume):
        cause = f"is probably not skull-stripped, or has noise as background ({reason})"
        raise BadFile(volume.path, cause, "strip it first (e.g. with HD-BET or SynthStrip), with 0 outside the brain")
    return found.volume


def _below(root: Path, file: str) -> str:
    path = Path(file)
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else file


def _content_problems(
    files: ScanFiles, volumes: Mapping[str, Volume], hashes: Mapping[str, str], layout: Layout
) -> list[Problem]:
    problems: list[Problem] = []
    names: Sequence[str] = list(volumes)
    for index, name in enumerate(names):
        file = files.relative(files.files[name])
        # In a 4D image the sequences differ by name, not by file.
        where = f" ({name})" if layout.channels else ""
        if volumes[name].ends == (0, 0):
            fix = "replace it, or remove it so that the sequence counts as missing"
            problems.append(Problem(file, f"contains only zeros{where}", fix, scan=files.scan))
            continue
        twin = next((other for other in names[:index] if hashes[other] == hashes[name]), None)
        if twin is not None:
            cause = f"holds the same image as {files.files[twin].name}: {name} equals {twin}"
            fix = "replace the wrong one, or remove it so that the sequence counts as missing"
            problems.append(Problem(file, cause, fix, scan=files.scan))
    return problems
