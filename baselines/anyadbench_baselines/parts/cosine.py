"""Cosine distances between feature pyramids, as losses and as maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float

Levels = Sequence[Tensor]


def wide(x: Tensor) -> Tensor:
    """Return ``x`` in at least single precision: in half precision cosines cancel."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def distance(target: Float[Tensor, "B C h w"], decoded: Float[Tensor, "B C h w"]) -> Float[Tensor, "B h w"]:
    """Return 1 - cosine over channels at every position."""
    return 1 - F.cosine_similarity(wide(target), wide(decoded), dim=1)


def flat_distance(targets: Levels, decoded: Levels) -> Float[Tensor, ""]:
    """Return the sum over the levels of the mean over slices of 1 - cosine of the whole flattened map."""
    parts = [
        (1 - F.cosine_similarity(wide(t).flatten(1), wide(d).flatten(1), dim=1)).mean()
        for t, d in zip(targets, decoded, strict=True)
    ]
    return torch.stack(parts).sum()


def mean_distance(targets: Levels, decoded: Levels) -> Float[Tensor, ""]:
    """Return the sum over the levels of the mean over slices and positions of 1 - cosine over channels."""
    return torch.stack([distance(t, d).mean() for t, d in zip(targets, decoded, strict=True)]).sum()


def mined_distance(targets: Levels, decoded: Levels, alpha: float) -> Float[Tensor, ""]:
    """Return the mean over the levels of the flattened distance, without the gradient of easy positions.

    Positions whose distance is below mean + ``alpha`` standard deviations (over slices and positions) get no gradient;
    ``global_cosine_hm`` of guojiajeremy/ReContrast. Targets are detached.
    """
    parts = []
    for target, output in zip(targets, decoded, strict=True):
        target = wide(target).detach()
        output = wide(output).view_as(output)
        if output.requires_grad:
            output.register_hook(_gate(target, output.detach(), alpha))  # type: ignore[no-untyped-call]
        parts.append((1 - F.cosine_similarity(target.flatten(1), output.flatten(1), dim=1)).mean())
    return torch.stack(parts).mean()


def _gate(target: Tensor, output: Tensor, alpha: float) -> _Gate:
    here = distance(target, output)
    return _Gate((here >= here.mean() + alpha * here.std())[:, None])


class _Gate:
    """Passes on the gradient of chosen positions."""

    def __init__(self, keep: Tensor) -> None:
        self.keep = keep

    def __call__(self, gradient: Tensor) -> Tensor:
        return gradient * self.keep


def to_size(maps: Float[Tensor, "B h w"], size: tuple[int, int]) -> Float[Tensor, "B H W"]:
    """Enlarge maps bilinearly with aligned corners, as the published codes do."""
    return F.interpolate(maps[:, None], size, mode="bilinear", align_corners=True)[:, 0]


def map_sum(targets: Levels, decoded: Levels, size: tuple[int, int]) -> Float[Tensor, "B H W"]:
    """Return the sum over the levels of the distance maps, each enlarged to ``size``."""
    parts = [to_size(distance(t, d), size) for t, d in zip(targets, decoded, strict=True)]
    return torch.stack(parts).sum(0)
