"""Copying checked cells to a folder of published results, without machine names or data that can be recomputed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from anyadbench.boards.build import write_text
from anyadbench.boards.verify.cell import check_cell
from anyadbench.errors import UserError
from anyadbench.hashing import sha256_file
from anyadbench.results.cellfiles import NEEDED
from anyadbench.results.read import read_cells, read_json

_MAPS = "scores/maps.npz"


def publish_cells(
    runs: Path, out: Path, protocols: Sequence[str] = (), methods: Sequence[str] = (), *, maps: bool = False
) -> list[Path]:
    """Copy finished cells to ``out/cells``, replacing those that exist.

    Weights, logs, plans, resamples, curves and the path of the weights in the manifest are not copied.

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
    names = ["cell.json", "result.json", *NEEDED, *([_MAPS] if maps and (cell / _MAPS).is_file() else [])]
    shutil.rmtree(target, ignore_errors=True)
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(cell / name, target / name)
    manifest = read_json(target, "manifest.json")
    if isinstance(manifest.get("weights"), dict) and manifest["weights"].pop("path", None) is not None:
        _write(target / "manifest.json", manifest)
        result = read_json(target, "result.json")
        result["files"]["manifest.json"] = sha256_file(target / "manifest.json")
        _write(target / "result.json", result)
    head = read_json(target, "cell.json")
    kept = {name: value for name, value in head.items() if name not in ("pid", "log_tail")}
    _write(target / "cell.json", kept | {"result_sha256": sha256_file(target / "result.json")})
    return target


def _write(path: Path, value: object) -> None:
    write_text(path, json.dumps(value, indent=1, sort_keys=path.name != "result.json", allow_nan=False) + "\n")
