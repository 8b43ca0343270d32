"""Shared input functions: resizing, normalisation, missing sequences, and one to four sequences as channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def resize(images: Float[Tensor, "B S H W"], size: int | tuple[int, int]) -> Float[Tensor, "B S h w"]:
    """Resize bilinearly without antialiasing (``align_corners=False``); a no-op at the same size."""
    height, width = (size, size) if isinstance(size, int) else size
    if images.shape[-2:] == (height, width):
        return images
    return F.interpolate(images, (height, width), mode="bilinear", align_corners=False)


def fill_missing(images: Float[Tensor, "B S H W"], shown: Bool[Tensor, "B S"], policy: str) -> Float[Tensor, "B S H W"]:
    """Fill hidden sequences before normalisation.

    ``black`` and ``zero-norm`` leave zeros (``zero-norm`` is applied after normalisation by :func:`normalise`);
    ``replicate`` puts the mean of the shown sequences of the same slice there.
    """
    weight = shown[:, :, None, None].to(images.dtype)
    visible = images * weight
    if policy != "replicate":
        return visible
    mean = visible.sum(1, keepdim=True) / weight.sum(1, keepdim=True)
    return visible + (1 - weight) * mean


def normalise(
    images: Float[Tensor, "B C H W"],
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    keep: Bool[Tensor, "B C"] | None = None,
) -> Float[Tensor, "B C H W"]:
    """Subtract ``mean`` and divide by ``std`` per channel; channels not in ``keep`` become 0.0 afterwards."""
    shape = (1, -1, 1, 1)
    out = (images - images.new_tensor(mean).view(shape)) / images.new_tensor(std).view(shape)
    return out if keep is None else out * keep[:, :, None, None].to(out.dtype)


def as_rgb(images: Float[Tensor, "B S H W"], shown: Bool[Tensor, "B S"], policy: str) -> Float[Tensor, "B 3 H W"]:
    """Map one to four sequences to the three normalised channels of an ImageNet network.

    One sequence is repeated on all three channels; two become (first, second, mean of the shown ones); three are the
    channels themselves, in canonical order, as AnyAD stacks FLAIR, T1 and T2; of four, the two T1-weighted sequences
    share the second channel as the mean of those shown. ``policy`` says what a channel without any shown sequence
    holds: 0.0 after normalisation (``zero-norm``), black (``black``), or the mean of the shown (``replicate``).
    """
    filled = fill_missing(images, shown, policy)
    sequences = int(images.shape[1])
    weight = shown.to(images.dtype)
    if policy == "replicate":
        weight = torch.ones_like(weight)

    def mean_of(*channels: int) -> tuple[Tensor, Tensor]:
        index = torch.as_tensor(channels, device=images.device)
        w = weight[:, index]
        total = w.sum(1)
        value = (filled[:, index] * w[:, :, None, None]).sum(1) / total.clamp(min=1)[:, None, None]
        return value, total > 0

    groups = {1: ((0,), (0,), (0,)), 2: ((0,), (1,), (0, 1)), 3: ((0,), (1,), (2,)), 4: ((0,), (1, 2), (3,))}
    if sequences not in groups:
        raise ValueError(f"a three-channel network takes one to four sequences, got {sequences}")
    parts = [mean_of(*group) for group in groups[sequences]]
    rgb = torch.stack([value for value, _ in parts], dim=1)
    keep = torch.stack([visible for _, visible in parts], dim=1)
    return normalise(rgb, keep=keep if policy == "zero-norm" else None)
