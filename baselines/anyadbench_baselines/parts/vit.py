"""Transformers on single sequences: one grey image per shown sequence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from anyadbench.errors import UserError
from anyadbench.methods.contract import Batch, Context
from anyadbench.methods.inputs import normalise, resize
from anyadbench.weights import build_backbone

if TYPE_CHECKING:
    from jaxtyping import Float


def build_vit(context: Context, image_size: int, position_offset: float = 0.0) -> nn.Module:
    """Build the context's transformer for an input size, frozen and in eval mode.

    ``position_offset`` is as in ``anyadbench.weights.positions.resize_positions``.

    Raises:
        UserError: If the weights are not those of a transformer, or the size is not a multiple of its patch.
    """
    vit = build_backbone(context.weights, img_size=image_size, position_offset=position_offset)
    patch = patch_of(vit)
    if not patch:
        raise UserError(
            f"The weights {context.weights.architecture} are not a transformer's, but this method needs one; "
            "give --weights published or package."
        )
    if image_size % patch:
        near = max(image_size // patch, 1) * patch
        raise UserError(
            f"Parameter image_size is {image_size}, not a multiple of the encoder's patch of {patch} pixels; "
            f"use {near}."
        )
    vit.requires_grad_(False)
    return vit.eval()


def patch_of(vit: nn.Module) -> int:
    """Return the side of a transformer's patches in pixels, 0 if it has none."""
    embed = getattr(vit, "patch_embed", None)
    return int(embed.patch_size[0]) if embed is not None else 0


def shown_pictures(batch: Batch, context: Context, image_size: int) -> Float[Tensor, "N 3 h w"]:
    """Return every shown sequence of every slice as its own image, grey on three channels, normalised.

    Images are in the order of ``batch.shown.nonzero()``: by slice, then by sequence.
    """
    pictures = resize(batch.inputs, image_size)[batch.shown][:, None].expand(-1, 3, -1, -1)
    return normalise(pictures, context.weights.mean, context.weights.std)


def patch_tokens(vit: nn.Module, pixels: Float[Tensor, "N 3 h w"]) -> Float[Tensor, "N P D"]:
    """Return a plain transformer's normalised patch tokens."""
    tokens: Tensor = vit.forward_features(pixels)  # type: ignore[operator]
    prefix = int(vit.num_prefix_tokens)  # type: ignore[arg-type]
    return tokens[:, prefix:]
