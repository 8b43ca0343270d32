"""GatingAno: an adversarial autoencoder whose skip connections close during training."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anyadbench.methods.contract import Batch, Context, Loop, OptimizerSpec, Scores
from anyadbench.methods.graph import GraphMethod
from anyadbench.methods.inputs import fill_missing, resize
from anyadbench_baselines.dae import mean_shown
from anyadbench_baselines.parts.base import to_scores
from anyadbench_baselines.parts.hog import hog_picture
from anyadbench_baselines.parts.precision import full_precision

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

CELLS = (4, 8, 16)
"""Cell sides of the gradient images (``data_find.py``); each slice draws one."""

PUBLISHED_EPOCHS = 200
"""Number of passes for which the gates' published rates are meant; budgets in steps scale them to their length."""
VISITS = 3
"""Passes over the normals that equal one of the publication's, whose list contains every patch three times."""


class DoubleConv(nn.Sequential):
    """Two rounds of 3x3 convolution without bias, batch norm and ReLU."""

    def __init__(self, width_in: int, width_out: int, middle: int | None = None) -> None:
        parts: list[nn.Module] = []
        widths = (width_in, middle or width_out, width_out)
        for before, after in pairwise(widths):
            parts += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
        super().__init__(*parts)


class Up(nn.Module):
    """Doubles the size and joins a gated skip; the level below gets a gradient through the gate alone.

    Args:
        width_in: Channels of either input.
        width_out: Channels of the output.
    """

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.conv = DoubleConv(2 * width_in, width_out, width_in)

    def forward(self, below: Tensor, skip: Tensor, gate: Tensor | float) -> Tensor:
        """Join ``gate * skip + (1 - gate) * below`` with a detached copy of the enlarged lower features."""
        below = F.interpolate(below, skip.shape[-2:], mode="bilinear", align_corners=True)
        joined: Tensor = self.conv(torch.cat([gate * skip + (1 - gate) * below, below.detach()], dim=1))
        return joined


class Generator(nn.Module):
    """The gated U-Net (``models.py`` of WentianZhang-ML/GatingAno).

    Args:
        channels: Channels of the input.
        outputs: Channels of the output.
        width: Channels of the finest level.
    """

    def __init__(self, channels: int, outputs: int, width: int = 64) -> None:
        super().__init__()
        widths = (width, 2 * width, 4 * width, 8 * width, 8 * width)
        self.inc = DoubleConv(channels, width)
        self.down = nn.ModuleList(DoubleConv(a, b) for a, b in pairwise(widths))
        self.up = nn.ModuleList(
            Up(a, b) for a, b in ((widths[4], widths[2]), (widths[2], widths[1]), (widths[1], width), (width, width))
        )
        self.outc = nn.Conv2d(width, outputs, 1)

    def encode(self, x: Tensor) -> list[Tensor]:
        """Return the five levels, finest first."""
        levels = [self.inc(x)]
        for block in self.down:
            levels.append(block(F.max_pool2d(levels[-1], 2)))
        return levels

    def forward(self, x: Float[Tensor, "B C h w"], gates: Float[Tensor, " 4"]) -> tuple[Tensor, Tensor]:
        """Return the deepest features and the output."""
        *skips, deepest = self.encode(x)
        x = deepest
        for block, skip, gate in zip(self.up, reversed(skips), gates, strict=True):
            x = block(x, skip, gate)
        return deepest, self.outc(x)


class Discriminator(nn.Sequential):
    """PatchGAN with spectral norm, ending in a sigmoid; one network judges single images of either kind."""

    def __init__(self, width: int = 64) -> None:
        widths = (1, width, 2 * width, 4 * width, 8 * width, 1)
        parts: list[nn.Module] = []
        for index, (before, after) in enumerate(pairwise(widths)):
            convolution = nn.Conv2d(before, after, 4, 2 if index < 3 else 1, 1, bias=False)
            nn.init.normal_(convolution.weight, 0.0, 0.02)
            parts += [nn.utils.spectral_norm(convolution), nn.LeakyReLU(0.2)]
        super().__init__(*parts[:-1], nn.Sigmoid())


class GatingAno(GraphMethod):
    """GatingAno (Zhang et al., Pattern Recognition 2024, art. 110167; WentianZhang-ML/GatingAno).

    A method for grey fundus images: each sequence here is one grey image of the stack, with its own image of oriented
    gradients as second target. The released code does not run as is; apart from names, this follows it.
    """

    gates: Float[Tensor, " 4"]

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        params = context.params
        self.image_size = int(params["image_size"])
        self.count = len(context.sequences)
        width = int(params["width"])
        self.generator = Generator(self.count, 2 * self.count, width)
        self.discriminator = Discriminator(width)
        self.register_buffer("gates", torch.ones(4))
        self.rates = torch.tensor([float(params[f"gate_rate{number}"]) for number in range(1, 5)])
        self.manual_step = self.alternate

    def optimizers(self) -> Mapping[str, OptimizerSpec]:
        """Return Adam for generator (with a cosine schedule by epochs) and discriminator."""
        params = self.context.params
        options = {"lr": float(params["lr"]), "weight_decay": float(params["weight_decay"])}
        generator = torch.optim.Adam(self.generator.parameters(), amsgrad=True, **options)  # type: ignore[arg-type]
        discriminator = torch.optim.Adam(self.discriminator.parameters(), **options)  # type: ignore[arg-type]
        return {
            "generator": OptimizerSpec(generator, cosine_by_epoch(int(params["epochs"]) // VISITS)),
            "discriminator": OptimizerSpec(discriminator),
        }

    def pictures(self, batch: Batch) -> Float[Tensor, "B S h w"]:
        """Return resized slices; hidden sequences are background, or as the missing-sequence policy fills them."""
        return fill_missing(resize(batch.inputs, self.image_size), batch.shown, self.context.missing)

    def alternate(self, batch: Batch, loop: Loop) -> Mapping[str, float]:
        """Close the gates a little, then update generator and discriminator once each, both from the previous state."""
        self.close_gates(loop.step, loop.total)
        weight = float(self.context.params["adversarial_weight"])
        target = self.targets(self.pictures(batch))
        picture = target[:, : self.count]
        shown = torch.cat([batch.shown, batch.shown], dim=1)
        output = self.generator(picture, self.gates)[1]
        judged = weight * 0.5 * (self._judge(target, shown, True) + self._judge(output.detach(), shown, False))
        losses = {
            "reconstruction": 2 * mean_shown((output.float() - target).square().flatten(2).mean(2), shown).mean(),
            "adversarial": weight * self._judge(output, shown, True),
        }
        loop.update("generator", losses)
        loop.update("discriminator", {"discriminator": judged})
        return {name: float(value.detach()) for name, value in {**losses, "discriminator": judged}.items()}

    def close_gates(self, step: int, total: int) -> None:
        """Set the gates after ``step`` + 1 steps; each loses its rate per published pass, down to 0."""
        epochs = int(self.context.params["epochs"]) / VISITS or PUBLISHED_EPOCHS
        passed = (step + 1) * epochs / total
        self.gates.copy_((1 - self.rates.to(self.gates) * passed).clamp_min(0))

    def _judge(self, pictures: Tensor, shown: Bool[Tensor, "B T"], real: bool) -> Float[Tensor, ""]:
        """Return the cross entropy of the shown images, summed over the two kinds."""
        verdict = self.discriminator(pictures[shown][:, None]).float()
        label = torch.full_like(verdict, float(real))
        with torch.autocast(verdict.device.type, enabled=False):
            return 2 * F.binary_cross_entropy(verdict, label)

    def targets(self, picture: Float[Tensor, "B S h w"]) -> Float[Tensor, "B T h w"]:
        """Return flipped and blurred slices, which are input and target, and the gradient images of the sharp slices.

        Each gradient image has the maximum 1, as in the publication, which stretches them when it saves PNGs.
        """
        cells = [CELLS[int(i)] for i in torch.randint(0, len(CELLS), (len(picture),))]
        gradients = torch.cat([hog_picture(x[None], cell) for x, cell in zip(picture, cells, strict=True)])
        gradients = gradients / gradients.amax((-2, -1), keepdim=True).clamp_min(1e-12)
        both = torch.cat([picture, gradients], dim=1)
        for axis in (-1, -2):
            flip = torch.rand(len(picture), 1, 1, 1).to(picture.device) < 0.5
            both = torch.where(flip, both.flip(axis), both)
        sigma = torch.empty(len(picture)).uniform_(0.1, 5.0).to(picture.device)
        return torch.cat([blur(both[:, : self.count], sigma), both[:, self.count :]], dim=1)

    def score(self, batch: Batch) -> Scores:
        """Return the absolute error over the shown sequences, and how far re-encoding moves the deepest features."""
        picture = self.pictures(batch)
        deepest, output = self.generator(picture, self.gates)
        rebuilt = output[:, : self.count].float()
        # The published code calls PairwiseDistance on four dimensions, which now reduces the last one; it is meant to
        # reduce channels.
        error = (picture - rebuilt + 1e-6).abs()
        scores = to_scores(mean_shown(error, batch.shown), str(self.context.params["image_score"]))
        if self.context.params["image_score"] != "features":
            return scores
        hidden = ~batch.shown[:, :, None, None]
        again = self.generator.encode(torch.where(hidden, picture, rebuilt.to(picture.dtype)))[-1]
        return Scores(scores.maps, (deepest - again).flatten(1).float().norm(dim=1))


@full_precision
def blur(picture: Float[Tensor, "B S h w"], sigma: Float[Tensor, " B"]) -> Float[Tensor, "B S h w"]:
    """Blur each slice with its own Gaussian of 5 x 9 taps (``GaussianBlur((5, 9))``), with mirrored borders."""
    for axis, taps in ((-1, 5), (-2, 9)):
        offsets = torch.arange(taps, device=picture.device, dtype=picture.dtype) - taps // 2
        kernel = torch.softmax(-offsets.square() / (2 * sigma[:, None] ** 2), dim=1)
        border = (taps // 2, taps // 2, 0, 0) if axis == -1 else (0, 0, taps // 2, taps // 2)
        picture = F.pad(picture, border, mode="reflect").unfold(axis, taps, 1)
        picture = torch.einsum("bshwt,bt->bshw", picture, kernel.to(picture.dtype))
    return picture


def cosine_by_epoch(epochs: int) -> Callable[[int, int], float]:
    """Return a half cosine to 0 that changes once per epoch, or at every step if ``epochs`` is 0."""

    def factor(step: int, total: int) -> float:
        progress = step / max(total, 1)
        if epochs:
            progress = math.floor(progress * epochs + 1e-9) / epochs
        return 0.5 * (1 + math.cos(math.pi * progress))

    return factor
