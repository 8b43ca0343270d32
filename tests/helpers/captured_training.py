"""A training whose steps are captured without a GPU: a recorder that calls the captured function again."""

from __future__ import annotations

import os
import shutil
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from toy_trainer import Feed, Toy, trainer

from anyadbench.engine.numerics import Policy
from anyadbench.engine.reporter import Reporter
from anyadbench.engine.stepping.optimisers import prepare_optimizers
from anyadbench.engine.trainer import Trainer
from anyadbench.methods.contract import Batch, OptimizerSpec

CPU = torch.device("cpu")


class Recalling:
    """Captures a function by keeping it, and replays it by calling it; results have fixed addresses.

    Args:
        error: What capturing raises.
        shift: What replaying adds to the losses.
        waits: Whether an eager step waits for the device, after it has changed the method.
    """

    def __init__(self, error: Exception | None = None, shift: float = 0.0, *, waits: bool = False) -> None:
        self.error, self.shift, self.waits = error, shift, waits
        self.records = self.replays = 0
        self.results: dict[str, Tensor] = {}

    def warm(self, function: Callable[[], dict[str, Tensor]], *, strict: bool = False) -> dict[str, Tensor]:
        results = function()
        if strict and self.waits:
            raise RuntimeError("called a synchronizing CUDA operation")
        return results

    def record(self, function: Callable[[], dict[str, Tensor]]) -> None:
        self.records += 1
        if self.error is not None:
            raise self.error
        self.function = function

    def replay(self) -> dict[str, Tensor]:
        self.replays += 1
        for name, value in self.function().items():
            self.results.setdefault(name, torch.empty_like(value)).copy_(value + self.shift)
        return self.results


class Partial(Feed):
    """Every fifth batch is smaller, as the last of an epoch."""

    def at(self, step: int) -> Batch:
        batch = super().at(step)
        size = 2 if step % 5 == 4 else 3
        return Batch.full(batch.inputs[:size], batch.shown[:size])


class Listening(Reporter):
    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []

    def send(self, **event: Any) -> None:
        self.notes += [event["note"]] if "note" in event else []


class Prepared(Toy):
    """A toy with fused Adam and its rate on the device, as on a GPU, whether captured or not."""

    def optimizers(self) -> dict[str, OptimizerSpec]:
        made = super().optimizers()
        prepare_optimizers(made, CPU)
        return made


class Plain(Toy):
    """A toy whose rate stays on the host."""


def running(
    folder: Path,
    recorder: Recalling | None,
    kind: type[Toy] = Prepared,
    reporter: Reporter | None = None,
    **options: Any,
) -> Trainer:
    made = trainer(folder, reporter, **options)
    torch.manual_seed(5)
    made.method, made.recorder, made.feed = kind(), recorder, Partial()  # type: ignore[assignment]
    made.policy = Policy(threads=1, deterministic=True)
    made.begun = lambda step: None if step else torch.manual_seed(6)  # type: ignore[assignment]
    return made


def outcome(made: Trainer) -> tuple[list[Tensor], list[Any]]:
    return [x.clone() for x in made.method.saved_state().values()], [row["losses"] for row in made.history]


def assert_same(one: Trainer, other: Trainer) -> None:
    first, second = outcome(one), outcome(other)
    assert all(torch.equal(a, b) for a, b in zip(first[0], second[0], strict=True))
    assert first[1] == second[1]


def can_compile() -> bool:
    """Whether torch.compile's requirements on the CPU are met: a C++ compiler and the interpreter's headers."""
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    return compiler is not None and Path(sysconfig.get_path("include"), "Python.h").is_file()
