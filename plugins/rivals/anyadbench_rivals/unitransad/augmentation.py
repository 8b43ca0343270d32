"""Training augmentation of UniTransAD (``data/dataset.py``): geometry per slice, contrast per sequence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as jitter

if TYPE_CHECKING:
    from jaxtyping import Float


def augment(
    images: Float[Tensor, "B S H H"], edges: Float[Tensor, "B S H H"]
) -> tuple[Float[Tensor, "B S H H"], Float[Tensor, "B S H H"]]:
    """Flip and turn every slice with its edges; then change each sequence's grey values, but not its edges.

    The changed pictures have 256 grey values, as the published ones. Draws come from torch's generator.

    Args:
        images: Square slices, 0..1.
        edges: Edge maps of the unchanged slices.
    """
    turned = [_turn(torch.stack(pair)) for pair in zip(images, edges, strict=True)]
    changed = [torch.stack([_grey(picture) for picture in pair[0]]) for pair in turned]
    return torch.stack(changed), torch.stack([pair[1] for pair in turned])


def _turn(pair: Float[Tensor, "2 S H H"]) -> Float[Tensor, "2 S H H"]:
    flip = int(torch.randint(3, ()))
    if flip:
        pair = pair.flip(-flip)
    return torch.rot90(pair, int(torch.randint(4, ())), (-2, -1))


def _grey(picture: Float[Tensor, "H H"]) -> Float[Tensor, "H H"]:
    coarse = (255 * picture).clamp(0, 255).to(torch.uint8)[None]
    coarse = jitter.adjust_brightness(coarse, _tenths(8, 12))
    coarse = jitter.adjust_contrast(coarse, _tenths(8, 12))
    coarse = jitter.adjust_sharpness(coarse, _tenths(0, 30))
    return coarse[0].to(picture.dtype) / 255


def _tenths(low: int, high: int) -> float:
    return int(torch.randint(low, high + 1, ())) / 10
