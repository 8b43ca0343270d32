"""Counting beside the next call: the order of events, equal bits, errors and interrupts."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tiny import VOLUME_PROTOCOL

from anyadbench.data.store.store import SliceStore
from anyadbench.engine import scoring
from anyadbench.engine.calls.network import finite_slices, highest
from anyadbench.engine.calls.pending import HostCopy
from anyadbench.engine.counting.in_order import THREAD
from anyadbench.engine.map_sample import MapSample
from anyadbench.engine.numerics import NotFinite, Policy
from anyadbench.engine.protocol_data import ProtocolData
from anyadbench.engine.reporter import Interrupted, Reporter
from anyadbench.engine.scans.scoring import ScanScoring
from anyadbench.engine.scoring import Evaluator, ScanPending
from anyadbench.methods.contract import Batch, Scores
from anyadbench.metrics import top_fraction_mean
from anyadbench.metrics.rows.row_numbers import row_numbers
from anyadbench.metrics.rows.row_state import RowState
from anyadbench.protocols.model import Protocol, ScoringRules
from anyadbench.protocols.reader import read_protocol

PATIENCE = 60


class Reused:
    """Scores by brightness, and returns the same tensor from every call, as a method with a buffer of its own does."""

    def __init__(self) -> None:
        self.buffer = torch.zeros(16, 48, 48)

    def score(self, batch: Batch) -> Scores:
        """Return the mean of the shown sequences; some pixels are negative."""
        found = self.buffer[: len(batch)]
        found.copy_(batch.inputs.sum(1) / batch.shown.sum(1)[:, None, None] - 0.25)
        return Scores(found)


def evaluator(
    protocol: Protocol, store: SliceStore, overlapped: bool, method: Any = None, reporter: Reporter | None = None
) -> Evaluator:
    data = ProtocolData(protocol, {"phantom": store})
    kept = MapSample("sample", protocol.sequences, list(protocol.rows(protocol.tests[0])))
    found = Evaluator(method or Reused(), data, Policy(threads=1), reporter or Reporter(), kept)
    assert not found.overlapped  # on a CPU, unless a test says so
    found.overlapped = overlapped
    return found


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(THREAD)]


@pytest.fixture
def volumes(tmp_path: Path) -> Protocol:
    (tmp_path / "volumes.toml").write_text(VOLUME_PROTOCOL)
    protocol = read_protocol(tmp_path / "volumes.toml")
    return replace(protocol, scoring=replace(protocol.scoring, normalise_height=True))


def everything(protocol: Protocol, store: SliceStore, overlapped: bool) -> dict[str, Any]:
    """Return all that a cell stores of its scores, as bytes where order matters."""
    found = evaluator(protocol, store, overlapped)
    thresholds = found.thresholds()
    found.fit_heights()
    states = [(test, found.run_test(test)) for test in protocol.tests]
    whole = ScanScoring(found, thresholds).run(states) if protocol.scoring.volumes else None
    rows = {}
    for test, by_label in states:
        for label, state in by_label.items():
            pixels = state.pixels(test.name, thresholds.get(label))
            assert pixels is not None
            numbers = row_numbers(pixels, state.records, pixels.subjects)[0]
            steps = [
                pickle.dumps(vars(one)) for one in (pixels.steps, pixels.brain.steps if pixels.brain else None) if one
            ]
            rows[test.name, label] = (numbers, steps, pickle.dumps(state.records), state.boxes)
    return {"rows": rows, "kept": pickle.dumps(found.kept._slices), "whole": repr(whole), "maps": found.maps}


@pytest.mark.parametrize("exact", [True, False])
def test_exact_and_histogram_rows_and_whole_scans_are_equal_to_the_bit(
    exact: bool, volumes: Protocol, store: SliceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "EXACT_PIXELS", 2**40 if exact else 0)
    serial, beside = (everything(volumes, store, overlapped) for overlapped in (False, True))
    assert serial["rows"].keys() == beside["rows"].keys() and serial["maps"] == beside["maps"]
    for place, row in serial["rows"].items():
        assert repr(row) == repr(beside["rows"][place]), place
    assert serial["kept"] == beside["kept"]
    assert serial["whole"] == beside["whole"] and "RowScans" in serial["whole"]


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Record calls and counts; the first count ends only after the next batch's first call has begun."""
    found: list[str] = []
    batches = {"launched": 0}
    next_call = threading.Event()
    add, score_slices = RowState.add, Evaluator._score_slices

    def counted(self: RowState, *arguments: Any) -> None:
        found.append(f"count by {threading.current_thread().name.split('_')[0]}")
        if found.count(found[-1]) == 1:
            assert next_call.wait(PATIENCE), "the next call waits for the count of the one before"
        add(self, *arguments)
        found.append("counted")

    def launched(self: Evaluator, *arguments: Any) -> None:
        batches["launched"] += 1
        found.append(f"batch {batches['launched']}")
        score_slices(self, *arguments)

    def call(batch: Batch) -> Scores:
        found.append("call")
        if batches["launched"] == 2:
            next_call.set()
        return Scores(batch.inputs.sum(1))

    monkeypatch.setattr(RowState, "add", counted)
    monkeypatch.setattr(Evaluator, "_score_slices", launched)
    monkeypatch.setattr(scoring, "SCORING_BATCH", 4)
    found.append(call)  # type: ignore[arg-type]
    yield found


def test_the_next_call_begins_before_the_count_of_the_one_before_ends(
    events: list[Any], protocol: Protocol, store: SliceStore
) -> None:
    call = events.pop()
    states = evaluator(protocol, store, True, SimpleNamespace(score=call)).run_test(protocol.tests[0])
    assert all(state.records for state in states.values())
    second = events.index("batch 2")
    assert "call" in events[second : events.index("counted")]
    assert f"count by {THREAD}" in events and not any("Main" in str(event) for event in events)


class Spoilt(Reused):
    """Returns NaN for one slice of the second batch, and fails at the third."""

    calls = 0

    def score(self, batch: Batch) -> Scores:
        """Return NaN, or fail."""
        self.calls += 1
        if self.calls > 14:
            raise RuntimeError("the network fails later")
        maps = super().score(batch).maps
        return Scores(torch.where(torch.tensor(self.calls > 8), torch.nan, maps))


def test_an_error_in_counting_is_the_same_as_without_a_thread(
    protocol: Protocol, store: SliceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "SCORING_BATCH", 4)
    said = []
    for overlapped in (False, True):
        with pytest.raises(NotFinite) as caught:
            evaluator(protocol, store, overlapped, Spoilt()).run_test(protocol.tests[0])
        said.append(str(caught.value))
    assert said[0] == said[1] and "hold NaN or infinity" in said[0]
    assert not threads()


def test_scores_are_counted_beside_the_next_call_on_a_gpu(protocol: Protocol, store: SliceStore) -> None:
    given = (ProtocolData(protocol, {"phantom": store}), Policy("cuda"), Reporter(), MapSample("none", ()))
    method: Any = Reused()
    assert Evaluator(method, *given).overlapped


def test_an_interrupt_leaves_no_thread(protocol: Protocol, store: SliceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "SCORING_BATCH", 4)

    class Stopped(Reporter):
        def progress(self, done: int, total: int, label: str) -> None:
            self._stop = done >= 8

    with pytest.raises(Interrupted):
        evaluator(protocol, store, True, reporter=Stopped()).run_test(protocol.tests[0])
    assert not threads()


def test_what_a_gpu_computes_of_maps_is_what_the_host_computes() -> None:
    rng = np.random.default_rng(0)
    maps = rng.standard_normal((5, 60, 70)).astype(np.float32)
    maps[1] = -np.abs(maps[1])
    maps[2] = rng.integers(-1, 2, (60, 70)) * np.float32(0.0)  # zeros of both signs
    maps[3] *= np.float32(1e-41)
    for fraction in (0.0001, 0.01, 0.3, 1.0):
        top = highest(torch.from_numpy(maps), fraction).numpy()
        np.testing.assert_array_equal(top_fraction_mean(top, 1.0), top_fraction_mean(maps, fraction))
    maps[0, 3, 4], maps[4, 0, 0] = np.nan, -np.inf
    assert finite_slices(torch.from_numpy(maps)).tolist() == [False, True, True, True, False]


def test_a_copy_does_not_see_later_writes() -> None:
    given = torch.zeros(3)
    copy = HostCopy({"maps": given})
    given += 1
    assert copy.arrays()["maps"].tolist() == [0, 0, 0]


def test_scans_are_counted_beside_the_next_call(volumes: Protocol, store: SliceStore) -> None:
    names: set[str] = set()

    class Named(Evaluator):
        def scan_maps(self, *given: Any) -> Any:
            for labels, pending in super().scan_maps(*given):
                yield labels, partial(self.named, pending)

        def named(self, pending: ScanPending) -> Any:
            names.add(threading.current_thread().name)
            return pending()

    volumes = replace(volumes, scoring=ScoringRules(volumes=True))
    data = ProtocolData(volumes, {"phantom": store})
    found = Named(Reused(), data, Policy(), Reporter(), MapSample("none", volumes.sequences))
    found.overlapped = True
    ScanScoring(found, {}).run([(test, found.run_test(test)) for test in volumes.tests])
    assert len(names) >= 1 and all(name.startswith(THREAD) for name in names)
    assert not threads()
