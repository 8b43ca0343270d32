"""The one-class bottleneck and the decoder of reverse distillation, for any pyramid.

Deng and Li, "Anomaly Detection via Reverse Distillation from One-Class Embedding", CVPR 2022, arXiv 2201.10703, in the
form of ``resnet.py`` and ``de_resnet.py`` of hq-deng/RD4AD. Entries of the state dicts have the published names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from anyadbench_baselines.parts.pyramid import Residual

if TYPE_CHECKING:
    from jaxtyping import Float

Levels = tuple[int, int, int]


def conv(width_in: int, width_out: int, size: int, stride: int = 1) -> nn.Conv2d:
    """Return a convolution without bias whose padding keeps the size at stride 1."""
    return nn.Conv2d(width_in, width_out, size, stride, padding=size // 2, bias=False)


def deconv(width_in: int, width_out: int) -> nn.ConvTranspose2d:
    """Return a transposed 2x2 convolution that doubles the size."""
    return nn.ConvTranspose2d(width_in, width_out, 2, 2, bias=False)


def initialise(module: nn.Module) -> None:
    """Initialise as torchvision's ResNet: convolutions Kaiming normal by fan-out, norms 1 and 0.

    Transposed convolutions keep torch's default, as in the published decoder.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(part, nn.BatchNorm2d):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)


class Block(nn.Module):
    """A residual block that keeps, halves or doubles the size.

    Args:
        width_in: Input channels.
        width_out: Output channels.
        plan: Basic or bottleneck, and the inner width.
        change: ``"keep"``, ``"halve"`` (a strided convolution) or ``"double"`` (a transposed one).
    """

    def __init__(self, width_in: int, width_out: int, plan: Residual, change: str = "keep") -> None:
        super().__init__()
        inner = width_out if plan.basic else int(width_out * plan.inner)
        resized: Callable[[int, int], nn.Module] = {
            "keep": lambda a, b: conv(a, b, 3),
            "halve": lambda a, b: conv(a, b, 3, 2),
            "double": deconv,
        }[change]
        if plan.basic:
            steps = [resized(width_in, inner), conv(inner, width_out, 3)]
        else:
            steps = [conv(width_in, inner, 1), resized(inner, inner), conv(inner, width_out, 1)]
        self.steps = len(steps)
        for number, step in enumerate(steps, 1):
            self.add_module(f"conv{number}", step)
            self.add_module(f"bn{number}", nn.BatchNorm2d(width_out if number == self.steps else inner))
        self.downsample = self.upsample = None
        if change == "halve":
            self.downsample = nn.Sequential(conv(width_in, width_out, 1, 2), nn.BatchNorm2d(width_out))
        elif change == "double":
            self.upsample = nn.Sequential(deconv(width_in, width_out), nn.BatchNorm2d(width_out))

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B D i j"]:
        """Return the block's output."""
        shortcut = self.downsample or self.upsample
        identity = x if shortcut is None else shortcut(x)
        for number in range(1, self.steps + 1):
            x = self.get_submodule(f"bn{number}")(self.get_submodule(f"conv{number}")(x))
            if number < self.steps:
                x = torch.relu(x)
        return torch.relu(x + identity)


class OneClassBottleneck(nn.Module):
    """Fuses three levels into one small code (``BN_layer``): multi-scale fusion, then residual blocks.

    ``conv4`` and ``bn4`` are in published checkpoints but never called; ``used`` omits them.

    Args:
        channels: Channels of the levels, finest first.
        plan: Kind of residual block.
    """

    def __init__(self, channels: Levels, plan: Residual) -> None:
        super().__init__()
        first, second, third = channels
        self.width = 2 * third
        self.bn_layer = nn.Sequential(
            Block(3 * third, self.width, plan, "halve"),
            *(Block(self.width, self.width, plan) for _ in range(plan.entry - 1)),
        )
        self.conv1, self.bn1 = conv(first, second, 3, 2), nn.BatchNorm2d(second)
        self.conv2, self.bn2 = conv(second, third, 3, 2), nn.BatchNorm2d(third)
        self.conv3, self.bn3 = conv(second, third, 3, 2), nn.BatchNorm2d(third)
        self.conv4, self.bn4 = conv(2 * self.width, self.width, 1), nn.BatchNorm2d(self.width)
        initialise(self)

    def used(self) -> list[nn.Parameter]:
        """Return the parameters used in the forward pass."""
        return [p for name, p in self.named_parameters() if not name.startswith(("conv4.", "bn4."))]

    def forward(self, levels: Sequence[Tensor]) -> Float[Tensor, "B D h w"]:
        """Return the code, at half the size of the coarsest level."""
        first = torch.relu(self.bn1(self.conv1(levels[0])))
        first = torch.relu(self.bn2(self.conv2(first)))
        second = torch.relu(self.bn3(self.conv3(levels[1])))
        code: Tensor = self.bn_layer(torch.cat([first, second, levels[2]], dim=1))
        return code


class ReverseDecoder(nn.Module):
    """Three stages of residual blocks, each doubling the size (``de_resnet.py``).

    Args:
        channels: Channels of the levels to reconstruct, finest first.
        plan: Kind of residual block.
        width: Channels of the code; twice those of the coarsest level if ``None``.
    """

    def __init__(self, channels: Levels, plan: Residual, width: int | None = None) -> None:
        super().__init__()
        widths = (width or 2 * channels[2], *reversed(channels))
        for number, blocks in enumerate(plan.stages, 1):
            before, after = widths[number - 1], widths[number]
            stage = [Block(before, after, plan, "double"), *(Block(after, after, plan) for _ in range(blocks - 1))]
            self.add_module(f"layer{number}", nn.Sequential(*stage))
        initialise(self)

    def forward(
        self, code: Float[Tensor, "B D h w"], skips: Sequence[Tensor | None] = (None, None), *, rectify: bool = False
    ) -> list[Float[Tensor, "B C h w"]]:
        """Return the reconstructed levels, finest first, before any skip is added.

        Args:
            code: Output of the bottleneck, or the coarsest features.
            skips: Added to the input of the second and of the third stage; ``None`` for nothing.
            rectify: Whether such a sum passes through a ReLU.
        """
        outputs = [self.get_submodule("layer1")(code)]
        for name, skip in zip(("layer2", "layer3"), skips, strict=True):
            x = outputs[0]
            if skip is not None:
                x = torch.relu(x + skip) if rectify else x + skip
            outputs.insert(0, self.get_submodule(name)(x))
        return outputs
