"""The Ray launcher when Ctrl-C stops it; nothing of Ray itself runs."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from job_fixture import planned
from places import ROOT

from anyadbench.launch.launchers import LaunchOptions


class RayError(Exception):
    """As Ray's for a task that was cancelled."""


class FakeRay(ModuleType):
    """Tasks are numbers: the first fails before Ctrl-C, the others are dropped by it."""

    ObjectRef = int
    exceptions = SimpleNamespace(RayError=RayError)

    def __init__(self) -> None:
        super().__init__("ray")
        self.cancelled: list[int] = []
        self.polls = 0

    def wait(self, tasks: list[int], **options: Any) -> tuple[list[int], list[int]]:
        self.polls += 1
        if self.polls == 2:
            raise KeyboardInterrupt
        return (tasks, []) if self.cancelled else (tasks[:1], tasks[1:])

    def cancel(self, task: int) -> None:
        self.cancelled.append(task)

    def get(self, task: int) -> str:
        if task in self.cancelled:
            raise RayError("This task was cancelled")
        return "ModuleNotFoundError: No module named 'anyadbench'"

    def shutdown(self) -> None: ...


def test_cells_that_ctrl_c_drops_are_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", fake)
    spec = importlib.util.spec_from_file_location("ray_launcher", ROOT / "plugins/ray/anyadbench_ray/launcher.py")
    assert spec is not None and spec.loader is not None
    launcher = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(launcher)
    monkeypatch.setattr(launcher, "_connect", lambda address: None)
    monkeypatch.setattr(launcher, "_submit", lambda job: job.seed)
    jobs = [planned(tmp_path, seed=seed, cell_id=f"{seed:064}") for seed in range(3)]
    for job in jobs:
        job.save()
    silent: Any = SimpleNamespace(note=lambda text: None, progress=lambda done, total, label: None)
    outcomes = launcher.launch(jobs, LaunchOptions(silent))
    assert fake.cancelled == [1, 2]
    assert [outcome.status for outcome in outcomes] == ["failed", "interrupted", "interrupted"]
    assert outcomes[0].log_tail == ("ModuleNotFoundError: No module named 'anyadbench'",)
    assert outcomes[1].error == "Not started; the same command runs it."
