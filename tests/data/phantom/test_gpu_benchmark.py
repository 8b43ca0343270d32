"""The benchmark for a GPU runs whole on the CPU when everything is tiny, and says what is missing."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from boards_fixture import FakeMethod, result_data, write_head

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "phantom_gpu.py"
TINY = {"image_size": 56, "steps": 3, "batch_size": 2, "epochs": 0, "warmup": 1}
FULL = {"image_size": 392, "steps": 2000, "batch_size": 16, "epochs": 0, "warmup": 100}


def start(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--tiny", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


class Clock:
    """A clock that a pause moves on by a minute."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += 60


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script as a module."""
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import phantom_gpu

    return phantom_gpu


def cell(runs: Path, method: str, pixel_ap: float, params: dict[str, Any], seed: int = 0, **changes: Any) -> None:
    """Write a finished cell of one row."""
    counts = dict.fromkeys(("n_subjects", "n_scans", "n_slices", "n_normal", "n_abnormal"), 4)
    row = {"test": "phantom", "subset": "F", "sequences": ["flair"], "metrics": {"pixel_ap": pixel_ap}, **counts}
    fake = FakeMethod(method, method, changes={"method.params": params, "protocol.version": 3} | changes)
    data = result_data(fake, seed, [row], "phantom-7subsets")
    folder = runs / "cells" / f"{method.replace(':', '-')}-{pixel_ap}"
    write_head(folder, "done", method, seed, data["protocol"]["name"], cell_id=data["cell_id"])
    (folder / "result.json").write_text(json.dumps(data))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_method_and_control_has_a_line_for_each_metric(options: list[str], tmp_path: Path) -> None:
    done = start(*options, "--runs", str(tmp_path))
    assert done.returncode == 0, done.stderr[-2000:]
    first, _, *lines = done.stdout.splitlines()
    assert first.startswith("device: ") and len(first) > 9
    measured = {"anyad", "inpformer-moddrop", "anyad-intended", "inpformer", "anyad-released"}
    assert {line.split()[0] for line in lines} == measured | {"control:brain", "control:intensity"}
    figures = {tuple(line.split()[:2]): line.split()[2] for line in lines}
    assert all(0 <= float(figures[method, "pixel_ap"]) <= 1 for method in measured)
    assert (tmp_path / "figures.txt").read_text() == done.stdout


def test_what_the_time_did_not_suffice_for_is_named(tmp_path: Path) -> None:
    done = start("--runs", str(tmp_path / "runs"), "--minutes", "-1")
    assert done.returncode == 1
    assert "missing: anyad, seed 0 (time is up); inpformer-moddrop, seed 0 (time is up)" in done.stderr
    assert "Traceback" not in done.stderr
    assert "missing: anyad, seed 0 (time is up)" in (tmp_path / "runs" / "figures.txt").read_text()


def test_only_cells_of_the_same_protocol_seeds_weights_and_parameters_count(module: Any, tmp_path: Path) -> None:
    cell(tmp_path, "anyad", 0.1, TINY)
    cell(tmp_path, "anyad", 0.3, FULL)
    cell(tmp_path, "anyad", 0.4, FULL, seed=1)
    cell(tmp_path, "anyad", 0.5, FULL | {"steps": 1000})
    cell(tmp_path, "anyad", 0.6, FULL | {"image_size": 224})
    cell(tmp_path, "anyad", 0.7, FULL, seed=3)
    cell(tmp_path, "anyad", 0.8, FULL, **{"protocol.name": "phantom-15subsets"})
    cell(tmp_path, "anyad", 0.9, FULL, **{"protocol.version": 2})
    cell(tmp_path, "anyad", 0.95, FULL, **{"weights.profile": "random"})
    cell(tmp_path, "control:brain", 0.2, {})
    given = argparse.Namespace(runs=tmp_path, protocol="phantom-7subsets", tiny=False, seeds=3, weights="package")
    found = {line[0]: line[2:] for line in module.lines(module.records(given)) if line[1] == "pixel_ap"}
    assert found == {"anyad": ("0.350", "0.300 0.400"), "control:brain": ("0.200", "0.200")}
    given.tiny = True
    found = {line[0]: line[2:] for line in module.lines(module.records(given)) if line[1] == "pixel_ap"}
    assert found == {"anyad": ("0.100", "0.100"), "control:brain": ("0.200", "0.200")}


def test_tiny_cells_lie_in_a_folder_of_their_own(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = []
    for given in ([], ["--tiny"]):
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *given])
        folders.append(module.arguments().runs)
    assert folders[0] != folders[1]


def test_a_cell_that_runs_on_after_the_end_is_interrupted_and_named(
    module: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    endless = [sys.executable, "-c", "import time; time.sleep(600)"]
    monkeypatch.setattr(module, "command", lambda method, seed, options: endless)
    monkeypatch.setattr(module, "GRACE", 0.0)
    monkeypatch.setattr(module, "time", Clock())
    given = argparse.Namespace(
        runs=tmp_path, protocol="phantom-7subsets", tiny=True, seeds=1, minutes=0.5, at_once=2, data="here"
    )
    assert module.run(given, "CPU") == [
        "anyad, seed 0 (interrupted)", "inpformer-moddrop, seed 0 (interrupted)", "anyad-intended, seed 0 (time is up)",
        "inpformer, seed 0 (time is up)", "anyad-released, seed 0 (time is up)",
    ]  # fmt: skip
