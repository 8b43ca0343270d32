"""``anyadbench protocols show NAME --data DIR``: what will be trained and tested, and at what cost."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from inprocess import Done, run

from anyadbench.cli import main
from anyadbench.data.store.store import SliceStore
from anyadbench.engine.map_sample import MapSample
from anyadbench.engine.numerics import Policy
from anyadbench.engine.protocol_data import ProtocolData
from anyadbench.engine.reporter import Reporter
from anyadbench.engine.scoring import Evaluator
from anyadbench.errors import UserError
from anyadbench.launch import forecast
from anyadbench.launch.forecast import Cost, look_ahead, time_from_cells
from anyadbench.methods.contract import Scores
from anyadbench.protocols.model import Protocol, ScoringRules


@pytest.fixture(scope="module")
def done(tiny_phantom: Path, tiny_protocol: Path, tmp_path_factory: pytest.TempPathFactory) -> Done:
    return run(tiny_protocol, {"phantom": tiny_phantom}, tmp_path_factory.mktemp("outlook") / "runs")[0]


def show(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["protocols", "show", *map(str, arguments)])
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.fixture
def shown(done: Done, tiny_phantom: Path, tiny_protocol: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    runs = done.folder.parent.parent
    options = ["--data", tiny_phantom, "--runs", runs, "--budget", "tiny", "--json"]
    return dict(json.loads(show(capsys, tiny_protocol, *options, "--method", "pixelstats", "--method", "inpformer")))


def test_the_counts_are_those_of_the_run(done: Done, shown: dict[str, Any]) -> None:
    outlook = shown["outlook"]
    assert outlook["train"]["normal"] == done.result.train["slices"]
    (test,) = outlook["tests"]
    for row, told in zip(done.result.rows, test["rows"], strict=True):
        assert told == {
            "name": row.subset, "subjects": row.n_subjects, "normal": row.n_normal, "abnormal": row.n_abnormal,
        }  # fmt: skip
    assert len(test["subjects"]) == max(row.n_subjects for row in done.result.rows)


def test_the_maps_are_counted_as_they_are_scored(
    done: Done, shown: dict[str, Any], tiny_protocol: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from anyadbench.cells.fitting import Fitting
    from anyadbench.engine.map_sample import MapSample
    from anyadbench.engine.protocol_data import ProtocolData
    from anyadbench.engine.reporter import Reporter
    from anyadbench.engine.scoring import Evaluator
    from anyadbench.protocols.reader import read_protocol

    protocol = read_protocol(tiny_protocol)
    data = ProtocolData.from_paths(protocol, done.job.stores, done.job.seed)
    method = Fitting(done.job, data, Reporter()).load()
    kept = MapSample("none", protocol.sequences)
    evaluator = Evaluator(method, data, done.job.numerics, Reporter(), kept)
    scored: list[int] = []
    original = Evaluator.launch
    monkeypatch.setattr(
        Evaluator, "launch", lambda self, v, *a, **k: (scored.append(len(v)), original(self, v, *a, **k))[1]
    )
    evaluator.run_test(protocol.tests[0])
    assert sum(scored) == shown["outlook"]["tests"][0]["maps"]


@pytest.mark.parametrize("normalise", [False, True])
def test_the_maps_of_normals_are_counted_too(normalise: bool, protocol: Protocol, store: SliceStore) -> None:
    scoring = ScoringRules(normalise_height=normalise)
    data = ProtocolData(replace(protocol, scoring=scoring), {"phantom": store})
    method: Any = SimpleNamespace(score=lambda batch: Scores(batch.inputs.sum(1)))
    evaluator = Evaluator(method, data, Policy(), Reporter(), MapSample("none", protocol.sequences))
    evaluator.thresholds()
    evaluator.fit_heights()
    for test in protocol.tests:
        evaluator.run_test(test)
    assert evaluator.maps == look_ahead(data).maps


def test_times_come_from_finished_cells_of_the_method(done: Done, shown: dict[str, Any]) -> None:
    statistics, network = shown["costs"]
    assert statistics["basis"].startswith("median of 1 finished cell on cpu in ")
    assert statistics["fit_seconds"] == pytest.approx(done.result.timings["fit_seconds"])
    assert statistics["score_seconds"] == pytest.approx(done.result.timings["score_seconds"])
    assert network["steps"] == 3 and network["slices"] == 6
    assert network["fit_seconds"] is None and "--measure times some steps here" in network["basis"]


def test_a_batch_that_holds_all_slices_is_no_larger_than_they_are(
    done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = {"steps": 10, "batch_size": 1000}
    method = done.result.method.model_copy(update={"params": params})
    cell = done.result.model_copy(update={"method": method, "train": {**done.result.train, "steps": 10}})
    slices = int(cell.train["slices"])
    cost = Cost(method.name, "tiny", 10, 10 * slices, int(cell.timings["scored_maps"]), method.missing)
    monkeypatch.setattr(forecast, "_finished", lambda runs: [cell])
    known = time_from_cells(cost, params, "cpu", tmp_path)
    assert known.fit_seconds == pytest.approx(cell.timings["fit_seconds"])
    other = time_from_cells(replace(cost, missing="retrain"), params, "cpu", tmp_path)
    assert other.fit_seconds is None and "no finished cell" in other.basis


def test_times_can_be_measured(
    tiny_phantom: Path, tiny_protocol: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--data", tiny_phantom, "--runs", tmp_path, "--budget", "tiny", "--measure", "--json"]
    (cost,) = json.loads(show(capsys, tiny_protocol, *options, "--method", "inpformer"))["costs"]
    assert cost["basis"].startswith("2 steps and 16 maps timed now on")
    assert cost["fit_seconds"] > 0 and cost["score_seconds"] > 0


def test_a_model_of_a_pattern_that_cannot_run_costs_only_its_own_times(
    tiny_phantom: Path, tiny_protocol: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def timed(cost: Cost, *rest: Any) -> Cost:
        if cost.method == "stfpm":
            raise UserError("stfpm cannot be run: a library is missing.")
        return replace(cost, fit_seconds=1.0, score_seconds=1.0, basis="timed")

    monkeypatch.setattr("anyadbench.launch.timing.time_here", timed)
    options = ["--data", tiny_phantom, "--runs", tmp_path, "--budget", "tiny", "--measure", "--json"]
    costs = json.loads(show(capsys, tiny_protocol, *options, "--method", "stfp*", "--method", "pixelstats"))["costs"]
    found = {cost["method"]: (cost["fit_seconds"], cost["basis"]) for cost in costs}
    assert found == {"stfpm": (None, "stfpm cannot be run: a library is missing."), "pixelstats": (1.0, "timed")}
    with pytest.raises(SystemExit) as ended:
        main(["protocols", "show", *map(str, [tiny_protocol, *options, "--method", "stfpm"])])
    assert ended.value.code == 2 and "a library is missing" in capsys.readouterr().err


def test_the_default_output_is_tables(
    done: Done, tiny_phantom: Path, tiny_protocol: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = show(capsys, tiny_protocol, "--data", tiny_phantom, "--method", "pixelstats", "--budget", "tiny")
    assert f"trains on {done.result.train['slices']} lesion-free slices of " in said
    assert "as available" in said and "cost of one cell (one seed):" in said and "unknown" in said


def test_what_several_methods_share_is_said_once(
    done: Done, tiny_phantom: Path, tiny_protocol: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = [word for name in ("pixelstats", "inpformer", "stfpm") for word in ("--method", name)]
    options = ["--data", tiny_phantom, "--budget", "tiny", *chosen]
    said = show(capsys, tiny_protocol, *options, "--runs", done.folder.parent.parent)
    assert "\ntimes of pixelstats: median of 1 finished cell on cpu in " in said
    assert "\ntimes of inpformer, stfpm: no finished cell with these parameters on cpu in " in said
    said = show(capsys, tiny_protocol, *options, "--runs", done.folder / "none")
    assert said.count("no finished cell with these parameters") == 1 and "\ntimes: no finished cell" in said


def test_without_data_only_the_rules_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    said = show(capsys, "brats-7subsets-released")
    assert "ORACLE" in said and "crop = [392, 392]" in said and "trains on" not in said


def test_an_unknown_folder_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["protocols", "show", "brats-7subsets", "--data", str(tmp_path / "none")])
    assert ended.value.code == 2 and "there is no such folder" in capsys.readouterr().err
