"""ReContrast: a trained and a frozen encoder, each reconstructed from the other's features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from anyadbench.methods.contract import Batch, Context, Losses, OptimizerSpec, Scores
from anyadbench_baselines.parts.base import FeatureMethod
from anyadbench_baselines.parts.cosine import map_sum, mined_distance
from anyadbench_baselines.parts.pyramid import Pyramid, Residual, residual_for
from anyadbench_baselines.parts.reverse import Levels, OneClassBottleneck, ReverseDecoder, initialise

if TYPE_CHECKING:
    from collections.abc import Sequence


class TwoHeadDecoder(ReverseDecoder):
    """Reverse distillation's decoder with two 1x1 heads per level, one for each encoder's features."""

    def __init__(self, channels: Levels, plan: Residual) -> None:
        super().__init__(channels, plan)
        for level, width in enumerate(channels, 1):
            self.add_module(f"out{level}", nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(2)))
        initialise(self)

    def both(self, code: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Decode a code whose batch is the trained encoder's half followed by the frozen one's.

        Returns:
            Reconstruction of the frozen encoder's levels (head 0 of the first half), and of the trained encoder's
            (head 1 of the second half), finest first.
        """
        frozen, trained = [], []
        for level, x in enumerate(self.forward(code), 1):
            first, second = x.reshape(2, -1, *x.shape[1:]).unbind()
            heads = self.get_submodule(f"out{level}")
            frozen.append(heads[0](first))  # type: ignore[index]
            trained.append(heads[1](second))  # type: ignore[index]
        return frozen, trained


class ReContrast(FeatureMethod):
    """ReContrast (Guo et al., NeurIPS 2023, arXiv 2306.02602; ``models/recontrast.py`` of guojiajeremy/ReContrast).

    Both encoders start from the same weights. Each one's features are decoded from the other's code, and targets are
    always detached, so the trained encoder learns through its code alone. Whether its batch norm uses batch statistics
    is a parameter: the authors switch by data set (``train`` for APTOS and ISIC, ``eval`` for OCT2017).
    """

    frozen = ("teacher.",)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.encoder = Pyramid(context.weights, frozen=False)
        self.teacher = Pyramid(context.weights)
        # Otherwise random weights would be drawn twice, but the pair must start equal.
        self.teacher.load_state_dict(self.encoder.state_dict())
        plan = residual_for(context.weights.architecture)
        channels = self.encoder.channels
        levels = (channels[0], channels[1], channels[2])
        self.bottleneck = OneClassBottleneck(levels, plan)
        self.decoder = TwoHeadDecoder(levels, plan)
        self.fixed_statistics = context.params["encoder_norm"] == "eval"

    def train(self, mode: bool = True) -> ReContrast:
        """Switch the mode; the trained encoder's batch norm follows the parameter ``encoder_norm``."""
        super().train(mode)
        if self.fixed_statistics:
            self.encoder.eval()
        return self

    def pairs(self, pixels: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return six targets and their reconstructions: the frozen encoder's levels, then the trained one's."""
        mine, theirs = self.encoder(pixels), self.teacher(pixels)
        code = self.bottleneck([torch.cat(pair) for pair in zip(mine, theirs, strict=True)])
        frozen, trained = self.decoder.both(code)
        return [*theirs, *(x.detach() for x in mine)], [*frozen, *trained]

    def optimizers(self) -> Mapping[str, OptimizerSpec]:
        """Return one AdamW with two groups, equal to the two published optimisers, which are independent."""
        params = self.context.params
        groups: Sequence[dict[str, object]] = [
            {"params": [*self.decoder.parameters(), *self.bottleneck.used()], "lr": float(params["lr"])},
            {"params": list(self.encoder.parameters()), "lr": float(params["encoder_lr"])},
        ]
        return {"main": OptimizerSpec(torch.optim.AdamW(groups, weight_decay=float(params["weight_decay"])))}

    def training_step(self, batch: Batch, step: int, total: int) -> Mapping[str, Losses]:
        """Return half the mined distance of each encoder's three levels."""
        targets, decoded = self.pairs(self.inputs(batch))
        alpha = mining_threshold(step, total, float(self.context.params["mining_ramp"]))
        names = ("to_frozen", "to_trained")
        halves = (slice(0, 3), slice(3, 6))
        # The published sum of three, halved, is 1.5 times their mean.
        losses = {n: 1.5 * mined_distance(targets[h], decoded[h], alpha) for n, h in zip(names, halves, strict=True)}
        return {"main": losses}

    def score(self, batch: Batch) -> Scores:
        """Return the smoothed sum of the six distance maps."""
        targets, decoded = self.pairs(self.inputs(batch))
        return self.scores(map_sum(targets, decoded, self.size))


def mining_threshold(step: int, total: int, ramp: float) -> float:
    """Return the standard deviations above the mean that count as hard: from -3 to 1 over ``ramp`` of the steps."""
    return min(-3 + 4 * step / max(total * ramp, 1e-9), 1.0)
