"""Denoising autoencoder: a U-Net removes coarse noise from normal slices, and with it lesions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anyadbench.api import (
    Batch,
    Context,
    GraphMethod,
    Losses,
    OptimizerSpec,
    Scores,
    fill_missing,
    median_filter,
    resize,
    to_scores,
)

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


class StandardisedConv(nn.Conv2d):
    """A convolution whose filters are standardised to mean 0 and standard deviation 1 in every forward pass."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the convolution with standardised filters."""
        centred = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        spread = centred.flatten(1).std(1).view(-1, 1, 1, 1) + 1e-5
        return self._conv_forward(input, centred / spread, self.bias)


def groups(channels: int) -> int:
    """Return the number of groups of a norm: the median of the divisors, the upper of two."""
    divisors = [number for number in range(1, channels + 1) if channels % number == 0]
    return divisors[len(divisors) // 2]


class MirroredBorder(nn.Module):
    """A border of one pixel, mirrored about the last: ``nn.ReflectionPad2d(1)``.

    That has no deterministic gradient on a GPU. If only deterministic algorithms are allowed, the border is cut out and
    put together instead.
    """

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h+2 w+2"]:
        """Return the picture with its border."""
        if not torch.are_deterministic_algorithms_enabled():
            return F.pad(x, (1, 1, 1, 1), mode="reflect")
        x = torch.cat([x[..., 1:2, :], x, x[..., -2:-1, :]], dim=-2)
        return torch.cat([x[..., 1:2], x, x[..., -2:-1]], dim=-1)


class ConvBlock(nn.Module):
    """Two rounds of mirrored border, standardised 3x3 convolution, swish and group norm, in this order."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        for before in (width_in, width_out):
            convolution = StandardisedConv(before, width_out, 3)
            parts += [MirroredBorder(), convolution, nn.SiLU(), nn.GroupNorm(groups(width_out), width_out)]
        self.block = nn.Sequential(*parts)

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B D h w"]:
        """Return the block's output."""
        out: Tensor = self.block(x)
        return out


class UNet(nn.Module):
    """U-Net with average pooling and a linear head (``src/unet.py`` of AntanasKascenas/DenoisingAE).

    Args:
        channels: Channels of input and output.
        width: Channels of the finest level; each further level has twice as many.
        depth: Levels.
    """

    def __init__(self, channels: int, width: int = 64, depth: int = 4) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(depth)]
        self.down_path = nn.ModuleList(ConvBlock(a, b) for a, b in zip([channels, *widths], widths, strict=False))
        self.up_path = nn.ModuleList()
        for level in reversed(range(depth - 1)):
            up = nn.ConvTranspose2d(widths[level + 1], widths[level], 2, 2)
            conv_block = ConvBlock(2 * widths[level], widths[level])
            self.up_path.append(nn.ModuleDict({"up": up, "conv_block": conv_block}))
        self.last = nn.Conv2d(width, channels, 1)

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        """Return the denoised image."""
        skips: list[Tensor] = []
        for block in self.down_path:
            x = block(F.avg_pool2d(x, 2) if skips else x)
            skips.append(x)
        for stage, skip in zip(self.up_path, reversed(skips[:-1]), strict=True):
            x = stage["conv_block"](torch.cat([stage["up"](x), skip], dim=1))  # type: ignore[index]
        out: Tensor = self.last(x)
        return out


class Dae(GraphMethod):
    """DAE (Kascenas et al., MIDL 2022; ``src/denoising.py`` of AntanasKascenas/DenoisingAE).

    The network sees each sequence as its own channel, in the protocol's intensity scale. Foreground, loss and map count
    only the shown sequences; with all of them shown they are the published ones. No weights.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        params = context.params
        self.image_size = int(params["image_size"])
        self.network = UNet(len(context.sequences), int(params["width"]))

    def optimizers(self) -> Mapping[str, OptimizerSpec]:
        """Return Adam with the published oscillating learning rate and clipping."""
        params = self.context.params
        optimizer = torch.optim.Adam(
            self.network.parameters(), lr=float(params["lr"]), weight_decay=float(params["weight_decay"]), amsgrad=True
        )
        schedule = oscillation(int(params["rate_period"]), int(params["rate_every"]))
        return {"main": OptimizerSpec(optimizer, schedule, float(params["clip_norm"]) or None)}

    def pictures(self, batch: Batch) -> Float[Tensor, "B S h w"]:
        """Return resized slices; hidden sequences are background, or as the missing-sequence policy fills them."""
        return fill_missing(resize(batch.inputs, self.image_size), batch.shown, self.context.missing)

    def training_step(self, batch: Batch, step: int, total: int) -> Mapping[str, Losses]:
        """Return the mean squared error of the denoised slice inside the foreground."""
        del step, total
        params = self.context.params
        clean = self.pictures(batch)
        inside = foreground(clean, batch.shown)
        noise = coarse_noise(clean.shape, int(params["noise_grid"]), float(params["noise_std"]), clean.device)
        cleaned = self.network(clean + noise * inside)
        error = (inside * (cleaned.float() - clean)).square().flatten(2).mean(2)
        return {"main": {"denoising": mean_shown(error, batch.shown).mean()}}

    def score(self, batch: Batch) -> Scores:
        """Return the absolute error, averaged over the shown sequences, inside the foreground, median-filtered."""
        picture = self.pictures(batch)
        inside = F.avg_pool2d(foreground(picture, batch.shown), 5, 1, 2) > 0.95
        error = mean_shown((picture - self.network(picture).float()).abs(), batch.shown)
        maps = median_filter(error * inside[:, 0], int(self.context.params["median_size"]))
        return to_scores(maps, str(self.context.params["image_score"]))


def mean_shown(error: Float[Tensor, "B S ..."], shown: Bool[Tensor, "B S"]) -> Float[Tensor, "B ..."]:
    """Return the mean over the shown sequences."""
    weight = shown.to(error.dtype).view(*shown.shape, *(1,) * (error.ndim - 2))
    # A product would keep non-finite values of a hidden sequence.
    return torch.where(weight > 0, error, torch.zeros_like(error)).sum(1) / weight.sum(1)


def foreground(pictures: Float[Tensor, "B S h w"], shown: Bool[Tensor, "B S"]) -> Float[Tensor, "B 1 h w"]:
    """Return 1 where the sum of the shown sequences exceeds 0.01, else 0."""
    total = (pictures * shown[:, :, None, None].to(pictures.dtype)).sum(1, keepdim=True)
    return (total > 0.01).to(pictures.dtype)


def coarse_noise(
    shape: torch.Size | tuple[int, int, int, int], grid: int, std: float, device: torch.device | None = None
) -> Float[Tensor, "B S h w"]:
    """Return normal noise on a coarse grid, enlarged to the image and rolled by one random offset per batch.

    The grid is relative to the field of view, so it is the same for a larger input. Draws come from torch's generator.
    """
    batch, channels, height, width = shape
    noise = torch.randn(batch, channels, grid, grid, device=device) * std
    noise = F.interpolate(noise, (height, width), mode="bilinear", align_corners=True)
    rolls = (int(torch.randint(0, height, ())), int(torch.randint(0, width, ())))
    return torch.roll(noise, rolls, dims=(-2, -1))


def oscillation(period: int, every: int) -> Callable[[int, int], float]:
    """Return the schedule of a ``CosineAnnealingLR`` that is never restarted: down to 0 and up again, repeatedly.

    Args:
        period: Pseudo-epochs from the peak to 0.
        every: Steps per pseudo-epoch.
    """

    def factor(step: int, total: int) -> float:
        del total
        return 0.5 * (1 + math.cos(math.pi * (step // every) / period))

    return factor
