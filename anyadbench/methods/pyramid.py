"""Convolutional feature pyramids of pretrained networks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor, nn

from anyadbench.errors import UserError
from anyadbench.methods.backbones import feature_pyramid
from anyadbench.methods.freezing import freeze

if TYPE_CHECKING:
    from jaxtyping import Float

    from anyadbench.weights.resolved import ResolvedWeights


class Pyramid(nn.Module):
    """Features at strides 4, 8, 16 and, with four levels, 32; in a ResNet the outputs of ``layer1`` to ``layer4``.

    A frozen one is fixed and not stored with a cell (see ``freeze``).

    Args:
        weights: Resolved weights of a convolutional network, e.g. those of a context.
        levels: How many levels, from stride 4 on.
        frozen: Whether the network is fixed.

    Attributes:
        net: The network, timm's feature extractor.
        channels: Channels of each level, finest first.
        mean: Per-channel mean that the weights want subtracted from pixels in [0, 1].
        std: Per-channel divisor after that.

    Raises:
        UserError: If the network is not convolutional or lacks these strides.
    """

    def __init__(self, weights: ResolvedWeights, levels: int = 3, *, frozen: bool = True) -> None:
        super().__init__()
        wanted = tuple(4 * 2**level for level in range(levels))
        try:
            net = feature_pyramid(weights, tuple(range(1, levels + 1)))
        except (ValueError, AssertionError, IndexError) as error:
            raise UserError(_unfit(weights.architecture)) from error
        strides = tuple(int(stride) for stride in net.feature_info.reduction())  # type: ignore[union-attr, operator]
        if strides != wanted:
            raise UserError(_unfit(weights.architecture))
        self.net = net
        self.channels = tuple(int(width) for width in net.feature_info.channels())  # type: ignore[union-attr, operator]
        self.mean, self.std = weights.mean, weights.std
        self.fixed = frozen
        if frozen:
            freeze(self)

    def train(self, mode: bool = True) -> Pyramid:
        """Switch the mode; a frozen pyramid stays in eval mode."""
        super().train(mode and not self.fixed)
        return self

    def forward(self, pixels: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B C h w"]]:
        """Return the levels, finest first."""
        return list(self.net(pixels))


def _unfit(architecture: str) -> str:
    return (
        f"The backbone {architecture} has no features at strides 4, 8 and 16 (and 32 if the method needs it); use a "
        "convolutional network such as resnet18, wide_resnet50_2 or efficientnet_lite0."
    )


def untrained(weights: ResolvedWeights) -> ResolvedWeights:
    """Return the same architecture with timm's random initialisation instead of the weights."""
    return replace(weights, name=f"random:{weights.architecture}", kind="random", path=None, sha256=None)
