"""From features to maps on a method's input, and from maps to scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from anyadbench.methods.contract import Scores
from anyadbench.methods.distances import Levels, cosine_distance

if TYPE_CHECKING:
    from jaxtyping import Float


def enlarge(maps: Float[Tensor, "B h w"], size: tuple[int, int]) -> Float[Tensor, "B H W"]:
    """Enlarge maps bilinearly with aligned corners, as the published codes of feature methods do."""
    return F.interpolate(maps[:, None], size, mode="bilinear", align_corners=True)[:, 0]


def distance_map(targets: Levels, decoded: Levels, size: tuple[int, int]) -> Float[Tensor, "B H W"]:
    """Return the sum over the levels of the cosine distances at every position, each enlarged to ``size``."""
    parts = [enlarge(cosine_distance(t, d), size) for t, d in zip(targets, decoded, strict=True)]
    return torch.stack(parts).sum(0)


def to_scores(maps: Float[Tensor, "B h w"], image_score: str) -> Scores:
    """Return maps with the image score ``max``, or ``top`` for the mean of the highest 1 % on the scoring grid."""
    return Scores(maps, maps.flatten(1).amax(1) if image_score == "max" else None)
