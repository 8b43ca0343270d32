"""A method in the style of MMRAD: a prompted foundation model, trained to find simulated anomalies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from anyadbench.api import (
    Batch,
    Context,
    GraphMethod,
    Losses,
    OptimizerSpec,
    Scores,
    backbone,
    patch_size,
    shown_images,
)
from anyadbench_baselines.dae import coarse_noise, foreground
from anyadbench_baselines.gatingano import cosine_by_epoch
from anyadbench_baselines.mmrad_net import MaskDecoder, Prompts, encode

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


class Mmrad(GraphMethod):
    """MMRAD-style re-implementation (after Li et al., Information Fusion 113:102631, 2025).

    Neither code nor text of the publication was available. What its abstract says is implemented (a foundation model
    adapted by low-level prompts, a decoder shared by the modalities with a mask token and a fusion token, simulated
    anomalies); everything else is a choice of this benchmark. Each sequence is its own image, so a hidden one simply
    does not exist.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        params = context.params
        self.image_size = int(params["image_size"])
        self.encoder = backbone(context, family="transformer", image_size=self.image_size)
        width, blocks = int(self.encoder.embed_dim), len(self.encoder.blocks)  # type: ignore[arg-type]
        self.prompts = Prompts(
            width,
            blocks,
            patch_size(self.encoder),
            int(params["prompt_reduction"]),
            float(params["low_frequencies"]),
        )
        # Segment Anything's neck has 256 channels.
        channels = 256 if hasattr(self.encoder, "neck") else width
        self.decoder = MaskDecoder(channels, int(params["decoder_width"]))

    def optimizers(self) -> Mapping[str, OptimizerSpec]:
        """Return AdamW over prompts and decoder with a cosine schedule."""
        params = self.context.params
        trained = [*self.prompts.parameters(), *self.decoder.parameters()]
        optimizer = torch.optim.AdamW(trained, lr=float(params["lr"]), weight_decay=float(params["weight_decay"]))
        return {"main": OptimizerSpec(optimizer, cosine_by_epoch(0))}

    def masks(self, batch: Batch) -> tuple[Float[Tensor, "N h w"], Float[Tensor, " B"]]:
        """Return mask logits of every shown sequence (by slice, then sequence) and the slices' logits."""
        pixels = shown_images(batch, self.context, self.image_size)
        logits, fusion = self.decoder(encode(self.encoder, self.prompts, pixels))
        owners = batch.shown.nonzero()[:, 0]
        total = fusion.new_zeros(batch.shown.shape[0], fusion.shape[1]).index_add(0, owners, fusion)
        mean = total / batch.shown.sum(1, keepdim=True).to(total.dtype)
        return logits.float(), self.decoder.case(mean)[:, 0].float()

    def training_step(self, batch: Batch, step: int, total: int) -> Mapping[str, Losses]:
        """Return cross entropy and Dice loss of the masks, and cross entropy of the slice decision."""
        del step, total
        params = self.context.params
        names = ("clean_part", "defect_threshold", "defect_gain", "defect_shift", "defect_swap")
        inputs, region = simulate(batch.inputs, batch.shown, *(float(params[name]) for name in names))
        logits, case = self.masks(Batch(inputs, batch.shown))
        wanted = F.interpolate(region[:, None], logits.shape[-2:], mode="area")[:, 0]
        wanted = wanted[batch.shown.nonzero()[:, 0]]
        chance = logits.sigmoid()
        overlap = (2 * (chance * wanted).sum((1, 2)) + 1) / (chance.sum((1, 2)) + wanted.sum((1, 2)) + 1)
        present = (region.flatten(1).amax(1) > 0).to(case.dtype)
        return {
            "main": {
                "mask": F.binary_cross_entropy_with_logits(logits, wanted),
                "dice": (1 - overlap).mean(),
                "case": F.binary_cross_entropy_with_logits(case, present),
            }
        }

    def score(self, batch: Batch) -> Scores:
        """Return the mean mask of the shown sequences and the slice's logit, which ranks like its sigmoid."""
        logits, case = self.masks(batch)
        owners = batch.shown.nonzero()[:, 0]
        total = logits.new_zeros(batch.shown.shape[0], *logits.shape[1:]).index_add(0, owners, logits.sigmoid())
        maps = total / batch.shown.sum(1)[:, None, None]
        return Scores(maps, case)


def simulate(
    pictures: Float[Tensor, "B S H W"],
    shown: Bool[Tensor, "B S"],
    clean_part: float,
    threshold: float = 1.0,
    gain: float = 0.5,
    shift: float = 0.3,
    swap: float = 0.5,
) -> tuple[Float[Tensor, "B S H W"], Float[Tensor, "B H W"]]:
    """Change one random region of some slices, the same in all shown sequences, and return it.

    The region is where smooth noise is high inside the foreground. There, each sequence is either scaled and shifted at
    random or filled with another slice's values. Draws come from torch's generator; all of this is a choice.

    Args:
        pictures: Normal slices, non-negative.
        shown: Which sequences are shown.
        clean_part: Fraction of the slices left unchanged.
        threshold: Level of smooth noise (standard deviation 1) above which the region lies.
        gain: Largest relative change of contrast.
        shift: Largest change of brightness.
        swap: Probability that a sequence is filled with another slice's values instead.
    """
    batch, count, height, width = pictures.shape
    device = pictures.device
    grid = int(torch.tensor([4, 6, 8])[torch.randint(0, 3, ())])
    noise = coarse_noise((batch, 1, height, width), grid, 1.0, device)[:, 0]
    region = (noise > threshold) & (foreground(pictures, shown)[:, 0] > 0)
    region &= (torch.rand(batch, 1, 1) >= clean_part).to(device)

    def draw(low: float, high: float) -> Tensor:
        return torch.empty(batch, count, 1, 1).uniform_(low, high).to(device)

    changed = pictures * draw(1 - gain, 1 + gain) + draw(-shift, shift)
    swapped = pictures.roll(1, 0)
    # The other slice may lack a sequence, whose zeros would not be a texture.
    usable = (shown & shown.roll(1, 0))[:, :, None, None]
    usable = usable & (batch > 1)
    changed = torch.where((draw(0.0, 1.0) < swap) & usable, swapped, changed)
    there = region[:, None] & shown[:, :, None, None]
    return torch.where(there, changed.clamp_min(0), pictures), region.to(pictures.dtype)
