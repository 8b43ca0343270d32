"""ESC-DRKD: direct reverse distillation with projected skips that repair pasted anomalies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from anyadbench.methods.contract import Batch, Context, Losses, OptimizerSpec, Scores
from anyadbench.methods.inputs import as_channels, normalise, resize
from anyadbench_baselines.parts.base import FeatureMethod
from anyadbench_baselines.parts.cosine import map_sum, mean_distance
from anyadbench_baselines.parts.pyramid import Pyramid, residual_for
from anyadbench_baselines.parts.reverse import ReverseDecoder

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

SIDES = ((150, 200, 0.2), (64, 100, 0.3), (10, 32, 0.5))
"""Smallest and largest side of a pasted patch at 256 pixels, and its probability (``MRI/train_MRI.py``)."""


class CentreMaskedConv(nn.Conv2d):
    """A 3x3 convolution that does not see its own position.

    The published code sets the weights' centre to zero in place in every forward pass; here the product omits it, which
    gives the same output and leaves the state dict alone.
    """

    centre: Float[Tensor, "1 1 3 3"]

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__(width_in, width_out, 3, padding=1)
        centre = torch.ones(1, 1, 3, 3)
        centre[..., 1, 1] = 0
        self.register_buffer("centre", centre, persistent=False)

    def forward(self, input: Tensor) -> Tensor:
        """Return the convolution without its centre tap."""
        return self._conv_forward(input, self.weight * self.centre, self.bias)


class Projection(nn.Sequential):
    """Six convolutions that map a level's features to those of a normal slice (``Projection``).

    Args:
        width: Channels of the level.
    """

    def __init__(self, width: int) -> None:
        half, quarter = width // 2, width // 4
        parts: list[nn.Module] = []
        plain = ((width, half), (half, quarter), (quarter, half), (half, width))
        layers: list[nn.Conv2d] = [CentreMaskedConv(width, half), CentreMaskedConv(half, width)]
        layers += [nn.Conv2d(before, after, 3, padding=1) for before, after in plain]
        for layer in layers:
            parts += [layer, nn.InstanceNorm2d(layer.out_channels), nn.LeakyReLU(0.01)]
        super().__init__(*parts)


class EscDrkd(FeatureMethod):
    """ESC-DRKD (Ge et al., Neurocomputing 2025, art. 130994; GE-123-cpu/ESC_DRKD).

    In training a patch of the slice is pasted elsewhere. Projections learn to map the damaged slice's features back to
    the clean ones, and the decoder reads the clean deepest level with the projected levels as skips, without a ReLU.
    The finest projection is trained but its output is unused, as published.
    """

    frozen = ("encoder.",)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.encoder = Pyramid(context.weights, 4)
        first, second, third, deepest = self.encoder.channels
        self.projections = nn.ModuleList(Projection(width) for width in (first, second, third))
        plan = residual_for(context.weights.architecture)
        self.decoder = ReverseDecoder((first, second, third), plan, deepest)

    def optimizers(self) -> Mapping[str, OptimizerSpec]:
        """Return one Adam with the published learning rates of projections and decoder."""
        params = self.context.params
        groups = [
            {"params": list(self.decoder.parameters()), "lr": float(params["lr"])},
            {"params": list(self.projections.parameters()), "lr": float(params["projection_lr"])},
        ]
        return {"main": OptimizerSpec(torch.optim.Adam(groups, betas=(float(params["beta1"]), 0.999)))}

    def project(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Return the projected first three levels."""
        return [projection(level) for projection, level in zip(self.projections, levels, strict=False)]

    def training_step(self, batch: Batch, step: int, total: int) -> Mapping[str, Losses]:
        """Return the cosine distance of projected and of reconstructed levels to the clean ones."""
        del step, total
        channels, visible = as_channels(resize(batch.inputs, self.image_size), batch.shown, self.missing)
        clean = self.encoder(self._normalised(channels, visible))
        damaged = self.encoder(self._normalised(cut_paste(channels), visible))
        projected = self.project(damaged)
        decoded = self.decoder(clean[3], (projected[2], projected[1]))
        return {
            "main": {
                "projection": mean_distance(clean[:3], projected),
                "distillation": mean_distance(clean[:3], decoded),
            }
        }

    def _normalised(self, channels: Float[Tensor, "B 3 h w"], visible: Bool[Tensor, "B 3"]) -> Tensor:
        weights = self.context.weights
        keep = visible if self.missing == "zero-norm" else None
        return normalise(channels, weights.mean, weights.std, keep)

    def score(self, batch: Batch) -> Scores:
        """Return the smoothed mean of the levels' distance maps, with skips from the slice's own features."""
        levels = self.encoder(self.inputs(batch))
        projected = self.project(levels)
        decoded = self.decoder(levels[3], (projected[2], projected[1]))
        return self.scores(map_sum(levels[:3], decoded, self.size) / 3)


def cut_paste(channels: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B 3 h w"]:
    """Paste a square of each slice elsewhere in it, added to a fifth of the values there.

    The side is drawn once per batch and scales with the input (the publication has 256 pixels only); channels without a
    sequence stay zero. Draws come from torch's generator.
    """
    height, width = channels.shape[-2:]
    low, high, _ = SIDES[int(torch.multinomial(torch.tensor([part[2] for part in SIDES]), 1))]
    side = int(torch.randint(low, high + 1, ()) * min(height, width) / 256)
    side = min(max(side, 1), height, width)
    damaged = channels.clone()
    for index in range(len(channels)):
        tops = torch.randint(0, height - side + 1, (2,)).tolist()
        lefts = torch.randint(0, width - side + 1, (2,)).tolist()
        patch = channels[index, :, tops[0] : tops[0] + side, lefts[0] : lefts[0] + side]
        place = damaged[index, :, tops[1] : tops[1] + side, lefts[1] : lefts[1] + side]
        place.copy_(patch + 0.2 * place)
    return damaged
