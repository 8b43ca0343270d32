"""A U-Net conditioned on the diffusion step and on which sequences are shown, after OpenAI's guided diffusion.

Residual blocks change the size themselves; the last convolution of each, and of the network, starts at 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


@dataclass(frozen=True)
class UNetSize:
    """Sizes of the network; the defaults are AnoDDPM's for 256 pixels.

    Attributes:
        width: Channels of the finest level.
        multiples: Channels of each level in multiples of ``width``.
        blocks: Residual blocks per level on the way down; one more on the way up.
        attention: Coarsest levels with attention; the middle always has it.
        heads: Attention heads.
    """

    width: int = 128
    multiples: Sequence[int] = (1, 1, 2, 2, 4, 4)
    blocks: int = 2
    attention: int = 2
    heads: int = 2


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(32, channels), channels)


def _zeroed(module: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(module.weight)
    if module.bias is not None:
        nn.init.zeros_(module.bias)
    return module


class Residual(nn.Module):
    """A residual block with a condition, which keeps, halves or doubles the size."""

    def __init__(self, width_in: int, width_out: int, condition: int, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.norm1, self.conv1 = _norm(width_in), nn.Conv2d(width_in, width_out, 3, padding=1)
        self.embed = nn.Linear(condition, width_out)
        self.norm2, self.conv2 = _norm(width_out), _zeroed(nn.Conv2d(width_out, width_out, 3, padding=1))
        self.skip = nn.Identity() if width_in == width_out else nn.Conv2d(width_in, width_out, 1)

    def forward(self, x: Float[Tensor, "B C h w"], condition: Float[Tensor, "B D"]) -> Float[Tensor, "B E i j"]:
        """Return the block's output."""
        inner = F.silu(self.norm1(x))
        if self.scale < 1:
            inner, x = F.avg_pool2d(inner, 2), F.avg_pool2d(x, 2)
        elif self.scale > 1:
            inner, x = (F.interpolate(each, scale_factor=2.0, mode="nearest") for each in (inner, x))
        inner = self.conv1(inner) + self.embed(F.silu(condition))[:, :, None, None]
        out: Tensor = self.skip(x) + self.conv2(F.silu(self.norm2(inner)))
        return out


class Attention(nn.Module):
    """Self-attention between all positions."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.to_qkv = _norm(channels), nn.Conv2d(channels, 3 * channels, 1)
        self.out = _zeroed(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Float[Tensor, "B C h w"], condition: Float[Tensor, "B D"]) -> Float[Tensor, "B C h w"]:
        """Return the block's output; the condition is not used."""
        del condition
        qkv = self.to_qkv(self.norm(x)).flatten(2).unflatten(1, (3, self.heads, -1)).transpose(-2, -1)
        mixed = F.scaled_dot_product_attention(qkv[:, 0], qkv[:, 1], qkv[:, 2])
        return x + self.out(mixed.transpose(-2, -1).reshape(x.shape))


class Stage(nn.ModuleList):
    """Blocks that all receive the condition."""

    def forward(self, x: Float[Tensor, "B C h w"], condition: Float[Tensor, "B D"]) -> Float[Tensor, "B E i j"]:
        """Return the output of the last block."""
        for block in self:
            x = block(x, condition)
        return x


class UNet(nn.Module):
    """Predicts one picture per sequence, noise or slice.

    Args:
        sequences: Channels of input and output.
        size: Sizes.
    """

    def __init__(self, sequences: int, size: UNetSize) -> None:
        super().__init__()
        self.width, condition = size.width, 4 * size.width
        self.time = nn.Sequential(nn.Linear(size.width, condition), nn.SiLU(), nn.Linear(condition, condition))
        self.availability = nn.Linear(sequences, condition)
        widths = [size.width * multiple for multiple in size.multiples]
        attended = range(len(widths) - size.attention, len(widths))

        def stage(before: int, after: int, level: int, scale: float = 1.0, *, change: bool = False) -> Stage:
            blocks: list[nn.Module] = [Residual(before, after, condition)]
            if level in attended:
                blocks.append(Attention(after, size.heads))
            if change:
                blocks.append(Residual(after, after, condition, scale))
            return Stage(blocks)

        self.first = nn.Conv2d(sequences, size.width, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        channels, kept = size.width, [size.width]
        for level, width in enumerate(widths):
            for _ in range(size.blocks):
                self.down.append(stage(channels, width, level))
                channels = width
                kept.append(channels)
            if level < len(widths) - 1:
                self.down.append(Stage([Residual(channels, channels, condition, 0.5)]))
                kept.append(channels)
        middle = [Residual(channels, channels, condition), Attention(channels, size.heads)]
        self.middle = Stage([*middle, Residual(channels, channels, condition)])
        for level, width in reversed(list(enumerate(widths))):
            for number in range(size.blocks + 1):
                last = level > 0 and number == size.blocks
                self.up.append(stage(channels + kept.pop(), width, level, 2.0, change=last))
                channels = width
        self.norm, self.last = _norm(channels), _zeroed(nn.Conv2d(channels, sequences, 3, padding=1))

    def forward(
        self, x: Float[Tensor, "B S H W"], step: Int[Tensor, " B"], shown: Bool[Tensor, "B S"]
    ) -> Float[Tensor, "B S H W"]:
        """Return the prediction for every sequence."""
        half = self.width // 2
        rates = torch.exp(torch.arange(half, device=x.device) * (-math.log(10000) / half))
        angles = step[:, None].float() * rates
        condition = self.time(torch.cat([angles.sin(), angles.cos()], dim=1)) + self.availability(shown.to(x.dtype))
        x = self.first(x)
        kept = [x]
        for stage in self.down:
            x = stage(x, condition)
            kept.append(x)
        x = self.middle(x, condition)
        for stage in self.up:
            x = stage(torch.cat([x, kept.pop()], dim=1), condition)
        out: Tensor = self.last(F.silu(self.norm(x)))
        return out
