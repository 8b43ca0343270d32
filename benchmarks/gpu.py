"""What one machine does: a training step, feeding, scoring, preparing and resuming, each with its ratio; no network.

On a GPU it takes AnyAD's default form with ViT-B/14 at 392 px; expect a few minutes. ``--tiny`` shows on a CPU that
every part runs; its figures mean nothing.

    python benchmarks/gpu.py
    python benchmarks/gpu.py --tiny
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from anyad_step import PlainStep, batch_of
from anyad_step import build as build_published
from torch.utils.flop_counter import FlopCounterMode

from anyadbench.data.phantom import PhantomSpec, generate
from anyadbench.data.store.build import prepare
from anyadbench.data.store.store import SliceStore, open_store
from anyadbench.data.trees.layouts import get_layout
from anyadbench.engine.batches import TrainingFeed
from anyadbench.engine.map_sample import MapSample
from anyadbench.engine.numerics import Policy, apply_policy, seed_everything
from anyadbench.engine.protocol_data import ProtocolData
from anyadbench.engine.reporter import Interrupted, Reporter
from anyadbench.engine.scoring import Evaluator
from anyadbench.engine.trainer import Trainer
from anyadbench.methods.contract import Batch, Context
from anyadbench.protocols import find_protocol
from anyadbench.weights import resolve
from anyadbench_anyad.descriptors import ANYAD
from anyadbench_anyad.method import AnyAd

SEQUENCES = ("flair", "t1", "t2")


@dataclass(frozen=True)
class Sizes:
    """Sizes of the measurements; the defaults are those on a GPU."""

    architecture: str = "vit_base_patch14_reg4_dinov2.lvd142m"
    pixels: int = 392
    batches: tuple[int, ...] = (16, 64)
    steps: int = 40
    product: int = 8192
    subjects: int = 72
    slices: int = 320


TINY = Sizes("vit_small_patch14_reg4_dinov2.lvd142m", 28, (2,), 16, 256, 8, 16)


class Pool:
    """Batches on the device, in turn, so that feeding takes no time."""

    batches_per_epoch = 1000

    def __init__(self, count: int, sizes: Sizes, device: torch.device) -> None:
        self.full_batch = count
        self._batches = [batch_of(number, count, sizes.pixels, device) for number in range(3)]

    def at(self, step: int) -> Batch:
        """Return the batch of a step."""
        return self._batches[step % 3]


class Watch(Reporter):
    """Notes when steps end, and stops at one."""

    def __init__(self, policy: Policy, stop: int = 0) -> None:
        super().__init__()
        self._policy, self._at, self.ends = policy, stop, dict[int, float]()

    def progress(self, done: int, total: int, label: str) -> None:
        """Note the time of a step; wait for the device after the first, at half time and at the end."""
        if done in (1, total // 2, total):
            wait(self._policy)
            self.ends[done] = time.perf_counter()
        self._stop = bool(self._at) and done >= self._at


def wait(policy: Policy) -> None:
    """Wait until the device is idle."""
    if policy.device == "cuda":
        torch.cuda.synchronize()


def build(sizes: Sizes, policy: Policy, seed: int = 0) -> AnyAd:
    """Build AnyAD's default form with a random encoder."""
    seed_everything(seed)
    weights = resolve("random", {"published": sizes.architecture})
    params = ANYAD.resolve("paper", {"image_size": sizes.pixels})
    shape = (sizes.pixels, sizes.pixels)
    method = ANYAD.build(Context(params, SEQUENCES, shape, weights, device=policy.torch_device()))
    assert isinstance(method, AnyAd)
    return method.to(policy.torch_device())


def trained(
    sizes: Sizes, policy: Policy, feed: Any, folder: Path, *, graph: bool, stop: int = 0
) -> tuple[Trainer, Watch]:
    """Train with the harness's own loop; ``stop`` interrupts it after that step."""
    watch = Watch(policy, stop)
    params = ANYAD.resolve("paper", {"image_size": sizes.pixels}) | {"steps": sizes.steps, "epochs": 0}
    trainer = Trainer(build(sizes, policy), feed, params, policy, folder, watch, checkpoint_seconds=1e9, graph=graph)
    try:
        trainer.run()
    except Interrupted:
        if not stop:
            raise
    return trainer, watch


def peak(sizes: Sizes, policy: Policy) -> float:
    """Return the TFLOP/s of a bfloat16 matrix product."""
    x = torch.randn(sizes.product, sizes.product, device=policy.torch_device(), dtype=torch.bfloat16)
    times = []
    for _ in range(8):
        wait(policy)
        start = time.perf_counter()
        x @ x
        wait(policy)
        times.append(time.perf_counter() - start)
    return float(2 * sizes.product**3 / statistics.median(times[2:]) / 1e12)


def flops(sizes: Sizes, policy: Policy, batch: Batch) -> float:
    """Return the TFLOP of a training step, forward and backward."""
    method = build(sizes, policy).train()
    with FlopCounterMode(display=False) as counter:
        with policy.autocast():
            losses = method.training_step(batch, 0, 1)["main"]
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    return float(counter.get_total_flops() / 1e12)


def steps(sizes: Sizes, policy: Policy, folder: Path, limit: float) -> None:
    """Print the time of a step: plain float32, eager, and as a graph."""
    for count in sizes.batches:
        feed = Pool(count, sizes, policy.torch_device())
        work, plain = flops(sizes, policy, feed.at(0)), None
        if count == sizes.batches[0]:
            published = build_published(sizes.architecture, sizes.pixels, policy.torch_device())
            step, times = PlainStep(published), []
            for number in range(8):
                wait(policy)
                start = time.perf_counter()
                step(feed.at(number), 1e-3)
                wait(policy)
                times.append(time.perf_counter() - start)
            plain = statistics.median(times[3:])
            print(f"step, batch {count}: plain float32 {plain * 1e3:.1f} ms; ours is {work:.3g} TFLOP")
        for graph in (False, True):
            began = time.perf_counter()
            trainer, watch = trained(sizes, policy, feed, folder / f"{count}-{graph}", graph=graph)
            half = sizes.steps // 2
            took = (watch.ends[sizes.steps] - watch.ends[half]) / (sizes.steps - half)
            ratio = f", {plain / took:.1f} times plain" if plain else ""
            print(
                f"step, batch {count}, graph {trainer.graph_state}: {took * 1e3:.1f} ms{ratio}, "
                f"{work / took / limit:.0%} of peak, first step after {watch.ends[1] - began:.1f} s"
            )


def resuming(sizes: Sizes, policy: Policy, folder: Path) -> None:
    """Print whether a training that was stopped ends with the same bits under ``--deterministic``."""
    exact = replace(policy, deterministic=True)
    apply_policy(exact)
    feed = Pool(2, sizes, policy.torch_device())
    whole, _ = trained(sizes, exact, feed, folder / "whole", graph=True)
    trained(sizes, exact, feed, folder / "cut", graph=True, stop=sizes.steps // 2)
    resumed, _ = trained(sizes, exact, feed, folder / "cut", graph=True)
    states = whole.method.saved_state(), resumed.method.saved_state()
    same = all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    print(f"resumed after {sizes.steps // 2} of {sizes.steps} steps, graph {whole.graph_state}: equal bits {same}")
    torch.use_deterministic_algorithms(False)


def curves(sizes: Sizes, policy: Policy, folder: Path) -> None:
    """Print the losses of one training in float32 and in bfloat16."""
    feed = Pool(4, sizes, policy.torch_device())
    ends = {}
    for dtype in ("float32", "bfloat16"):
        trainer, _ = trained(sizes, replace(policy, dtype=dtype), feed, folder / dtype, graph=True)
        ends[dtype] = [sum(row["losses"].values()) for row in trainer.history]
    for place in (0, len(ends["float32"]) // 2, -1):
        one, other = (ends[dtype][place] for dtype in ("float32", "bfloat16"))
        print(f"loss at row {place}: float32 {one:.4f}, bfloat16 {other:.4f}, ratio {other / one:.3f}")


@contextmanager
def timed(what: str, count: int, policy: Policy) -> Iterator[None]:
    """Print the seconds of a block and its rate."""
    wait(policy)
    start = time.perf_counter()
    yield
    wait(policy)
    seconds = time.perf_counter() - start
    print(f"{what}: {seconds:.2f} s, {count / seconds:.0f} a second")


def feeding(store: SliceStore, sizes: Sizes, policy: Policy) -> None:
    """Print the time that a step waits for its batch, read ahead and not."""
    data = ProtocolData(find_protocol("phantom-7subsets"), {"phantom": store})
    reader, count = data.reader("phantom"), sizes.batches[0]
    feed = TrainingFeed(reader, np.arange(len(store)), "per-sample", 0, count, False, policy.torch_device())
    rounds = min(feed.batches_per_epoch, 20)
    for scaled in (False, True):
        with timed(f"batches of {count}, scaled on the device {scaled}", rounds, policy):
            for step in range(rounds):
                replace(feed, scale_on_device=scaled).at(step)


def scoring(store: SliceStore, sizes: Sizes, policy: Policy) -> None:
    """Print the rate of scoring slices with every subset, end to end, with one subset a call and with shared calls."""
    protocol = find_protocol("phantom-7subsets")
    data = ProtocolData(protocol, {"phantom": store})
    test = protocol.tests[0]
    normals, abnormals = data.test_indices(test)
    chosen = normals[: sizes.slices // 2], abnormals[: sizes.slices // 2]
    object.__setattr__(data, "test_indices", lambda test: chosen)
    count = (len(chosen[0]) + len(chosen[1])) * len(protocol.rows(test))
    for together in (False, None):
        kept = MapSample("none", protocol.sequences)
        evaluator = Evaluator(build(sizes, policy).eval(), data, policy, Reporter(), kept)
        evaluator._joint.allowed = together
        with timed(f"scoring slice-subsets, shared calls {together is None}", count, policy):
            evaluator.run_test(test)
        if together is None:
            print(f"    the method may share calls: {evaluator._joint.allowed}")


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="small sizes, on a CPU too")
    tiny = parser.parse_args().tiny
    gpu = torch.cuda.is_available()
    if not gpu and not tiny:
        parser.error("torch finds no GPU here; give --tiny to see that every part runs")
    sizes = TINY if tiny else Sizes()
    policy = Policy("cuda" if gpu else "cpu", "bfloat16", threads=torch.get_num_threads() if gpu else 1)
    apply_policy(policy)
    print(f"{torch.cuda.get_device_name() if gpu else 'CPU'}, torch {torch.__version__}, {sizes.architecture}")
    limit = peak(sizes, policy)
    print(f"bfloat16 matrix product: {limit:.1f} TFLOP/s")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        steps(sizes, policy, work / "steps", limit)
        curves(sizes, policy, work / "curves")
        spec = PhantomSpec.tiny(sizes.subjects) if tiny else PhantomSpec(subjects=sizes.subjects)
        tree = generate(work / "tree", spec)
        with timed("preparing scans", sizes.subjects, policy):
            prepare(tree, get_layout("phantom"), work / "store")
        store = open_store(work / "store")
        feeding(store, sizes, policy)
        scoring(store, sizes, policy)
        resuming(sizes, policy, work / "resuming")


if __name__ == "__main__":
    main()
