"""Resizing and cropping of slices before a method sees them, as in the AnyAD release's loader."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from anyadbench.data.slices.rules import GeometryRules

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32


def grid_after(shape: tuple[int, int], rules: GeometryRules) -> tuple[int, int]:
    """Return height and width of a slice after resizing and cropping."""
    height, width = rules.resize if any(rules.resize) else shape
    return (min(height, rules.crop[0] or height), min(width, rules.crop[1] or width))


def apply_geometry(
    values: Float32[np.ndarray, "N S H W"], rules: GeometryRules, eight_bit: bool = False
) -> Float32[np.ndarray, "N S h w"]:
    """Resize slices bilinearly with Pillow, whose filter widens when it shrinks an image, and crop the centre.

    Args:
        values: Slices in [0, 1].
        rules: Sizes.
        eight_bit: Whether values are multiples of 1/255 and are rounded to such multiples after resizing, as Pillow
            does for 8-bit pictures.
    """
    if rules == GeometryRules():
        return values
    count, sequences = values.shape[:2]
    resized = [
        _resize(picture, rules.resize, eight_bit) for picture in values.reshape(count * sequences, *values.shape[2:])
    ]
    shape = grid_after((values.shape[2], values.shape[3]), rules)
    if not resized:
        return np.zeros((count, sequences, *shape), np.float32)
    return np.stack([_centre(picture, shape) for picture in resized]).reshape(count, sequences, *shape)


def apply_to_masks(masks: Bool[np.ndarray, "N H W"], rules: GeometryRules) -> Bool[np.ndarray, "N h w"]:
    """Resize and crop masks as pictures of 0 and 255; a pixel is abnormal from one half up.

    The release thresholds after it has resampled the mask to the scoring grid by nearest neighbour; the two steps
    commute.
    """
    if rules == GeometryRules():
        return masks
    return apply_geometry(masks[:, None].astype(np.float32), rules, eight_bit=True)[:, 0] > 0.5


def _resize(picture: Float32[np.ndarray, "H W"], size: tuple[int, int], eight_bit: bool) -> Float32[np.ndarray, "h w"]:
    from PIL import Image

    if not any(size) or picture.shape == size:
        return picture
    stored = np.rint(picture * 255).astype(np.uint8) if eight_bit else picture
    # Pillow takes width before height.
    out = np.asarray(Image.fromarray(stored).resize((size[1], size[0]), Image.Resampling.BILINEAR), np.float32)
    return out / np.float32(255) if eight_bit else out


def _centre(picture: Float32[np.ndarray, "H W"], shape: tuple[int, int]) -> Float32[np.ndarray, "h w"]:
    # torchvision's CenterCrop uses the same rounding to even.
    top, left = (round((have - want) / 2) for have, want in zip(picture.shape, shape, strict=True))
    return picture[top : top + shape[0], left : left + shape[1]]
