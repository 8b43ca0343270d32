"""Cost of checkpoints: the share of training time spent on writing them.

    python benchmarks/checkpoint.py [--megabytes 200] [--seconds 30] [--every 5]

trains a network whose weights and Adam moments make a checkpoint of the given size, and prints the share of the time
spent on writing checkpoints, and the share that the default interval would take.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from anyadbench.engine.numerics import Policy
from anyadbench.engine.reporter import Reporter
from anyadbench.engine.trainer import CHECKPOINT_SHARE, Trainer
from anyadbench.methods.contract import Batch, Context, Method, OptimizerSpec, Scores

WIDTH = 1024


class Stack(Method):
    def __init__(self, layers: int) -> None:
        super().__init__(Context({}, ("flair",), (4, 4), SimpleNamespace(kind="none")))  # type: ignore[arg-type]
        self.net = nn.Sequential(*(nn.Linear(WIDTH, WIDTH) for _ in range(layers)))

    def optimizers(self) -> dict[str, OptimizerSpec]:
        return {"main": OptimizerSpec(torch.optim.Adam(self.parameters(), lr=1e-5))}

    def training_step(self, batch: Batch, step: int, total: int) -> dict[str, dict[str, torch.Tensor]]:
        return {"main": {"loss": self.net(batch.inputs.flatten(1)).square().mean()}}

    def score(self, batch: Batch) -> Scores:
        return Scores(batch.inputs[:, 0])


class Feed:
    batches_per_epoch, full_batch = 10**9, 256

    def at(self, step: int) -> Batch:
        side = int(WIDTH**0.5)
        return Batch.full(torch.rand(256, 1, side, side), torch.ones(256, 1, dtype=torch.bool))


class Measured(Trainer):
    spent = 0.0
    written = 0

    def _save(self) -> None:
        began = time.perf_counter()
        super()._save()
        self.spent += time.perf_counter() - began
        self.written += 1


class StopAfter(Reporter):
    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.end = time.monotonic() + seconds

    def progress(self, done: int, total: int, label: str) -> None:
        self._stop = time.monotonic() > self.end


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--every", type=float, default=5.0)
    options = parser.parse_args()
    layers = max(1, round(options.megabytes * 1e6 / (3 * 4 * WIDTH * WIDTH)))
    with tempfile.TemporaryDirectory() as folder:
        parts: tuple[Any, ...] = (Stack(layers), Feed(), {"steps": 10**9}, Policy(threads=torch.get_num_threads()))
        running = Measured(*parts, Path(folder), StopAfter(options.seconds), options.every)
        began = time.perf_counter()
        try:
            running.run()
        except Exception as error:
            if type(error).__name__ != "Interrupted":
                raise
        total = time.perf_counter() - began
        size = max(path.stat().st_size for path in Path(folder).glob("*.pt")) / 1e6
    last = running.spent / running.written
    print(
        f"{running.step} steps of {(total - running.spent) / running.step * 1e3:.0f} ms, checkpoints of {size:.0f} MB"
    )
    share = f"{running.spent / total:.1%} of the time at --every {options.every:g}"
    print(f"{running.written} checkpoints of {last:.2f} s: {share}")
    print(f"at the default of 60 s: {last / max(60.0, last / CHECKPOINT_SHARE):.2%} of the time")


if __name__ == "__main__":
    main()
