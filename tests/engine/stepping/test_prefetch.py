"""Batches read ahead: equal bits, order and errors, and nothing beyond one batch."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_trainer import Feed, StopAt, trainer

from anyadbench.data.slices.rules import GeometryRules, IntensityRules
from anyadbench.data.store.store import SliceStore
from anyadbench.engine.batches import TrainingFeed
from anyadbench.engine.reporter import Interrupted
from anyadbench.engine.slice_reader import SliceReader
from anyadbench.engine.stepping.prefetch import Prefetcher
from anyadbench.engine.stepping.stored import Staging, scaled, stored_slices
from anyadbench.errors import UserError
from anyadbench.methods.contract import Batch

CPU = torch.device("cpu")


class Counting(Feed):
    """Records who reads which step."""

    def __init__(self, fail: int = -1) -> None:
        self.read: list[tuple[int, str]] = []
        self.fail = fail

    def at(self, step: int) -> Batch:
        self.read.append((step, threading.current_thread().name))
        if step == self.fail:
            raise UserError("images.blosc is damaged (slice 3); delete the store and prepare it again.")
        return super().at(step)


def test_batches_come_in_order_and_at_most_one_waits() -> None:
    feed = Counting()
    with Prefetcher(feed, 4, CPU) as batches:
        for step in range(4):
            found = batches.at(step)
            batches.settle()
            assert [number for number, _ in feed.read] == list(range(min(step + 2, 4)))
            assert torch.equal(found.inputs, Feed().at(step).inputs)
    assert feed.read[0][1] == "MainThread"
    assert all(name.startswith("anyadbench-batches") for _, name in feed.read[1:])


def test_a_step_that_was_not_expected_is_read_at_once() -> None:
    with Prefetcher(Counting(), 10, CPU) as batches:
        batches.at(0)
        assert torch.equal(batches.at(5).inputs, Feed().at(5).inputs)


def test_an_error_is_raised_at_its_step_with_its_sentence(tmp_path: Path) -> None:
    running = trainer(tmp_path)
    running.feed = Counting(fail=3)  # type: ignore[assignment]
    with pytest.raises(UserError, match=r"images.blosc is damaged \(slice 3\)"):
        running.run()
    assert running.step == 3


def test_no_thread_is_left_after_a_stop_and_a_batch_read_ahead_is_not_counted(tmp_path: Path) -> None:
    first = trainer(tmp_path, StopAt(7))
    first.feed = feed = Counting()  # type: ignore[assignment]
    with pytest.raises(Interrupted):
        first.run()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("anyadbench-batches")]
    assert max(step for step, _ in feed.read) <= 7
    second = trainer(tmp_path)
    second.feed = feed = Counting()  # type: ignore[assignment]
    second.run()
    assert [step for step, _ in feed.read] == list(range(7, 20))


def feed_of(store: SliceStore, on_device: bool, **rules: Any) -> TrainingFeed:
    sequences = ("flair", "t1", "t1ce", "t2")
    reader = SliceReader(store, sequences, IntensityRules(), **rules)
    return TrainingFeed(reader, np.arange(len(store)), "per-sample", 7, 5, False, CPU, scale_on_device=on_device)


def test_slices_scaled_on_the_device_are_equal_to_the_bit(store: SliceStore) -> None:
    plain, scaling = feed_of(store, False), feed_of(store, True)
    assert stored_slices(scaling.reader, np.array([0])) is not None
    for step in range(plain.batches_per_epoch + 1):
        for one, other in zip(vars(plain.at(step)).values(), vars(scaling.at(step)).values(), strict=True):
            assert one.dtype == other.dtype
            assert np.array_equal(one.numpy(), other.numpy())


def test_codes_with_a_zero_and_a_scale_are_decoded_to_the_same_bits(store: SliceStore) -> None:
    coded = replace(store, scans=store.scans.copy())
    for number, name in enumerate(store.sequences):
        coded.scans[f"zero_{name}"] = 100.0 * number
        coded.scans[f"scale_{name}"] = 0.37 + number / 3
    plain, scaling = feed_of(coded, False), feed_of(coded, True)
    assert all(torch.equal(plain.at(step).targets, scaling.at(step).targets) for step in range(3))  # type: ignore[arg-type]


def test_the_highest_stored_value_is_no_negative_number() -> None:
    values = torch.from_numpy(np.array([[[[65535, 32768, 0]]]], np.uint16).view(np.int16))
    scale = torch.tensor([[[0.0, 1.0, 1 / 65535]]])
    assert scaled(values, scale).flatten().tolist() == pytest.approx([1.0, 32768 / 65535, 0.0])


def test_buffers_are_reused(store: SliceStore) -> None:
    reader, staging = feed_of(store, True).reader, Staging(CPU)
    for size in (4, 2, 4, 3):
        found = stored_slices(reader, np.arange(size))
        assert found is not None
        staging.scaled(found)
    assert len({buffer.data_ptr() for buffer in staging._buffers}) == 2
    assert all(len(buffer) == 4 for buffer in staging._buffers)


@pytest.mark.parametrize(
    ("rules", "intensity"),
    [
        ({"geometry": GeometryRules(crop=(8, 8))}, IntensityRules()),
        ({"feed": {"t1": "t2"}}, IntensityRules()),
        ({}, IntensityRules(mode="slice-minmax8")),
        ({}, IntensityRules(harmonise="zscore")),
    ],
)
def test_other_rules_are_left_to_the_reader(
    store: SliceStore, rules: dict[str, Any], intensity: IntensityRules
) -> None:
    reader = replace(feed_of(store, True, **rules).reader, intensity=intensity)
    assert stored_slices(reader, np.array([0])) is None
