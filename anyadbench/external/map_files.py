"""Anomaly maps of another program on disk (see ``docs/submitting.md``): found, checked, and read slice by slice.

A folder of maps contains one folder for each subset, such as ``F+T1``, which holds for each scan either a NIfTI volume
``SCAN.nii.gz`` on the scan's grid, or a folder ``SCAN`` with one ``SLICE.npy`` for each slice.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.data.store.npy import load_npy
from anyadbench.data.trees.problems import BadFile
from anyadbench.data.trees.scan_slices import affine_from
from anyadbench.data.trees.volume import check_grid, lost_in_float32, read_map
from anyadbench.errors import UserError, suggest
from anyadbench.hashing import sha256_file, stable_hash
from anyadbench.names import entries, files_below, readable
from anyadbench.tables import Line, read_table, whole
from anyadbench.tables import number as parsed

if TYPE_CHECKING:
    from jaxtyping import Float32

    from anyadbench.data.store.store import SliceStore
    from anyadbench.data.trees.volume import Volume

SCORES = "image_scores.csv"
_NIFTI = (".nii.gz", ".nii")
_VOLUMES = 24
"""Volumes held in memory: slices come scan by scan, for all subsets in turn."""

OFF_GRID = 0.1
"""Largest distance between a map's voxels and its scan's, in voxels: other programs round their affines."""

LOST = 0.05
"""Share of a slice's distinct scores that may become equal in float32 before that is reported."""


@dataclass
class MapFolder:
    """The maps of one test set, or of the validation normals.

    Attributes:
        path: Folder with a folder for each subset.
        store: The store whose scans the maps are of.
        labels: Labels of the protocol's subsets.
        beside: Names of other folders that ``path`` may contain.
        grids: Further shapes that an array may have: that of the method's input, and the scoring grid.
        notes: What the user should know about the maps, one sentence each.
    """

    path: Path
    store: SliceStore
    labels: tuple[str, ...]
    beside: tuple[str, ...] = ()
    grids: tuple[tuple[int, int], ...] = ()
    notes: list[str] = field(default_factory=list)
    _noted: set[str] = field(default_factory=set)
    _scores: dict[str, dict[tuple[str, int], float]] = field(default_factory=dict)
    _volumes: OrderedDict[tuple[str, str], Float32[np.ndarray, "z h w"]] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        """Check the names of everything in the folder, and read the slice scores.

        Raises:
            UserError: If a name matches no subset or no scan, or a table is wrong.
        """
        for entry in entries(self.path):
            if entry.name in self.beside:
                continue
            if entry.name not in self.labels:
                near = suggest(entry.name, self.labels)
                raise UserError(f"{entry} is not named after a subset of the protocol; rename or move it.{near}")
            self._check_names(entry)
            if (entry / SCORES).is_file():
                self._scores[entry.name] = self._read_scores(entry / SCORES)

    @property
    def subsets(self) -> list[str]:
        """Labels of the subsets that have maps."""
        return [label for label in self.labels if (self.path / label).is_dir()]

    def _check_names(self, folder: Path) -> None:
        if not folder.is_dir():
            raise UserError(f"{folder} is a file where the folder of a subset is expected; move it.")
        known = set(self.store.scans.index)
        first: dict[str, Path] = {}
        for entry in entries(folder):
            name = readable(next((entry.name.removesuffix(e) for e in _NIFTI if entry.name.endswith(e)), entry.name))
            if name not in known and entry.name != SCORES:
                raise UserError(f"{entry} is not named after a scan of {self.store.dataset}; rename or remove it.")
            if first.setdefault(name, entry) != entry:
                raise UserError(f"{first[name]} and {entry} are both maps of {name}; remove one of them.")

    def missing(self, label: str, slices: list[tuple[str, int]]) -> list[str]:
        """Return the missing files of these slices."""
        lacking = []
        for scan, number in slices:
            if self._volume_file(label, scan) is None and not self._slice_file(label, scan, number).is_file():
                lacking.append(str(self._slice_file(label, scan, number)))
        return lacking

    def fingerprint(self) -> str:
        """Return the hash over the name and content of every file."""
        files = [path for label in self.subsets for path in files_below(self.path / label)]
        return stable_hash([[str(path.relative_to(self.path)), sha256_file(path)] for path in files])

    def read(self, label: str, scan: str, number: int) -> Float32[np.ndarray, "h w"]:
        """Return the map of one slice on the store's grid, or an array on one of the further grids as it is.

        Raises:
            UserError: If the file is missing, damaged, of another shape, or not finite.
        """
        volume = self._volume_file(label, scan)
        if volume is not None:
            return self._of_volume(label, scan, number, volume)
        path = self._slice_file(label, scan, number)
        if not path.exists():
            raise UserError(f"{path} is missing; give a map for every slice of the test set.")
        array = load_npy(path)
        if array.ndim != 2 or 0 in array.shape or array.dtype.kind not in "fiu":
            raise UserError(f"{path} holds {array.dtype} of shape {array.shape}; give numbers as height x width.")
        self._note_lost(path, lost_in_float32(array))
        return self._placed(path, scan, self._finite(path, array))

    def image_score(self, label: str, scan: str, number: int) -> float | None:
        """Return the slice's score if the subset has a table of scores.

        Raises:
            UserError: If the table lacks the slice.
        """
        table = self._scores.get(label)
        if table is None:
            return None
        if (scan, number) not in table:
            raise UserError(f"{self.path / label / SCORES} lacks slice {number} of {scan}; add it or remove the table.")
        return table[scan, number]

    def _of_volume(self, label: str, scan: str, number: int, path: Path) -> Float32[np.ndarray, "h w"]:
        if (label, scan) not in self._volumes:
            volume, lost = read_map(path)
            self._check_grid(scan, volume)
            if volume.notes and "header" not in self._noted:
                self._noted.add("header")
                self.notes += [f"{path} {note}." for note in volume.notes]
            self._note_lost(path, lost)
            self._volumes[label, scan] = volume.axial().astype(np.float32)
            if len(self._volumes) > _VOLUMES:
                self._volumes.popitem(last=False)
        depth = len(self._volumes[label, scan])
        if number >= depth:  # a scan of slices without a place in space has no depth that the map could be compared to
            raise UserError(f"{path} lacks slice {number} of {scan} (it has {depth}, from 0); write the whole scan.")
        return self._padded(scan, self._volumes[label, scan][number])

    def _placed(self, path: Path, scan: str, array: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
        """Return an array on the store's grid, if it has the scan's own, and on a further grid as it is.

        Raises:
            UserError: If it lies on none of them: stretched to one, it would show another place.
        """
        own = self._size(scan)
        if array.shape == own:
            return self._padded(scan, array)
        others = [grid for grid in dict.fromkeys((self.store.shape, *self.grids)) if grid != own]
        if array.shape in others:
            return array
        more = f", or on {' or '.join(_pixels(grid) for grid in others)}" if others else ""
        raise UserError(
            f"{path} has {_pixels(array.shape)} pixels (height x width), and its scan {scan} has {_pixels(own)}; write "
            f"the map on the scan's grid{more}."
        )

    def _size(self, scan: str) -> tuple[int, int]:
        entry: Any = self.store.scans.loc[scan]
        return int(entry["height"]), int(entry["width"])

    def _padded(self, scan: str, array: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "H W"]:
        """Return a map of a scan's own size on the store's grid, where the scan itself is."""
        entry: Any = self.store.scans.loc[scan]
        padded = np.full(self.store.shape, array.min(), dtype=np.float32)
        top, left = int(entry["pad_y"]), int(entry["pad_x"])
        padded[top : top + array.shape[0], left : left + array.shape[1]] = array
        return padded

    def _check_grid(self, scan: str, volume: Volume) -> None:
        """Refuse a map that does not lie on its scan's grid.

        Raises:
            UserError: If its shape, spacing, directions or place differ.
        """
        entry: Any = self.store.scans.loc[scan]
        affine = affine_from(str(entry["affine"]))
        shape = (int(entry["width"]), int(entry["height"]), int(entry["depth"]) or volume.shape[2])
        if affine is None:  # slices without a place in space, as PNGs have none
            affine = volume.affine
        try:
            check_grid(volume, shape, affine, f"its scan {scan}", OFF_GRID)
        except BadFile as bad:
            raise UserError(f"{bad.file} {bad.cause}; write the map on the scan's grid, with its affine.") from None

    def _note_lost(self, path: Path, lost: float) -> None:
        if lost > LOST and "float32" not in self._noted:
            self._noted.add("float32")
            self.notes.append(
                f"{path} has scores that differ by less than float32 can hold: {lost:.0%} of a slice's values become "
                "equal, in this map and perhaps in others; rescale the maps, for example by taking logarithms."
            )

    def _volume_file(self, label: str, scan: str) -> Path | None:
        return next((path for end in _NIFTI if (path := self.path / label / f"{scan}{end}").is_file()), None)

    def _slice_file(self, label: str, scan: str, number: int) -> Path:
        return self.path / label / scan / f"{number}.npy"

    def _finite(self, path: Path, array: np.ndarray) -> Float32[np.ndarray, "h w"]:
        with np.errstate(over="ignore"):
            values = np.ascontiguousarray(array, dtype=np.float32)
        if not np.isfinite(values).all():
            raise UserError(f"{path} holds NaN or infinite values as float32; give finite scores.")
        return values

    def _read_scores(self, path: Path) -> dict[tuple[str, int], float]:
        fix = "correct it: it needs the columns scan, slice and score"
        table = read_table(path, str(path), fix)
        if lacking := [name for name in ("scan", "slice", "score") if name not in table.columns]:
            raise UserError(f"{path} lacks the column {lacking[0]!r}; {fix}.")
        found: dict[tuple[str, int], tuple[Line, float]] = {}
        for line in table.lines:
            try:
                at, value = (line.cells["scan"], whole(line.cells["slice"])), parsed(line.cells["score"])
            except ValueError as error:
                raise UserError(f"{path}, line {line.number}: {error}; correct that line.") from None
            if not np.isfinite(value):
                raise UserError(f"{path}, line {line.number}, holds a NaN or infinite score; give finite ones.")
            before, known = found.setdefault(at, (line, value))
            if known != value:
                raise UserError(
                    f"{path}, lines {before.number} and {line.number}, give slice {at[1]} of {at[0]} two scores; keep "
                    "one."
                )
        return {at: value for at, (_, value) in found.items()}


def _pixels(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
