"""The script that measures a GPU machine runs in all its parts, on a CPU too, and loses nothing when time ends."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"
PARTS = ("steps", "preparing", "scoring", "feeding", "resuming", "precision")


def start(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ANYADBENCH_CACHE": str(folder)}
    command = [sys.executable, str(SCRIPT), "--tiny", "--out", str(folder / "figures.txt"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the scripts' modules importable."""
    pytest.importorskip("anyadbench_anyad")
    monkeypatch.syspath_prepend(str(SCRIPT.parent))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_part_of_the_gpu_script_runs(tmp_path: Path) -> None:
    pytest.importorskip("anyadbench_anyad")
    done = start(tmp_path, "--minutes", "25")
    assert done.returncode == 0, done.stdout + done.stderr
    for said in (
        "bfloat16 matrix product:",
        "step, batch 2: plain float32",
        "step, batch 2, graph off, compiled off:",
        "preparing 4 scans with",
        "285 such scans on 16 cores:",
        "scoring 16 slices of 64 x 64, 7 subsets",
        "scoring, shared calls: 112 slice-subsets, exact rows",
        "scoring, counted between: 112 slice-subsets, exact rows",
        "times as fast as one subset a call",
        "feeding, batch 2, read when asked for, graph off: a step waits",
        "feeding adds",
        "equal bits True",
        "loss at row -1: float32",
    ):
        assert said in done.stdout, said
    assert (tmp_path / "figures.txt").read_text() == done.stdout


def test_parts_without_time_are_skipped_loudly(tmp_path: Path) -> None:
    done = start(tmp_path, "--minutes", "0")
    assert done.returncode == 1
    said = "; ".join(f"{part} (skipped, the time is up)" for part in PARTS)
    assert done.stdout.splitlines()[-1] == f"NOT MEASURED: {said}"
    assert (tmp_path / "figures.txt").read_text() == done.stdout


def test_a_part_that_fails_or_takes_too_long_keeps_its_lines(scripts: None, monkeypatch: pytest.MonkeyPatch) -> None:
    import gpu

    lines: list[str] = []
    failing = [sys.executable, "-c", "print('one figure'); raise SystemExit(3)"]
    assert gpu.run_part(failing, time.monotonic() + 600, lines.append) == "failed with exit status 3"
    assert lines == ["one figure"]
    monkeypatch.setattr(gpu, "LEAST", 0.0)
    endless = [sys.executable, "-c", "import time; time.sleep(600)"]
    assert gpu.run_part(endless, time.monotonic() + 1, lines.append) == "stopped, the time is up"


def test_only_resuming_is_measured_with_deterministic_products(
    scripts: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import gpu
    import gpu_data
    import gpu_training

    applied: list[Any] = []
    monkeypatch.setattr("anyadbench.engine.numerics.apply_policy", applied.append)
    for part in PARTS:
        home = gpu_data if part in ("preparing", "scoring", "feeding") else gpu_training
        # The policy is applied before the part starts: cuBLAS reads its workspace at the first product.
        monkeypatch.setattr(home, part, lambda sizes, policy, work: applied.append(policy.deterministic))
        gpu.measure(part, True, tmp_path)
    policies, seen = applied[::2], applied[1::2]
    assert [policy.deterministic for policy in policies] == seen == [part == "resuming" for part in PARTS]


def test_the_first_step_as_a_graph_is_noted_once(scripts: None) -> None:
    from gpu_common import Watch

    from anyadbench.engine.numerics import Policy

    watch, states = Watch(Policy()), iter(["off", "off", "on"])
    watch.graph_state = lambda: next(states)
    for step in (1, 2):
        watch.progress(step, 16, "training")
        assert watch.ready is None
    watch.progress(3, 16, "training")
    assert watch.ready is not None and watch.ready >= watch.ends[1]
    for step in (8, 16):
        watch.progress(step, 16, "training")  # the state is not asked for again
    assert sorted(watch.ends) == [1, 8, 16]
    assert watch.step_seconds() == (watch.ends[16] - watch.ends[8]) / 8


@pytest.mark.parametrize("ahead", [True, False])
def test_the_timed_prefetcher_reads_ahead_only_where_asked(ahead: bool, scripts: None) -> None:
    from gpu_data import TimedPrefetcher

    from anyadbench.engine.numerics import Policy
    from anyadbench.methods.contract import Batch

    class Feed:
        def __init__(self) -> None:
            self.read: list[int] = []

        def at(self, step: int) -> Batch:
            self.read.append(step)
            return Batch(torch.full((1, 1, 1, 1), float(step)), torch.ones(1, 1, dtype=torch.bool))

    feed, seconds = Feed(), list[float]()
    with TimedPrefetcher(feed, 6, torch.device("cpu"), Policy(), ahead, seconds) as batches:
        for step in range(4):
            assert float(batches.at(step).inputs) == step
            batches.settle()
            assert feed.read == list(range(step + 1 + ahead))
    assert len(seconds) == 3
