"""Copying checked cells to a folder of published results, without machine names or data that can be recomputed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from anyadbench.boards.verify.cell import check_cell
from anyadbench.errors import UserError
from anyadbench.files import copy_file, make_folder, write_text
from anyadbench.folders import atomic_folder
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
    with atomic_folder(target, "--out", replace=True) as copy:
        for name in names:
            make_folder((copy / name).parent, "--out")
            copy_file(cell / name, copy / name, "--out")
        manifest = read_json(copy, "manifest.json")
        if isinstance(manifest.get("weights"), dict) and manifest["weights"].pop("path", None) is not None:
            _write(copy / "manifest.json", manifest)
            result = read_json(copy, "result.json")
            result["files"]["manifest.json"] = sha256_file(copy / "manifest.json")
            _write(copy / "result.json", result)
        head = read_json(copy, "cell.json")
        kept = {name: value for name, value in head.items() if name not in ("pid", "log_tail")}
        _write(copy / "cell.json", kept | {"result_sha256": sha256_file(copy / "result.json")})
    return target


def _write(path: Path, value: object) -> None:
    text = json.dumps(value, indent=1, sort_keys=path.name != "result.json", allow_nan=False)
    write_text(path, text + "\n", "--out")
