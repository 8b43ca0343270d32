"""A trainer with a one-layer network, for tests of the training itself."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from anyadbench.engine.numerics import Policy, derive_seed, seed_everything
from anyadbench.engine.reporter import Reporter
from anyadbench.engine.trainer import Trainer
from anyadbench.methods.contract import Batch, Context, Method, OptimizerSpec, Scores


class Toy(Method):
    """A regression that also draws random numbers, so that generator states matter."""

    def __init__(self) -> None:
        super().__init__(Context({}, ("flair",), (4, 4), SimpleNamespace(kind="none")))  # type: ignore[arg-type]
        self.layer = nn.Linear(16, 1)
        self.prepared = 0

    def prepare(self, normals: Any) -> None:
        self.prepared += 1

    def optimizers(self) -> dict[str, OptimizerSpec]:
        adam = torch.optim.Adam(self.parameters(), lr=0.1)
        return {"main": OptimizerSpec(adam, schedule=lambda step, total: 1 - step / total, clip_norm=0.5)}

    def training_step(self, batch: Batch, step: int, total: int) -> dict[str, dict[str, torch.Tensor]]:
        noise = torch.rand(len(batch), 1)
        return {"main": {"loss": (self.layer(batch.inputs.flatten(1)) - noise).square().mean()}}

    def score(self, batch: Batch) -> Scores:
        return Scores(batch.inputs[:, 0])


class Feed:
    batches_per_epoch, full_batch = 5, 3

    def at(self, step: int) -> Batch:
        generator = torch.Generator().manual_seed(step)
        return Batch.full(torch.rand(3, 1, 4, 4, generator=generator), torch.ones(3, 1, dtype=torch.bool))


def trainer(folder: Path, reporter: Reporter | None = None, **options: Any) -> Trainer:
    seed_everything(derive_seed(0, "toy"))
    params = {"steps": 20, **options}
    return Trainer(Toy(), Feed(), params, Policy(threads=1), folder, reporter or Reporter(), checkpoint_seconds=1e9)  # type: ignore[arg-type]


class StopAt(Reporter):
    def __init__(self, step: int) -> None:
        super().__init__()
        self.at = step

    def progress(self, done: int, total: int, label: str) -> None:
        self._stop = done >= self.at
