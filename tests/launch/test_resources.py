"""Memory does not grow with the number of slices, and the plan states in advance what will be needed."""

from __future__ import annotations

import re
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from job_fixture import planned

from anyadbench.cells.job import Job
from anyadbench.cells.manifest import peak_memory
from anyadbench.data.store.build import prepare
from anyadbench.data.trees.layouts import get_layout
from anyadbench.engine import scoring as evaluate
from anyadbench.engine.batches import TrainingFeed
from anyadbench.engine.map_sample import MapSample
from anyadbench.engine.numerics import Policy
from anyadbench.engine.protocol_data import ProtocolData
from anyadbench.engine.reporter import Reporter
from anyadbench.errors import UserError
from anyadbench.launch import resources as estimates
from anyadbench.methods.contract import Scores
from anyadbench.protocols.reader import read_protocol
from anyadbench.sequences import AS_AVAILABLE, format_subset


@pytest.fixture(scope="module")
def data(tiny_phantom: Path, tiny_protocol: Path, tmp_path_factory: pytest.TempPathFactory) -> ProtocolData:
    store = prepare(tiny_phantom, get_layout("phantom"), tmp_path_factory.mktemp("memory") / "store")
    return ProtocolData(read_protocol(tiny_protocol), {"phantom": store})


class Plain(torch.nn.Module):
    def score(self, batch: Any) -> Scores:
        return Scores(batch.inputs.mean(1))


def peak(work: Callable[[], object]) -> int:
    """Return the largest number of bytes that Python and NumPy held at once."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_scoring_ten_times_the_slices_takes_no_more_memory_than_their_table(
    data: ProtocolData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "EXACT_PIXELS", 0)
    (test,) = data.protocol.tests
    normals, abnormals = data.test_indices(test)
    labels = [format_subset(subset) for subset in data.protocol.subsets] + [AS_AVAILABLE]

    def score(times: int) -> Callable[[], object]:
        def work() -> object:
            many = lambda self, test: (np.tile(normals, times), np.tile(abnormals, times))  # noqa: E731
            monkeypatch.setattr(ProtocolData, "test_indices", many)
            kept = MapSample("none", data.protocol.sequences, labels)
            return evaluate.Evaluator(Plain(), data, Policy(threads=1), Reporter(), kept).run_test(test)

        return work

    peak(score(1))  # fills what is cached on first use
    once, often = peak(score(1)), peak(score(10))
    slices = 9 * (len(normals) + len(abnormals))
    one_slice = int(np.prod(data.stores["phantom"].shape)) * 4
    assert (often - once) / slices < one_slice, "a map, a picture or a mask of every slice is kept"


def test_training_on_ten_times_the_slices_takes_no_more_memory_than_their_order(data: ProtocolData) -> None:
    rows = data.train_indices()

    def train(times: int) -> Callable[[], object]:
        many = np.tile(rows, times)
        feed = TrainingFeed(data.reader("phantom"), many, "per-sample", 1, 4, True, torch.device("cpu"))

        def work() -> None:
            for step in range(20):
                feed.at(step * 7)
            for _ in feed.batches(16):
                pass

        return work

    peak(train(1))
    once, often = peak(train(10)), peak(train(100))
    assert (often - once) / (90 * len(rows)) < 64


def job(runs: Path, **changes: Any) -> Job:
    return planned(runs, params={"batch_size": 4}, policy={}, **changes)


def test_the_estimate_grows_with_the_maps_that_are_kept(data: ProtocolData, tmp_path: Path) -> None:
    found = {kind: estimates.estimate(job(tmp_path, keep_maps=kind), data) for kind in ("none", "sample", "all")}
    assert found["none"].memory < found["sample"].memory < found["all"].memory
    assert found["none"].disk < found["all"].disk
    assert "test slices and needs about" in found["none"].sentence
    assert re.search(r" [1-9]\d* MB of memory without its network, and [\d.]+ MB of disk$", found["none"].sentence)


def test_what_cannot_fit_is_refused_with_a_way_out(
    data: ProtocolData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [job(tmp_path), job(tmp_path, seed=1)]
    needed = estimates.estimate(jobs[0], data)
    monkeypatch.setattr(estimates, "total_memory", lambda: needed.memory * 1.5)
    estimates.check_fits(jobs, needed, 1)
    with pytest.raises(UserError, match=r"2 cell\(s\) at once need about \d.* [MG]B of memory, .* --slots 1"):
        estimates.check_fits(jobs, needed, 2)
    monkeypatch.setattr(estimates, "total_memory", lambda: needed.memory / 2)
    with pytest.raises(UserError, match="use a smaller test set"):
        estimates.check_fits(jobs, needed, 1)
    finished = job(tmp_path, seed=2, cell_id="d" * 64)
    finished.cell.final.mkdir(parents=True)
    (finished.cell.final / finished.cell.record).write_text("{}")
    estimates.check_fits([finished], needed, 1)
    monkeypatch.setattr(estimates, "total_memory", lambda: 1e18)
    monkeypatch.setattr(estimates, "free_disk", lambda folder: 1.0)
    with pytest.raises(UserError, match=r"need about [1-9][\d.]* MB of disk in .*only 1 B are free"):
        estimates.check_fits(jobs, needed, 1)
    with pytest.raises(UserError, match=r"of disk in .*or --keep-maps none"):
        estimates.check_fits(jobs, needed, 1)


def test_memory_and_disk_of_this_machine_are_known(tmp_path: Path) -> None:
    assert estimates.total_memory() > 1e8
    assert estimates.free_disk(tmp_path / "not" / "there") > 0


def test_a_process_does_not_count_the_memory_of_the_one_that_started_it() -> None:
    held = np.ones(60_000_000)
    code = "from anyadbench.cells.manifest import peak_memory; print(peak_memory('cpu')['host_mb'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 5 < float(done.stdout) < held.nbytes / 1e6
    assert peak_memory("cpu")["host_mb"] > held.nbytes / 1e6
