"""Blocks of UniMMAD (``norm_and_act.py``, ``RD_resnet.py``, ``RD_de_resnet.py`` of yuanzhao-CVLAB/UniMMAD at cb269af).

Entries of the state dicts have the published names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Float


def group_count(channels: int) -> int:
    """Return the largest of 32, 16, 8, 4, 2 and 1 that divides the channels."""
    return next(count for count in (32, 16, 8, 4, 2, 1) if channels % count == 0)


def norm_relu(channels: int) -> nn.Sequential:
    """Return group norm and ReLU."""
    return nn.Sequential(nn.GroupNorm(group_count(channels), channels), nn.ReLU())


def conv(width_in: int, width_out: int, size: int, stride: int = 1, *, bias: bool = False) -> nn.Conv2d:
    """Return a convolution whose padding keeps the size at stride 1; one of side 2 has no padding."""
    return nn.Conv2d(width_in, width_out, size, stride, padding=0 if size == 2 else size // 2, bias=bias)


def conv_norm_relu(width_in: int, width_out: int) -> nn.Sequential:
    """Return a 1x1 convolution without bias, group norm and ReLU."""
    return nn.Sequential(conv(width_in, width_out, 1), norm_relu(width_out))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm; the shortcut is a bare 1x1 convolution.

    Args:
        width_in: Input channels.
        width_out: Output channels.
        stride: 2 halves the size.
    """

    def __init__(self, width_in: int, width_out: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(width_in, width_out, 3, stride), nn.BatchNorm2d(width_out)
        self.conv2, self.bn2 = conv(width_out, width_out, 3), nn.BatchNorm2d(width_out)
        self.downsample = nn.Conv2d(width_in, width_out, 1, stride, bias=False)

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B D i j"]:
        """Return the block's output."""
        out = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(out)) + self.downsample(x))


class UpBlock(nn.Module):
    """A basic block that doubles the size by transposed convolutions; that of the shortcut has side 4 and a bias."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.conv1 = nn.ConvTranspose2d(width_in, width_out, 2, 2, bias=False)
        self.bn1 = nn.BatchNorm2d(width_out)
        self.conv2, self.bn2 = conv(width_out, width_out, 3), nn.BatchNorm2d(width_out)
        self.upsample = nn.ConvTranspose2d(width_in, width_out, 4, 2, padding=1)

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B D i j"]:
        """Return the block's output."""
        out = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(out)) + self.upsample(x))


class BottleneckBlock(nn.Module):
    """A bottleneck of the decoder of reverse distillation; with ``double`` it doubles the size.

    Args:
        width_in: Input channels.
        width_out: Output channels.
        inner: Channels inside.
        double: Whether the middle convolution is transposed, with a shortcut to match.
    """

    def __init__(self, width_in: int, width_out: int, inner: int, *, double: bool = False) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(width_in, inner, 1), nn.BatchNorm2d(inner)
        self.conv2 = nn.ConvTranspose2d(inner, inner, 2, 2, bias=False) if double else conv(inner, inner, 3)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3, self.bn3 = conv(inner, width_out, 1), nn.BatchNorm2d(width_out)
        self.upsample: nn.Module | None = None
        if double:
            enlarge = nn.ConvTranspose2d(width_in, width_out, 2, 2, bias=False)
            self.upsample = nn.Sequential(enlarge, nn.BatchNorm2d(width_out))

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B D i j"]:
        """Return the block's output."""
        out = torch.relu(self.bn1(self.conv1(x)))
        out = torch.relu(self.bn2(self.conv2(out)))
        identity = x if self.upsample is None else self.upsample(x)
        return torch.relu(self.bn3(self.conv3(out)) + identity)


class Decoder(nn.Module):
    """Three stages of bottlenecks, each doubling the size and halving the channels.

    Args:
        width: Channels of the code.
        stages: Blocks of each stage, coarse to fine.
        base_width: 64 for a quarter of a stage's channels inside its bottlenecks, 128 for half of them.
    """

    def __init__(self, width: int, stages: tuple[int, int, int], base_width: int) -> None:
        super().__init__()
        self.widths = (width // 8, width // 4, width // 2)
        before = width
        for number, (blocks, after) in enumerate(zip(stages, reversed(self.widths), strict=True), 1):
            inner = after * base_width // 256
            stage = [BottleneckBlock(before, after, inner, double=True)]
            stage += [BottleneckBlock(after, after, inner) for _ in range(blocks - 1)]
            self.add_module(f"layer{number}", nn.Sequential(*stage))
            before = after
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, code: Float[Tensor, "B D h w"]) -> list[Float[Tensor, "B C h w"]]:
        """Return the levels, finest first."""
        levels: list[Tensor] = []
        for number in (1, 2, 3):
            code = self.get_submodule(f"layer{number}")(code)
            levels.insert(0, code)
        return levels
