"""A run that is stopped: how far it was, what was saved, and how to go on."""

from __future__ import annotations

import csv
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from grid_fixture import COMMAND, run
from job_fixture import planned

from anyadbench.cells.job import Job, Outcome
from anyadbench.cells.work_folder import fit_folder
from anyadbench.cli import command_line, main
from anyadbench.cli.run import end
from anyadbench.hashing import stable_hash


def checkpoints(job: Job, *steps: int) -> None:
    folder = job.fit.work / "checkpoints"
    folder.mkdir(parents=True)
    for step in steps:
        (folder / f"step-{step:08d}.pt").touch()


def trained(job: Job) -> None:
    job.fit.final.mkdir(parents=True)
    (job.fit.final / "fit.json").write_text("{}")


def test_what_an_interrupted_cell_keeps(tmp_path: Path) -> None:
    nothing, some, whole = (planned(tmp_path, cell_id=c * 64, fit_id=c * 64) for c in "abc")
    checkpoints(some, 40, 80)
    trained(whole)
    assert [job.saved for job in (nothing, some, whole)] == [
        "nothing yet",
        "a checkpoint at step 80",
        "the trained model",
    ]


def test_what_one_model_per_subset_keeps(tmp_path: Path) -> None:
    job = planned(tmp_path, missing="retrain")
    for label in ("F", "T1"):
        fit = fit_folder(tmp_path, stable_hash([job.fit_id, label]), job.method)
        fit.final.mkdir(parents=True)
        (fit.final / "fit.json").write_text("{}")
    checkpoints(planned(tmp_path, fit_id=stable_hash([job.fit_id, "F+T1"])), 7)
    assert job.saved == "2 trained models and a checkpoint at step 7"


def test_the_end_of_an_interrupted_grid_shows_what_was_saved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = [planned(tmp_path, seed=seed, cell_id=f"{seed:064d}") for seed in range(12)]
    with pytest.raises(SystemExit) as ended:
        end([Outcome(job, "interrupted") for job in jobs])
    said = capsys.readouterr().err
    assert ended.value.code == 130
    assert "mine · tiny · seed 3: saved: nothing yet." in said
    assert "Likewise for 2 more cells." in said
    assert "To go on: " in said


def test_the_command_is_quoted_for_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/anyadbench", "run"])
    assert command_line(["run", "--data", "my scans"]) == "anyadbench run --data 'my scans'"
    monkeypatch.setattr(sys, "argv", ["/x/anyadbench/__main__.py", "run"])
    assert command_line(["run"]) == f"{sys.executable} -m anyadbench run"


def test_ctrl_c_outside_of_a_cell_names_the_command_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from anyadbench.cli import LazyGroup

    def stopped(*arguments: object) -> click.Command:
        raise KeyboardInterrupt

    monkeypatch.setattr(LazyGroup, "get_command", stopped)
    monkeypatch.setattr(sys, "argv", ["anyadbench"])
    with pytest.raises(SystemExit) as ended:
        main(["methods", "--json"])
    assert ended.value.code == 130
    assert "Stopped; run the same command again to resume: anyadbench methods --json" in capsys.readouterr().err


@pytest.mark.slow
def test_a_stopped_training_is_seen_by_others_and_resumes_where_it_was(
    toys: Path, tiny_protocol: Path, tiny_phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "my runs"
    arguments = ["run", "--method", "toy", "--set", "toy.steps=30", "--protocol", str(tiny_protocol)]
    arguments += ["--data", str(tiny_phantom), "--runs", str(runs)]
    environment = {**os.environ, "TOY_PAUSE": "0.5"}
    process = subprocess.Popen([*COMMAND, *arguments], stderr=subprocess.PIPE, text=True, env=environment)
    deadline, progress = time.monotonic() + 120, None
    while not (progress and progress["phase"] == "training" and progress["done"] > 3):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.5)
        if (runs / "cells").is_dir():
            listed = json.loads(run("runs", "--runs", runs, "--json").stdout)
            progress = listed[0]["progress"] if listed else None
    assert progress["total"] == 30 and progress["percent"] == pytest.approx(100 * progress["done"] / 30, abs=0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    saved = int(said.partition("saved: a checkpoint at step ")[2].partition(".")[0])
    assert saved > 3
    command = said.partition("To go on: ")[2].strip()
    assert shlex.split(command) == [*COMMAND, *arguments]
    again = subprocess.run(shlex.split(command), capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert f"toy · tiny · seed 0: resumed at step {saved} of 30" in again.stderr
    assert "training: 30/30, loss " in again.stderr
    (cell,) = (path for path in (runs / "cells").iterdir() if path.is_dir())
    with (cell / "training.csv").open(newline="") as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == list(range(1, 31))
    assert json.loads((cell / "result.json").read_text())["training"][0]["steps"][-1] == 30
    log = (cell / "log.txt").read_text()
    assert f"resumed at step {saved} of 30" in log and "last losses: loss " in log
    assert not (cell / "progress.json").exists()
