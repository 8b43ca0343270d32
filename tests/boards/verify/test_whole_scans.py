"""The check of a cell recomputes every number of whole scans, and sees what was left out or changed."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cell_fixture import change_json, reseal

from anyadbench.boards.aggregate.recompute import read_whole_scans
from anyadbench.boards.verify.cell import check_cell
from anyadbench.boards.verify.publish import publish_cells
from anyadbench.metrics.scans.scan_numbers import scan_numbers
from anyadbench.metrics.scans.scan_storage import to_arrays
from anyadbench.metrics.scans.whole_scans import RowScans
from anyadbench.results.arrays import save_arrays
from anyadbench.results.read import read_cells, read_json

MOST_BYTES = 20_000


@pytest.fixture
def cell(volume_cell: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(volume_cell, tmp_path / "cells" / volume_cell.name))


def change(cell: Path, edit: Callable[[RowScans], RowScans | None]) -> None:
    """Change the stored scans of every row and, as a forger would, the numbers that follow from them."""
    rows = [new for row in read_whole_scans(cell).rows.values() if (new := edit(row)) is not None]
    save_arrays(cell / "scores" / "scans.npz", to_arrays(rows))
    by_place = {(row.test, row.subset): row for row in rows}

    def follow(result: dict[str, Any]) -> None:
        for row in result["rows"]:
            found = by_place.get((row["test"], row["subset"]))
            row["scans"] = None if found is None else scan_numbers(found)

    change_json(cell / "result.json", follow)
    reseal(cell)


def test_a_cell_with_whole_scans_passes_and_each_scan_takes_little(cell: Path) -> None:
    report = check_cell(cell)
    assert report.problems == []
    rows = read_whole_scans(cell).rows
    assert len(rows) == 8
    stored = sum(len(row.scans) for row in rows.values())
    assert (cell / "scores" / "scans.npz").stat().st_size <= MOST_BYTES * stored
    assert read_json(cell, "result.json")["timings"]["scan_seconds"] > 0


@pytest.mark.parametrize("name", ["dice", "lesion_ap", "volume_bias_ml", "alarms_per_scan", "froc_1"])
def test_every_number_is_recomputed(cell: Path, name: str) -> None:
    def edit(result: dict[str, Any]) -> None:
        metrics = result["rows"][0]["scans"]["metrics"]
        metrics[name] = (metrics[name] or 0.0) + 0.01

    change_json(cell / "result.json", edit)
    reseal(cell)
    (problem,) = check_cell(cell).problems
    assert f"phantom, F: scans.metrics.{name} is" in problem


def test_intervals_and_bins_are_recomputed_too(cell: Path) -> None:
    def edit(result: dict[str, Any]) -> None:
        scans = result["rows"][0]["scans"]
        scans["intervals"]["volume_bias_ml"][0] += 0.01
        scans["bins"][3]["found"] = 9
        scans["rule"] = "Lesions are found if one looks."

    change_json(cell / "result.json", edit)
    reseal(cell)
    problems = " ".join(check_cell(cell).problems)
    assert (
        "scans.intervals.volume_bias_ml[0]" in problems
        and "scans.bins[3].found" in problems
        and "scans.rule" in problems
    )


def without_first(row: RowScans) -> RowScans:
    """Return a row without its first scan."""
    return replace(row, subjects=row.subjects[1:], scans=row.scans[1:], records=row.records[1:])


def without_lesions(row: RowScans) -> RowScans:
    """Return a row whose scans have next to no lesion."""
    none = {"lesion_voxels": np.empty(0, np.int64), "lesion_scores": np.empty(0, np.float32)}
    counts = {"truth": 1, "hit": 0, "best_hit": 0, "lesion_found": np.empty(0, np.bool_)}
    records = (replace(one, **none, **counts, grid_hit=0 * one.grid_hit) for one in row.records)
    return replace(row, records=tuple(records))


FORGERIES: list[tuple[Callable[[RowScans], RowScans | None], str]] = [
    (lambda row: None if row.subset == "T1" else row, "phantom, T1 has no whole scans, which the protocol asks for"),
    (lambda row: without_first(row) if row.subset == "F+T1" else row, "is in (the slice table only|only one of this)"),
    (lambda row: replace(row, threshold=(row.threshold or 0) + 1), "phantom, F: the threshold is not that of the row"),
    (lambda row: replace(row, rule="No rule."), "phantom, F: lesions are not found by the protocol's rule"),
    (
        lambda row: replace(row, subjects=tuple(f"other {name}" for name in row.subjects)),
        "in the slice table only",
    ),
    (without_lesions, "lesion voxels, but its slices alone have"),
]


@pytest.mark.parametrize("number", range(len(FORGERIES)))
def test_what_was_left_out_or_changed_is_named(cell: Path, number: int) -> None:
    edit, message = FORGERIES[number]
    change(cell, edit)
    problems = " ".join(check_cell(cell).problems)
    assert re.search(message, problems), problems


def test_a_missing_or_damaged_file_is_one_problem(cell: Path) -> None:
    (cell / "scores" / "scans.npz").write_bytes(b"nothing")
    reseal(cell)
    assert any("scores/scans.npz is damaged; run the cell again" in text for text in check_cell(cell).problems)
    (cell / "scores" / "scans.npz").unlink()
    assert any("has no whole scans, which the protocol asks for" in text for text in check_cell(cell).problems)


def test_a_published_cell_keeps_its_scans_and_stays_small(cell: Path, tmp_path: Path) -> None:
    (copy,) = publish_cells(cell.parents[1], tmp_path / "results")
    assert (copy / "scores/scans.npz").read_bytes() == (cell / "scores/scans.npz").read_bytes()
    assert check_cell(copy).problems == []
    before, after = (read_cells(folder)[0].result for folder in (cell.parents[1], tmp_path / "results"))
    assert before is not None and after is not None and before.rows == after.rows
    assert sum(path.stat().st_size for path in copy.rglob("*") if path.is_file()) <= 250_000
