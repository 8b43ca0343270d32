"""Edge maps and tissue masks of UniTransAD (``preprocessing/generate_edges.py``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

LOW, HIGH = 0.50, 0.95
"""Quantiles of the positive gradients between which edges are scaled."""


def edge_maps(images: Float[Tensor, "B H W"]) -> Float[Tensor, "B H W"]:
    """Return Sobel magnitudes, scaled to 0..1 between the 50th and the 95th percentile of the positive ones.

    Every sequence gets edges of its own picture: the published script copies the last channel of a file unchanged,
    which hands the generator the true picture as "edges" where that channel is no label.

    A slice without any gradient gives zeros.
    """
    padded = F.pad(images[:, None], (1, 1, 1, 1), mode="replicate")
    column = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], dtype=images.dtype)
    kernels = torch.stack([column, column.T])[:, None].to(images.device)
    gradients = F.conv2d(padded, kernels)
    magnitude = gradients.square().sum(1).sqrt()
    low, high = positive_quantiles(magnitude)
    found = magnitude.clamp(low[:, None, None], high[:, None, None]) - low[:, None, None]
    spread = (high - low)[:, None, None]
    return torch.where(spread > 0, found / torch.where(spread > 0, spread, torch.ones_like(spread)), found)


def positive_quantiles(values: Float[Tensor, "B H W"]) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    """Return the two quantiles of every slice's positive values, interpolated linearly; 0 and 1 if there are none."""
    ordered = values.flatten(1).sort(dim=1).values
    total = ordered.shape[1]
    positive = (ordered > 0).sum(1)

    def quantile(fraction: float) -> Tensor:
        place = fraction * (positive - 1).clamp(min=0).to(ordered.dtype)
        below = place.floor()
        first = (total - positive).clamp(max=total - 1)
        lower = ordered.gather(1, (first + below.long())[:, None])[:, 0]
        upper = ordered.gather(1, (first + place.ceil().long())[:, None])[:, 0]
        return lower + (upper - lower) * (place - below)

    low = torch.where(positive > 0, quantile(LOW), torch.zeros_like(ordered[:, 0]))
    return low, torch.where(positive > 0, quantile(HIGH), torch.ones_like(low))


def tissue(images: Float[Tensor, "B H W"], patch: int) -> Bool[Tensor, "B N"]:
    """Return which patches vary at all; a constant patch counts as background, whatever its brightness."""
    windows = images.unfold(1, patch, patch).unfold(2, patch, patch).flatten(3)
    return (windows.var(3) > 0).flatten(1)
