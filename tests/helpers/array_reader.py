"""Two tree readers as a third party writes them: one image per array, and all arrays of a scan in one archive."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from trees import LPS, anatomy, lesion

from anyadbench.api import (
    FOUR_D,
    BadFile,
    Layout,
    Match,
    Part,
    Problem,
    ScanFiles,
    Survey,
    TreeReader,
    Volume,
    VolumeReader,
    canonical_volume,
    fit_coding,
    hash_array,
    lesion_distance,
    sequence_columns,
)

SEQUENCES = ("flair", "t1", "t2")
PATH = "array_reader:ARRAYS"


class ArrayReader(VolumeReader):
    """One ``.npy`` file per sequence."""

    name = "test-arrays"
    suffixes = (".npy",)

    def volume(self, path: Path) -> Volume:
        """Return an array as a volume."""
        try:
            array = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise BadFile(path, f"cannot be read ({error})", "write it again") from error
        return canonical_volume(path, array, LPS)


ARRAYS = ArrayReader()


@dataclass(frozen=True, eq=False)
class Stack:
    """What one archive holds."""

    arrays: Mapping[str, np.ndarray]
    hashes: Mapping[str, str]


class ArchiveReader(TreeReader[Stack]):
    """One ``.npz`` archive of 2D slices per scan; the first axis counts the slices."""

    name = "test-archives"
    suffixes = (".npz",)

    def find(self, matches: Sequence[Match], layout: Layout, root: Path) -> Survey:
        """Take each archive as a scan."""
        scans = [
            ScanFiles(str(m.groups["scan"]), str(m.groups["subject"]), "", dict.fromkeys(SEQUENCES, m.path), None, root)
            for m in matches
        ]
        return Survey(scans, [])

    def read_scan(self, files: ScanFiles, layout: Layout) -> tuple[Stack | None, list[Problem]]:
        """Read an archive."""
        (path,) = files.paths
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: np.asarray(archive[name]) for name in (*SEQUENCES, "lesion")}
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            return None, [Problem(files.relative(path), f"cannot be read ({error})", "write it again", scan=files.scan)]
        return Stack(arrays, {name: hash_array(arrays[name]) for name in SEQUENCES}), []

    def cut(self, content: Stack, layout: Layout) -> Part:
        """Return every slice."""
        labels = content.arrays["lesion"].astype(np.uint8) * np.uint8(5)
        images = np.stack([content.arrays[name] for name in SEQUENCES], axis=1).astype(np.uint16)
        row = {"spacing_x": 1.0, "spacing_y": 1.0, "spacing_z": 1.0, "lesion_voxels": int((labels > 0).sum())}
        for index, name in enumerate(SEQUENCES):
            row |= sequence_columns(name, images[:, index], fit_coding(images[:, index]), content.hashes[name])
        distance = lesion_distance(labels.reshape(len(labels), -1).any(axis=1))
        slices = [
            {
                "slice": k, "height_mm": float(k), "brain": float((images[k] != 0).any(axis=0).mean()),
                "lesion_px": int((labels[k] > 0).sum()), "cavity_px": 0, "lesion_distance": int(distance[k]),
            }
            for k in range(len(labels))
        ]  # fmt: skip
        return Part(SEQUENCES, images, labels, row, slices, content.hashes)


def array_layout(reader: str | TreeReader) -> Layout:  # type: ignore[type-arg]
    """Return the layout of a tree of arrays."""
    return Layout(
        "shelf",
        "Arrays",
        (r"(?P<scan>(?P<subject>S\d+))/(?P<kind>flair|t1|t2|lesion)",),
        {**{name: name for name in SEQUENCES}, "lesion": "seg"},
        expected=SEQUENCES,
        labels={1: "lesion"},
        tree="shelf/S001/{flair,t1,t2,lesion}.npy",
        reader=reader,
    )


ARCHIVES = Layout(
    "archives",
    "Archives",
    (r"(?P<kind>scan)~(?P<scan>(?P<subject>\d+))",),
    {"scan": FOUR_D},
    expected=SEQUENCES,
    labels={1: "lesion"},
    tree="scan_001.npz",
    reader=ArchiveReader(),
)


def make_arrays(root: Path, subjects: int = 3, shape: tuple[int, int, int] = (40, 40, 12)) -> Path:
    """Write a tree of arrays: the images of ``trees.make_tree``."""
    for number in range(1, subjects + 1):
        folder = root / f"S{number:03d}"
        folder.mkdir(parents=True)
        for name in SEQUENCES:
            np.save(folder / f"{name}.npy", anatomy(number, shape, name))
        np.save(folder / "lesion.npy", (lesion("mslub", shape) > 0).astype(np.uint8))
    return root


def make_archives(root: Path, subjects: int = 3, shape: tuple[int, int, int] = (40, 40, 12)) -> Path:
    """Write a tree of archives with the same slices."""
    root.mkdir(parents=True)
    for number in range(1, subjects + 1):
        arrays = {name: anatomy(number, shape, name).transpose(2, 1, 0) for name in SEQUENCES}
        np.savez(root / f"scan_{number:03d}.npz", **arrays, lesion=(lesion("mslub", shape) > 0).transpose(2, 1, 0))  # type: ignore[arg-type]
    return root
