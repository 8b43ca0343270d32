"""What the parts of ``gpu.py`` share: sizes, the network, and a training that notes its times."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from anyad_step import SEQUENCES

from anyadbench.engine.numerics import Policy, seed_everything
from anyadbench.engine.reporter import TRAINING, Interrupted, Reporter
from anyadbench.engine.stepping.graph import FELL_BACK, OFF, ON
from anyadbench.engine.trainer import Trainer
from anyadbench.methods.contract import Batch, Context
from anyadbench.weights import resolve
from anyadbench_anyad.descriptors import ANYAD
from anyadbench_anyad.method import AnyAd


@dataclass(frozen=True)
class Sizes:
    """Sizes of the measurements; the defaults are those on a GPU.

    Attributes:
        architecture: timm name of the encoder.
        pixels: Side of the network's input.
        batches: Slices per step.
        steps: Steps of each training.
        product: Side of the matrices whose product shows the card's peak.
        scans: Scans to prepare; 0 for two per core, at most 32.
        shape: Voxels of a scan.
        slices: Slices to score; with the default, rows of 240 x 240 pixels are histograms, as on the whole of BraTS.
        rounds: How often either way of scoring is timed.
    """

    architecture: str = "vit_base_patch14_reg4_dinov2.lvd142m"
    pixels: int = 392
    batches: tuple[int, ...] = (16, 64)
    steps: int = 40
    product: int = 8192
    scans: int = 0
    shape: tuple[int, int, int] = (240, 240, 155)
    slices: int = 592
    rounds: int = 2


TINY = Sizes("vit_small_patch14_reg4_dinov2.lvd142m", 28, (2,), 16, 256, 4, (64, 64, 40), 16, 1)


def cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def wait(policy: Policy) -> None:
    """Wait until the stream of the steps is idle; a batch that is read ahead on its own stream may go on."""
    if policy.device == "cuda":
        torch.cuda.current_stream().synchronize()


class Pool:
    """Batches that lie on the device, in turn, so that feeding takes no time; also the training normals."""

    batches_per_epoch = 1000

    def __init__(self, batches: Sequence[Batch]) -> None:
        self._batches, self.full_batch = batches, len(batches[0])

    def __len__(self) -> int:
        return self.full_batch * len(self._batches)

    def at(self, step: int) -> Batch:
        """Return the batch of a step."""
        return self._batches[step % len(self._batches)]

    def batches(self, batch_size: int, *, masked: bool = False, description: str = "") -> Iterator[Batch]:
        """Yield every slice once, in batches of its own size."""
        yield from self._batches


class Watch(Reporter):
    """Notes when a training begins, when steps end and when its graph is first in use; stops at a step.

    Attributes:
        began: When the training began, with the network built.
        ends: When the first step, that at half time and the last one ended.
        ready: When a step first ran as a graph; ``None`` if none did.
        graph_state: Returns the state of the training's graph.
    """

    def __init__(self, policy: Policy, stop: int = 0) -> None:
        super().__init__()
        self._policy, self._at = policy, stop
        self.began, self.ends = 0.0, dict[int, float]()
        self.ready: float | None = None
        self.graph_state: Callable[[], str] = lambda: OFF

    def begin(self, step: int) -> None:
        """Note the time before the first step."""
        self.began = time.perf_counter()

    def progress(self, done: int, total: int, label: str) -> None:
        """Note the time of a step that counts, once the device has ended it."""
        if label != TRAINING:
            return
        ready, counts = self.ready is None and self.graph_state() == ON, done in (1, total // 2, total)
        if ready or counts:
            wait(self._policy)
        if ready:
            self.ready = time.perf_counter()
        if counts:
            self.ends[done] = time.perf_counter()
        self._stop = bool(self._at) and done >= self._at

    def step_seconds(self) -> float:
        """Return the mean time of a step in the second half."""
        _, half, last = sorted(self.ends)
        return (self.ends[last] - self.ends[half]) / (last - half)


def build(sizes: Sizes, policy: Policy, grid: tuple[int, int]) -> AnyAd:
    """Build AnyAD's default form with a random encoder, for slices of a size."""
    seed_everything(0)
    weights = resolve("random", {"published": sizes.architecture})
    params = ANYAD.resolve("paper", {"image_size": sizes.pixels})
    method = ANYAD.build(Context(params, SEQUENCES, grid, weights, device=policy.torch_device()))
    assert isinstance(method, AnyAd)
    return method.to(policy.torch_device())


def trained(
    sizes: Sizes, policy: Policy, feed: Any, folder: Path, *, graph: bool = True, stop: int = 0
) -> tuple[Trainer, Watch]:
    """Train with the harness's own loop; ``stop`` interrupts it after that step."""
    gc.collect()  # trainings before this one, with what they hold on the device
    watch = Watch(policy, stop)
    params = ANYAD.resolve("paper", {"image_size": sizes.pixels}) | {"steps": sizes.steps, "epochs": 0}
    height, width = feed.at(0).inputs.shape[2:]
    method = build(sizes, policy, (height, width))
    trainer = Trainer(
        method, feed, params, policy, folder, watch, checkpoint_seconds=1e9, graph=graph, begun=watch.begin
    )
    watch.graph_state = lambda: trainer.graph_state
    try:
        with mock.patch("anyadbench.engine.trainer.COMPILED_FROM", 0):  # these trainings are short
            trainer.run()
    except Interrupted:
        if not stop:
            raise
    return trainer, watch


def graph_of(trainer: Trainer) -> str:
    """Return the state of a training's graph in words, with the reason if it was given up."""
    state = trainer.graph_state
    return f"{state} ({trainer._step_graph.reason})" if state == FELL_BACK else state
