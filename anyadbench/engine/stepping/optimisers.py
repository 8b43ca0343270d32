"""Optimisers that take one launch per step, and whose learning rate a CUDA graph can read on the device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from anyadbench.methods.contract import OptimizerSpec

FUSED: tuple[type[torch.optim.Optimizer], ...] = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)
"""Optimisers whose fused kernels take the learning rate as a tensor."""


def prepare_optimizers(optimizers: Mapping[str, OptimizerSpec], device: torch.device) -> None:
    """Switch optimisers on a device to fused kernels and to rates on the device, where they have both.

    Whether a step is captured or not, it runs the same kernels, so a graph changes no number. Call it again after
    loading a checkpoint, which brings rates on the CPU. Torch's own fused kernels serve Adam, AdamW and SGD; another
    optimiser takes part if it sets ``takes_tensor_lr`` and reads ``capturable`` from its groups.
    """
    for spec in optimizers.values():
        fused = type(spec.optimizer) in FUSED
        if not fused and not _takes_tensor_lr(spec.optimizer):
            continue
        for group in spec.optimizer.param_groups:
            if not all(p.device.type == device.type and p.is_floating_point() for p in group["params"]):
                continue
            if group.get("differentiable") or group.get("foreach"):
                continue
            if fused:
                group["fused"], group["foreach"] = True, False
            group["capturable"] = True
            # Partial batches and the first steps are not captured, which torch would warn of.
            spec.optimizer._warned_capturable_if_run_uncaptured = True
            group["lr"] = torch.tensor(float(group["lr"]), dtype=torch.float32).to(device)


def set_rate(group: dict[str, Any], rate: float) -> None:
    """Set a group's learning rate, in place if it is a tensor, which a graph may read."""
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate


def uncapturable(optimizers: Mapping[str, OptimizerSpec]) -> str:
    """Return why a step of these optimisers cannot be captured; an empty text if it can."""
    for spec in optimizers.values():
        for group in spec.optimizer.param_groups:
            if not isinstance(group["lr"], Tensor) or not group.get("capturable"):
                return f"{type(spec.optimizer).__name__} takes its learning rate from the host"
    return ""


def optimised_tensors(optimizers: Mapping[str, OptimizerSpec]) -> dict[str, list[Tensor]]:
    """Return the tensors that steps of optimisers change, by their optimiser and what they are to it."""
    found: dict[str, list[Tensor]] = {}
    for name, spec in optimizers.items():
        found[f"weights of optimiser {name}"] = [x for group in spec.optimizer.param_groups for x in group["params"]]
        for state in spec.optimizer.state.values():
            for key, value in state.items():
                if isinstance(value, Tensor):
                    found.setdefault(f"{key} of optimiser {name}", []).append(value)
    return found


def _takes_tensor_lr(optimizer: torch.optim.Optimizer) -> bool:
    return bool(getattr(optimizer, "takes_tensor_lr", False))
