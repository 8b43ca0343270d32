"""The diffusion itself: how much of a slice is kept at each step, and the way back."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float, Int


def kept_fractions(steps: int, schedule: str) -> Float[Tensor, " T"]:
    """Return the fraction of the slice's variance that is kept after each step.

    Args:
        steps: Steps in all.
        schedule: ``linear``, 1e-4 to 0.02 for 1000 steps and scaled for others; or ``cosine`` (Nichol and Dhariwal
            2021).

    Raises:
        ValueError: If the schedule is unknown.
    """
    if schedule == "linear":
        scale = 1000 / steps
        lost = torch.linspace(scale * 1e-4, scale * 0.02, steps, dtype=torch.float64).clamp(max=0.999)
    elif schedule == "cosine":
        place = torch.arange(steps + 1, dtype=torch.float64) / steps
        curve = torch.cos((place + 0.008) / 1.008 * math.pi / 2).square()
        lost = (1 - curve[1:] / curve[:-1]).clamp(0, 0.999)
    else:
        raise ValueError(f"the schedule {schedule!r} is neither linear nor cosine")
    return (1 - lost).cumprod(0)


def add_noise(
    slices: Float[Tensor, "B S H W"],
    noise: Float[Tensor, "B S H W"],
    kept: Float[Tensor, " T"],
    step: Int[Tensor, " B"],
) -> Float[Tensor, "B S H W"]:
    """Return slices after ``step`` + 1 steps (Ho et al. 2020, eq. 4)."""
    fraction = kept[step][:, None, None, None].to(slices.dtype)
    return fraction.sqrt() * slices + (1 - fraction).sqrt() * noise


def step_back(
    noisy: Float[Tensor, "B S H W"],
    predicted: Float[Tensor, "B S H W"],
    noise: Float[Tensor, "B S H W"],
    kept: Float[Tensor, " T"],
    step: int,
) -> Float[Tensor, "B S H W"]:
    """Return slices one step earlier (Ho et al. 2020, eq. 7) with the larger of the two published variances.

    As in AnoDDPM, the slice is estimated from the noisy one clipped to -1..1.

    Args:
        noisy: Slices after ``step`` + 1 steps.
        predicted: Noise in them, as the network predicts it.
        noise: New noise; none is added in the last step, 0.
        kept: See ``kept_fractions``.
        step: Number of the step, from 0.
    """
    now = float(kept[step])
    before = float(kept[step - 1]) if step else 1.0
    lost = 1 - now / before
    slices = (noisy.clamp(-1, 1) - math.sqrt(1 - now) * predicted) / math.sqrt(now)
    mean = lost * math.sqrt(before) * slices + (1 - before) * math.sqrt(1 - lost) * noisy
    mean = mean / (1 - now)
    return mean + math.sqrt(lost) * noise if step else mean
