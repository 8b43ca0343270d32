"""The frozen DINOv2 encoder; the outputs of its blocks 2 to 9 are averaged in two groups."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from anyadbench.api import UserError, freeze

if TYPE_CHECKING:
    from jaxtyping import Float

TAPS = ((2, 3, 4, 5), (6, 7, 8, 9))
"""Blocks (from 0) whose outputs are averaged, by group: ``models/uad.py`` of luow23/INP-Former."""

DEPTH = 12
"""Number of blocks of the encoders that these taps are for; the publication uses other taps for larger ones."""

_WIDTHS = {"tiny": (192, 3), "small": (384, 6), "base": (768, 12)}
_ARCHITECTURE = re.compile(r"vit_(tiny|small|base)_patch(\d+)_(?:reg(\d+)_)?dinov2")


@dataclass(frozen=True)
class ViTConfig:
    """Sizes of the encoder.

    Attributes:
        width: Channels of a token.
        heads: Attention heads; divides ``width``.
        depth: Blocks; must be ``DEPTH``.
        patch: Side of a patch in pixels.
        grid: Side of the position table in patches (37 for 518 px).
        registers: Register tokens.
        mlp_ratio: Hidden width of an MLP over ``width``.
    """

    width: int = 768
    heads: int = 12
    depth: int = 12
    patch: int = 14
    grid: int = 37
    registers: int = 4
    mlp_ratio: float = 4.0

    @staticmethod
    def of(architecture: str) -> ViTConfig:
        """Return the sizes of a timm architecture name, e.g. ``vit_base_patch14_reg4_dinov2``.

        Raises:
            UserError: If it is not a DINOv2 transformer of twelve blocks.
        """
        match = _ARCHITECTURE.match(architecture)
        if match is None:
            raise UserError(
                f"INP-Former taps blocks 2 to 9 of a twelve-block DINOv2 transformer, but the weights are for "
                f"{architecture!r}; use e.g. vit_small_patch14_dinov2 or vit_base_patch14_reg4_dinov2."
            )
        width, heads = _WIDTHS[match[1]]
        return ViTConfig(width, heads, patch=int(match[2]), registers=int(match[3] or 0))

    @staticmethod
    def like(state: Mapping[str, Tensor]) -> ViTConfig:
        """Return the sizes of a state dict in timm's naming; DINOv2 has 64 channels per head."""
        width, patch = int(state["cls_token"].shape[-1]), int(state["patch_embed.proj.weight"].shape[-1])
        depth = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("blocks."))
        registers = int(state["reg_token"].shape[1]) if "reg_token" in state else 0
        hidden = int(state["blocks.0.mlp.fc1.weight"].shape[0])
        grid = math.isqrt(int(state["pos_embed"].shape[1]))
        return ViTConfig(width, max(width // 64, 1), depth, patch, grid, registers, hidden / width)


class Encoder(nn.Module):
    """A DINOv2 vision transformer that never trains and returns the mean of each group of tapped blocks.

    The transformer is timm's. It stores DINOv2's class token with its position already added (timm's
    ``no_embed_class``), see ``fold_class_position``.
    """

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config = config
        if config.depth != DEPTH:
            raise UserError(
                f"INP-Former taps blocks 2 to 9 of an encoder of {DEPTH} blocks, but this one has {config.depth}; "
                "use weights of a DINOv2 ViT-S/14 or ViT-B/14."
            )
        self.vit = VisionTransformer(
            img_size=config.grid * config.patch,
            patch_size=config.patch,
            num_classes=0,
            global_pool="",
            embed_dim=config.width,
            depth=config.depth,
            num_heads=config.heads,
            mlp_ratio=config.mlp_ratio,
            init_values=1e-5,
            no_embed_class=True,
            reg_tokens=config.registers,
            dynamic_img_size=True,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
        )
        freeze(self)
        self._resized: tuple[tuple[int, ...], Tensor] | None = None

    def train(self, mode: bool = True) -> Encoder:
        """Stay in eval mode: the encoder is frozen."""
        del mode
        return super().train(False)

    def positions(self, height: int, width: int) -> Float[Tensor, "1 N D"]:
        """Return the position table at ``height`` times ``width`` patches.

        Bicubic with the scale factor (n + 0.1) / table side, as in DINOv2; resizing to exactly n patches, as in timm,
        gives visibly different features. Single precision, as in DINOv2. The table of the last size is kept: on a GPU,
        resizing it takes as long as two blocks.
        """
        table, side = self.vit.get_parameter("pos_embed"), self.config.grid
        if (height, width) == (side, side):
            return table
        if torch.compiler.is_compiling():  # a traced tensor is none that could be kept
            return self._resize(table, height, width)
        key = (height, width, table.data_ptr(), table._version)  # moving and loading weights change it
        if self._resized is None or self._resized[0] != key:
            with torch.inference_mode(False):  # a tensor made in inference mode could not be used in training
                self._resized = key, self._resize(table, height, width)
        return self._resized[1]

    def _resize(self, table: Tensor, height: int, width: int) -> Float[Tensor, "1 N D"]:
        side = self.config.grid
        image = table.float().reshape(1, side, side, -1).permute(0, 3, 1, 2)
        scale = ((height + 0.1) / side, (width + 0.1) / side)
        resized = F.interpolate(image, scale_factor=scale, mode="bicubic", antialias=False)
        return resized.flatten(2).transpose(1, 2).to(table.dtype)

    def _embed(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B N D"]:
        """Return patch embeddings with positions.

        Patches do not overlap, so the convolution is one matrix product of rearranged pixels, which is faster.
        """
        patch, projection = self.config.patch, self.vit.patch_embed.proj
        batch, channels, height, width = pixels.shape
        rows, columns = int(height) // patch, int(width) // patch  # plain numbers also in a traced graph
        cells = pixels.reshape(batch, channels, rows, patch, columns, patch).permute(0, 2, 4, 1, 3, 5)
        cells = cells.reshape(batch, rows * columns, channels * patch * patch)
        return F.linear(cells, projection.weight.flatten(1), projection.bias) + self.positions(rows, columns)

    @torch.no_grad()
    def forward(self, pixels: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B N D"]]:
        """Return the mean of the patch tokens after each group of blocks; later blocks are not run."""
        vit, batch = self.vit, pixels.shape[0]
        tokens = self._embed(pixels)
        prefix = [token for token in (vit.cls_token, vit.reg_token) if token is not None]
        x = torch.cat([*(token.expand(batch, -1, -1) for token in prefix), tokens], dim=1)
        skip = 1 + self.config.registers
        sums: dict[int, Tensor] = {}
        for index in range(TAPS[-1][-1] + 1):
            x = vit.blocks[index](x)
            for group, taps in enumerate(TAPS):
                if index in taps:
                    sums[group] = sums[group] + x[:, skip:] if group in sums else x[:, skip:]
        return [sums[group] / len(taps) for group, taps in enumerate(TAPS)]
