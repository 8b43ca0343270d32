"""One scan's part of a slice store on disk, complete or absent."""

from __future__ import annotations

import json
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any

from anyadbench.data.store.npy import write_array
from anyadbench.data.trees.files import Person, ScanFiles
from anyadbench.data.trees.layouts import Layout
from anyadbench.data.trees.problems import Problem, errors, labelled_though_healthy
from anyadbench.data.trees.reader import reader_of
from anyadbench.data.trees.scan_slices import FORMAT, Part
from anyadbench.files import write_text
from anyadbench.folders import atomic_folder
from anyadbench.hashing import stable_hash


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


def extract(files: ScanFiles, layout: Layout, parts: Path) -> dict[str, Any]:
    """Write one scan's part below ``parts`` unless it exists, and return its ``meta.json``.

    Only the number of slices is returned, since the metas of all scans are in memory at once. A scan with an error
    leaves no part; its meta then holds the problems alone.
    """
    target = parts / fingerprint(files, layout)[:40]
    if not target.is_dir():
        part, problems = read_part(files, layout)
        if part is None:
            return {"scan": files.scan, "problems": [problem.as_json() for problem in problems], "part": None}
        _write(part, files, problems, target)
    meta = read_meta(target)
    light = {key: value for key, value in meta.items() if key not in ("slices", "row", "files", "boxes")}
    spacing = [meta["row"]["spacing_y"], meta["row"]["spacing_x"]]
    return {**light, "slices": len(meta["slices"]), "spacing": spacing, "file": meta["files"][0], "part": str(target)}


def read_meta(part: Path) -> dict[str, Any]:
    """Return everything about a part except its pixels."""
    meta: dict[str, Any] = json.loads((part / "meta.json").read_text(encoding="utf-8"))
    return meta


def _write(part: Part, files: ScanFiles, problems: list[Problem], target: Path) -> None:
    meta = {
        "scan": files.scan,
        "subject": files.subject,
        "timepoint": files.timepoint,
        "person": asdict(files.person),
        "sequences": list(part.sequences),
        "shape": [int(length) for length in part.masks.shape[1:]],
        "row": part.row,
        "slices": part.slices,
        "hashes": dict(part.hashes),
        "files": [files.relative(path) for path in files.paths],
        "problems": [problem.as_json() for problem in problems],
    }
    if part.boxes is not None:
        meta["boxes"] = part.boxes
    with atomic_folder(target) as partial:
        write_array(partial / "images.npy", part.images)
        write_array(partial / "masks.npy", part.masks)
        write_text(partial / "meta.json", json.dumps(meta), fsync=False)
