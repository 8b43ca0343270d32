"""The Ray launcher on a real cluster of two nodes on this host."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from grid_fixture import content, run, start, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def cluster(toys: Path) -> Iterator[Any]:
    pytest.importorskip("ray", reason="ray is not installed: pip install -e plugins/ray")
    pytest.importorskip("anyadbench_ray", reason="the plugin is not installed: pip install -e plugins/ray")
    from ray.cluster_utils import Cluster

    small = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=small)
    try:
        yield cluster
    finally:
        cluster.shutdown()


@pytest.fixture
def grid(tiny_protocol: Path, tiny_phantom: Path) -> list[object]:
    methods = ["--method", "toy", "--seed", 0, "--seed", 1]
    return [*methods, "--protocol", tiny_protocol, "--data", tiny_phantom, "--device", "cpu"]


def test_a_cluster_that_loses_a_node_in_the_middle_gives_the_same_bytes(
    cluster: Any, grid: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("run", *grid, "--runs", tmp_path / "local").returncode == 0
    second = cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)
    cluster.wait_for_nodes()
    monkeypatch.setenv("TOY_PAUSE", "2")
    runs = tmp_path / "runs"
    on_ray = ["--launcher", "ray", "--launcher-option", f"address={cluster.address}", "--checkpoint-every", "1s"]
    process = start("run", *grid, *on_ray, "--runs", runs)

    def both_are_training() -> bool:
        return len({path.parent for path in (runs / "fits").glob("*/checkpoints/*.pt")}) == 2

    wait_for(lambda: both_are_training() or process.poll() is not None)
    cluster.remove_node(second, allow_graceful=False)
    _, said = process.communicate(timeout=400)
    assert process.returncode == 0, said
    assert content(runs) == content(tmp_path / "local")


def test_without_a_cluster_the_launcher_says_what_to_do(
    toys: Path, grid: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("anyadbench_ray", reason="the plugin is not installed: pip install -e plugins/ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    done = run("run", *grid, "--launcher", "ray", "--launcher-option", "address=127.0.0.1:1", "--runs", tmp_path)
    assert done.returncode == 2, done.stderr
    assert "No Ray cluster answers at '127.0.0.1:1'" in done.stderr
    assert "Traceback" not in done.stderr
    assert os.environ.get("RAY_ADDRESS") is None
