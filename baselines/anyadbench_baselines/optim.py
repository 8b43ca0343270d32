"""StableAdamW and the warm-up and cosine schedule of INP-Former."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn


class StableAdamW(torch.optim.Optimizer):
    """AdamW whose update of a tensor is scaled down when its root mean square exceeds a threshold.

    Wortsman et al., "Stable and low-precision training for large-scale vision-language models", arXiv 2304.13013, in
    the form of ``optimizers/StableAdamW.py`` of luow23/INP-Former: decoupled weight decay before the step; the root
    mean square is that of gradient over denominator.

    Args:
        params: Parameters or groups.
        lr: Learning rate.
        betas: Decay rates of the first and second moment.
        eps: Added to the denominator.
        weight_decay: Decoupled weight decay.
        amsgrad: Whether the denominator uses the largest second moment so far.
        clip_threshold: Root mean square above which an update is scaled down.

    A group whose ``capturable`` is set counts its steps and takes its learning rate, a tensor, on the device, so that
    a CUDA graph can hold the step.
    """

    takes_tensor_lr = True

    def __init__(
        self,
        params: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-10,
        weight_decay: float = 1e-4,
        *,
        amsgrad: bool = True,
        clip_threshold: float = 1.0,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "clip_threshold": clip_threshold,
            "capturable": False,
        }
        super().__init__(params, defaults)
        self._steps: dict[Tensor, int] = {}

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every parameter that has a gradient, without waiting for the device."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for bucket in self._buckets([p for p in group["params"] if p.grad is not None]):
                self._update(bucket, group)
        return loss

    def _buckets(self, parameters: list[nn.Parameter]) -> Iterable[list[nn.Parameter]]:
        """Return groups of parameters that are updated together.

        On a CPU one tensor's whole update fits the cache, so updating one tensor at a time is faster. On an accelerator
        one launch for all tensors is faster, provided they have taken equally many steps.
        """
        buckets: dict[int, list[nn.Parameter]] = {}
        for index, parameter in enumerate(parameters):
            if parameter not in self._steps:
                self._steps[parameter] = int(self.state[parameter].get("step", 0))
            steps = self._steps[parameter]
            self._steps[parameter] += 1
            buckets.setdefault(index if parameter.device.type == "cpu" else steps, []).append(parameter)
        return buckets.values()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state; steps are counted on from it."""
        super().load_state_dict(state_dict)
        self._steps.clear()

    def _update(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        states = [self._state_of(parameter, group) for parameter in parameters]
        tensors: list[Tensor] = list(parameters)
        grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
        first, second = [s["exp_avg"] for s in states], [s["exp_avg_sq"] for s in states]
        beta1, beta2 = group["betas"]
        keep, rate, root = _factors(states, group)
        if group["weight_decay"]:
            torch._foreach_mul_(tensors, keep)
        torch._foreach_lerp_(first, grads, 1 - beta1)
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, grads, grads, 1 - beta2)
        largest = second
        if group["amsgrad"]:
            largest = [s["max_exp_avg_sq"] for s in states]
            torch._foreach_maximum_(largest, second)
        denominators = list(torch._foreach_sqrt(largest))
        torch._foreach_div_(denominators, root)
        torch._foreach_add_(denominators, group["eps"])
        scales = list(torch._foreach_norm(torch._foreach_div(grads, denominators)))
        torch._foreach_mul_(scales, [1 / (math.sqrt(p.numel()) * group["clip_threshold"]) for p in parameters])
        torch._foreach_clamp_min_(scales, 1.0)
        torch._foreach_reciprocal_(scales)
        torch._foreach_mul_(scales, rate)
        updates = list(torch._foreach_div(first, denominators))
        torch._foreach_mul_(updates, scales)
        torch._foreach_add_(tensors, updates)

    def _state_of(self, parameter: nn.Parameter, group: dict[str, Any]) -> dict[str, Any]:
        state: dict[str, Any] = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), device=parameter.device) if group["capturable"] else 0
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
            if group["amsgrad"]:
                state["max_exp_avg_sq"] = torch.zeros_like(parameter)
        return state


def _factors(states: list[dict[str, Any]], group: dict[str, Any]) -> tuple[Any, Any, Any]:
    """Count a step; return the factor of weight decay, the signed step size, and the root of the second correction.

    Numbers, or tensors on the device where the group is capturable, computed there in double precision.
    """
    beta1, beta2 = group["betas"]
    if not group["capturable"]:
        for state in states:
            state["step"] += 1
        step, lr = states[0]["step"], group["lr"]
        return 1 - lr * group["weight_decay"], -lr / (1 - beta1**step), math.sqrt(1 - beta2**step)
    torch._foreach_add_([state["step"] for state in states], 1.0)
    count, rate = states[0]["step"].double(), group["lr"].double()
    factors = (1 - rate * group["weight_decay"], -rate / (1 - beta1**count), (1 - beta2**count).sqrt())
    return tuple(factor.float() for factor in factors)


def warm_cosine(warmup: int, final: float) -> Callable[[int, int], float]:
    """Return a schedule: linear from 0 to 1 in ``warmup`` steps, then a half cosine to ``final``.

    The last warm-up step already has factor 1, as with ``numpy.linspace`` in the published ``WarmCosineScheduler``.

    Args:
        warmup: Warm-up steps.
        final: Factor approached at the last step.
    """

    def factor(step: int, total: int) -> float:
        if step < warmup:
            return step / (warmup - 1) if warmup > 1 else 0.0
        progress = min((step - warmup) / max(total - warmup, 1), 1.0)
        return final + 0.5 * (1 - final) * (1 + math.cos(math.pi * progress))

    return factor
