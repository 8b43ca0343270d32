"""Checking submissions: everything is recomputed from a cell's stored data, and a changed digit is found and named."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cell_fixture import change_json, reseal
from places import FIXTURES

from anyadbench.boards import build_boards
from anyadbench.boards.aggregate.recompute import read_replicates, read_statistics
from anyadbench.boards.verify.cell import check_selection
from anyadbench.boards.verify.findings import CellReport
from anyadbench.boards.verify.submission import check
from anyadbench.errors import UserError
from anyadbench.results.arrays import load_arrays, save_arrays
from anyadbench.results.read import read_cells

HISTORIC = FIXTURES / "results"


def cell_of(runs: Path) -> Path:
    (cell,) = (runs / "cells").iterdir()
    return cell


def change_digit(path: Path, before: str) -> None:
    """Change the digit after the first occurrence of ``before``."""
    text = path.read_text()
    place = text.index(before) + len(before)
    while not text[place].isdigit():
        place += 1
    path.write_text(text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :])


def problems(runs: Path, resealed: bool = False) -> str:
    if resealed:
        reseal(cell_of(runs))
    return "\n".join(check(cell_of(runs)).problems)


def test_an_unchanged_cell_and_its_boards_have_no_problems(runs: Path) -> None:
    report = check(runs)
    assert report.problems == []
    assert len(report.cells) == 1 and len(report.boards) == 5
    assert report.numbers > 10_000
    assert check(cell_of(runs) / "result.json").problems == []


@pytest.mark.parametrize(
    ("before", "named"),
    [
        ('"pixel_ap": 0.', "tiny_s0"),
        ('"n_slices": ', "phantom, F: n_slices is"),
        ('"metrics": {\n    "image_auroc": 0.', "phantom, F: metrics.image_auroc is"),
        ('"intervals": {\n    "image_auroc": [\n     0.', "phantom, F: intervals.image_auroc[0] is"),
        ('"sizes": [\n    {\n     "low": 1,\n     "high": 100,\n     "n": ', "phantom, F: sizes[0].n is"),
        ('"threshold": {\n    "value": ', "phantom, F: threshold.value is"),
        ('"tp": ', "phantom, F: threshold.tp is"),
        ('"fit_seconds": ', "manifest.json: timings.fit_seconds is"),
        ('"seed": ', "cell.json: seed is"),
        ('"cell_id": "', "cell.json: cell_id is"),
    ],
)
def test_a_changed_digit_of_the_result_is_named(runs: Path, before: str, named: str) -> None:
    change_digit(cell_of(runs) / "result.json", before)
    assert "result.json: its hash is not the one in cell.json" in problems(runs)
    assert named in problems(runs, resealed=True)


def test_a_last_digit_is_found_by_its_hash(runs: Path) -> None:
    path = cell_of(runs) / "result.json"
    data = json.loads(path.read_text())
    value = repr(data["rows"][0]["metrics"]["aupro"])
    path.write_text(path.read_text().replace(value, value[:-1] + str((int(value[-1]) + 1) % 10)))
    assert "result.json: its hash is not the one in cell.json" in problems(runs)


@pytest.mark.parametrize(
    ("name", "before", "named"),
    [
        ("cell.json", '"seed": ', "cell.json: seed is 1, but result.json gives 0"),
        ("manifest.json", '"host_mb": ', "manifest.json: memory.host_mb is"),
        ("manifest.json", '"code_hash": "', "manifest.json: its hash is not the one in result.json"),
        ("protocol.toml", "min_lesion_px = ", "result.json: protocol.hash is"),
        ("scores/curves.json", '"pr": [[', "scores/curves.json: phantom|F"),
    ],
)
def test_a_changed_digit_of_another_file_is_named(runs: Path, name: str, before: str, named: str) -> None:
    change_digit(cell_of(runs) / name, before) if name != "scores/curves.json" else _bend_a_curve(cell_of(runs) / name)
    found = problems(runs)
    assert named in found
    if name != "cell.json":
        assert f"{name}: its hash is not the one in result.json" in found


def _bend_a_curve(path: Path) -> None:
    curves = json.loads(path.read_text())
    curves["phantom|F"]["pr"][3][1] += 1e-5
    path.write_text(json.dumps(curves))


@pytest.mark.parametrize(
    ("column", "value", "named"),
    [
        ("image_score", lambda text: repr(float(text) + 10), "metrics.image_auroc"),
        ("label", lambda text: str(1 - int(text)), "contradicts the selection in manifest.json"),
        ("lesion_px", lambda text: str(int(text) + 1), "rows disagree on slice"),
        ("brain", lambda text: repr(float(text) + 0.01), "rows disagree on slice"),
        ("slice", lambda text: str(int(text) + 100), "contradicts the selection in manifest.json"),
    ],
)
def test_a_changed_slice_is_named(runs: Path, column: str, value: Any, named: str) -> None:
    path = cell_of(runs) / "scores" / "slices.csv"
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    target = min((row for row in rows if row["label"] == "0"), key=lambda row: float(row["image_score"]))
    target[column] = value(target[column])
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(target), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    assert "slices.csv: its hash is not the one in result.json" in problems(runs)
    assert named in problems(runs, resealed=True)


@pytest.mark.parametrize(
    ("subsets", "named"),
    [
        (("F+T1", "F+T1+T2"), "F+T1 lacks {scan}, which is in the rows of F and T1."),
        (("F",), "F+T1: {scan} is in this row but not of the rows of each of F and T1."),
        (("as available",), "as available: slice {slice} of {scan} contradicts the selection in manifest.json."),
    ],
)
def test_a_scan_that_a_row_leaves_out_is_named(runs: Path, subsets: tuple[str, ...], named: str) -> None:
    (record,) = read_cells(runs)
    assert record.result is not None
    statistics = read_statistics(cell_of(runs))
    gone = statistics.slices["phantom", "F+T1"][0]
    slices = {
        place: [one for one in records if place[1] not in subsets or one["scan"] != gone["scan"]]
        for place, records in statistics.slices.items()
    }
    report = CellReport(cell_of(runs))
    # Pixel statistics reduced in the same way would not show it.
    check_selection(report, record.result, replace(statistics, slices=slices))
    assert named.format(**gone) in "\n".join(report.problems)


def change_array(path: Path, name: str, edit: Any) -> None:
    arrays = load_arrays(path, path.name)
    changed = arrays[name].copy()
    edit(changed)
    save_arrays(path, arrays | {name: changed}, compress=path.name == "pixels.npz")


def bump(place: tuple[int, ...]) -> Any:
    def edit(values: np.ndarray) -> None:
        values[place] += 1

    return edit


@pytest.mark.parametrize("name", ["gaps", "tied", "lesions", "codes", "subject_gaps", "subject_tied"])
def test_a_changed_count_of_pixels_is_named(runs: Path, name: str) -> None:
    place = (0, 0) if name.startswith("subject") else (0,)
    change_array(cell_of(runs) / "scores/pixels.npz", f"0/{name}", bump(place))
    assert "scores/pixels.npz: its hash is not the one in result.json" in problems(runs)
    assert "phantom, F: " in problems(runs, resealed=True)


def test_a_changed_threshold_count_is_named(runs: Path) -> None:
    path = cell_of(runs) / "scores/pixels.npz"
    arrays = load_arrays(path, path.name)
    head = json.loads(str(arrays["index"].item()))
    head["rows"][0]["decision"]["quantile"]["below"] += 10**6
    save_arrays(path, arrays | {"index": np.array(json.dumps(head))})
    assert "phantom, F: The counts of the validation normals do not give the threshold" in problems(runs)


def test_counts_at_the_threshold_must_fit_the_ranking(runs: Path) -> None:
    path = cell_of(runs) / "scores/pixels.npz"
    arrays = load_arrays(path, path.name)
    head = json.loads(str(arrays["index"].item()))
    head["rows"][0]["decision"]["fp"] += 10**7
    save_arrays(path, arrays | {"index": np.array(json.dumps(head))})
    assert "phantom, F: The counts at the threshold contradict the ranking" in problems(runs)


def test_a_changed_value_without_a_subject_is_named(runs: Path) -> None:
    change_array(cell_of(runs) / "scores/jackknife.npz", "own_jack", lambda array: array.__imul__(0.99))
    assert "jackknife.npz: phantom, F: the values without a subject differ from the statistics'." in problems(runs)


def test_a_changed_kept_map_is_found(runs: Path) -> None:
    path = cell_of(runs) / "scores/maps.npz"
    with np.load(path) as data:
        arrays = {name: data[name] for name in data.files}
    info = json.loads(str(arrays["info"].item()))
    info["slices"][0]["image_scores"]["F"] += 1
    np.savez(path, **(arrays | {"info": np.array(json.dumps(info))}))
    found = problems(runs)
    assert "its slice score is not the one in slices.csv" in found
    assert "scores/maps.npz: its hash is not the one in result.json" in found


@pytest.mark.parametrize(
    ("name", "column"), [("leaderboard.csv", "pixel_ap"), ("leaderboard.csv", "n_slices"), ("summary.csv", "mean")]
)
def test_a_changed_digit_of_a_table_is_named(runs: Path, name: str, column: str) -> None:
    path = runs / "boards/tiny" / name
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    value = rows[0][column]
    rows[0][column] = value[:-1] + str((int(value[-1]) + 1) % 10)
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    report = check(path)
    assert len(report.boards) == 1
    (problem,) = report.problems
    assert f"tiny/{name}: measured, Pixel statistics, phantom" in problem
    assert f"{column} is '{rows[0][column]}', but the results give '{value}'" in problem


@pytest.mark.parametrize("name", ["leaderboard.md", "report.html"])
def test_a_changed_digit_of_a_page_is_named(runs: Path, name: str) -> None:
    path = runs / "boards/tiny" / name
    change_digit(path, "Pixel statistics")
    (problem,) = check(runs).problems
    assert f"tiny/{name}, line" in problem


def test_a_changed_digit_of_an_index_is_named(runs: Path) -> None:
    path = runs / "boards/index.html"
    assert check(path).problems == [] and check(path).boards == [path]
    change_digit(path, '<td class="text">')
    for place in (runs, path):
        (problem,) = check(place).problems
        assert problem.startswith("boards/index.html, line ") and "but the results give" in problem


def test_an_index_names_boards_of_its_results_alone(runs: Path) -> None:
    path = runs / "boards/index.html"
    path.write_text(path.read_text().replace('href="tiny/report.html"', 'href="other/report.html"'))
    (problem,) = check(path).problems
    assert problem == "boards/index.html: there are no results of other, which it links."


def test_a_table_that_the_results_do_not_give_is_named(runs: Path) -> None:
    (runs / "boards/tiny/scans.csv").write_text("variant,test\nPixel statistics,phantom\n")
    (problem,) = check(runs).problems
    assert problem == "tiny/scans.csv: the results give no such file; build the board again."


def test_a_changed_digit_of_a_scan_is_named(volume_cell: Path, tmp_path: Path) -> None:
    cell = tmp_path / "runs/cells" / volume_cell.name
    shutil.copytree(volume_cell, cell)
    build_boards(tmp_path / "runs", tmp_path / "runs/boards")
    path = tmp_path / "runs/boards/tiny/scans.csv"
    assert check(path).problems == []
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    rows[0]["truth_ml"] = "77.000000"
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    (problem,) = check(tmp_path / "runs/boards/tiny", tmp_path / "runs").problems
    who = f"{rows[0]['subject']}, {rows[0]['scan']}, 0"
    assert problem.startswith(f"tiny/scans.csv: Pixel statistics, phantom, {rows[0]['subset']}, {who}: truth_ml is '77")


def test_a_removed_row_is_named(runs: Path) -> None:
    change_json(cell_of(runs) / "result.json", lambda data: data["rows"].pop(2))
    found = problems(runs, resealed=True)
    assert "lacks a row that the protocol has: phantom, T2" in found
    assert "phantom, T2 is only in one of slices.csv and result.json" in found


def test_missing_files_are_distinguished(runs: Path) -> None:
    cell = cell_of(runs)
    (cell / "scores/maps.npz").unlink()
    (cell / "scores/curves.json").unlink()
    before = read_replicates(cell, read_cells(runs)[0].result)  # type: ignore[arg-type]
    (cell / "scores/jackknife.npz").unlink()
    report = check(cell)
    assert report.problems == []
    assert report.cells[0].absent == ["scores/jackknife.npz", "scores/curves.json", "scores/maps.npz"]
    again = read_replicates(cell, read_cells(runs)[0].result)  # type: ignore[arg-type]
    assert before.keys() == again.keys() and len(before) > 0
    for place, row in before.items():
        np.testing.assert_allclose(row.own.jack, again[place].own.jack, rtol=0, atol=1e-9)
        np.testing.assert_allclose(row.common.jack, again[place].common.jack, rtol=0, atol=1e-9)
    (cell / "scores/pixels.npz").unlink()
    assert "scores/pixels.npz: is missing or a link." in problems(runs)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x00" * 100])
def test_damaged_arrays_are_a_sentence(runs: Path, content: bytes) -> None:
    (cell_of(runs) / "scores/pixels.npz").write_bytes(content)
    assert "scores/pixels.npz is damaged; run the cell again." in problems(runs)


def test_there_must_be_something_to_check(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist; give a cell"):
        check(tmp_path / "no")
    with pytest.raises(UserError, match="contains no cell and no board"):
        check(tmp_path)
    (tmp_path / "leaderboard.csv").write_text("kind\n")
    with pytest.raises(UserError, match="name the runs folder with --runs DIR"):
        check(tmp_path / "leaderboard.csv")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UserError, match="is neither result.json nor one of"):
        check(tmp_path / "notes.txt")


def test_the_command_says_what_is_wrong_and_exits_with_one(runs: Path) -> None:
    command = [sys.executable, "-m", "anyadbench", "leaderboard", "check", str(runs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "no problems." in done.stdout
    change_digit(cell_of(runs) / "cell.json", '"seed": ')
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "seed is 1" in json.loads(done.stdout)["problems"][0]


@pytest.mark.parametrize("version", sorted(path.name for path in HISTORIC.iterdir()))
def test_historic_results_load_and_give_boards(version: str, tmp_path: Path) -> None:
    (record,) = read_cells(HISTORIC / version)
    assert record.problem is None and record.result is not None
    assert record.result.schema_version >= 2
    assert len(record.result.rows) == 8
    (board,) = build_boards(HISTORIC / version, tmp_path)
    assert f"{record.result.rows[0].metrics['pixel_ap']:.6f}" in board.leaderboard.read_text()
    found = check(HISTORIC / version).problems
    assert found == [] or (version == "v1" and "schema version 1 has no exact pixel statistics" in found[0])
