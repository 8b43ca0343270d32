"""One map per slice from the maps of several sources and targets; the publication fuses none of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

PREFERENCE = ("flair", "t2", "t1ce", "t1")
"""Order in which ``first`` looks for a source."""


def fuse_targets(maps: Sequence[Float[Tensor, "B H W"]], rule: str) -> Float[Tensor, "B H W"]:
    """Fuse the maps of one source over its targets by ``mean``, ``max`` or ``min``."""
    stacked = torch.stack(list(maps))
    if rule == "mean":
        return stacked.mean(0)
    return stacked.amax(0) if rule == "max" else stacked.amin(0)


def fuse_sources(
    maps: Float[Tensor, "B S H W"], usable: Bool[Tensor, "B S"], rule: str, sequences: Sequence[str]
) -> Float[Tensor, "B H W"]:
    """Fuse over the sources that are shown and have tissue; a slice without any gets a map of zeros.

    Args:
        maps: Maps by source; those of unusable sources are ignored.
        usable: Which sources count.
        rule: ``mean``, ``max``, or ``first``: the one that comes first in ``PREFERENCE``.
        sequences: Names along axis 1.
    """
    chosen = usable
    if rule == "first":
        order = [list(sequences).index(name) for name in PREFERENCE if name in sequences]
        order += [index for index in range(len(sequences)) if index not in order]
        ordered = usable[:, order]
        chosen = torch.zeros_like(usable)
        chosen[:, order] = ordered & (ordered.cumsum(1) == 1)
    kept = torch.where(chosen[:, :, None, None], maps, 0.0)
    if rule == "max":
        return kept.amax(1)  # maps are never negative
    return kept.sum(1) / chosen.sum(1).clamp(min=1)[:, None, None]
