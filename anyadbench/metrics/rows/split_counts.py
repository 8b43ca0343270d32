"""Counts of the whole field and of the brain from one look at each pixel.

Brain and surroundings are counted apart. The normal pixels of the field are those of both, so counting the brain too
costs no second sort of its pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from anyadbench.metrics.core.arrays import as_maps, as_masks
from anyadbench.metrics.core.components import LesionPixels, lesion_pixels
from anyadbench.metrics.core.exact import PixelStats
from anyadbench.metrics.core.streaming import PixelState

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Int64

State = TypeVar("State", PixelStats, PixelState)


@dataclass(frozen=True)
class SlicePixels:
    """Where the brain and its surroundings lie in one slice, for all maps of the slice.

    Attributes:
        inside: Indices of the brain's pixels in the flattened slice.
        outside: Indices of the normal pixels outside the brain, and of every lesion pixel of the field.
        brain_lesions: Lesion pixels of the brain, as places in ``inside``; their components end at the brain's edge.
        field_lesions: Lesion pixels of the field, as places in ``outside``.
    """

    inside: Int64[np.ndarray, " m"]
    outside: Int64[np.ndarray, " k"]
    brain_lesions: LesionPixels
    field_lesions: LesionPixels


def slice_pixels(masks: Any, brains: Any, ignored: Any = None) -> list[SlicePixels]:
    """Return where brain and surroundings lie in each slice.

    Args:
        masks: N x H x W lesion masks.
        brains: N x H x W brain masks.
        ignored: N x H x W masks of pixels that are in neither, as if the field had holes there; a lesion pixel stays.

    Raises:
        UserError: If shapes do not fit.
    """
    truth = as_masks(masks)
    around = np.ones_like(truth) if ignored is None else ~as_masks(ignored, truth.shape) | truth
    brain = as_masks(brains, truth.shape) & around
    return [_one(*slices) for slices in zip(truth, brain, ~brain & around, strict=True)]


def _one(mask: Bool[np.ndarray, "h w"], brain: Bool[np.ndarray, "h w"], around: Bool[np.ndarray, "h w"]) -> SlicePixels:
    within = mask & brain
    inside, outside = np.flatnonzero(brain), np.flatnonzero(around | mask)
    field = lesion_pixels(mask[None])
    brain_lesions = field if len(field.index) == np.count_nonzero(within) else lesion_pixels(within[None])
    return SlicePixels(inside, outside, _placed(brain_lesions, inside), _placed(field, outside))


def _placed(lesions: LesionPixels, line: Int64[np.ndarray, " m"]) -> LesionPixels:
    return LesionPixels(np.searchsorted(line, lesions.index), lesions.areas, lesions.count)


def _in_line(
    parts: Sequence[tuple[Float32[np.ndarray, " m"], LesionPixels]],
) -> tuple[Float32[np.ndarray, " k"], LesionPixels]:
    """Lay the pixels of slices out in one line: one call for all is faster than one for each."""
    starts = np.cumsum([0, *(len(scores) for scores, _ in parts)])
    index = [lesions.index + start for (_, lesions), start in zip(parts, starts, strict=False)]
    areas, count = [lesions.areas for _, lesions in parts], sum(lesions.count for _, lesions in parts)
    line = np.concatenate([scores for scores, _ in parts])
    return line, LesionPixels(np.concatenate(index), np.concatenate(areas), count)


@dataclass(frozen=True)
class SplitCounts(Generic[State]):
    """Pixel scores of the brain and of its surroundings.

    Attributes:
        inside: The brain's pixels.
        outside: Normal pixels outside the brain, and every lesion pixel of the field.
    """

    inside: State
    outside: State

    def add(self, maps: Float32[np.ndarray, "n h w"], slices: Sequence[SlicePixels]) -> None:
        """Count the pixels of slices.

        Raises:
            UserError: If the maps are not slices x height x width.
            ScoreError: If a score is NaN or infinite; the state is unchanged.
        """
        flat = as_maps(maps).reshape(len(maps), -1)
        inside = [(scores[one.inside], one.brain_lesions) for scores, one in zip(flat, slices, strict=True)]
        outside = [(scores[one.outside], one.field_lesions) for scores, one in zip(flat, slices, strict=True)]
        for state, parts in ((self.inside, inside), (self.outside, outside)):
            if parts:
                state.add_pixels(*_in_line(parts))

    def merge(self, other: SplitCounts[State]) -> None:
        """Add the counts of another state, which stays unchanged."""
        self.inside.merge(other.inside)
        self.outside.merge(other.outside)

    def field(self) -> State:
        """Return the state of the whole field; scores are shared, not copied."""
        whole = type(self.outside)() if isinstance(self.outside, PixelStats) else PixelState(self.outside.bits)
        whole.merge(self.outside)
        whole.merge_normals(self.inside)
        return whole
