"""From features to the anomaly map and the image score."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float


def distances(targets: list[Float[Tensor, "B N D"]], decoded: list[Float[Tensor, "B N D"]]) -> Float[Tensor, "B N"]:
    """Return 1 - cosine at every token, averaged over the groups, in at least single precision."""
    wide = torch.promote_types(targets[0].dtype, torch.float32)
    parts = [1 - F.cosine_similarity(t.to(wide), d.to(wide), dim=-1) for t, d in zip(targets, decoded, strict=True)]
    return torch.stack(parts).mean(0)


def smoothing_kernel(size: int = 5, sigma: float = 4.0) -> Float[Tensor, "size size"]:
    """Return the published Gaussian kernel, rounded as by ``get_gaussian_kernel`` in single precision."""
    square = (torch.arange(size, dtype=torch.float32) - (size - 1) / 2) ** 2
    kernel = 1 / (2 * math.pi * sigma**2) * torch.exp(-(square[:, None] + square[None, :]) / (2 * sigma**2))
    return kernel / kernel.sum()


def smooth(maps: Float[Tensor, "B H W"], kernel: Float[Tensor, "k k"]) -> Float[Tensor, "B H W"]:
    """Filter with zeros outside the map, which darkens borders as in the published code."""
    return F.conv2d(maps[:, None], kernel[None, None].to(maps), padding=len(kernel) // 2)[:, 0]


def resampling(tokens: int, image_size: int, map_size: int | None = None) -> Float[Tensor, "out tokens"]:
    """Return the matrix that maps one axis of the token grid to one axis of the map, in double precision.

    The published steps are linear and separable: bilinear to the image (``align_corners=True``), then bilinear to the
    map (``align_corners=False``). Their product gives the same numbers without the large intermediate image.
    """
    matrix = torch.eye(tokens, dtype=torch.float64)[None, None]
    matrix = F.interpolate(matrix, (image_size, tokens), mode="bilinear", align_corners=True)
    if map_size is not None and map_size != image_size:
        matrix = F.interpolate(matrix, (map_size, tokens), mode="bilinear", align_corners=False)
    return matrix[0, 0]


def to_map(distance: Float[Tensor, "B N"], matrix: Float[Tensor, "out side"]) -> Float[Tensor, "B out out"]:
    """Apply ``resampling`` to both axes of a square token grid."""
    side = matrix.shape[1]
    picture: Tensor = matrix @ distance.reshape(-1, side, side) @ matrix.T
    return picture


def top_mean(maps: Float[Tensor, "B H W"], fraction: float = 0.01) -> Float[Tensor, " B"]:
    """Return the mean of the highest ``fraction`` of each map (at least one pixel)."""
    flat = maps.flatten(1)
    return flat.topk(max(int(flat.shape[1] * fraction), 1), dim=1).values.mean(1)
