"""What a check against the data says of differences, of a repeated run, and which values of --data are folders."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from places import ROOT

from anyadbench.boards.verify.findings import CellReport
from anyadbench.files import write_json
from anyadbench.launch.recheck import TOLERANCE, _compare_runs, _first, _folders
from anyadbench.results.read import load_result, read_json


def test_embedded_data_sets_need_no_folder() -> None:
    assert _folders(("phantom", "brats2018=x", "somewhere")) == ("brats2018=x", "somewhere")


@pytest.mark.parametrize(
    ("wanted", "found", "sentence"),
    [
        ({"a": {"b": [1, 2]}}, {"a": {"b": [2, 3]}}, "a.b has 3 and lacks 1."),
        ({"a": 1, "hash": "x"}, {"a": 2, "hash": "y"}, "a is 2, and the data give 1."),
        ({"a": [1, 2]}, {"a": [2, 1]}, "a is in another order."),
    ],
)
def test_the_first_difference_is_described(wanted: object, found: object, sentence: str) -> None:
    assert _first(wanted, found) == sentence


@pytest.mark.parametrize(
    ("gap", "problems", "remarks"), [(0.0, 0, 0), (TOLERANCE / 2, 0, 1), (TOLERANCE + 1e-6, 1, 0), (None, 1, 0)]
)
def test_a_repetition_on_another_machine_may_differ_by_the_tolerance(
    tmp_path: Path, gap: float | None, problems: int, remarks: int
) -> None:
    cell = min((ROOT / "leaderboards/results/cells").glob("control*brain*"))
    again = Path(shutil.copytree(cell, tmp_path / "again"))
    record = read_json(again, "result.json")
    metrics = record["rows"][0]["metrics"]
    metrics["pixel_ap"] = None if gap is None else metrics["pixel_ap"] + gap
    write_json(again / "result.json", record)
    manifest = read_json(cell, "manifest.json")
    write_json(again / "manifest.json", manifest | {"environment": {"device": "another"}})
    report = CellReport(cell)
    _compare_runs(report, load_result(read_json(cell, "result.json"), "result.json"), manifest, again)
    assert (len(report.problems), len(report.remarks)) == (problems, remarks)
