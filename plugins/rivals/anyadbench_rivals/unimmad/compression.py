"""From one to four pictures to general features: stem, compression and decoder (``FCM.py``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from anyadbench_rivals.unimmad.layers import BasicBlock, Decoder, UpBlock, conv, conv_norm_relu, norm_relu

if TYPE_CHECKING:
    from jaxtyping import Float

SLOTS = 4
"""Pictures that the stem takes, three channels each."""


class Stem(nn.Module):
    """Three channels from a stack of pictures plus a learned table of the same size (``input_embedding``).

    Args:
        image_size: Side of the pictures; the table makes it part of the network.
    """

    def __init__(self, image_size: int) -> None:
        super().__init__()
        channels = 3 * SLOTS
        self.input_embedding = nn.Parameter(0.02 * torch.randn(channels, image_size, image_size))
        self.stem = nn.Sequential(
            conv(channels, 2 * channels, 3, bias=True),
            nn.BatchNorm2d(2 * channels),
            nn.ReLU(),
            conv(2 * channels, 4 * channels, 3, bias=True),
            nn.BatchNorm2d(4 * channels),
            nn.ReLU(),
            conv(4 * channels, 3, 3, bias=True),
        )
        self.shortcut = conv(channels, 3, 1, bias=True)

    def forward(self, stack: Float[Tensor, "B 12 H W"]) -> Float[Tensor, "B 3 H W"]:
        """Return the encoder's input."""
        placed = stack + self.input_embedding
        mixed: Tensor = self.stem(placed) + self.shortcut(placed)
        return mixed


class DepthwiseBranch(nn.Module):
    """Depthwise convolution, 1x1 convolution, group norm and ReLU."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.dw = nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width, bias=False)
        self.pw = conv(width, width // 3, 1)
        self.na = norm_relu(width // 3)

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B D h w"]:
        """Return a third of the channels."""
        out: Tensor = self.na(self.pw(self.dw(x)))
        return out


class ScaleBranch(nn.Module):
    """The three levels through depthwise convolutions of one kernel size, joined at half the size."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.b1, self.b2, self.b3 = (DepthwiseBranch(width, kernel) for _ in range(3))
        self.post = nn.Sequential(conv(width // 3 * 3, width, 2, 2, bias=True), norm_relu(width))

    def forward(self, levels: Sequence[Tensor]) -> Float[Tensor, "B C i j"]:
        """Return the joined levels."""
        parts = [branch(level) for branch, level in zip((self.b1, self.b2, self.b3), levels, strict=True)]
        out: Tensor = self.post(torch.cat(parts, dim=1))
        return out


class Joint(nn.Module):
    """The branches of all kernel sizes as one code of four times the width, at half the size."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = conv_norm_relu(3 * width, width)
        self.head = nn.Sequential(conv(width, 4 * width, 2, 2), norm_relu(4 * width))

    def forward(self, branches: Float[Tensor, "B C h w"]) -> Float[Tensor, "B D i j"]:
        """Return the code."""
        out: Tensor = self.head(self.proj(branches))
        return out


class Compression(nn.Module):
    """Three levels squeezed into one code at stride 32 and decoded again: the general features.

    Args:
        channels: Channels of the encoder's levels, finest first.
        width: Channels at which the levels meet; 512 as published.
        stages: Blocks of the decoder's stages, coarse to fine.
        base_width: See ``Decoder``.
    """

    def __init__(
        self, channels: Sequence[int], width: int = 512, stages: tuple[int, int, int] = (3, 4, 6), base_width: int = 128
    ) -> None:
        super().__init__()
        first, second, third = channels
        self.decoder = Decoder(4 * width, stages, base_width)
        self.conv_x1 = nn.Sequential(BasicBlock(first, width, 2))
        self.conv_x2 = nn.Sequential(BasicBlock(second, width, 1))
        self.conv_x3 = nn.Sequential(UpBlock(third, width))
        self.bn1, self.bn3, self.bn5 = (ScaleBranch(width, kernel) for kernel in (1, 3, 5))
        self.out_bn3 = Joint(width)
        self.final = nn.ModuleList(conv(a, b, 1) for a, b in zip(self.decoder.widths, channels, strict=True))

    def forward(self, levels: Sequence[Tensor]) -> list[Float[Tensor, "B C h w"]]:
        """Return the general features of each level, finest first, with the encoder's channels."""
        met = [self.conv_x1(levels[0]), self.conv_x2(levels[1]), self.conv_x3(levels[2])]
        branches = torch.cat([branch(met) for branch in (self.bn1, self.bn3, self.bn5)], dim=1)
        decoded = self.decoder(self.out_bn3(branches))
        return [project(level) for project, level in zip(self.final, decoded, strict=True)]
