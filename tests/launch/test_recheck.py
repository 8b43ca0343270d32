"""What a check against the data says of differences, of a repeated run, and which values of --data are folders."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from cell_fixture import change_json
from places import ROOT

from anyadbench.boards.verify.findings import CellReport
from anyadbench.files import write_json
from anyadbench.hashing import sha256_file
from anyadbench.launch import recheck
from anyadbench.launch.plan import Request
from anyadbench.launch.progress import Display
from anyadbench.launch.recheck import TOLERANCE, Recheck, _compare_runs, _first, _folders, _request
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


@pytest.fixture
def cell(tmp_path: Path) -> Path:
    """A copy of the control's published cell."""
    published = min((ROOT / "leaderboards/results/cells").glob("control*brain*phantom-7subsets*"))
    return Path(shutil.copytree(published, tmp_path / published.name))


def requested(cell: Path, tmp_path: Path) -> Request:
    result, manifest = load_result(read_json(cell, "result.json"), "result.json"), read_json(cell, "manifest.json")
    return _request(result, manifest, cell, tmp_path / "runs", ())


def own_weights(cell: Path, file: Path | None, sha256: str) -> None:
    """Let a cell start from the user's own file."""
    change_json(cell / "result.json", lambda data: data["weights"].update(kind="file", profile="file", sha256=sha256))
    change_json(cell / "manifest.json", lambda data: data["weights"].update(path=None if file is None else str(file)))


def rerun(cell: Path) -> CellReport:
    report = CellReport(cell)
    with Display(quiet=True) as display:
        Recheck((), display).rerun(report)
    return report


def test_the_users_own_weights_are_used_again_if_the_file_is_the_same(cell: Path, tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    file.write_bytes(b"weights")
    own_weights(cell, file, sha256_file(file))
    assert requested(cell, tmp_path).weights == f"file:{file}"


@pytest.mark.parametrize("there", [True, False])
def test_a_cell_with_weights_that_are_not_here_is_a_remark(cell: Path, tmp_path: Path, there: bool) -> None:
    file = tmp_path / "weights.pt"
    file.write_bytes(b"others")
    own_weights(cell, file if there else None, "a" * 64)
    report = rerun(cell)
    assert report.problems == []
    assert report.remarks == ["weights from the user's own file, which is not here: the cell cannot be run again"]


@pytest.mark.parametrize(("recorded", "device"), [("cuda", "auto"), ("cpu", "cpu")])
def test_a_cell_of_a_gpu_runs_on_what_there_is(cell: Path, tmp_path: Path, recorded: str, device: str) -> None:
    change_json(cell / "result.json", lambda data: data["numerics"].update(device=recorded))
    assert requested(cell, tmp_path).device == device


def test_a_stopped_repetition_is_no_fault_of_the_cell(cell: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recheck, "make_plan", lambda request, progress: SimpleNamespace(jobs=[]))
    stopped = SimpleNamespace(status="interrupted", error="Stopped on request.")
    monkeypatch.setattr(recheck, "execute", lambda jobs, launcher, options: [stopped])
    with pytest.raises(KeyboardInterrupt):
        rerun(cell)


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
