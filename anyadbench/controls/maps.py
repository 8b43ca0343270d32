"""The maps of the controls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from anyadbench.methods.contract import Batch, Context, Scores
from anyadbench.methods.graph import GraphMethod
from anyadbench.methods.smoothing import gaussian_filter

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

DARK_LESIONS = ("t1", "t1ce", "adc")
"""Sequences in which lesions are darker than the brain around them; in ADC, acute infarcts are."""


def brain(batch: Batch) -> Bool[Tensor, "B H W"]:
    """Return where any shown sequence is above the background, which is 0."""
    return ((batch.inputs > 0) & batch.shown[:, :, None, None]).any(1)


class BrainMask(GraphMethod):
    """The brain as an anomaly map, and its area as a slice score.

    Lesions lie in the brain, and slices with much brain have more of them: pixel metrics of this map show what the
    field of view alone gives, and image metrics what the height in the head alone gives.
    """

    def score(self, batch: Batch) -> Scores:
        """Return 1 inside the brain, and the share of the field that is brain."""
        inside = brain(batch).to(batch.inputs.dtype)
        return Scores(inside, inside.mean((1, 2)))


class Brightness(GraphMethod):
    """The mean of the shown sequences, with T1, T1ce and ADC inverted inside the brain, smoothed.

    Meissen et al. (arXiv:2109.06023) show that thresholding FLAIR alone beats most published methods.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.sigma = float(context.params["smoothing_sigma"])
        dark = [name in DARK_LESIONS for name in context.sequences]
        self.register_buffer("dark", torch.tensor(dark), persistent=False)

    dark: Bool[Tensor, " S"]

    def score(self, batch: Batch) -> Scores:
        """Return the smoothed mean; 0 outside the brain before smoothing."""
        inside = brain(batch).to(batch.inputs.dtype)[:, None]
        bright = torch.where(self.dark[None, :, None, None], 1.0 - batch.inputs, batch.inputs) * inside
        shown = batch.shown[:, :, None, None].to(batch.inputs.dtype)
        maps: Float[Tensor, "B H W"] = (bright * shown).sum(1) / shown.sum(1)
        return Scores(gaussian_filter(maps, self.sigma))
