"""The parts of ``gpu.py`` that need slices of the size of BraTS: preparing, scoring and feeding."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from gpu_common import Pool, Sizes, build, cores, graph_of, trained, wait
from plain_store import prepare_plain

from anyadbench.data.store.build import prepare
from anyadbench.data.store.store import SliceStore
from anyadbench.data.trees.layouts import get_layout
from anyadbench.engine.batches import TrainingFeed
from anyadbench.engine.calls.pending import Pending
from anyadbench.engine.map_sample import MapSample
from anyadbench.engine.numerics import Policy
from anyadbench.engine.protocol_data import ProtocolData, spread
from anyadbench.engine.reporter import Reporter
from anyadbench.engine.scoring import Evaluator, Round
from anyadbench.engine.stepping.prefetch import Feed, Prefetcher
from anyadbench.methods.contract import Batch
from anyadbench.protocols import find_protocol

PROTOCOL, DATASET = "brats-7subsets", "brats2018"
SUBJECTS, CORES = 285, 16
"""Of the goal: all of BraTS 2018 on so many cores."""

FEEDING = 1.2
"""Goal of what feeding may add to a step, in ms."""

RATE = 1000
"""Goal of the slices that are scored in a second, each subset counted."""


def tree(sizes: Sizes, work: Path) -> tuple[Path, int]:
    """Return a folder of scans and how many they are; they are made on all cores, in processes without torch."""
    scans, folder = sizes.scans or max(4, min(32, 2 * cores())), work / "tree"
    script = Path(__file__).with_name("plain_store.py")
    shape = [str(length) for length in sizes.shape]
    command = [sys.executable, str(script), str(folder), "--scans", str(scans), "--workers", str(cores())]
    subprocess.run([*command, "--shape", *shape], check=True)
    return folder, scans


def store(sizes: Sizes, work: Path) -> SliceStore:
    """Return the store that ``preparing`` left in the folder; without one, make it."""
    folder = work / "tree" if (work / "store").is_dir() else tree(sizes, work)[0]
    return prepare(folder, get_layout(DATASET), work / "store", workers=cores())


def preparing(sizes: Sizes, policy: Policy, work: Path) -> None:
    """Print what preparing scans of the size of BraTS costs, and what it would cost for all of BraTS."""
    began, workers = time.perf_counter(), cores()
    folder, scans = tree(sizes, work)
    shape = " x ".join(map(str, sizes.shape))
    print(f"made {scans} scans of {shape}, four sequences, in {time.perf_counter() - began:.0f} s")
    started = time.process_time()
    prepare_plain(folder, work / "plain", most=2)
    plain = (time.process_time() - started) / 2
    shutil.rmtree(work / "plain")
    began, started = time.perf_counter(), time.process_time()
    made = prepare(folder, get_layout(DATASET), work / "store", workers=workers)
    wall, cpu = time.perf_counter() - began, (time.process_time() - started) / scans
    stored = sum(path.stat().st_size for path in made.path.iterdir()) / scans * SUBJECTS / 1e9
    print(
        f"preparing {scans} scans with {workers} workers: {wall:.1f} s, {cpu:.2f} CPU-s a scan (goal .45), "
        f"as plain arrays {plain:.2f}, ratio {plain / cpu:.1f}"
    )
    print(
        f"    {SUBJECTS} such scans on {CORES} cores: {wall / scans * SUBJECTS * workers / CORES:.0f} s by the clock, "
        f"{cpu * SUBJECTS / CORES:.0f} s if no core ever waited (goal 45); {stored:.2f} GB stored (goal 3)"
    )


class Notes(Reporter):
    """Prints what a cell would note, such as why a method may not share calls."""

    def send(self, **event: Any) -> None:
        """Print a note."""
        if "note" in event:
            print(event["note"])


class Counting(Evaluator):
    """Counts the slices that it scores, once per subset."""

    scored = 0

    def score_rounds(self, values: np.ndarray, rounds: Sequence[Round], names: list[str]) -> Iterator[Pending]:
        """Score as the evaluator does."""
        self.scored += sum(len(members) for _, members, _ in rounds)
        return super().score_rounds(values, rounds, names)


WAYS = {
    "shared calls": (None, True),
    "counted between": (None, False),
    "one subset a call": (False, True),
}
"""Ways of scoring: whether subsets may share calls (``None``: if the method allows it), and whether scores are counted
beside the next call. The first is the default on a GPU."""

WARMING = 32
"""Slices that are scored untimed."""


def scoring(sizes: Sizes, policy: Policy, work: Path) -> None:
    """Print the rate of scoring slices end to end in each way, in turn; the default first, each as soon as measured."""
    made, protocol = store(sizes, work), find_protocol(PROTOCOL)
    data, test = ProtocolData(protocol, {DATASET: made}), protocol.tests[0]
    indices = spread(np.arange(len(made)), sizes.slices)
    abnormal = made.slices["lesion_px"].to_numpy()[indices] > 0
    chosen = np.arange(len(indices)) < WARMING
    object.__setattr__(data, "test_indices", lambda test: (indices[chosen & ~abnormal], indices[chosen & abnormal]))
    method = build(sizes, policy, made.shape).eval()
    ways: dict[str, Counting] = {}
    for name, (together, beside) in WAYS.items():
        ways[name] = Counting(method, data, policy, Notes(), MapSample("none", protocol.sequences))
        ways[name]._joint.allowed, ways[name].overlapped = together, beside
        ways[name].run_test(test)  # untimed: kernels are chosen, and shared calls tried
    chosen[:] = True
    print(
        f"scoring {len(indices)} slices of {made.shape[0]} x {made.shape[1]}, {len(protocol.subsets)} subsets; the "
        f"method may share calls: {ways['shared calls']._joint.allowed}"
    )
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(sizes.rounds * len(ways)):
        name = list(ways)[number % len(ways)]
        ways[name].scored = 0
        wait(policy)
        began = time.perf_counter()
        states = ways[name].run_test(test)
        seconds[name].append(time.perf_counter() - began)
        rows = "exact" if next(iter(states.values())).exact else "histogram"
        rate = ways[name].scored / seconds[name][-1]
        print(f"scoring, {name}: {ways[name].scored} slice-subsets, {rows} rows, at {rate:.0f} a second (goal {RATE})")
    for name in list(ways)[1:]:
        ratio = statistics.median(a / b for a, b in zip(seconds[name], seconds["shared calls"], strict=True))
        print(f"the default is {ratio:.2f} times as fast as {name}")


class TimedPrefetcher(Prefetcher):
    """Notes how long the training waits for its batch after the step before has ended, in the first half.

    Args:
        feed: As of ``Prefetcher``.
        total: As of ``Prefetcher``.
        device: As of ``Prefetcher``.
        policy: Numeric policy.
        ahead: Whether a batch is read beside the step before.
        seconds: Receives the times.
    """

    def __init__(
        self, feed: Feed, total: int, device: torch.device, policy: Policy, ahead: bool, seconds: list[float]
    ) -> None:
        super().__init__(feed, total if ahead else 0, device)
        self._half, self._policy, self._seconds = total // 2, policy, seconds

    def at(self, step: int) -> Batch:
        """Return the batch of a step."""
        if step >= self._half:
            return super().at(step)
        wait(self._policy)
        began = time.perf_counter()
        batch = super().at(step)
        wait(self._policy)
        self._seconds.append(time.perf_counter() - began)
        return batch


def feeding(sizes: Sizes, policy: Policy, work: Path) -> None:
    """Print how long a real step waits for its batch, read ahead and not, and what a step then takes."""
    made, count = store(sizes, work), sizes.batches[0]
    reader = ProtocolData(find_protocol(PROTOCOL), {DATASET: made}).reader(DATASET)
    feed = TrainingFeed(reader, np.arange(len(made)), "per-sample", 0, count, True, policy.torch_device())
    held = Pool([feed.at(step) for step in range(3)])
    took = {}
    for name, source, ahead in (
        ("on the device", held, True), ("read ahead", feed, True), ("read when asked for", feed, False)
    ):  # fmt: skip
        waits: list[float] = []

        def prefetcher(feed: Feed, total: int, device: torch.device) -> TimedPrefetcher:
            return TimedPrefetcher(feed, total, device, policy, ahead, waits)  # noqa: B023 (used within the round)

        with mock.patch("anyadbench.engine.trainer.Prefetcher", prefetcher):
            trainer, watch = trained(sizes, policy, source, work / f"feeding {name}")
        took[name] = watch.step_seconds() * 1e3
        late = [1e3 * seconds for seconds in waits[len(waits) // 2 :]]  # the first steps set up and capture
        print(
            f"feeding, batch {count}, {name}, graph {graph_of(trainer)}: a step waits {statistics.median(late):.2f} ms "
            f"(at most {max(late):.2f}) and takes {took[name]:.1f} ms"
        )
    print(f"feeding adds {took['read ahead'] - took['on the device']:.2f} ms to a step (goal {FEEDING})")
