"""The surroundings that anomalib's Lightning modules expect, without Lightning's trainer."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from anyadbench.methods.contract import Batch, Normals

if TYPE_CHECKING:
    from jaxtyping import Float

    from anyadbench.methods.params import Value


@dataclass
class Stage:
    """Replaces Lightning's trainer: the few numbers for which anomalib's modules ask it.

    Attributes:
        max_epochs: Passes over the normals.
        max_steps: Steps, -1 if passes are counted.
        batches: Steps per pass.
        global_step: Steps done.
        current_epoch: Passes done.
    """

    max_epochs: int = 1
    max_steps: int = -1
    batches: int = 1
    global_step: int = 0
    current_epoch: int = 0

    @property
    def datamodule(self) -> Stage:
        """Replaces the data module."""
        return self

    def train_dataloader(self) -> range:
        """Return an object with the length of the training loader."""
        return range(self.batches)

    def plan(self, params: Mapping[str, Value], slices: int) -> None:
        """Set the length of the training."""
        steps, epochs = int(params.get("steps", 0)), int(params.get("epochs", 0))
        self.batches = max(1, math.ceil(slices / int(params["batch_size"])))
        self.max_steps = steps or -1
        self.max_epochs = math.ceil(steps / self.batches) if steps else max(epochs, 1)

    def at(self, step: int) -> None:
        """Move to a step."""
        self.global_step, self.current_epoch = step, step // self.batches


def as_batch(images: Float[Tensor, "B 3 h w"]) -> SimpleNamespace:
    """Return normal images as a batch for anomalib's modules, with empty masks."""
    count, _, height, width = images.shape
    return SimpleNamespace(
        image=images,
        gt_mask=images.new_zeros(count, height, width),
        gt_label=images.new_zeros(count, dtype=torch.long),
    )


@dataclass(frozen=True)
class Loader:
    """The training normals as a data loader for anomalib's modules."""

    normals: Normals
    batch_size: int
    images: Callable[[Batch], Tensor]

    def __len__(self) -> int:
        return math.ceil(len(self.normals) / self.batch_size)

    def __iter__(self) -> Iterator[SimpleNamespace]:
        for batch in self.normals.batches(self.batch_size, description="passing over the normals"):
            yield as_batch(self.images(batch))


def attach(module: Any, stage: Stage, device: torch.device) -> None:
    """Give a Lightning module what it expects from its trainer; nothing is logged."""
    module.trainer = stage
    module._device = device  # Lightning sets it in .to() of the module itself, which is never called
    module.log = module.log_dict = lambda *args, **options: None
    module.manual_backward = lambda loss, *args, **options: loss.backward(*args, **options)


def optimisers(module: Any) -> list[tuple[torch.optim.Optimizer, Any]]:
    """Return a module's optimisers, each with its scheduler or ``None``, whatever form anomalib returns."""
    given = module.configure_optimizers()
    if isinstance(given, torch.optim.Optimizer):
        return [(given, None)]
    if isinstance(given, Mapping):
        return [_pair(given)]
    if isinstance(given, tuple) and len(given) == 2 and all(isinstance(part, list) for part in given):
        return [(optimiser, scheduler) for optimiser, scheduler in zip(*given, strict=True)]
    return [_pair(one) if isinstance(one, Mapping) else (one, None) for one in given or ()]


def _pair(given: Mapping[str, Any]) -> tuple[torch.optim.Optimizer, Any]:
    scheduler = given.get("lr_scheduler")
    return given["optimizer"], scheduler["scheduler"] if isinstance(scheduler, Mapping) else scheduler


def restore_rates(optimiser: torch.optim.Optimizer) -> None:
    """Undo a scheduler's initial change of the learning rates."""
    for group in optimiser.param_groups:
        group["lr"] = group.get("initial_lr", group["lr"])


def rates(optimiser: torch.optim.Optimizer, scheduler: Any, count: int) -> list[float]:
    """Return a scheduler's first ``count`` factors on the learning rate."""
    group = optimiser.param_groups[0]
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # intentionally, the optimiser has not stepped
        for _ in range(count):
            found.append(float(group["lr"]) / float(group["initial_lr"]))
            scheduler.step()
    return found
