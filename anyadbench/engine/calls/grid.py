"""A method's maps, checked and resampled to the scoring grid."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from anyadbench.metrics.core.smoothing import apply_separable, gaussian_matrix

if TYPE_CHECKING:
    from jaxtyping import Float32, Float64

    from anyadbench.methods.contract import Scores
    from anyadbench.protocols.model import Protocol


def to_grid(
    scores: Scores, count: int, shape: tuple[int, int], protocol: Protocol, name: str
) -> Float32[np.ndarray, "B h w"]:
    """Return maps on a protocol's scoring grid, smoothed if the protocol says so; see `on_grid`."""
    maps = on_grid(scores, count, shape, protocol, name)
    return smoothed(np.ascontiguousarray(maps.cpu().numpy()), protocol)


def on_grid(
    scores: Scores, count: int, shape: tuple[int, int], protocol: Protocol, name: str
) -> Float32[torch.Tensor, "B h w"]:
    """Return maps on a protocol's scoring grid, not smoothed, on the device where they were computed.

    Args:
        scores: What a method returned.
        count: Number of slices that it was given.
        shape: Height and width of the slices, which are the grid where the protocol sets none.
        protocol: The protocol.
        name: What made the scores.

    Raises:
        TypeError: If the maps or image scores have another shape or type than they should.
    """
    maps = scores.maps
    if not isinstance(maps, torch.Tensor) or maps.ndim != 3 or len(maps) != count or not maps.is_floating_point():
        found = tuple(getattr(maps, "shape", ()))
        raise TypeError(f"{name}.score must return floating-point maps of shape ({count}, h, w), got {found}")
    if scores.images is not None and tuple(scores.images.shape) != (count,):
        raise TypeError(f"{name}.score must return one image score per slice, got {tuple(scores.images.shape)}")
    height, width = protocol.scoring_grid
    grid = (height or shape[0], width or shape[1])
    maps = maps.detach().float()
    if tuple(maps.shape[1:]) != grid:
        maps = F.interpolate(maps[:, None], grid, mode="bilinear", align_corners=False)[:, 0]
    return maps


def smoothed(maps: Float32[np.ndarray, "B h w"], protocol: Protocol) -> Float32[np.ndarray, "B h w"]:
    """Return maps smoothed as a protocol says, or the maps themselves."""
    rules = protocol.scoring
    if not rules.smoothing_size:
        return maps
    return apply_separable(maps, *(_blur(n, rules.smoothing_sigma, rules.smoothing_size // 2) for n in maps.shape[1:]))


@lru_cache(maxsize=8)
def _blur(n: int, sigma: float, radius: int) -> Float64[np.ndarray, "n n"]:
    return gaussian_matrix(n, sigma, "zero", radius)
