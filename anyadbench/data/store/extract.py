"""From the files of one scan to its part of a slice store."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.data.store.pixels import pack
from anyadbench.data.trees.files import Person, ScanFiles
from anyadbench.data.trees.layouts import Layout
from anyadbench.data.trees.problems import Problem, errors, labelled_though_healthy
from anyadbench.data.trees.reader import reader_of
from anyadbench.data.trees.scan_slices import FORMAT, Part
from anyadbench.hashing import stable_hash

if TYPE_CHECKING:
    from jaxtyping import UInt8, UInt16


def fingerprint(files: ScanFiles, layout: Layout) -> str:
    """Hash of everything that a part depends on: format, layout, reader, and the files' names, sizes and times."""
    listed = [[files.relative(path), *_size_and_time(path)] for path in files.paths]
    listed += [[files.relative(path), *_size_and_time(path)] for path in _images_of_pairs(files)]
    known = [FORMAT, layout.fingerprint, files.scan, files.subject, files.timepoint, listed]
    # A version of 0 and an unknown person are left out, so that stores that have neither keep their identity.
    version = reader_of(layout).version
    known += [version] if version else []
    return stable_hash([*known, *astuple(files.person)] if files.person != Person() else known)


def _images_of_pairs(files: ScanFiles) -> list[Path]:
    """Return the files with the values of pairs, whose headers are what a layout matches."""
    headers = [path for path in files.paths if path.name.lower().endswith((".hdr", ".hdr.gz"))]
    if not headers:
        return []
    from anyadbench.data.trees.nifti_file import partner

    return [found for path in headers if (found := partner(path)) is not None]


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:
        # For example a broken link: reading it reports the problem.
        return -1, 0
    return stat.st_size, stat.st_mtime_ns


def read_part(files: ScanFiles, layout: Layout) -> tuple[Part | None, list[Problem]]:
    """Read and check a scan, and cut it into slices; the part is ``None`` if a problem keeps the scan out."""
    reader = reader_of(layout)
    scan, problems = reader.read_scan(files, layout)
    if scan is None or errors(problems):
        return None, problems
    part = reader.cut(scan, layout)
    if files.person.healthy and (labelled := int((part.masks > 0).sum())):
        file = files.relative(files.paths[0])
        return None, [*problems, labelled_though_healthy(file, files.subject, files.scan, labelled)]
    return part, problems


@dataclass(frozen=True, eq=False)
class Extracted:
    """A scan as it is written.

    Attributes:
        meta: Everything about it except its pixels; of a scan with an error, its name and problems alone.
        pixels: Its images and masks, compressed; ``None`` if an error keeps it out.
    """

    meta: dict[str, Any]
    pixels: tuple[bytes, bytes] | None


def part_name(files: ScanFiles, layout: Layout) -> str:
    """Return the name under which a scan is kept while the store is built; it changes with the files."""
    return fingerprint(files, layout)[:40]


def extract(files: ScanFiles, layout: Layout) -> Extracted:
    """Read, check, cut and compress a scan."""
    part, problems = read_part(files, layout)
    listed = [problem.as_json() for problem in problems]
    if part is None:
        return Extracted({"scan": files.scan, "problems": listed}, None)
    fills = [part.row[f"zero_{name}"] for name in part.sequences]
    images, masks, index = pack(part.images, part.masks, fills)
    meta = {
        "scan": files.scan,
        "subject": files.subject,
        "timepoint": files.timepoint,
        "person": asdict(files.person),
        "sequences": list(part.sequences),
        "shape": [int(length) for length in part.masks.shape[1:]],
        "row": part.row,
        "slices": part.slices,
        "shas": [slice_sha(image, mask) for image, mask in zip(part.images, part.masks, strict=True)],
        "index": index.tolist(),
        "hashes": dict(part.hashes),
        "files": [files.relative(path) for path in files.paths],
        "problems": listed,
    }
    if part.boxes is not None:
        meta["boxes"] = part.boxes
    return Extracted(meta, (images, masks))


def slice_sha(image: UInt16[np.ndarray, "S H W"], mask: UInt8[np.ndarray, "H W"]) -> str:
    """Hash of one slice as it is read: all sequences, then the mask."""
    digest = hashlib.sha256(np.ascontiguousarray(image).data)
    digest.update(np.ascontiguousarray(mask).data)
    return digest.hexdigest()


def light(meta: dict[str, Any], part: Path) -> dict[str, Any]:
    """Return what is needed of every scan at a time, since the metas of all scans are in memory at once."""
    kept = {
        key: value for key, value in meta.items() if key not in ("slices", "shas", "index", "row", "files", "boxes")
    }
    spacing = [meta["row"]["spacing_y"], meta["row"]["spacing_x"]]
    return {**kept, "slices": len(meta["slices"]), "spacing": spacing, "file": meta["files"][0], "part": str(part)}
