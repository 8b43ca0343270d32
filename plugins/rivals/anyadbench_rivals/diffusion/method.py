"""Diffusion models as methods: AnoDDPM's partial diffusion, and pDDPM's patches."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from anyadbench.api import (
    Batch,
    Context,
    Losses,
    Method,
    OptimizerSpec,
    Scores,
    UserError,
    median_filter,
    resize,
    to_scores,
)
from anyadbench_rivals.diffusion.noise import NoiseKind, draw_noise
from anyadbench_rivals.diffusion.process import add_noise, kept_fractions, step_back
from anyadbench_rivals.diffusion.unet import UNet, UNetSize

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

SCORING_SEED = 0
"""Slices are scored with the same fields of noise, so that a score depends on its slice alone."""


class Diffusion(Method):
    """AnoDDPM (Wyatt et al., CVPR workshops 2022) and pDDPM (Behrendt et al., MIDL 2023, arXiv 2303.03758).

    Sequences are channels; the network knows which are shown, and loss and map count only those.

    Raises:
        UserError: If the patch does not divide the input, or a step lies outside the diffusion.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        params = context.params
        self.image_size, self.patch = int(params["image_size"]), int(params["patch"])
        self.start = int(params["start"])
        if self.patch and self.image_size % self.patch:
            raise UserError(
                f"The patch of {self.patch} pixels does not divide the input of {self.image_size}; set patch to one "
                "that does, or to 0."
            )
        steps = int(params["timesteps"])
        if max(self.start, int(params["train_steps"])) > steps:
            raise UserError(f"start and train_steps must not exceed the {steps} timesteps; lower them.")
        multiples = [int(one) for one in str(params["multiples"]).split("-")]
        keys = ("blocks", "attention", "heads")
        size = UNetSize(int(params["width"]), multiples, *(int(params[key]) for key in keys))
        self.network = UNet(len(context.sequences), size)
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.register_buffer("kept", kept_fractions(steps, str(params["schedule"])).float(), persistent=False)
        self.kind = NoiseKind(
            str(params["noise"]), int(params["octaves"]), float(params["persistence"]), float(params["period"])
        )

    def optimizers(self) -> Mapping[str, OptimizerSpec]:
        """Return AdamW without decay, which is Adam, at a constant rate."""
        params = self.context.params
        optimizer = torch.optim.AdamW(self.network.parameters(), lr=float(params["lr"]), weight_decay=0.0)
        return {"main": OptimizerSpec(optimizer, clip_norm=float(params["clip_norm"]) or None)}

    def slices(self, batch: Batch) -> Float[Tensor, "B S h w"]:
        """Return resized slices between -1 and 1; hidden sequences are 0."""
        scaled = 2 * resize(batch.inputs, self.image_size) - 1
        return torch.where(batch.shown[:, :, None, None], scaled, 0.0)

    def boxes(self) -> Iterator[tuple[slice, slice]]:
        """Yield the patches of the grid, row by row; the whole slice if there are none."""
        side = self.patch or self.image_size
        for top in range(0, self.image_size, side):
            for left in range(0, self.image_size, side):
                yield slice(top, top + side), slice(left, left + side)

    @property
    def scoring(self) -> UNet:
        """The network that scores: the averaged weights, or the last ones if there is no average."""
        return self.average if self.context.params["ema"] else self.network

    def predict(self, network: UNet, noisy: Tensor, step: Tensor, shown: Bool[Tensor, "B S"]) -> Tensor:
        """Return the network's prediction; hidden sequences are 0 at its input and output."""
        keep = shown[:, :, None, None].to(noisy.dtype)
        predicted: Tensor = network(noisy * keep, step, shown)
        return predicted.float() * keep

    def training_step(self, batch: Batch, step: int, total: int) -> Mapping[str, Losses]:
        """Return the error of the predicted noise or slice, inside a random patch if there are patches."""
        del total
        if step and self.context.params["ema"]:
            self.follow()
        params, clean = self.context.params, self.slices(batch)
        count, sequences = batch.shown.shape
        noise = draw_noise(self.kind, count * sequences, (self.image_size, self.image_size)).to(clean.device)
        noise = noise.view(clean.shape)
        when = torch.randint(int(params["train_steps"]), (count,)).to(clean.device)
        inside = self.random_patches(count).to(clean.device)
        noisy = torch.where(inside, add_noise(clean, noise, self.get_buffer("kept"), when), clean)
        predicted = self.predict(self.network, noisy, when, batch.shown)
        difference = predicted - (noise if params["objective"] == "noise" else clean)
        error = difference.abs() if params["loss"] == "l1" else difference.square()
        weight = inside * batch.shown[:, :, None, None]
        per_sequence = (error * weight).flatten(2).mean(2).sum(1) / batch.shown.sum(1)
        return {"main": {"denoising": per_sequence.mean()}}

    def random_patches(self, count: int) -> Bool[Tensor, "B 1 h w"]:
        """Return for each slice the pixels of one patch of the grid, drawn at random."""
        boxes = list(self.boxes())
        inside = torch.zeros(count, 1, self.image_size, self.image_size, dtype=torch.bool)
        for row, number in enumerate(torch.randint(len(boxes), (count,)).tolist()):
            inside[row, 0][boxes[number]] = True
        return inside

    @torch.no_grad()
    def follow(self) -> None:
        """Move the average of the weights towards those of the last step."""
        decay = float(self.context.params["ema"])
        for mean, current in zip(self.average.parameters(), self.network.parameters(), strict=True):
            mean.lerp_(current, 1 - decay)

    def score(self, batch: Batch) -> Scores:
        """Return the filtered residual of the reconstruction, averaged over the shown sequences."""
        params, clean = self.context.params, self.slices(batch)
        rebuilt = self.chain(clean, batch.shown) if params["objective"] == "noise" else self.inpaint(clean, batch.shown)
        difference = (rebuilt - clean).abs() / 2
        residual = difference if params["residual"] == "l1" else difference.square()
        shown = batch.shown[:, :, None, None]
        maps = torch.where(shown, residual, 0.0).sum(1) / shown.sum(1)
        return to_scores(median_filter(maps, int(params["median_size"])), str(params["image_score"]))

    def chain(self, clean: Float[Tensor, "B S h w"], shown: Bool[Tensor, "B S"]) -> Float[Tensor, "B S h w"]:
        """Noise slices up to ``start`` steps and denoise them step by step."""
        generator = torch.Generator().manual_seed(SCORING_SEED)
        kept = self.get_buffer("kept")

        def field() -> Tensor:
            drawn = draw_noise(self.kind, clean.shape[1], (self.image_size, self.image_size), generator)
            return drawn.to(clean.device)[None].expand_as(clean)

        def at(step: int) -> Tensor:
            return torch.full((len(clean),), step, device=clean.device)

        noisy = add_noise(clean, field(), kept, at(self.start - 1))
        for step in reversed(range(self.start)):
            predicted = self.predict(self.scoring, noisy, at(step), shown)
            noisy = step_back(noisy, predicted, field(), kept, step)
        return noisy

    def inpaint(self, clean: Float[Tensor, "B S h w"], shown: Bool[Tensor, "B S"]) -> Float[Tensor, "B S h w"]:
        """Noise one patch after the other up to ``start`` steps, and predict each in one pass."""
        generator = torch.Generator().manual_seed(SCORING_SEED)
        drawn = draw_noise(self.kind, clean.shape[1], (self.image_size, self.image_size), generator)
        when = torch.full((len(clean),), self.start - 1, device=clean.device)
        noised = add_noise(clean, drawn.to(clean.device)[None].expand_as(clean), self.get_buffer("kept"), when)
        rebuilt = clean.clone()
        for rows, columns in self.boxes():
            noisy = clean.clone()
            noisy[:, :, rows, columns] = noised[:, :, rows, columns]
            predicted = self.predict(self.scoring, noisy, when, shown)
            rebuilt[:, :, rows, columns] = predicted[:, :, rows, columns]
        return rebuilt
