"""The slice store: every canonical axial slice of a data set, compressed and mapped into memory, with its tables.

A folder with ``store.json``, ``images.blosc`` (uint16, N×S×H×W), ``masks.blosc`` (uint8, N×H×W, values of
``anyadbench.data.trees.layouts.REGIONS``), ``index.npy`` (where each slice is), ``slices.csv``, ``scans.csv``,
``quarantine.json`` (scans left out), ``warnings.json`` (problems that kept no scan out) and ``inputs.json`` (hash of
the files it was made from); ``boxes.csv`` where lesions are marked by boxes.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from anyadbench.data.store.assemble import table_hash
from anyadbench.data.store.box_table import NAME as BOXES
from anyadbench.data.store.box_table import box_hash, read_box_table
from anyadbench.data.store.extract import slice_sha
from anyadbench.data.store.pixels import FILES, REMEDY, Pixels, open_pixels
from anyadbench.data.trees.layouts import REGIONS
from anyadbench.data.trees.scan_slices import FORMAT
from anyadbench.errors import UserError
from anyadbench.hashing import stable_hash
from anyadbench.progress import Progress
from anyadbench.tables import unguarded

if TYPE_CHECKING:
    import pandas as pd
    from jaxtyping import Bool, Float32, Float64, Int, UInt8

T = TypeVar("T", dict[str, Any], list[Any])

_REPEATED = 64
"""Texts shorter than this are interned; longer ones are hashes, no two of which are equal."""

_CODE = ("zero", "scale")

_TEXT = {"subject", "timepoint", "scan", "part", "sha", "files", "affine", "site", "sex"}
_WHOLE = {
    "row", "key", "slice", "lesion_px", "cavity_px", "lesion_distance", "slices", "height", "width", "pad_y", "pad_x",
    "lesion_voxels", "depth",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class SliceStore:
    """An opened store.

    Attributes:
        path: Its folder.
        dataset: Name of the data set.
        sequences: Sequences of any scan, in canonical order; axis 1 of ``images``.
        shape: Height and width of the slices in pixels.
        spacing: Pixel size in mm, along height and width.
        slices: ``slices.csv``, one line per slice in the order of the arrays.
        scans: ``scans.csv``, indexed by scan. About the subject: ``healthy`` (bool), ``site`` and ``sex`` (empty if
            unknown), ``age`` in years (NaN if unknown).
        content_hash: Hash of the whole content, pixels included.
        images: Stored values, uint16, N×S×H×W.
        masks: Regions, uint8, N×H×W.
        abnormal_regions: Region values that are abnormal; ``None`` for every value above 0.
    """

    path: Path
    dataset: str
    sequences: tuple[str, ...]
    shape: tuple[int, int]
    spacing: tuple[float, float]
    slices: pd.DataFrame
    scans: pd.DataFrame
    content_hash: str
    images: Pixels = field(repr=False)
    masks: Pixels = field(repr=False)
    abnormal_regions: tuple[int, ...] | None = None

    @cached_property
    def own_parts(self) -> bool:
        """Whether the slices come with a split of their own, as those of a tree of PNGs do."""
        return bool((self.slices["part"] != "").any())

    @cached_property
    def boxes(self) -> Mapping[int, Float64[np.ndarray, "b 4"]] | None:
        """Left, top, width and height in pixels of the boxes of each slice with any; ``None`` if labels are masks."""
        return read_box_table(self.path) if (self.path / BOXES).is_file() else None

    @cached_property
    def healthy_subjects(self) -> frozenset[str]:
        """The subjects without a lesion."""
        return frozenset(str(name) for name in self.scans.loc[self.scans["healthy"], "subject"])

    def __len__(self) -> int:
        return len(self.slices)

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        # A worker process maps the files itself; otherwise the whole arrays would be copied to it.
        return open_store, (self.path,)

    def read(
        self, rows: Int[np.ndarray, " n"], sequences: Sequence[str]
    ) -> tuple[Float32[np.ndarray, "n S H W"], Bool[np.ndarray, "n S"]]:
        """Return slices in the source's own units, and which of the sequences each has; absent ones are exactly 0.

        Only the named sequences are read.
        """
        rows = np.asarray(rows, dtype=np.int64)
        present = self.present(rows, sequences)
        values = np.zeros((len(rows), len(sequences), *self.shape), np.float32)
        owner = self.scan_of_row[rows]
        for place, name in enumerate(sequences):
            if name not in self.sequences:
                continue
            channel = self.sequences.index(name)
            zeros, scales = (codes[owner] for codes in self._codes[name])
            for i in np.flatnonzero(present[:, place]):
                stored, y, x, _ = self.images.block(rows[i], channel)
                if stored is None:
                    continue
                # Around the box is background, which is 0. Subtracting the stored zero first keeps the rest of it at
                # exactly 0 in float32.
                out = values[i, place, y, x]
                out[...] = stored
                if zeros[i]:
                    out -= zeros[i]
                if scales[i] != 1:
                    out *= scales[i]
        return values, present

    @cached_property
    def _codes(self) -> dict[str, tuple[Float32[np.ndarray, " scans"], Float32[np.ndarray, " scans"]]]:
        """The stored zero and the scale of each sequence by scan."""
        zero, scale = ({n: self.scans[f"{kind}_{n}"].to_numpy(np.float32) for n in self.sequences} for kind in _CODE)
        return {name: (zero[name], scale[name]) for name in self.sequences}

    @cached_property
    def scan_of_row(self) -> Int[np.ndarray, " N"]:
        """For each slice, the index of its scan in ``scans``."""
        position = {name: index for index, name in enumerate(self.scans.index)}
        return np.array([position[name] for name in self.slices["scan"]], dtype=np.int64)

    def present(self, rows: Int[np.ndarray, " n"], sequences: Sequence[str]) -> Bool[np.ndarray, "n S"]:
        """Return which of the sequences the scan of each slice has."""
        return np.asarray(self.availability(sequences)[self.scan_of_row[np.asarray(rows, dtype=np.int64)]])

    def availability(self, sequences: Sequence[str]) -> Bool[np.ndarray, "scans S"]:
        """Return which of the sequences each scan has, in the order of ``scans``."""
        none = np.zeros(len(self.scans), bool)
        columns = [self.scans[f"has_{name}"].to_numpy(bool) if name in self.sequences else none for name in sequences]
        return np.stack(columns, axis=1) if columns else np.zeros((len(self.scans), 0), bool)

    def labels(self, rows: Int[np.ndarray, " n"]) -> UInt8[np.ndarray, "n H W"]:
        """Return the regions of slices."""
        return np.asarray(self.masks[np.asarray(rows, dtype=np.int64)])

    def abnormal(self, rows: Int[np.ndarray, " n"], cavity: bool = True) -> Bool[np.ndarray, "n H W"]:
        """Return where slices are abnormal; ``cavity=False`` excludes resection cavities."""
        labels = self.labels(rows)
        mask = labels > 0 if self.abnormal_regions is None else np.isin(labels, self.abnormal_regions)
        return mask if cavity else mask & (labels != REGIONS["cavity"])

    def ignored(self, rows: Int[np.ndarray, " n"]) -> Bool[np.ndarray, "n H W"] | None:
        """Return where slices show pathology that the release excludes from its evaluation.

        ``None`` if every label of the data set is abnormal, so that none can be ignored.
        """
        return None if self.abnormal_regions is None else self.labels(rows) == REGIONS["ignored"]

    def verify_slices(self, rows: Int[np.ndarray, " n"] | None = None, progress: Progress | None = None) -> None:
        """Check slices against their hashes; by default all of them.

        Raises:
            UserError: If a slice was changed.
        """
        shas = self.slices["sha"].to_numpy()
        wanted = range(len(self)) if rows is None else [int(row) for row in rows]
        for done, row in enumerate(wanted, 1):
            if progress is not None:
                progress(done, len(wanted), f"checking the store of {self.dataset}")
            if slice_sha(self.images[row], self.masks[row]) != shas[row]:
                raise UserError(
                    f"{self.path / FILES[0]} or {FILES[1]} was changed after it was made (slice {row}); "
                    "delete the store and prepare it again."
                )


def open_store(path: str | Path) -> SliceStore:
    """Open a store.

    Raises:
        UserError: If it is missing, incomplete, of another version, or its tables were changed.
    """
    folder = Path(path)
    head = _head(folder)
    missing = [name for name in ("scans.csv", "slices.csv", *FILES) if not (folder / name).is_file()]
    if missing:
        raise UserError(f"The store {folder} lacks {missing[0]}; {REMEDY}.")
    content = {key: value for key, value in head.items() if key not in ("content_hash", "content")}
    content["format"] = head.get("content")  # the hash is of what the store holds, whatever its files look like
    try:
        changed = table_hash(folder) != head["table_hash"] or stable_hash(content) != head["content_hash"]
    except ValueError:  # NaN and infinity, which Python's JSON reads, have no hash
        changed = True
    if changed:
        raise UserError(f"The tables of the store {folder} were changed after it was made; {REMEDY}.")
    if box_hash(folder) != head.get("boxes", ""):
        raise UserError(f"The boxes of the store {folder} were changed after it was made; {REMEDY}.")
    height, width = head["shape"]
    images, masks = open_pixels(folder, head["slices"], len(head["sequences"]), (height, width))
    return SliceStore(
        path=folder.resolve(),
        dataset=head["dataset"],
        sequences=tuple(head["sequences"]),
        shape=(height, width),
        spacing=(head["spacing"][0], head["spacing"][1]),
        slices=_table(folder / "slices.csv"),
        scans=_table(folder / "scans.csv").set_index("scan", drop=False).rename_axis(None),
        content_hash=head["content_hash"],
        images=images,
        masks=masks,
        abnormal_regions=None if head["abnormal"] is None else tuple(head["abnormal"]),
    )


def is_store(path: Path) -> bool:
    """Whether a folder is a slice store."""
    return (path / "store.json").is_file()


def overlap(first: SliceStore, second: SliceStore) -> list[tuple[str, str, str]]:
    """Return (scan of the first, scan of the second, sequence) for images that both stores hold.

    An image that is FLAIR in one set and T1 in the other counts too: sequences are sometimes mixed up.
    """
    theirs: dict[str, str] = {}
    for name in second.sequences:
        for scan, sha in second.scans[f"sha_{name}"].items():
            if sha:
                theirs.setdefault(sha, str(scan))
    found = []
    for name in first.sequences:
        found += [(str(s), theirs[h], name) for s, h in first.scans[f"sha_{name}"].items() if h in theirs]
    return sorted(found)


def store_json(path: Path, kind: type[T]) -> T:
    """Read a JSON file of a store.

    Args:
        path: The file.
        kind: Type of what it holds.

    Raises:
        UserError: If it cannot be read or holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        text = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{path} cannot be read ({text}); delete the store and prepare it again.") from None
    if not isinstance(value, kind):
        names = {dict: "an object", list: "a list"}
        raise UserError(f"{path} does not hold {names[kind]}; delete the store and prepare it again.")
    return value


def _head(folder: Path) -> dict[str, Any]:
    path = folder / "store.json"
    if not path.is_file():
        raise UserError(f"{folder} is not a slice store; make one with `anyadbench data prepare`.")
    head = store_json(path, dict)
    version = head.get("format")
    if version != FORMAT and version is not None:
        raise UserError(
            f"The store {folder} has format {version}, but this version of anyadbench reads format {FORMAT}; "
            "delete it and run `anyadbench data prepare` again."
        )
    lacking = next((name for name in ("format", "table_hash", "content_hash") if name not in head), None)
    if lacking is not None:
        raise UserError(f"{path} lacks {lacking!r}; delete the store and prepare it again.")
    return head


def _table(path: Path) -> pd.DataFrame:
    import pandas as pd

    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        header = next(reader)
        columns: list[list[str]] = [[] for _ in header]
        known: dict[str, str] = {}
        for line in reader:
            for column, value in zip(columns, line, strict=True):
                # Subjects and scans repeat from slice to slice: one string each is enough.
                column.append(known.setdefault(value, value) if len(value) < _REPEATED else value)
    return pd.DataFrame({name: _column(name, values) for name, values in zip(header, columns, strict=True)})


def _column(name: str, values: Sequence[str]) -> Any:
    # Python's float reads back exactly what repr wrote; a column's type depends on its name alone.
    if name in _TEXT or name.startswith("sha_"):
        return list(values) if name == "affine" else [unguarded(value) for value in values]
    if name == "healthy":
        return np.array([value == "1" for value in values], dtype=bool)
    if name in _WHOLE or name.startswith("has_"):
        return np.array([int(value) for value in values], dtype=np.int64)
    return np.array([float(value) if value else np.nan for value in values], dtype=np.float64)
