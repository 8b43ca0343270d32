"""Shared input functions: resizing, normalisation, missing sequences, and any number of sequences as channels."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from anyadbench.methods.params import CHANNEL_LAYOUTS

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from anyadbench.methods.contract import Batch, Context

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def _groups(sequences: int) -> tuple[tuple[int, ...], ...]:
    """Return the sequences of each of three channels.

    From three on, the sequences are cut into three runs of nearly equal length in canonical order; one that is left
    over joins the second run, two join the first and the second. So four are FLAIR, both T1-weighted ones, T2.
    """
    if sequences < 3:
        return ((0,), (0,), (0,)) if sequences == 1 else ((0,), (1,), (0, 1))
    length, over = divmod(sequences, 3)
    first, second = length + (over == 2), length + (over > 0)
    return tuple(range(first)), tuple(range(first, first + second)), tuple(range(first + second, sequences))


def resize(images: Float[Tensor, "B S H W"], size: int | tuple[int, int]) -> Float[Tensor, "B S h w"]:
    """Resize bilinearly without antialiasing (``align_corners=False``); a no-op at the same size."""
    height, width = (size, size) if isinstance(size, int) else size
    if images.shape[-2:] == (height, width):
        return images
    return F.interpolate(images, (height, width), mode="bilinear", align_corners=False)


def fill_missing(images: Float[Tensor, "B S H W"], shown: Bool[Tensor, "B S"], policy: str) -> Float[Tensor, "B S H W"]:
    """Fill hidden sequences before normalisation.

    ``black`` and ``zero-norm`` leave zeros (``zero-norm`` is applied after normalisation by ``normalise``);
    ``replicate`` fills in the mean of the shown sequences of the same slice.
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
    centre, spread = (_constant(tuple(values), partial(tuple, values), images) for values in (mean, std))
    out = (images - centre.view(shape)) / spread.view(shape)
    return out if keep is None else out * keep[:, :, None, None].to(out.dtype)


_CONSTANTS: dict[tuple[Hashable, torch.dtype, torch.device], Tensor] = {}
"""Tables and normalisations on each device that has used them: made once, since a copy from the host costs each step
time, and a CUDA graph cannot hold one."""


def _constant(key: Hashable, make: Callable[[], Sequence[Any]], like: Tensor) -> Tensor:
    """Return the numbers that a key names as a tensor of the type and device of ``like``."""
    place = (key, like.dtype, like.device)
    if place in _CONSTANTS:
        return _CONSTANTS[place]
    with torch.inference_mode(False):  # a tensor made in inference mode could not be used in training
        made = torch.tensor(make(), dtype=like.dtype).to(like.device)
    if not torch.compiler.is_compiling():  # a traced tensor is none that could be kept
        _CONSTANTS[place] = made
    return made


@lru_cache
def channel_table(sequences: int, layout: str, policy: str) -> tuple[tuple[tuple[float, ...], ...], ...]:
    """Return the weight of each sequence in each of three channels for every subset (subsets x 3 x S).

    Subsets are numbered by their bit masks. The table holds plain numbers, so that the cache is tied to no device.

    Args:
        sequences: Number of sequences.
        layout: ``stack`` gives every sequence its own channel: one is repeated on all three, two become (first,
            second, mean of the shown ones), three are the channels in canonical order, as AnyAD stacks FLAIR, T1 and
            T2, and of four the two T1-weighted ones share the second channel as the mean of those shown. More are cut
            into three runs of nearly equal length, each the mean of those shown. ``spread`` maps the shown ones alone,
            as ``stack`` would if there were no others. ``grey`` puts the mean of the shown ones on all channels.
        policy: With ``replicate``, a channel of ``stack`` that shows nothing holds the mean of the shown sequences.

    Raises:
        ValueError: If there are no sequences, or the layout is unknown.
    """
    if sequences < 1 or layout not in CHANNEL_LAYOUTS:
        known = ", ".join(CHANNEL_LAYOUTS)
        raise ValueError(f"{sequences} sequences cannot be laid out by {layout!r}; give one or more and use {known}")
    table = [[[0.0] * sequences for _ in range(3)] for _ in range(2**sequences)]
    for bits in range(1, 2**sequences):
        shown = [index for index in range(sequences) if bits >> index & 1]
        if layout == "stack":
            groups = [[index for index in group if index in shown] for group in _groups(sequences)]
        elif layout == "spread":
            groups = [[shown[place] for place in group] for group in _groups(len(shown))]
        else:
            groups = [shown] * 3
        for channel, group in enumerate(groups):
            members = group or (shown if policy == "replicate" else [])
            for index in members:
                table[bits][channel][index] = 1 / len(members)
    return tuple(tuple(tuple(row) for row in rows) for rows in table)


def as_channels(
    images: Float[Tensor, "B S H W"], shown: Bool[Tensor, "B S"], policy: str, layout: str = "stack"
) -> tuple[Float[Tensor, "B 3 H W"], Bool[Tensor, "B 3"]]:
    """Map sequences to three channels by ``channel_table``; also return which hold a shown sequence."""
    sequences = int(images.shape[1])
    bits = (shown.long() * 2 ** torch.arange(sequences, device=shown.device)).sum(1)
    weights, own = (
        _constant((sequences, layout, one), partial(channel_table.__wrapped__, sequences, layout, one), images)[bits]
        for one in (policy, "zero-norm")
    )
    # A sum of products rather than a matrix product, which autocast would round to its lower precision.
    rgb = weights[:, :, 0, None, None] * images[:, None, 0]
    for index in range(1, sequences):
        rgb = rgb + weights[:, :, index, None, None] * images[:, None, index]
    return rgb, own.sum(2) > 0


def as_rgb(
    images: Float[Tensor, "B S H W"],
    shown: Bool[Tensor, "B S"],
    policy: str,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    layout: str = "stack",
) -> Float[Tensor, "B 3 H W"]:
    """Map sequences to the three normalised channels of a pretrained network (see ``channel_table``).

    ``policy`` sets what a channel without any shown sequence holds: 0.0 after normalisation (``zero-norm``), black
    (``black``), or the mean of the shown sequences (``replicate``).
    """
    rgb, visible = as_channels(images, shown, policy, layout)
    return normalise(rgb, mean, std, keep=visible if policy == "zero-norm" else None)


def shown_images(batch: Batch, context: Context, image_size: int) -> Float[Tensor, "N 3 h w"]:
    """Return every shown sequence of every slice as an image of its own, grey on three channels, normalised.

    Images are in the order of ``batch.shown.nonzero()``: by slice, then by sequence.
    """
    images = resize(batch.inputs, image_size)[batch.shown][:, None].expand(-1, 3, -1, -1)
    return normalise(images, context.weights.mean, context.weights.std)
