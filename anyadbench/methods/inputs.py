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


_CHANNELS: dict[int, tuple[tuple[int, ...], ...]] = {
    1: ((0,), (0,), (0,)),
    2: ((0,), (1,), (0, 1)),
    3: ((0,), (1,), (2,)),
    4: ((0,), (1, 2), (3,)),
}
"""Sequences of each channel, by how many sequences there are."""


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


def as_channels(
    images: Float[Tensor, "B S H W"], shown: Bool[Tensor, "B S"], policy: str
) -> tuple[Float[Tensor, "B 3 H W"], Bool[Tensor, "B 3"]]:
    """Map one to four sequences to three channels; also tell which channels hold a shown sequence.

    One sequence is repeated on all three channels; two become (first, second, mean of the shown ones); three are the
    channels themselves, in canonical order, as AnyAD stacks FLAIR, T1 and T2; of four, the two T1-weighted sequences
    share the second channel as the mean of those shown. A channel without any shown sequence is 0, or the mean of the
    shown ones under the policy ``replicate``.
    """
    filled = fill_missing(images, shown, policy)
    sequences = int(images.shape[1])
    weight = shown.to(images.dtype)
    if policy == "replicate":
        weight = torch.ones_like(weight)

    def mean_of(group: tuple[int, ...]) -> Tensor:
        channels = list(group)
        w = weight[:, channels]
        total = w.sum(1).clamp(min=1)[:, None, None]
        return (filled[:, channels] * w[:, :, None, None]).sum(1) / total

    if sequences not in _CHANNELS:
        raise ValueError(f"a three-channel network takes one to four sequences, got {sequences}")
    groups = _CHANNELS[sequences]
    rgb = torch.stack([mean_of(group) for group in groups], dim=1)
    visible = torch.stack([shown[:, list(group)].any(1) for group in groups], dim=1)
    return rgb, visible


def as_rgb(
    images: Float[Tensor, "B S H W"],
    shown: Bool[Tensor, "B S"],
    policy: str,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
) -> Float[Tensor, "B 3 H W"]:
    """Map one to four sequences to the three normalised channels of a pretrained network (see :func:`as_channels`).

    ``policy`` says what a channel without any shown sequence holds: 0.0 after normalisation (``zero-norm``), black
    (``black``), or the mean of the shown (``replicate``).
    """
    rgb, visible = as_channels(images, shown, policy)
    return normalise(rgb, mean, std, keep=visible if policy == "zero-norm" else None)
