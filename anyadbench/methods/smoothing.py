"""Gaussian smoothing of maps as in scipy, and median filtering, both on the device."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from anyadbench.methods.precision import at_least_single, full_precision

if TYPE_CHECKING:
    from jaxtyping import Float


@lru_cache(maxsize=16)
def _gaussian_matrix(side: int, sigma: float) -> Float[np.ndarray, "N N"]:
    from scipy.ndimage import gaussian_filter1d

    matrix: Float[np.ndarray, "N N"] = gaussian_filter1d(np.eye(side), sigma, axis=0)
    return matrix


@full_precision
def gaussian_filter(maps: Float[Tensor, "B H W"], sigma: float) -> Float[Tensor, "B H W"]:
    """Smooth with scipy's ``gaussian_filter`` (cut at 4 sigma, borders reflected about the edge of the last pixel).

    The filter is linear and separable, so one matrix per axis gives scipy's numbers, borders included.
    """
    if not sigma:
        return maps
    maps = at_least_single(maps)
    rows = torch.as_tensor(_gaussian_matrix(maps.shape[1], sigma)).to(maps)
    columns = torch.as_tensor(_gaussian_matrix(maps.shape[2], sigma)).to(maps)
    smoothed: Tensor = rows @ maps @ columns.T
    return smoothed


def median_filter(maps: Float[Tensor, "B H W"], size: int) -> Float[Tensor, "B H W"]:
    """Take the median of every ``size`` x ``size`` neighbourhood, borders mirrored about the last pixel."""
    if size == 1:
        return maps
    border = size // 2
    padded = F.pad(maps[:, None], (border,) * 4, mode="reflect")
    windows = padded[:, 0].unfold(1, size, 1).unfold(2, size, 1)
    values = windows.flatten(3)
    if torch.compiler.is_exporting():
        # ONNX has no median; it is the last value of the highest half.
        return values.topk(size * size // 2 + 1, dim=-1).values[..., -1]
    # Torch's median raises on a GPU if only deterministic algorithms are allowed.
    return values.sort(dim=-1).values[..., size * size // 2]
