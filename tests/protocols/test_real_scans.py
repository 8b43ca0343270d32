"""Protocols on small samples of real scans, if available."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from inprocess import Done, run

from anyadbench.protocols import find_protocol

SHARED = os.environ.get("ANYADBENCH_SHARED")
pytestmark = [
    pytest.mark.skipif(not SHARED, reason="ANYADBENCH_SHARED is not set: no real samples on this machine"),
    pytest.mark.slow,
]
SAMPLES = {"brats2018": "brats2018-mini", "mslub": "mslub"}
RUNNABLE = ["brats-7subsets", "brats-7subsets-released", "brats-15subsets", "zeroshot-brats-t1ce", "mslub-7subsets"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared") / "runs"


def on_samples(name: str, runs: Path, method: str = "pixelstats") -> Done:
    protocol = find_protocol(name)
    data = {dataset: Path(str(SHARED)) / "data" / SAMPLES[dataset] for dataset in protocol.datasets}
    return run(name, data, runs, [method])[0]


@pytest.mark.parametrize("name", RUNNABLE)
def test_a_protocol_runs_on_real_scans(name: str, runs: Path) -> None:
    done = on_samples(name, runs)
    protocol = find_protocol(name)
    for test in protocol.tests:
        rows = done.rows(test.name)
        assert tuple(rows) == protocol.rows(test)
        assert all(row.n_abnormal > 5 and row.metrics["pixel_auroc"] is not None for row in rows.values())


def test_t1ce_is_scored_by_the_model_of_the_other_three(runs: Path) -> None:
    source, fed = on_samples("brats-7subsets", runs), on_samples("zeroshot-brats-t1ce", runs)
    assert source.job.fit_id == fed.job.fit_id
    assert fed.rows("brats2018-t1ce")["F+T1+T2"].feed == dict.fromkeys(("flair", "t1", "t2"), "t1ce")


def test_the_release_is_run_by_its_own_rules(runs: Path) -> None:
    done = on_samples("brats-7subsets-released", runs, "anyad-released")
    assert done.result.kind == "oracle" and done.result.train["selection"] == "test-image-ap"
