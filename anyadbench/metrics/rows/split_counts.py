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
from anyadbench.metrics.core.ordered_bits import float32_keys

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
        brain_areas: Area, inside the brain, of the component of each lesion pixel of the field; 0 for pixels outside.
        counted: Where pixels count at all, flattened; ``None`` if all do.
    """

    brain: Bool[np.ndarray, " p"]
    brain_lesions: LesionPixels
    field_lesions: LesionPixels
    brain_areas: Int64[np.ndarray, " l"]
    counted: Bool[np.ndarray, " p"] | None = None

    @cached_property
    def brain_pixels(self) -> int:
        """Number of pixels of the brain."""
        return int(np.count_nonzero(self.brain))

    @cached_property
    def normals(self) -> tuple[Bool[np.ndarray, " p"], Bool[np.ndarray, " p"]]:
        """Where the normal pixels inside the brain are, and those outside that count, flattened."""
        brain = self.brain.copy()
        outside = ~brain if self.counted is None else ~brain & self.counted
        brain[self.field_lesions.index] = outside[self.field_lesions.index] = False
        return brain, outside


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
        areas = [one.areas for one in lesions]
    else:  # both in one call, as slices that follow each other
        both = lesions_by_slice(np.append(index, index[inside] + truth.size), (2 * count, height, width))
        lesions, within = both[:count], both[count:]
        line = np.zeros(len(index), dtype=np.int64)
        line[inside] = np.concatenate([one.areas for one in within])
        areas = np.split(line, np.cumsum([len(one.areas) for one in lesions])[:-1])
    return [
        SlicePixels(lines[i], within[i], lesions[i], areas[i], None if around is None or around[i].all() else around[i])
        for i in range(count)
    ]


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
        for scores, one in zip(flat, slices, strict=True):
            keys = float32_keys(scores)
            states, lesions = (self.inside, self.outside), (one.brain_lesions, one.field_lesions)
            for state, normals, held in zip(states, one.normals, lesions, strict=True):
                state.add_keys(keys, normals, held)

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
