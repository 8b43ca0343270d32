"""Images of histograms of oriented gradients, as drawn by scikit-image, for whole batches."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float

ORIENTATIONS = 9


def hog_picture(images: Float[Tensor, "B C H W"], cell: int) -> Float[Tensor, "B C H W"]:
    """Draw the orientation histogram of every cell as a star of lines.

    Equals ``skimage.feature.hog(..., orientations=9, pixels_per_cell=(cell, cell), cells_per_block=(1, 1),
    visualize=True)[1]`` for each channel; the image shows histograms before block normalisation. Rows and columns
    beyond the last whole cell are 0.

    Args:
        images: Grey images.
        cell: Side of a cell in pixels, at least 4.
    """
    down, across = torch.zeros_like(images), torch.zeros_like(images)
    down[..., 1:-1, :] = images[..., 2:, :] - images[..., :-2, :]
    across[..., :, 1:-1] = images[..., :, 2:] - images[..., :, :-2]
    magnitude = torch.hypot(down, across)
    angle = torch.rad2deg(torch.atan2(down, across)) % 180
    # An angle of 180 after rounding belongs to the first bin.
    which = (angle / (180 / ORIENTATIONS)).floor().long() % ORIENTATIONS
    rows, columns = images.shape[-2] // cell, images.shape[-1] // cell
    cut = (..., slice(0, rows * cell), slice(0, columns * cell))
    picture = torch.zeros_like(images)
    for number, star in enumerate(_stars(cell)):
        here = torch.where(which == number, magnitude, 0.0)[cut]
        cells = here.reshape(*images.shape[:-2], rows, cell, columns, cell).mean((-3, -1))
        line = torch.as_tensor(star).to(images)
        picture[cut] += torch.kron(cells.contiguous(), line)
    return picture


@lru_cache(maxsize=8)
def _stars(cell: int) -> Float[np.ndarray, "9 cell cell"]:
    """Return the line of each orientation inside one cell."""
    radius = cell // 2 - 1
    stars = np.zeros((ORIENTATIONS, cell, cell), dtype=np.float32)
    for number in range(ORIENTATIONS):
        middle = math.pi * (number + 0.5) / ORIENTATIONS
        dr, dc = radius * math.sin(middle), radius * math.cos(middle)
        centre = cell // 2
        rows, columns = _line(int(centre - dc), int(centre + dr), int(centre + dc), int(centre - dr))
        stars[number, rows, columns] = 1
    return stars


def _line(r0: int, c0: int, r1: int, c1: int) -> tuple[list[int], list[int]]:
    """Return the pixels of a line by Bresenham's algorithm."""
    steep = abs(r1 - r0) > abs(c1 - c0)
    a, b, a1, b1 = (r0, c0, r1, c1) if steep else (c0, r0, c1, r1)
    da, db = abs(a1 - a), abs(b1 - b)
    sa, sb = (1 if a1 > a else -1), (1 if b1 > b else -1)
    excess = 2 * db - da
    first, second = [], []
    for _ in range(da + 1):
        first.append(a)
        second.append(b)
        while excess >= 0 and da:
            b += sb
            excess -= 2 * da
        a += sa
        excess += 2 * db
    return (first, second) if steep else (second, first)
