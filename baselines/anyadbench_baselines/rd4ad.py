"""RD4AD: a decoder reconstructs a frozen encoder's features from a one-class code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from anyadbench.methods.contract import Batch, Context, Losses, OptimizerSpec, Scores
from anyadbench_baselines.parts.base import FeatureMethod, load_module
from anyadbench_baselines.parts.cosine import flat_distance, map_sum
from anyadbench_baselines.parts.pyramid import Pyramid, residual_for
from anyadbench_baselines.parts.reverse import OneClassBottleneck, ReverseDecoder

if TYPE_CHECKING:
    from jaxtyping import Float

    Features = list[Float[Tensor, "B C h w"]]


class Rd4ad(FeatureMethod):
    """Reverse distillation (Deng and Li, CVPR 2022, arXiv 2201.10703; ``main.py`` of hq-deng/RD4AD).

    The loss compares whole flattened maps, as the published code does; the paper has a cosine per position.
    """

    frozen = ("encoder.",)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.encoder = Pyramid(context.weights)
        plan = residual_for(context.weights.architecture)
        channels = self.encoder.channels
        levels = (channels[0], channels[1], channels[2])
        self.bottleneck = OneClassBottleneck(levels, plan)
        self.decoder = ReverseDecoder(levels, plan)

    def pyramids(self, pixels: Float[Tensor, "B 3 h w"]) -> tuple[Features, Features]:
        """Return the encoder's levels and the reconstructed ones, finest first."""
        features = self.encoder(pixels)
        return features, self.decoder(self.bottleneck(features))

    def optimizers(self) -> Mapping[str, OptimizerSpec]:
        """Return Adam over decoder and bottleneck, without the bottleneck's unused layers."""
        params = self.context.params
        trained = [*self.decoder.parameters(), *self.bottleneck.used()]
        betas = (float(params["beta1"]), 0.999)
        return {"main": OptimizerSpec(torch.optim.Adam(trained, lr=float(params["lr"]), betas=betas))}

    def training_step(self, batch: Batch, step: int, total: int) -> Mapping[str, Losses]:
        """Return the flattened cosine distance, summed over the levels."""
        del step, total
        features, decoded = self.pyramids(self.inputs(batch))
        return {"main": {"distillation": flat_distance(features, decoded)}}

    def score(self, batch: Batch) -> Scores:
        """Return the smoothed sum of the levels' distance maps."""
        features, decoded = self.pyramids(self.inputs(batch))
        return self.scores(map_sum(features, decoded, self.size))

    def load_published(self, states: Mapping[str, Any]) -> None:
        """Load the state dicts ``bn`` and ``decoder`` that the authors' training saves."""
        load_module(self.bottleneck, states.get("bn", {}), "bn")
        load_module(self.decoder, states.get("decoder", {}), "decoder")
