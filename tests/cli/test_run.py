"""The main job on the tiny phantom, through the command line and in pieces."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from grid_fixture import COMMAND, run
from job_fixture import planned

from anyadbench.cli.run import chosen_here
from anyadbench.results import CellResult

BASE = [*COMMAND, "run"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, options: list[str]) -> tuple[Path, str]:
    runs = tmp_path_factory.mktemp("finished") / "runs"
    done = run(
        "run", "--method", "pixelstats", "--method", "anyad", "--weights", "random", *options, "--runs", str(runs)
    )
    assert done.returncode == 0, done.stderr
    return runs, done.stdout


def cell_of(runs: Path, method: str) -> Path:
    (folder,) = (runs / "cells").glob(f"{method}_*")
    return folder


def scores_of(runs: Path, method: str) -> bytes:
    return (cell_of(runs, method) / "scores" / "slices.csv").read_bytes()


def test_a_cell_holds_everything_that_its_numbers_can_be_checked_from(finished: tuple[Path, str]) -> None:
    cell = cell_of(finished[0], "anyad")
    for name in ("cell.json", "manifest.json", "log.txt", "weights.safetensors", "protocol.toml"):
        assert (cell / name).is_file()
    result = CellResult.model_validate_json((cell / "result.json").read_text())
    assert [row.subset for row in result.rows] == [
        "F", "T1", "T2", "F+T1", "F+T2", "T1+T2", "F+T1+T2", "as available",
    ]  # fmt: skip
    manifest = json.loads((cell / "manifest.json").read_text())
    assert manifest["plugin"]["distribution"] == "anyadbench-anyad"
    assert manifest["plugin"]["code_hash"] == result.method.code_hash
    assert manifest["plugin"]["requires"]["anyadbench"] == manifest["environment"]["anyadbench"]
    assert manifest["weights"]["kind"] == "random"
    assert manifest["environment"]["libraries"]["torch"]
    assert manifest["memory"]["host_mb"] > 0


def test_the_numbers_follow_from_the_slice_table(finished: tuple[Path, str]) -> None:
    from anyadbench.metrics import image_metrics

    cell = cell_of(finished[0], "pixelstats")
    result = CellResult.model_validate_json((cell / "result.json").read_text())
    with open(cell / "scores" / "slices.csv") as handle:
        table = list(csv.DictReader(handle))
    assert {row.subset for row in result.rows} >= {record["subset"] for record in table} != set()
    for row in result.rows:
        mine = [record for record in table if record["subset"] == row.subset]
        scores = np.array([float(record["image_score"]) for record in mine])
        labels = np.array([record["label"] == "1" for record in mine])
        assert row.n_slices == len(mine)
        assert row.metrics["image_auroc"] == image_metrics(scores, labels)["image_auroc"]


def test_random_weights_are_marked_in_result_and_board(finished: tuple[Path, str]) -> None:
    runs, printed = finished
    result = CellResult.model_validate_json((cell_of(runs, "anyad") / "result.json").read_text())
    assert result.weights.marked
    assert "random" in printed
    assert "random" in (runs / "boards" / "tiny" / "report.html").read_text()


def test_a_finished_cell_is_not_run_again(finished: tuple[Path, str], options: list[str]) -> None:
    runs, _ = finished
    before = (cell_of(runs, "pixelstats") / "result.json").stat().st_mtime_ns
    again = run("run", "--method", "pixelstats", "--weights", "random", *options, "--runs", str(runs))
    assert again.returncode == 0
    assert "finished before, not run again" in again.stderr
    assert (cell_of(runs, "pixelstats") / "result.json").stat().st_mtime_ns == before


@pytest.mark.slow
def test_the_same_cell_twice_is_bit_identical(finished: tuple[Path, str], options: list[str], tmp_path: Path) -> None:
    done = run("run", "--method", "anyad", "--weights", "random", *options, "--runs", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert scores_of(tmp_path, "anyad") == scores_of(finished[0], "anyad")
    for name in ("weights.safetensors", "scores/pixels.npz"):
        first, second = ((cell_of(runs, "anyad") / name).read_bytes() for runs in (tmp_path, finished[0]))
        assert first == second


@pytest.mark.slow
def test_another_seed_gives_other_scores_and_its_own_cell(
    finished: tuple[Path, str], options: list[str], tmp_path: Path
) -> None:
    done = run("run", "--method", "anyad", "--weights", "random", "--seed", "1", *options, "--runs", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert scores_of(tmp_path, "anyad") != scores_of(finished[0], "anyad")


def test_json_prints_the_results_and_nothing_else(finished: tuple[Path, str], options: list[str]) -> None:
    printed = run(
        "run", "--method", "pixelstats", "--weights", "random", *options, "--runs", str(finished[0]), "--json"
    )
    (result,) = json.loads(printed.stdout)
    assert result["method"]["name"] == "pixelstats"


def test_piped_output_is_plain(finished: tuple[Path, str]) -> None:
    assert "\x1b" not in finished[1]


@pytest.mark.slow
def test_ctrl_c_leaves_a_cell_that_resumes_to_the_same_bits(
    finished: tuple[Path, str], options: list[str], tmp_path: Path
) -> None:
    arguments = ["--method", "anyad", "--weights", "random", "--set", "anyad.steps=3", *options]
    process = subprocess.Popen(
        [*BASE, *arguments, "--runs", str(tmp_path)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "training" in line or "statistics" in line or "starting" in line:
            process.send_signal(signal.SIGINT)
            break
    rest = process.stderr.read()
    assert process.wait(60) == 130, rest
    assert "run the same command again to resume" in rest
    assert not list((tmp_path / "cells").glob("anyad_*[!l]"))
    again = run("run", *arguments, "--runs", str(tmp_path))
    assert again.returncode == 0, again.stderr
    assert scores_of(tmp_path, "anyad") == scores_of(finished[0], "anyad")


@pytest.mark.slow
def test_one_failing_method_costs_its_own_row_only(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "failing_method.py"
    module.write_text(
        "from anyadbench.methods.descriptor import MethodDescriptor\n"
        "M = MethodDescriptor(name='failing', title='F', summary='s', factory='failing_method:build')\n"
        "def build(context):\n    print('about to fail')\n    raise RuntimeError('no such luck')\n"
    )
    info = tmp_path / "failing_method-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: failing-method\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[anyadbench.methods]\nfailing = failing_method:M\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    runs = tmp_path / "runs"
    done = run("run", "--method", "failing", "--method", "pixelstats", *options, "--runs", str(runs))
    assert done.returncode == 1
    assert "failing · tiny · seed 0: failed: failing_method.py:5 in build: RuntimeError: no such luck" in done.stderr
    assert "about to fail" in done.stderr
    assert "Pixel statistics" in done.stdout
    state = json.loads((cell_of(runs, "failing") / "cell.json").read_text())
    assert state["state"] == "failed"
    assert any("Traceback" in line for line in state["log_tail"])


@pytest.mark.slow
def test_two_processes_asked_for_one_cell_end_with_one_whole_cell(options: list[str], tmp_path: Path) -> None:
    command = [*BASE, "--method", "pixelstats", *options, "--runs", str(tmp_path)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(2)]
    printed = [process.communicate(timeout=240)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], printed
    assert len(list((tmp_path / "cells").iterdir())) == 2  # the cell and its lock
    assert CellResult.model_validate_json((cell_of(tmp_path, "pixelstats") / "result.json").read_text())


@pytest.mark.parametrize(("retries", "code"), [pytest.param(0, 1, marks=pytest.mark.slow), (1, 0)])
@pytest.mark.slow
def test_a_killed_worker_is_started_again_and_reported_when_that_happens_too_often(
    retries: int, code: int, options: list[str], tmp_path: Path
) -> None:
    command = [*BASE, "--method", "pixelstats", *options, "--runs", str(tmp_path), "--retries", str(retries)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    record = None
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and record is None:
        for path in (tmp_path / "cells").glob("*.partial/cell.json"):
            record = json.loads(path.read_text()).get("pid")
        time.sleep(0.05)
    assert record is not None
    os.kill(record, signal.SIGKILL)
    _, printed = process.communicate(timeout=120)
    assert process.returncode == code, printed
    assert "ended by signal SIGKILL" in printed if code else "restarted (1 of 1)" in printed
    assert run("run", "--method", "pixelstats", *options, "--runs", str(tmp_path)).returncode == 0


@pytest.mark.parametrize(
    ("launcher", "device", "precision", "noted"),
    [
        ("shell", "auto", "float32", True), ("shell", "cpu", "auto", True), ("shell", "cpu", "float32", False),
        ("local", "auto", "auto", False), ("slurm", "cpu", "auto", False),
    ],
)  # fmt: skip
def test_commands_for_other_machines_name_what_this_one_chose(
    launcher: str, device: str, precision: str, noted: bool, tmp_path: Path
) -> None:
    job = planned(tmp_path, policy={"device": "cpu", "dtype": "bfloat16"})
    said = "the commands compute in bfloat16 on cpu, chosen for this machine; give --device and --precision for another"
    assert chosen_here(launcher, device, precision, job).startswith(said) == noted
