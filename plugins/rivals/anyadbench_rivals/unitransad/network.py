"""The network of UniTransAD (``models/unitransad.py`` of zhibaishouheilab/UniTransAD at 35f3d93).

Entries of the state dict have the published names. A slice becomes content tokens and a global style; a generator
renders content in a style, guided by the edges of the slice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Float

REMEMBERED = ("t1", "t2", "t1ce", "flair")
"""Sequences whose styles the published memory holds, in its order."""

EPSILON = 1e-6
"""Added to the standard deviation of a token before the division."""


@dataclass(frozen=True)
class NetworkSize:
    """Sizes of the network; the defaults are the published setting, not the defaults of the published class.

    Attributes:
        image_size: Side of a slice in pixels, a multiple of ``patch``.
        patch: Side of a patch in pixels.
        width: Width of the two encoders.
        depth: Blocks of each encoder.
        heads: Attention heads of the encoders.
        generator_width: Width of the generator; half a style vector must have it.
        generator_depth: Blocks of the generator.
        generator_heads: Attention heads of the generator.
    """

    image_size: int = 256
    patch: int = 8
    width: int = 128
    depth: int = 12
    heads: int = 16
    generator_width: int = 64
    generator_depth: int = 8
    generator_heads: int = 8

    @property
    def side(self) -> int:
        """Patches along one side."""
        return self.image_size // self.patch


@dataclass(frozen=True)
class Style:
    """Mean and "standard deviation" that a style sets; the latter is unconstrained and may be negative.

    Attributes:
        mean: One vector per slice.
        std: One vector per slice.
    """

    mean: Float[Tensor, "B D"]
    std: Float[Tensor, "B D"]


def position_table(width: int, side: int) -> Float[Tensor, "1 N+1 D"]:
    """Return sines and cosines of the column, then of the row, after a row of zeros for the class token.

    Computed in double precision and rounded to single, as the published code stores them.
    """
    frequencies = 10000.0 ** -(np.arange(width // 4) / (width // 4))
    angles = np.arange(side)[:, None] * frequencies
    line = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    grid = np.concatenate([np.tile(line, (side, 1)), np.repeat(line, side, axis=0)], axis=1)
    table = np.concatenate([np.zeros((1, width)), grid])
    return torch.from_numpy(table[None].astype(np.float32))


class PatchEmbedding(nn.Module):
    """One vector per patch, by a strided convolution with bias."""

    def __init__(self, patch: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(1, width, patch, patch)

    def forward(self, images: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B N D"]:
        """Return the patches row by row."""
        embedded: Tensor = self.proj(images).flatten(2).transpose(1, 2)
        return embedded


def _blocks(width: int, depth: int, heads: int) -> list[nn.Module]:
    return [Block(width, heads, mlp_ratio=4.0, qkv_bias=True, norm_layer=nn.LayerNorm) for _ in range(depth)]


class UniTransNetwork(nn.Module):
    """Encoders of content and style, fusion with edges, generator, and the memory of styles.

    ``norm`` is in the published state dict and optimiser and is never called.
    """

    def __init__(self, size: NetworkSize) -> None:
        super().__init__()
        self.size = size
        width, narrow = size.width, size.generator_width
        self.patch_embed = PatchEmbedding(size.patch, width)
        self.patch_embed_edge = PatchEmbedding(size.patch, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.register_buffer("pos_embed", position_table(width, size.side), persistent=False)
        self.register_buffer("decoder_pos_embed", position_table(narrow, size.side), persistent=False)
        self.content_encoder = nn.Sequential(*_blocks(width, size.depth, size.heads))
        self.style_encoder = nn.Sequential(*_blocks(width, size.depth, size.heads), nn.Linear(width, width))
        self.decoder_embed = nn.Linear(width, narrow)
        self.edge_fuse = nn.Linear(2 * narrow, narrow)
        self.norm = nn.LayerNorm(width)
        self.generator = nn.Sequential(
            nn.Linear(narrow, narrow),
            *_blocks(narrow, size.generator_depth, size.generator_heads),
            nn.LayerNorm(narrow),
            nn.Linear(narrow, size.patch**2),
        )
        for sequence in REMEMBERED:
            for part in ("mean", "std"):
                self.register_buffer(f"dspm_{sequence}_{part}", torch.zeros(width // 2))
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
            elif isinstance(module, PatchEmbedding):
                nn.init.xavier_uniform_(module.proj.weight.data.flatten(1))
        nn.init.normal_(self.cls_token, std=0.02)

    def encode(self, images: Float[Tensor, "B 1 H W"]) -> tuple[Float[Tensor, "B N+1 D"], Style]:
        """Return content tokens, the class token first, and the slice's own style."""
        tokens = self._tokens(images)
        style = self.style_encoder(tokens).mean(1)
        mean, std = style.chunk(2, dim=1)
        return self.content_encoder(tokens), Style(mean, std)

    def content(self, images: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B N+1 D"]:
        """Return content tokens alone."""
        found: Tensor = self.content_encoder(self._tokens(images))
        return found

    def _tokens(self, images: Tensor) -> Tensor:
        patches = self.patch_embed(images)
        tokens = torch.cat([self.cls_token.expand(len(images), -1, -1), patches], dim=1)
        return tokens + self.get_buffer("pos_embed")

    def fuse(
        self, content: Float[Tensor, "B N+1 D"], edges: Float[Tensor, "B 1 H W"], style: Style
    ) -> Float[Tensor, "B N+1 E"]:
        """Return the generator's input: content joined with edges, normalised per token, in a style.

        The statistics are those of each token over its channels, not of each channel over the tokens.
        """
        tokens = self.decoder_embed(content)
        guide = self.decoder_embed(self.patch_embed_edge(edges))
        patches = self.edge_fuse(torch.cat([tokens[:, 1:], guide], dim=2))
        tokens = torch.cat([tokens[:, :1], patches], dim=1) + self.get_buffer("decoder_pos_embed")
        spread = tokens.std(2, keepdim=True) + EPSILON
        return style.std[:, None] * (tokens - tokens.mean(2, keepdim=True)) / spread + style.mean[:, None]

    def render(self, fused: Float[Tensor, "B N+1 E"]) -> Float[Tensor, "B 1 H W"]:
        """Return the picture, with values between 0 and 1."""
        patches = torch.sigmoid(self.generator(fused))[:, 1:]
        side, patch = self.size.side, self.size.patch
        rows = patches.view(-1, side, side, patch, patch).transpose(2, 3)
        return rows.reshape(-1, 1, side * patch, side * patch)

    def generate(
        self, content: Float[Tensor, "B N+1 D"], edges: Float[Tensor, "B 1 H W"], style: Style
    ) -> Float[Tensor, "B 1 H W"]:
        """Render content in a style."""
        return self.render(self.fuse(content, edges, style))

    def remembered(self, sequence: str, batch: int) -> Style:
        """Return the memory's style of a sequence for every slice of a batch.

        Raises:
            AttributeError: If the memory has no such sequence.
        """
        parts = (self.get_buffer(f"dspm_{sequence}_{part}").expand(batch, -1) for part in ("mean", "std"))
        return Style(*parts)

    @torch.no_grad()
    def remember(self, styles: Mapping[str, Style], momentum: float) -> None:
        """Move the memory towards the mean styles of a batch; sequences outside the memory are left out.

        Args:
            styles: Styles of a batch's slices by sequence.
            momentum: Weight of the new value; 0.01 as published, and no correction of the start at zero.
        """
        for sequence in set(styles) & set(REMEMBERED):
            for part in ("mean", "std"):
                new = getattr(styles[sequence], part).detach().mean(0)
                self.get_buffer(f"dspm_{sequence}_{part}").lerp_(new, momentum)
