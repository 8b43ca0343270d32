"""Skip-TS: a decoder of the deepest features, with skips from the teacher and a scale consistency loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from anyadbench.methods.contract import Batch, Context, Losses, OptimizerSpec, Scores
from anyadbench_baselines.parts.base import FeatureMethod
from anyadbench_baselines.parts.cosine import flat_distance, map_sum, wide
from anyadbench_baselines.parts.pyramid import Pyramid, residual_for
from anyadbench_baselines.parts.reverse import ReverseDecoder

if TYPE_CHECKING:
    from jaxtyping import Float


class SkipTs(FeatureMethod):
    """Skip-TS (Liu et al., IEEE Trans. Instrumentation and Measurement 2024; Arktis2022/Skip-TS).

    No bottleneck: the decoder of reverse distillation reads the deepest level itself ("direct reverse distillation").
    The parameter ``res`` is the published switch: 1 for no skip, 2 for the third level into the second stage, 3 for the
    second level into the third as well. Sums pass through a ReLU, and losses and maps use the levels before the sums.
    """

    frozen = ("encoder.",)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.encoder = Pyramid(context.weights, 4)
        first, second, third, deepest = self.encoder.channels
        plan = residual_for(context.weights.architecture)
        self.decoder = ReverseDecoder((first, second, third), plan, deepest)
        self.skips = int(context.params["res"])
        self.rate = float(context.params["consistency_weight"])

    def pyramids(self, pixels: Float[Tensor, "B 3 h w"]) -> tuple[list[Tensor], list[Tensor]]:
        """Return the encoder's first three levels and the reconstructed ones, finest first."""
        *features, deepest = self.encoder(pixels)
        skips = (features[2] if self.skips > 1 else None, features[1] if self.skips > 2 else None)
        return features, self.decoder(deepest, skips, rectify=True)

    def optimizers(self) -> Mapping[str, OptimizerSpec]:
        """Return Adam over the decoder."""
        params = self.context.params
        betas = (float(params["beta1"]), 0.999)
        return {"main": OptimizerSpec(torch.optim.Adam(self.decoder.parameters(), lr=float(params["lr"]), betas=betas))}

    def training_step(self, batch: Batch, step: int, total: int) -> Mapping[str, Losses]:
        """Return the flattened cosine distance and the weighted consistency of the levels' errors."""
        del step, total
        features, decoded = self.pyramids(self.inputs(batch))
        return {
            "main": {
                "distillation": flat_distance(features, decoded),
                "consistency": self.rate * consistency(features, decoded, self.image_size // 4),
            }
        }

    def score(self, batch: Batch) -> Scores:
        """Return the smoothed sum of the levels' distance maps."""
        features, decoded = self.pyramids(self.inputs(batch))
        return self.scores(map_sum(features, decoded, self.size))


def consistency(targets: Sequence[Tensor], decoded: Sequence[Tensor], side: int) -> Float[Tensor, ""]:
    """Return how much the levels' mean squared errors differ (multiscale anomaly consistency).

    Each level's error is also computed with both maps enlarged to ``side`` (64 in the published code, which assumes
    256 pixels); the differences are |third' - second| + |second' - first| + |third' - first|, with ' for enlarged.
    """
    pairs = [(wide(t), wide(d)) for t, d in zip(targets, decoded, strict=True)]
    plain = [F.mse_loss(d, t) for t, d in pairs]
    large = [F.mse_loss(_enlarge(d, side), _enlarge(t, side)) for t, d in pairs[1:]]
    return (large[1] - plain[1]).abs() + (large[0] - plain[0]).abs() + (large[1] - plain[0]).abs()


def _enlarge(x: Tensor, side: int) -> Tensor:
    return F.interpolate(x, (side, side), mode="bilinear", align_corners=True)
