"""Small pictures for the page: slices, ground truth, and anomaly maps blended over slices, as palette PNGs."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, UInt8

CONTOUR = (64, 224, 255)
"""Colour of the ground-truth outline: cyan, which the maps' colour scale does not contain."""

_COLOURS = 96
# Stops of a dark-violet to pale-yellow scale whose lightness rises evenly.
_STOPS = np.array(
    [
        [0.0, 10, 6, 30],
        [0.2, 66, 16, 104],
        [0.4, 138, 34, 106],
        [0.6, 212, 72, 66],
        [0.8, 249, 142, 20],
        [1.0, 252, 248, 160],
    ]
)


_TABLE = np.stack([np.interp(np.linspace(0, 1, 256), _STOPS[:, 0], _STOPS[:, c]) for c in (1, 2, 3)], axis=-1)
_TABLE = _TABLE.astype(np.float32)


def heat_colours(values: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w 3"]:
    """Return the colour of values between 0 and 1, as 0..255, in 256 steps."""
    return np.asarray(_TABLE[np.rint(values * 255).astype(np.intp)])


def crop_box(images: UInt8[np.ndarray, "n h w"], masks: Bool[np.ndarray, "n h w"]) -> tuple[int, int, int, int]:
    """Return the smallest square (top, left, bottom, right) with a margin around all non-black pixels."""
    seen = np.any(images > 0, axis=0) | np.any(masks, axis=0)
    height, width = seen.shape
    if not seen.any():
        return 0, 0, height, width
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    side = 1 + max(int(rows[-1] - rows[0]), int(columns[-1] - columns[0]))
    side = min(side + 2 * max(1, side // 24), height, width)
    top = min(max(int(rows[0] + rows[-1] + 1 - side) // 2, 0), height - side)
    left = min(max(int(columns[0] + columns[-1] + 1 - side) // 2, 0), width - side)
    return top, left, top + side, left + side


def cut(values: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """Return the part inside a box of :func:`crop_box`."""
    return values[box[0] : box[2], box[1] : box[3]]


def _resized(values: np.ndarray, size: int) -> Float32[np.ndarray, "s s"]:
    """Resample to ``size``: area means when shrinking, cubic when enlarging."""
    picture = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32))
    method = Image.Resampling.BOX if values.shape[0] > size else Image.Resampling.BICUBIC
    return np.asarray(picture.resize((size, size), method), dtype=np.float32)


def grey_tile(image: UInt8[np.ndarray, "h w"], size: int) -> Float32[np.ndarray, "s s 3"]:
    """Return a slice as a grey picture."""
    grey = np.clip(_resized(image, size), 0, 255)
    return np.repeat(grey[..., None], 3, axis=-1)


def outline(mask: Bool[np.ndarray, "h w"], size: int) -> Bool[np.ndarray, "s s"]:
    """Return the pixels just outside the lesions: an outline that hides none of them."""
    inside = _resized(mask, size) >= 0.5
    grown = inside
    for _ in range(max(1, size // 80)):
        wide = np.pad(grown, 1)
        grown = wide[:-2, 1:-1] | wide[2:, 1:-1] | wide[1:-1, :-2] | wide[1:-1, 2:] | grown
    return grown & ~inside


def blend_map(
    tile: Float32[np.ndarray, "s s 3"], scores: Float32[np.ndarray, "h w"], low: float, high: float
) -> Float32[np.ndarray, "s s 3"]:
    """Blend a map over a slice: invisible at ``low``, almost opaque at ``high``, so that anatomy stays visible."""
    level = np.clip((_resized(scores, tile.shape[0]) - low) / max(high - low, 1e-30), 0, 1)
    alpha = 0.85 * np.sqrt(level)[..., None]
    return np.asarray((1 - alpha) * tile + alpha * heat_colours(level), dtype=np.float32)


def png_uri(tile: Float32[np.ndarray, "s s 3"], line: Bool[np.ndarray, "s s"] | None = None) -> str:
    """Return a picture as the data URI of a palette PNG, with ``line`` drawn over it in its own colour."""
    picture = Image.fromarray(np.clip(tile + 0.5, 0, 255).astype(np.uint8))
    reduced = picture.quantize(_COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    if line is not None and line.any():
        # Drawn after the palette reduction, which would merge such a rare colour with its neighbours.
        palette = [*(reduced.getpalette() or [])[: 3 * _COLOURS]]
        free = len(palette) // 3
        indices = np.asarray(reduced).copy()
        indices[line] = free
        reduced = Image.fromarray(indices, mode="P")
        reduced.putpalette([*palette, *CONTOUR])
    stream = io.BytesIO()
    reduced.save(stream, format="PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
