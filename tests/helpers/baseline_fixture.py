"""Building the baselines on random weights and training them for a few steps, as the harness would."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from inp_fixture import GRID, SEQUENCES, Normals, training_batch
from torch import Tensor

from anyadbench.methods.contract import Batch, Context, Losses, Method, OptimizerSpec
from anyadbench.methods.descriptor import MethodDescriptor
from anyadbench.methods.params import Value
from anyadbench.weights import ResolvedWeights, resolve


def random_weights(
    descriptor: MethodDescriptor, profile: str = "package", backbone: str = "profile"
) -> ResolvedWeights:
    """Return random weights of a profile's backbone."""
    return resolve("random", descriptor.weights_for({"backbone": backbone}) or {"none": None}, profile=profile)


def build(
    descriptor: MethodDescriptor,
    *,
    profile: str = "package",
    budget: str = "tiny",
    missing: str = "native",
    sequences: tuple[str, ...] = SEQUENCES,
    **overrides: Value,
) -> Method:
    """Build a method on random weights, with a fixed seed."""
    torch.manual_seed(0)
    params = descriptor.resolve(budget, overrides)
    weights = random_weights(descriptor, profile, str(params.get("encoder", params.get("backbone", "profile"))))
    return descriptor.build(Context(params, sequences, GRID, weights, missing))


@dataclass
class Loop:
    """The part of the harness's loop that a method sees."""

    method: Method
    total: int
    step: int = 0
    normals: Any = None
    optimizers: Mapping[str, OptimizerSpec] = field(default_factory=dict)
    losses: dict[str, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.optimizers = self.method.optimizers()

    def update(self, optimizer: str, losses: Losses) -> None:
        spec = self.optimizers[optimizer]
        spec.optimizer.zero_grad()
        torch.stack([value.reshape(()) for value in losses.values()]).sum().backward()
        if spec.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(list(spec.parameters), spec.clip_norm)
        spec.optimizer.step()

    def run(self, batch: Batch) -> Loop:
        """Train on one batch repeatedly."""
        while self.step < self.total:
            self.method.train()
            if self.method.manual_step is not None:
                values: Mapping[str, float] = self.method.manual_step(batch, self)
            else:
                named = self.method.training_step(batch, self.step, self.total)
                for name, losses in named.items():
                    self.update(name, losses)
                values = {key: float(v.detach()) for losses in named.values() for key, v in losses.items()}
            for name, value in values.items():
                self.losses.setdefault(name, []).append(value)
            self.step += 1
        self.method.eval()
        return self


def fitted(descriptor: MethodDescriptor, steps: int = 1, **options: object) -> Method:
    """Build a method, prepare it on eight slices, and train it on four."""
    method = build(descriptor, **options).eval()  # type: ignore[arg-type]
    targets = torch.rand(8, len(method.context.sequences), 40, 40, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        method.prepare(Normals(targets, torch.ones(targets.shape[:2], dtype=torch.bool)))
    if method.optimizers() and steps:
        Loop(method, steps).run(training_batch())
    return method.eval()


def maps_of(method: Method, images: Tensor, *shown: bool) -> Tensor:
    """Return the maps of slices with only the given sequences shown."""
    mask = torch.tensor([shown])
    return method.score(Batch(images * mask[:, :, None, None], mask)).maps


def count(module: torch.nn.Module) -> int:
    """Return the number of values in a module's parameters."""
    return sum(parameter.numel() for parameter in module.parameters())
