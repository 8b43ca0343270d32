"""A failed capture of a CUDA graph: the cell resumes from a checkpoint in a new process, and captures no more.

There need be no GPU, and no second process: each attempt of the supervisor runs the worker's function here.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from captured_training import Recalling
from job_fixture import planned
from torch import Tensor
from toy_trainer import Feed, StopAt, Toy, trainer

from anyadbench.cells import fitting, scored_cell
from anyadbench.cells.job import Job
from anyadbench.engine import trainer as training_loop
from anyadbench.engine.numerics import Policy
from anyadbench.engine.reporter import Reporter
from anyadbench.engine.stepping.optimisers import prepare_optimizers
from anyadbench.engine.trainer import Trainer
from anyadbench.files import write_json
from anyadbench.launch import worker
from anyadbench.launch.supervisor import Supervisor, worker_outcome
from anyadbench.methods.contract import OptimizerSpec

SAID = "capturing it failed (RuntimeError: operation not permitted)"


class Failing:
    """A recorder whose captures fail."""

    def __init__(self) -> None:
        self.records = 0

    def warm(self, function: Callable[[], dict[str, Tensor]], *, strict: bool = False) -> dict[str, Tensor]:
        return function()

    def record(self, function: Callable[[], dict[str, Tensor]]) -> None:
        self.records += 1
        raise RuntimeError("operation not permitted")

    def replay(self) -> dict[str, Tensor]:
        raise AssertionError("nothing was captured")


class Prepared(Toy):
    def optimizers(self) -> dict[str, OptimizerSpec]:
        made = super().optimizers()
        prepare_optimizers(made, torch.device("cpu"))
        return made


class Slices(Feed):
    def __len__(self) -> int:
        return 15

    def seen(self, steps: int) -> int:
        return 3 * steps


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Failing:
    """Let every fit train a toy whose steps cannot be captured, and every cell end with its fit."""
    recorder = Failing()
    data = SimpleNamespace(
        protocol=SimpleNamespace(train="here", selection="last"),
        selections={"here": SimpleNamespace(validation=0)},
    )

    def toy(method: Any, feed: Any, params: Any, policy: Any, checkpoints: Path, reporter: Any, *_: Any) -> Trainer:
        made = trainer(checkpoints, reporter, steps=30)
        made.method, made.feed, made.recorder = method, feed, recorder
        return made

    def run_cell(job: Job, reporter: Reporter) -> None:
        torch.manual_seed(5)
        fitting.Fitting(job, data, reporter).ensure()  # type: ignore[arg-type]
        job.cell.complete()

    monkeypatch.setattr(scored_cell, "run_cell", run_cell)
    monkeypatch.setattr(fitting, "find_method", lambda name: (None, None))
    monkeypatch.setattr(fitting, "training_feed", lambda *arguments: Slices())
    monkeypatch.setattr(fitting, "Trainer", toy)
    monkeypatch.setattr(fitting.Fitting, "build", lambda self: Prepared())
    monkeypatch.setattr(fitting.Fitting, "_write_manifest", lambda self, trainer: None)
    monkeypatch.setattr("anyadbench.engine.numerics.apply_policy", lambda policy: None)
    monkeypatch.setattr(Supervisor, "_attempt", lambda self: (worker._run(self.job, self.job.cell, Reporter()), "", ""))
    return recorder


def saved(runs: Path, **changes: Any) -> Job:
    job = planned(runs, params={"steps": 30}, policy=Policy(threads=1).to_dict(), **changes)
    job.save()
    return job


def test_a_failed_capture_goes_on_in_a_new_process_without_one(failing: Failing, tmp_path: Path) -> None:
    notes: list[str] = []
    job = saved(tmp_path / "runs", retries=0)
    outcome = Supervisor(job, note=notes.append).run()
    assert (outcome.status, failing.records) == ("done", 1)
    assert notes == [f"{job.label}: resumes in a new process"]
    record = job.fit.state()
    assert (record["state"], record["steps"], record["graph"], record["graph_reason"]) == (
        "done", 30, "fell back", SAID,
    )  # fmt: skip


def test_without_a_supervisor_the_same_command_resumes_it(failing: Failing, tmp_path: Path) -> None:
    job = saved(tmp_path / "runs")
    code = worker._run(job, job.cell, Reporter())
    assert code == worker.AGAIN
    outcome = worker_outcome(job, code)
    said = "Capturing a training step failed at step 3. The same command resumes it."
    assert (outcome.status, outcome.error) == ("interrupted", said)
    assert job.fit.state()["graph_reason"] == SAID
    assert worker._run(job, job.cell, Reporter()) == worker.DONE
    assert failing.records == 1


def test_what_earlier_processes_captured_and_compiled_stays_recorded(
    failing: Failing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def toy(method: Any, feed: Any, params: Any, policy: Any, checkpoints: Path, reporter: Any, *_: Any) -> Trainer:
        made = trainer(checkpoints, reporter, steps=30)
        made.method, made.feed, made.recorder = method, feed, Recalling()
        return made

    def outcome() -> tuple[str, str]:
        record = job.fit.state()
        return record["compile"], record["graph"]

    monkeypatch.setattr(fitting, "Trainer", toy)
    compiled = property(lambda self: "blocks" if self.graph_state == "on" else "off")
    monkeypatch.setattr(Trainer, "compile_state", compiled)
    job = saved(tmp_path / "runs")
    assert worker._run(job, job.cell, StopAt(29)) == worker.INTERRUPTED
    assert outcome() == ("blocks", "on")
    shutil.copytree(tmp_path / "runs", tmp_path / "begun again")
    assert worker._run(job, job.cell, Reporter()) == worker.DONE
    assert outcome() == ("blocks", "on")
    job = saved(tmp_path / "begun again")
    shutil.rmtree(job.fit.work / "checkpoints")
    assert worker._run(job, job.cell, StopAt(2)) == worker.INTERRUPTED
    assert outcome() == ("off", "off")


def test_the_time_of_a_process_that_was_killed_counts_up_to_its_checkpoint(
    failing: Failing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = saved(tmp_path / "runs")
    with monkeypatch.context() as slow:
        slow.setattr(training_loop, "time", SimpleNamespace(monotonic=itertools.count(0.0, 100.0).__next__))
        assert worker._run(job, job.cell, Reporter()) == worker.AGAIN
    record = job.fit.state()
    del record["seconds"]  # as if it had been killed before it wrote that
    write_json(job.fit.work / job.fit.record, record)
    assert worker._run(job, job.cell, Reporter()) == worker.DONE
    assert 300 <= job.fit.state()["seconds"] < 10_000


def test_a_cell_that_was_asked_to_stop_is_not_begun_again(failing: Failing, tmp_path: Path) -> None:
    supervising = Supervisor(saved(tmp_path / "runs"))
    supervising.stop()
    assert supervising.run().status == "interrupted"
    assert failing.records == 1


def test_the_code_alone_begins_nothing_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A method may end its process with any code."""
    monkeypatch.setattr(Supervisor, "_attempt", lambda self: (worker.AGAIN, "", ""))
    outcome = Supervisor(saved(tmp_path / "runs")).run()
    assert outcome.status == "failed"
    assert "ended with exit code 76 without saying why" in outcome.error
