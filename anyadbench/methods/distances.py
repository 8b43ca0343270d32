"""Cosine distances between features of several levels: at each position, and as losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from anyadbench.methods.precision import at_least_single

if TYPE_CHECKING:
    from jaxtyping import Float

Levels = Sequence[Tensor]
"""Features B×C×h×w, one tensor per level."""


def cosine_distance(target: Float[Tensor, "B C h w"], decoded: Float[Tensor, "B C h w"]) -> Float[Tensor, "B h w"]:
    """Return 1 - cosine over channels at every position."""
    return 1 - F.cosine_similarity(at_least_single(target), at_least_single(decoded), dim=1)


def flat_cosine_loss(targets: Levels, decoded: Levels) -> Float[Tensor, ""]:
    """Return the sum over the levels of the mean over slices of 1 - cosine of the whole flattened map."""
    parts = [
        (1 - F.cosine_similarity(at_least_single(t).flatten(1), at_least_single(d).flatten(1), dim=1)).mean()
        for t, d in zip(targets, decoded, strict=True)
    ]
    return torch.stack(parts).sum()


def mean_cosine_loss(targets: Levels, decoded: Levels) -> Float[Tensor, ""]:
    """Return the sum over the levels of the mean over slices and positions of 1 - cosine over channels."""
    return torch.stack([cosine_distance(t, d).mean() for t, d in zip(targets, decoded, strict=True)]).sum()


def mined_cosine_loss(targets: Levels, decoded: Levels, alpha: float) -> Float[Tensor, ""]:
    """Return the mean over the levels of the flattened distance, without the gradient of easy positions.

    Positions whose distance is below mean + ``alpha`` standard deviations (over slices and positions) get no gradient;
    ``global_cosine_hm`` of guojiajeremy/ReContrast. Targets are detached.
    """
    parts = []
    for target, output in zip(targets, decoded, strict=True):
        target = at_least_single(target).detach()
        output = at_least_single(output).view_as(output)
        if output.requires_grad:
            output.register_hook(_gate(target, output.detach(), alpha))  # type: ignore[no-untyped-call]
        parts.append((1 - F.cosine_similarity(target.flatten(1), output.flatten(1), dim=1)).mean())
    return torch.stack(parts).mean()


def _gate(target: Tensor, output: Tensor, alpha: float) -> _Gate:
    here = cosine_distance(target, output)
    return _Gate((here >= here.mean() + alpha * here.std())[:, None])


class _Gate:
    """Passes on the gradient of chosen positions."""

    def __init__(self, keep: Tensor) -> None:
        self.keep = keep

    def __call__(self, gradient: Tensor) -> Tensor:
        return gradient * self.keep
