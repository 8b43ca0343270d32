"""A real SLURM whose controller is lost while tasks run: they go on, and the next command takes their results."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import slurm_cluster
from grid_fixture import cells, run, start, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ON_SLURM = [
    "--launcher", "slurm", "--device", "cpu", "--launcher-option", "poll=1", "--launcher-option", "partition=main",
]  # fmt: skip

IMPATIENT = "SlurmctldTimeout=5\nMessageTimeout=5\n"
"""Otherwise SLURM's own commands wait for minutes."""


def test_tasks_outlive_the_controller(
    toys: Path, options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reason := slurm_cluster.missing():
        pytest.skip(reason)
    runs, folder = tmp_path / "runs", tmp_path / "slurm"
    grid = ["--method", "toy", *options, *ON_SLURM, "--runs", runs, "--checkpoint-every", "1s"]
    with slurm_cluster.cluster(folder, IMPATIENT) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("TOY_PAUSE", "2")
        process = start("run", *grid)
        wait_for(lambda: list((runs / "fits").glob("*/checkpoints/*.pt")))
        slurm_cluster.lose_controller(folder)
        _, said = process.communicate(timeout=400)
        assert process.returncode == 2, said
        assert "squeue fails (" in said and "Traceback" not in said
        (left,) = runs.glob(".slurm-*")
        assert f"go on and keep their files in {left}; run the same command again when SLURM answers." in said
        monkeypatch.setenv("TOY_PAUSE", "0")
        with slurm_cluster.controller(folder, dict(os.environ)):
            wait_for(lambda: not subprocess.check_output(["squeue", "--noheader"], text=True), 240)
            done = run("run", *grid, "--seed", 0, "--seed", 1)
    assert done.returncode == 0, done.stderr
    assert "squeue" not in done.stderr
    assert "finished before, not run again" in done.stderr
    assert len(cells(runs)) == 2
    assert not list(runs.glob(".slurm-*"))
