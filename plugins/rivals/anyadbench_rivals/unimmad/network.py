"""UniMMAD's network and loss (``unidomain_ts_multimodal.py`` and ``train.py``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anyadbench.api import Pyramid, cosine_distance, enlarge
from anyadbench_rivals.unimmad.compression import SLOTS, Compression, Stem
from anyadbench_rivals.unimmad.experts import CrossExperts, ExpertSizes

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from anyadbench.api import ResolvedWeights

HARD = 2
"""Exponent of the distance that weights a position's gradient."""

BALANCE_EPOCHS, LEAST_BALANCE = 200, 0.001
"""Published epochs over which the load-balancing loss fades, and its least weight."""

BLUR_SIZE, BLUR_SIGMA = 15, 4.0
TOP = 1000
"""The image score is the mean of one pixel in so many, the highest."""


@dataclass(frozen=True)
class NetworkSize:
    """Sizes of the network besides the backbone's; the defaults are the published ones.

    Attributes:
        image_size: Side of the pictures, a multiple of 32.
        width: Channels at which the levels meet.
        stages: Blocks of the decoder's stages.
        base_width: Relative width of the decoder's bottlenecks.
        experts: Sizes of the mixtures.
    """

    image_size: int = 256
    width: int = 512
    stages: tuple[int, int, int] = (3, 4, 6)
    base_width: int = 128
    experts: ExpertSizes = field(default_factory=ExpertSizes)


@dataclass(frozen=True)
class Passed:
    """One pass over a batch.

    Attributes:
        stem: The encoder's input.
        encoded: Levels of the trained encoder.
        general: General features by level.
        prior: Features of every picture by level, of unit length.
        rebuilt: Reconstructions by level.
        balance: Load-balancing loss, the mean over the levels, not yet faded.
        chosen: Chosen leaders by level, branch and picture.
        owner: Slice that each picture belongs to.
    """

    stem: Float[Tensor, "B 3 H W"]
    encoded: list[Float[Tensor, "B C h w"]]
    general: list[Float[Tensor, "B C h w"]]
    prior: list[Float[Tensor, "N C h w"]]
    rebuilt: list[Float[Tensor, "N C h w"]]
    balance: Float[Tensor, ""]
    chosen: Int[Tensor, "L K N T"]
    owner: Int[Tensor, " N"]


class UniMmadNetwork(nn.Module):
    """Stem, trained encoder with compression, frozen encoder, and a mixture of experts for each level.

    Args:
        size: Sizes.
        weights: Weights of both encoders.
    """

    def __init__(self, size: NetworkSize, weights: ResolvedWeights) -> None:
        super().__init__()
        self.size = size
        self.prior = Pyramid(weights)
        self.encoder = Pyramid(weights, frozen=False)
        channels = self.encoder.channels
        self.embedding = Stem(size.image_size)
        self.compression = Compression(channels, size.width, size.stages, size.base_width)
        self.experts = nn.ModuleList(CrossExperts(width, size.experts) for width in channels)

    def trained(self) -> list[nn.Parameter]:
        """Return every parameter but those of the frozen encoder."""
        parts = (self.embedding, self.encoder, self.compression, self.experts)
        return [parameter for part in parts for parameter in part.parameters()]

    def published_modules(self) -> Mapping[str, nn.Module]:
        """Return each module by the beginning of its entries' names in the released code."""
        return {
            "piror_generator.model.": self.prior.net,
            "general_multimodal_encoder.0.model.": self.encoder.net,
            "general_multimodal_encoder.1.": self.compression,
            "input_embedding.": self.embedding,
            "c_moes.": self.experts,
        }

    def forward(
        self, pictures: Float[Tensor, "N 3 H W"], owner: Int[Tensor, " N"], stack: Float[Tensor, "B 12 H W"]
    ) -> Passed:
        """Reconstruct the features of every picture.

        Args:
            pictures: Every available picture of every slice, normalised.
            owner: Slice that each picture belongs to.
            stack: The slices' pictures in their slots (see ``stack_pictures``).
        """
        stem = self.embedding(stack)
        encoded = self.encoder(stem)
        general = self.compression(encoded)
        with torch.no_grad():
            prior = [F.normalize(level, dim=1) for level in self.prior(pictures)]
        routed = [
            experts(F.normalize(level, dim=1), own, owner)
            for experts, level, own in zip(self.experts, general, prior, strict=True)
        ]
        balance = torch.stack([one.balance for one in routed]).mean()
        chosen = torch.stack([one.chosen for one in routed])
        return Passed(stem, encoded, general, prior, [one.features for one in routed], balance, chosen, owner)


def stack_pictures(
    images: Float[Tensor, "B S 3 H W"], shown: Bool[Tensor, "B S"], layout: str
) -> Float[Tensor, "B 12 H W"]:
    """Return the available pictures in twelve channels; the rest is 0.0, mid-grey after normalisation.

    Args:
        images: Normalised pictures of every sequence.
        shown: Which are available.
        layout: ``packed`` puts them one after the other from the front, as published, so that a sequence has no slot
            of its own; ``slots`` leaves each in its slot.
    """
    kept = torch.where(shown[:, :, None, None, None], images, 0.0)
    if layout == "packed":
        order = (~shown).long().argsort(dim=1, stable=True)
        kept = kept.gather(1, order[:, :, None, None, None].expand_as(kept))
    stack = kept.flatten(1, 2)
    return F.pad(stack, (0, 0, 0, 0, 0, 3 * SLOTS - stack.shape[1]))


def reconstruction_loss(passed: Passed) -> Float[Tensor, ""]:
    """Return the sum over the levels of the mean cubed cosine distance, whose gradient is weighted by its square.

    Every picture counts the same, so slices with more sequences weigh more.
    """
    losses = []
    for prior, rebuilt in zip(passed.prior, passed.rebuilt, strict=True):
        distance = cosine_distance(prior, rebuilt)
        losses.append((distance * distance.detach() ** HARD).mean())
    return torch.stack(losses).sum()


def balance_weight(epoch: float) -> float:
    """Return the weight of the load-balancing loss in a published epoch, counted from 0."""
    return max(1 - epoch / BALANCE_EPOCHS, LEAST_BALANCE)


def anomaly_maps(passed: Passed, slices: int, size: tuple[int, int]) -> Float[Tensor, "B H W"]:
    """Return the root of the sum of squared distances over levels and pictures of each slice.

    The sum grows with the number of pictures. It runs over the pictures of one slice; the published function runs over
    all it is given, so that a batch of slices would share one map.
    """
    total: Tensor | None = None
    for prior, rebuilt in zip(passed.prior, passed.rebuilt, strict=True):
        squared = enlarge(cosine_distance(prior, rebuilt), size).square()
        summed = squared.new_zeros(slices, *size).index_add(0, passed.owner, squared)
        total = summed if total is None else total + summed
    if total is None:
        raise ValueError("the network has no level")
    return total.sqrt()


def blurred(maps: Float[Tensor, "B H W"]) -> Float[Tensor, "B H W"]:
    """Blur by a 15x15 Gaussian of 4 px with borders of zeros, which darkens the border."""
    place = torch.arange(BLUR_SIZE, dtype=maps.dtype, device=maps.device) - BLUR_SIZE // 2
    line = torch.exp(-place.square() / (2 * BLUR_SIGMA**2))
    line = line / line.sum()
    kernel = (line[:, None] * line)[None, None]
    return F.conv2d(maps[:, None], kernel, padding=BLUR_SIZE // 2)[:, 0]


def image_scores(maps: Float[Tensor, "B H W"]) -> Float[Tensor, " B"]:
    """Return the mean of the highest thousandth of the pixels, at least one."""
    values = maps.flatten(1)
    return values.topk(max(1, values.shape[1] // TOP), dim=1).values.mean(1)


def levels_mean(levels: Sequence[Tensor]) -> list[Float[Tensor, "B C"]]:
    """Return the spatial mean of each level."""
    return [level.mean((2, 3)) for level in levels]
