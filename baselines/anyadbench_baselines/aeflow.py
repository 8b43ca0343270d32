"""AE-Flow: an autoencoder whose code passes through a normalising flow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anyadbench.methods.contract import Batch, Context, Losses, OptimizerSpec, Scores
from anyadbench.methods.inputs import as_channels, normalise, resize
from anyadbench_baselines.dae import mean_shown
from anyadbench_baselines.flow import Flow, ResidualSubnet, Subnet, conv_subnet, log_normal
from anyadbench_baselines.parts.base import FeatureMethod
from anyadbench_baselines.parts.precision import full_precision
from anyadbench_baselines.parts.pyramid import Pyramid

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


class AeFlow(FeatureMethod):
    """AE-FLOW (Zhao et al., ICLR 2023, OpenReview 9OmCr1q54Z).

    There is no official code. The architecture is the paper's, as quoted in the comments of pimpraat/ae_flow; where
    the open re-implementations disagree, the choice is a parameter or listed in the descriptor's departures.
    """

    frozen = ("encoder.",)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        params = context.params
        self.encoder = Pyramid(context.weights)
        width = self.encoder.channels[2]
        hidden = int(params["subnet_hidden"])
        subnet: Subnet = ResidualSubnet if params["subnet"] == "resnet" else partial(conv_subnet, hidden=hidden)
        self.flow = Flow(width, int(params["flow_blocks"]), subnet)
        self.decoder = decoder(width)
        self.alpha, self.beta = float(params["flow_weight"]), float(params["flow_score_weight"])

    def optimizers(self) -> Mapping[str, OptimizerSpec]:
        """Return Adam over flow and decoder."""
        params = self.context.params
        trained = [*self.flow.parameters(), *self.decoder.parameters()]
        optimizer = torch.optim.Adam(trained, lr=float(params["lr"]), weight_decay=float(params["weight_decay"]))
        return {"main": OptimizerSpec(optimizer)}

    def rebuild(self, batch: Batch) -> tuple[Tensor, Tensor, Bool[Tensor, "B 3"], Tensor, Tensor]:
        """Return image and reconstruction in [-1, 1], visible channels, the flow's output and log-determinant."""
        weights = self.context.weights
        channels, visible = as_channels(resize(batch.inputs, self.image_size), batch.shown, self.missing)
        keep = visible if self.missing == "zero-norm" else None
        with torch.no_grad():
            code = self.encoder(normalise(channels, weights.mean, weights.std, keep))[2]
        moved, log_det = self.flow(code)
        return 2 * channels.clamp(0, 1) - 1, self.decoder(moved).float(), visible, moved, log_det

    def training_step(self, batch: Batch, step: int, total: int) -> Mapping[str, Losses]:
        """Return the flow's negative log-likelihood in bits per dimension and the squared error, both weighted."""
        del step, total
        picture, rebuilt, visible, moved, log_det = self.rebuild(batch)
        likelihood = log_normal(moved) + log_det
        bits = -likelihood.mean() / (moved[0].numel() * math.log(2))
        error = mean_shown((picture - rebuilt).square().flatten(2).mean(2), visible).mean()
        return {"main": {"flow": self.alpha * bits, "reconstruction": (1 - self.alpha) * error}}

    def score(self, batch: Batch) -> Scores:
        """Return the smoothed absolute error, and the weighted sum of likelihood and dissimilarity."""
        picture, rebuilt, visible, moved, _ = self.rebuild(batch)
        scores = self.scores(mean_shown((picture - rebuilt).abs(), visible))
        if self.image_score != "flow":
            return scores
        unlikely = -log_normal(moved) / moved[0].numel()
        alike = mean_shown(ssim((picture + 1) / 2, (rebuilt + 1) / 2), visible)
        return Scores(scores.maps, self.beta * unlikely - (1 - self.beta) * alike)


def decoder(width: int, channels: int = 3) -> nn.Sequential:
    """Return four upsamplings by 2, the first three followed by a 3x3 convolution, ReLU after each, tanh at the end.

    For 1024 channels the widths are the paper's 512, 256 and 64; narrower codes keep the ratios, with at least 16.
    """
    parts: list[nn.Module] = []
    before = width
    for after in (max(width // ratio, 16) for ratio in (2, 4, 16)):
        parts += [nn.ConvTranspose2d(before, after, 2, 2), nn.ReLU(), nn.Conv2d(after, after, 3, padding=1), nn.ReLU()]
        before = after
    return nn.Sequential(*parts, nn.ConvTranspose2d(before, channels, 2, 2), nn.Tanh())


@full_precision
def ssim(
    first: Float[Tensor, "B C h w"], second: Float[Tensor, "B C h w"], window: int = 11, sigma: float = 1.5
) -> Float[Tensor, "B C"]:
    """Return the structural similarity of images in [0, 1] per channel (Wang et al., 2004), over whole windows."""
    offsets = torch.arange(window, device=first.device, dtype=first.dtype) - window // 2
    line = torch.softmax(-offsets.square() / (2 * sigma**2), dim=0)
    kernel = (line[:, None] * line[None, :])[None, None]

    def local(x: Tensor) -> Tensor:
        return F.conv2d(x.flatten(0, 1)[:, None], kernel).reshape(*x.shape[:2], -1)

    m1, m2 = local(first), local(second)
    v1, v2 = local(first * first) - m1 * m1, local(second * second) - m2 * m2
    both = local(first * second) - m1 * m2
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * m1 * m2 + c1) * (2 * both + c2) / ((m1 * m1 + m2 * m2 + c1) * (v1 + v2 + c2))
    return similarity.mean(-1)
