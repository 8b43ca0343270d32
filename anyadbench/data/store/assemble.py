"""Assembly of a slice store: its tables and the index of its pixels, from the finished scans one by one."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from anyadbench.data.store.box_table import BoxTable
from anyadbench.data.store.extract import slice_sha
from anyadbench.data.store.npy import write_array
from anyadbench.data.store.parts import read_meta
from anyadbench.data.store.pixels import COLUMNS, INDEX, LEFT, START, TOP, Pixels, open_pixels
from anyadbench.data.trees.layouts import REGIONS, Layout
from anyadbench.data.trees.problems import Problem
from anyadbench.data.trees.scan_slices import (
    CONTENT,
    FORMAT,
    LANDMARKS,
    PERCENTILES,
    STATISTICS,
    landmark_column,
    percentile_column,
)
from anyadbench.files import atomic_text, write_text
from anyadbench.hashing import stable_hash
from anyadbench.sequences import SEQUENCES
from anyadbench.tables import guarded

if TYPE_CHECKING:
    from jaxtyping import Int64

SLICE_COLUMNS = (
    "row", "key", "subject", "timepoint", "scan", "slice", "height_mm", "brain", "lesion_px", "cavity_px",
    "lesion_distance", "part", "sha",
)  # fmt: skip
_LISTED_FILES = 8
"""Number of source file names stored per scan; a tree of PNGs has hundreds."""

PERSON = ("healthy", "site", "age", "sex")
"""Columns of ``scans.csv`` about the subject; empty where unknown."""

TABLES = ("scans.csv", "slices.csv")


def scan_columns(sequences: Sequence[str]) -> list[str]:
    """Columns of ``scans.csv`` for a store with these sequences."""
    kinds = ["has", "scale", "offset", "zero"]
    columns = ["scan", "subject", "timepoint", "slices", "height", "width", "pad_y", "pad_x"]
    columns += [f"{kind}_{name}" for name in sequences for kind in kinds]
    columns += [percentile_column(p, name) for name in sequences for p in (*PERCENTILES, 100)]
    columns += [landmark_column(p, name) for name in sequences for p in LANDMARKS]
    columns += [f"{kind}_{name}" for name in sequences for kind in STATISTICS]
    columns += [f"sha_{name}" for name in sequences]
    return [*columns, "spacing_z", "spacing_y", "spacing_x", "depth", "affine", "lesion_voxels", *PERSON, "files"]


def slice_key(dataset: str, subject: str, timepoint: str, index: int) -> int:
    """Return a slice's key: from 0 to 2^63 - 1, the same in every store of the data set."""
    return int(stable_hash([dataset, subject, timepoint, index])[:16], 16) >> 1


def table_hash(folder: Path) -> str:
    """Hash of both tables' bytes on disk."""
    return hashlib.sha256(b"".join((folder / name).read_bytes() for name in TABLES)).hexdigest()


def assemble(metas: Sequence[Mapping[str, Any]], layout: Layout, folder: Path, workers: int = 1) -> None:
    """Write ``store.json``, the tables and the index beside the pixels of the scans, which are in the given order.

    Each scan is padded around its centre to the largest height and width, with its own background value.
    """
    sequences = [name for name in SEQUENCES if any(name in meta["sequences"] for meta in metas)]
    height, width = (max(meta["shape"][axis] for meta in metas) for axis in (0, 1))
    total = sum(meta["slices"] for meta in metas)
    index = np.zeros((total, len(sequences) + 1, COLUMNS), np.int64)
    firsts = list(accumulate((meta["slices"] for meta in metas[:-1]), initial=0))
    for first, meta in zip(firsts, metas, strict=True):
        own = _index(read_meta(Path(meta["part"])), sequences, _pad(meta, (height, width)))
        index[first : first + len(own)] = own
    write_array(folder / INDEX, index)
    pixels = open_pixels(folder, total, len(sequences), (height, width))
    with ExitStack() as files:
        add_scan, add_slice = (
            _table(files.enter_context(atomic_text(folder / name, fsync=False)), columns)
            for name, columns in (("scans.csv", scan_columns(sequences)), ("slices.csv", SLICE_COLUMNS))
        )
        pool = files.enter_context(ThreadPoolExecutor(max(1, workers)))
        hashed = pool.map(lambda item: _shas(item[0], item[1], sequences, pixels), zip(firsts, metas, strict=True))
        boxes = BoxTable()
        for first, light, shas in zip(firsts, metas, hashed, strict=True):
            meta, pad = read_meta(Path(light["part"])), _pad(light, (height, width))
            add_scan(_scan_row(meta, sequences, pad))
            boxes.add(meta, first, pad)
            for number, (item, sha) in enumerate(zip(meta["slices"], shas, strict=True), first):
                add_slice(_slice_row(layout.name, meta, item, sha, number))
    tables = table_hash(folder)
    head = {
        "format": CONTENT,
        "dataset": layout.name,
        "layout": layout.fingerprint,
        "sequences": sequences,
        "shape": [height, width],
        "spacing": metas[0]["spacing"],
        "scans": len(metas),
        "slices": total,
        "regions": REGIONS,
        "abnormal": None if layout.abnormal is None else sorted(REGIONS[region] for region in layout.abnormal),
        "table_hash": tables,
    }
    head |= boxes.write(folder)
    # The tables hold the hash of every slice, so this hash covers the pixels too.
    head["content_hash"] = stable_hash(head)
    write_json(folder / "store.json", {**head, "format": FORMAT, "content": CONTENT})


def write_json(path: Path, value: object) -> None:
    """Write readable JSON whose bytes depend on the value alone."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n", fsync=False)


def write_quarantine(folder: Path, problems: Iterable[Problem]) -> None:
    """Write the problems that excluded scans to ``quarantine.json``; an empty list if there were none."""
    write_json(folder / "quarantine.json", [problem.as_json() for problem in problems])


def spacing_warnings(metas: Sequence[Mapping[str, Any]]) -> list[Problem]:
    """Return a warning for each scan whose in-plane spacing differs from the first scan's."""
    found = []
    for meta in metas[1:]:
        own, first = meta["spacing"], metas[0]["spacing"]
        if not np.allclose(own, first, rtol=0, atol=1e-2):
            sizes = [f"{y:.3g} x {x:.3g} mm" for y, x in (own, first)]
            cause = f"has pixels of {sizes[0]} where {metas[0]['scan']} has {sizes[1]}"
            fix = "resample the set to one spacing if you compare sizes"
            found.append(Problem(meta["file"], cause, fix, "warning", meta["scan"]))
    return found


def _pad(meta: Mapping[str, Any], shape: tuple[int, int]) -> tuple[int, int]:
    return (shape[0] - meta["shape"][0]) // 2, (shape[1] - meta["shape"][1]) // 2


def _index(meta: Mapping[str, Any], sequences: Sequence[str], pad: tuple[int, int]) -> Int64[np.ndarray, "n T 7"]:
    """Return the index of a scan's pixels in the files and in the field of the whole store."""
    own = np.array(meta["index"], np.int64)
    own[..., TOP] += pad[0]
    own[..., LEFT] += pad[1]
    own[:, :-1, START] += meta["extents"][0][0]
    own[:, -1, START] += meta["extents"][1][0]
    index = np.zeros((len(own), len(sequences) + 1, COLUMNS), np.int64)
    for place, name in enumerate(meta["sequences"]):
        index[:, sequences.index(name)] = own[:, place]
    index[:, -1] = own[:, -1]
    return index


def _shas(first: int, light: Mapping[str, Any], sequences: Sequence[str], pixels: tuple[Pixels, Pixels]) -> list[str]:
    """Return the hash of each slice of a scan: the ones from when it was cut, if nothing was added around it since."""
    images, masks = pixels
    if list(light["sequences"]) == list(sequences) and tuple(light["shape"]) == masks.shape[1:]:
        return list(read_meta(Path(light["part"]))["shas"])
    return [slice_sha(images[row], masks[row]) for row in range(first, first + light["slices"])]


def _scan_row(meta: Mapping[str, Any], sequences: Sequence[str], pad: tuple[int, int]) -> dict[str, Any]:
    row = {"depth": 0, **meta["row"], "slices": len(meta["slices"]), "files": " | ".join(meta["files"][:_LISTED_FILES])}
    row |= {key: meta[key] for key in ("scan", "subject", "timepoint")}
    person = meta["person"]
    age = "" if person["age"] is None else float(person["age"])
    row |= {"healthy": int(person["healthy"]), "site": person["site"], "age": age, "sex": person["sex"]}
    row |= {"height": meta["shape"][0], "width": meta["shape"][1], "pad_y": pad[0], "pad_x": pad[1]}
    return row | {f"has_{name}": int(name in meta["sequences"]) for name in sequences}


def _slice_row(dataset: str, meta: Mapping[str, Any], item: Mapping[str, Any], sha: str, row: int) -> dict[str, Any]:
    names = {key: meta[key] for key in ("subject", "timepoint", "scan")}
    key = slice_key(dataset, meta["subject"], meta["timepoint"], item["slice"])
    return {"row": row, "key": key, **names, "part": "", **item, "sha": sha}


def _table(file: TextIO, columns: Sequence[str]) -> Callable[[Mapping[str, Any]], object]:
    """Write the header of a table and return the function that adds a row.

    Floats are written by ``repr``: the shortest text that reads back as the same number.
    """
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)

    def add(row: Mapping[str, Any]) -> object:
        cells = ((column, row.get(column, "")) for column in columns)
        # An affine is a text of numbers: it may begin with a minus, and no spreadsheet takes it for a formula.
        return writer.writerow([guarded(v) if isinstance(v, str) and c != "affine" else v for c, v in cells])

    return add
