"""Counts of the whole field and of the brain from one look at each pixel.

Exact scores of the brain and of its surroundings are kept apart. The normal pixels of the field are those of both, so
counting the brain too costs no second sort of its pixels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.metrics.core.arrays import as_maps, as_masks
from anyadbench.metrics.core.components import LesionPixels, lesions_by_slice
from anyadbench.metrics.core.exact import PixelStats

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Int64


@dataclass(frozen=True, eq=False)
class SlicePixels:
    """Where the brain and its surroundings lie in one slice, for all maps of the slice.

    Attributes:
        brain: The brain, flattened.
        brain_lesions: Lesion pixels of the brain, as places in the flattened slice; their components end at the brain's
            edge.
        field_lesions: Lesion pixels of the field, as places in the flattened slice.
        counted: Where pixels count at all, flattened; ``None`` if all do.
    """

    brain: Bool[np.ndarray, " p"]
    brain_lesions: LesionPixels
    field_lesions: LesionPixels
    counted: Bool[np.ndarray, " p"] | None = None

    @cached_property
    def brain_pixels(self) -> int:
        """Number of pixels of the brain."""
        return int(np.count_nonzero(self.brain))

    @cached_property
    def brain_areas(self) -> Int64[np.ndarray, " l"]:
        """Area, inside the brain, of the component of each lesion pixel of the field; 0 for pixels outside."""
        if self.brain_lesions is self.field_lesions:
            return self.field_lesions.areas
        areas = np.zeros_like(self.field_lesions.areas)
        areas[self.brain[self.field_lesions.index]] = self.brain_lesions.areas
        return areas

    @cached_property
    def inside(self) -> tuple[Int64[np.ndarray, " m"], LesionPixels]:
        """Indices of the brain's pixels, and its lesion pixels as places among these."""
        index = np.flatnonzero(self.brain)
        return index, _placed(self.brain_lesions, index)

    @cached_property
    def outside(self) -> tuple[Int64[np.ndarray, " k"], LesionPixels]:
        """Indices of the normal pixels outside the brain and of every lesion pixel of the field, and the latter's
        places among these.
        """
        lesion = np.zeros(len(self.brain), dtype=bool)
        lesion[self.field_lesions.index] = True
        index = np.flatnonzero((~self.brain if self.counted is None else ~self.brain & self.counted) | lesion)
        return index, _placed(self.field_lesions, index)


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
    whole, around = as_masks(brains, truth.shape), None
    if ignored is not None:
        counted = ~as_masks(ignored, truth.shape) | truth
        whole, around = whole & counted, counted.reshape(len(truth), -1)
    index, lines = np.flatnonzero(truth), whole.reshape(len(whole), -1)
    inside = whole.ravel()[index]
    count, height, width = truth.shape
    if inside.all():
        lesions = within = lesions_by_slice(index, truth.shape)
    else:  # both in one call, as slices that follow each other
        index = np.append(index, index[inside] + truth.size)
        both = lesions_by_slice(index, (2 * count, height, width))
        lesions, within = both[:count], both[count:]
    return [
        SlicePixels(line, inner, own, None if around is None or around[i].all() else around[i])
        for i, (line, inner, own) in enumerate(zip(lines, within, lesions, strict=True))
    ]


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
class SplitCounts:
    """Pixel scores of the brain and of its surroundings, compared exactly.

    Attributes:
        inside: The brain's pixels.
        outside: Normal pixels outside the brain, and every lesion pixel of the field.
    """

    inside: PixelStats = dataclasses.field(default_factory=PixelStats)
    outside: PixelStats = dataclasses.field(default_factory=PixelStats)

    def add(self, maps: Float32[np.ndarray, "n h w"], slices: Sequence[SlicePixels]) -> None:
        """Count the pixels of slices.

        Raises:
            UserError: If the maps are not slices x height x width.
            ScoreError: If a score is NaN or infinite; the state is unchanged.
        """
        flat = as_maps(maps).reshape(len(maps), -1)
        both = list(zip(flat, slices, strict=True))
        if not both:
            return
        self.inside.add_pixels(*_in_line([(scores[one.inside[0]], one.inside[1]) for scores, one in both]))
        self.outside.add_pixels(*_in_line([(scores[one.outside[0]], one.outside[1]) for scores, one in both]))

    def merge(self, other: SplitCounts) -> None:
        """Add the counts of another state, which stays unchanged."""
        self.inside.merge(other.inside)
        self.outside.merge(other.outside)

    def field(self) -> PixelStats:
        """Return the state of the whole field; scores are shared, not copied."""
        whole = PixelStats()
        whole.merge(self.outside)
        whole.merge_normals(self.inside)
        return whole
