"""Copying checked cells to a folder of published results, without machine names or data that can be recomputed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from anyadbench.boards.aggregate.recompute import read_replicates, read_statistics
from anyadbench.boards.verify.cell import check_cell
from anyadbench.boards.verify.condense import condense
from anyadbench.errors import UserError
from anyadbench.files import copy_file, make_folder, write_text
from anyadbench.folders import atomic_folder
from anyadbench.hashing import sha256_file
from anyadbench.metrics.rows.grouped import GroupedSteps
from anyadbench.metrics.rows.replicates import to_arrays as replicate_arrays
from anyadbench.metrics.rows.row_pixels import RowPixels, to_grouped_arrays
from anyadbench.results.arrays import save_arrays
from anyadbench.results.cellfiles import HASHED, NEEDED, SLICE_TABLES, WHOLE_SCANS, RowKey
from anyadbench.results.read import load_result, read_cells, read_json
from anyadbench.results.slice_arrays import save_slices
from anyadbench.sequences import format_subset

EXACT_BYTES = 100_000
"""Pixel statistics of at most this size are published as they are."""

CELL_BYTES = 240_000
"""Size that a published cell without maps should not exceed; pixel statistics get coarser until it fits."""

SCALES = (1.0, 0.7, 0.5, 0.35, 0.25)
"""Factors on the numbers of groups of pixel statistics, finest first."""

_MAPS = "scores/maps.npz"


def publish_cells(
    runs: Path, out: Path, protocols: Sequence[str] = (), methods: Sequence[str] = (), *, maps: bool = False
) -> list[Path]:
    """Copy finished cells to ``out/cells``, replacing those that exist.

    Weights, logs, plans, curves and the path of the weights in the manifest are not copied. Pixel statistics
    above `EXACT_BYTES` are grouped (see `anyadbench.metrics.rows.grouped`), and the slice table is written
    as arrays.

    Args:
        runs: Folder written by 'anyadbench run'.
        out: Folder of results.
        protocols: Only cells of these; by default all.
        methods: Only cells of these; by default all.
        maps: Also copy kept maps.

    Raises:
        UserError: If no cell matches, or one fails its check.
    """
    chosen = [
        record
        for record in read_cells(runs)
        if record.result is not None
        and (not protocols or record.protocol in protocols)
        and (not methods or record.method in methods)
    ]
    if not chosen:
        raise UserError(f"{runs} has no finished cell that matches; run the methods first.")
    for record in chosen:
        problems = check_cell(record.folder).problems
        if problems:
            raise UserError(f"{record.folder.name} cannot be published: {problems[0]}")
    return [_copy(record.folder, out / "cells" / record.folder.name, maps) for record in chosen]


def _copy(cell: Path, target: Path, maps: bool) -> Path:
    kept = [*NEEDED, *(name for name in (*SLICE_TABLES, *WHOLE_SCANS) if (cell / name).is_file())]
    with atomic_folder(target, "--out", replace=True) as copy:
        for name in ["cell.json", "result.json", *kept, *([_MAPS] if maps and (cell / _MAPS).is_file() else [])]:
            make_folder((copy / name).parent, "--out")
            copy_file(cell / name, copy / name, "--out")
        result = _renewed(copy, read_json(copy, "result.json"))
        # Values on fewer subjects come from the exact statistics, which the short form does not have.
        replicates = read_replicates(cell, load_result(result, f"{cell.name}/result.json"))
        if (copy / "scores/pixels.npz").stat().st_size > EXACT_BYTES:
            replicates = {place: replace(row, common=row.common.rounded()) for place, row in replicates.items()}
        save_arrays(copy / "scores/jackknife.npz", replicate_arrays(replicates))
        changed = [
            "scores/jackknife.npz",
            *_shorten(copy, {place: row.common.subjects for place, row in replicates.items()}),
        ]
        for name in changed:
            result["files"].pop(name, None)
            if (copy / name).is_file():
                result["files"][name] = sha256_file(copy / name)
        result["files"] = {name: sha for name, sha in sorted(result["files"].items()) if name in HASHED}
        _write(copy / "result.json", result)
        head = read_json(copy, "cell.json")
        kept_facts = {name: value for name, value in head.items() if name not in ("pid", "log_tail")}
        _write(copy / "cell.json", kept_facts | {"result_sha256": sha256_file(copy / "result.json")})
        problems = check_cell(copy).problems
        if problems:
            raise UserError(f"{cell.name} cannot be published: its short form fails the check: {problems[0]}")
    return target


def _renewed(cell: Path, data: dict[str, Any]) -> dict[str, Any]:
    """Return a result in the present schema; one of an earlier schema gets what that lacks from its statistics."""
    result = load_result(data, f"{cell.name}/result.json")
    if data.get("schema_version") == result.schema_version:
        return data
    statistics = read_statistics(cell, format_subset(result.protocol.sequences))
    rows = []
    for row in result.rows:
        numbers, _ = statistics.row((row.test, row.subset))
        if row.n_slices:
            kept = {name: value for name, value in row.reasons.items() if name != "intervals"}
            renewed = {name: numbers[name] for name in ("metrics", "intervals")}
            row = row.model_copy(update=renewed | {"reasons": {**numbers["reasons"], **kept}})
        rows.append(row)
    return dict(json.loads(result.model_copy(update={"rows": rows}).model_dump_json()))


def _shorten(copy: Path, common: Mapping[RowKey, Sequence[str]]) -> list[str]:
    """Bring the files of a copied cell into their short form, and return the names of those that changed.

    Args:
        copy: The cell.
        common: The subjects with every sequence, by row.
    """
    changed = ["manifest.json"]
    statistics = read_statistics(copy)
    manifest = read_json(copy, "manifest.json")
    if isinstance(manifest.get("weights"), dict):
        manifest["weights"].pop("path", None)
    _write(copy / "manifest.json", manifest)
    if (copy / "scores/slices.csv").is_file():
        save_slices(copy / "scores/slices.npz", statistics.slices)
        (copy / "scores/slices.csv").unlink()
        changed += SLICE_TABLES
    rows = list(statistics.pixels.values())
    long = (copy / "scores/pixels.npz").stat().st_size > EXACT_BYTES
    if long and any(not isinstance(row.steps, GroupedSteps) for row in rows):
        shared = [common.get(place, row.subjects) for place, row in statistics.pixels.items()]
        _group_pixels(copy, rows, shared, statistics.subjects)
        changed.append("scores/pixels.npz")
    return changed


def _group_pixels(
    copy: Path, rows: Sequence[RowPixels], common: Sequence[Sequence[str]], subjects: Mapping[str, Sequence[str]]
) -> None:
    """Write pixel statistics by groups, as fine as the size of a published cell allows."""
    path = copy / "scores/pixels.npz"
    others = [one for one in copy.rglob("*") if one.is_file() and one.name not in (path.name, Path(_MAPS).name)]
    room, fits = CELL_BYTES - sum(one.stat().st_size for one in others), 1.0
    for scale in SCALES:
        if scale > fits and scale != SCALES[-1]:
            continue
        save_arrays(path, to_grouped_arrays(condense(rows, scale, common), subjects))
        if path.stat().st_size <= room:
            return
        fits = scale * max(room, 0) / path.stat().st_size


def _write(path: Path, value: object) -> None:
    text = json.dumps(value, separators=(",", ":"), sort_keys=path.name != "result.json", allow_nan=False)
    write_text(path, text + "\n", "--out")
