"""The normalising flow of AE-Flow: affine couplings with a global scale and fixed permutations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Float, Int

CLAMP = 2.0
"""Bound of the log-scales, the default of FrEIA's ``AllInOneBlock``."""


class ResidualSubnet(nn.Module):
    """ReLU(BN(3x3 convolution)) plus a 1x1 shortcut: the paper's choice except for chest X-rays."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width_in, width_out, 3, padding=1)
        self.bn = nn.BatchNorm2d(width_out)
        self.res = nn.Conv2d(width_in, width_out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the coupling's coefficients."""
        return torch.relu(self.bn(self.conv(x))) + self.res(x)


def conv_subnet(width_in: int, width_out: int, hidden: int = 256) -> nn.Sequential:
    """Return a 3x3 and a 1x1 convolution with a ReLU in between: the paper's choice for chest X-rays."""
    return nn.Sequential(nn.Conv2d(width_in, hidden, 3, padding=1), nn.ReLU(), nn.Conv2d(hidden, width_out, 1))


Subnet = Callable[[int, int], nn.Module]


class CouplingBlock(nn.Module):
    """One invertible step: the second half scaled and shifted by the first, a global affine map, a permutation.

    Gives the same numbers as ``AllInOneBlock`` of FrEIA 0.2 with hard permutation and SOFTPLUS scale (Ardizzone et
    al.); the permutation is stored as an index instead of two matrices.

    Args:
        channels: Channels.
        subnet: Builds the network from one half to the coefficients of the other.
    """

    permutation: Int[Tensor, " C"]

    def __init__(self, channels: int, subnet: Subnet) -> None:
        super().__init__()
        self.halves = (channels - channels // 2, channels // 2)
        self.subnet = subnet(self.halves[0], 2 * self.halves[1])
        start = 2 * math.log(math.exp(5.0) - 1)  # the scale below is 1 there
        self.global_scale = nn.Parameter(torch.full((1, channels, 1, 1), start))
        self.global_offset = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.register_buffer("permutation", torch.randperm(channels))

    def _coupling(self, fixed: Tensor) -> tuple[Tensor, Tensor]:
        coefficients = 0.1 * self.subnet(fixed).float()
        log_scale, shift = torch.chunk(coefficients, 2, dim=1)
        return CLAMP * torch.tanh(log_scale), shift

    def _scale(self) -> Float[Tensor, "1 C 1 1"]:
        return 0.1 * F.softplus(self.global_scale, beta=0.5)

    def forward(self, x: Float[Tensor, "B C h w"]) -> tuple[Float[Tensor, "B C h w"], Float[Tensor, " B"]]:
        """Return the transformed features and the logarithm of the Jacobian's determinant."""
        fixed, moved = torch.split(x, [*self.halves], dim=1)
        log_scale, shift = self._coupling(fixed)
        scale = self._scale()
        out = torch.cat([fixed, moved * log_scale.exp() + shift], dim=1) * scale + self.global_offset
        places = x.shape[-2] * x.shape[-1]
        return out[:, self.permutation], log_scale.sum((1, 2, 3)) + places * scale.log().sum()

    def inverse(self, z: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        """Undo ``forward``."""
        z = (z[:, torch.argsort(self.permutation)] - self.global_offset) / self._scale()
        fixed, moved = torch.split(z, [*self.halves], dim=1)
        log_scale, shift = self._coupling(fixed)
        return torch.cat([fixed, (moved - shift) * torch.exp(-log_scale)], dim=1)


class Flow(nn.ModuleList):
    """A chain of coupling blocks."""

    def __init__(self, channels: int, blocks: int, subnet: Subnet) -> None:
        super().__init__(CouplingBlock(channels, subnet) for _ in range(blocks))

    def forward(self, x: Float[Tensor, "B C h w"]) -> tuple[Float[Tensor, "B C h w"], Float[Tensor, " B"]]:
        """Return the transformed features and the total log-determinant."""
        total = x.new_zeros(x.shape[0], dtype=torch.promote_types(x.dtype, torch.float32))
        for block in self:
            x, log_det = block(x)
            total = total + log_det
        return x, total

    def inverse(self, z: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        """Undo ``forward``."""
        for block in reversed(list(self)):
            z = block.inverse(z)  # type: ignore[operator]
        return z


def log_normal(z: Float[Tensor, "B C h w"]) -> Float[Tensor, " B"]:
    """Return the log-density of the standard normal distribution."""
    flat = z.float().flatten(1)
    return -0.5 * flat.square().sum(1) - 0.5 * flat.shape[1] * math.log(2 * math.pi)
