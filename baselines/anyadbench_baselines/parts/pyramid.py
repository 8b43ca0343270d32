"""Convolutional feature pyramids of pretrained networks, and the matching shape of decoders for them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import Tensor, nn

from anyadbench.errors import UserError
from anyadbench.weights import ResolvedWeights, feature_pyramid

if TYPE_CHECKING:
    from jaxtyping import Float


class Pyramid(nn.Module):
    """Features at strides 4, 8, 16 and, with four levels, 32; in a ResNet the outputs of ``layer1`` to ``layer4``.

    Frozen pyramids stay in eval mode, so that batch norm keeps its pretrained statistics, and record no gradient.

    Args:
        weights: Resolved weights of a convolutional network.
        levels: Number of levels, starting at stride 4.
        frozen: Whether the network is fixed.

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
        self.fixed = frozen
        self.channels = tuple(int(width) for width in net.feature_info.channels())  # type: ignore[union-attr, operator]
        self.mean, self.std = weights.mean, weights.std
        if frozen:
            self.requires_grad_(False)
            self.eval()

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


@dataclass(frozen=True)
class Residual:
    """The kind of residual blocks that mirror a backbone.

    Attributes:
        basic: Two 3x3 convolutions per block instead of a bottleneck of three.
        inner: Width inside a bottleneck block as a fraction of its output width.
        entry: Blocks of the one-class bottleneck.
        stages: Blocks of the decoder's stages, coarse to fine.
    """

    basic: bool = True
    inner: float = 1.0
    entry: int = 2
    stages: tuple[int, int, int] = (2, 2, 2)


MIRRORED = {
    "resnet18": Residual(True, 1.0, 2, (2, 2, 2)),
    "resnet34": Residual(True, 1.0, 3, (3, 4, 6)),
    "resnet50": Residual(False, 0.25, 3, (3, 4, 6)),
    "resnet101": Residual(False, 0.25, 3, (3, 4, 23)),
    "resnet152": Residual(False, 0.25, 3, (3, 8, 36)),
    "wide_resnet50_2": Residual(False, 0.5, 3, (3, 4, 6)),
    "wide_resnet101_2": Residual(False, 0.5, 3, (3, 4, 23)),
}
"""A ResNet's own blocks in mirrored order, as in ``resnet.py`` and ``de_resnet.py`` of hq-deng/RD4AD."""


def residual_for(architecture: str) -> Residual:
    """Return the blocks for a backbone; one missing from ``MIRRORED`` gets basic ones, which is a choice."""
    return MIRRORED.get(architecture.partition(".")[0], Residual())
