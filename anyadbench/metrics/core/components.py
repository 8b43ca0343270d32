"""Connected lesion components: 8-connected, slice by slice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.errors import UserError
from anyadbench.metrics.core.arrays import as_masks, to_numpy

if TYPE_CHECKING:
    from jaxtyping import Bool, Int32, Int64

_EIGHT = np.ones((3, 3), dtype=np.int8)


@dataclass(frozen=True)
class LesionPixels:
    """The lesion pixels of a stack of masks.

    Attributes:
        index: Indices into the flattened stack, ascending.
        areas: For each of these pixels, the number of pixels of its component.
        count: Number of components.
    """

    index: Int64[np.ndarray, " p"]
    areas: Int64[np.ndarray, " p"]
    count: int


def components(mask: Any) -> Int32[np.ndarray, "*shape"]:
    """Label 8-connected components from 1 up; 0 is background.

    Args:
        mask: H x W, or N x H x W. Slices of a stack are never connected to each other, and their labels continue.

    Raises:
        UserError: If the mask has another number of axes or is not binary.
    """
    array = to_numpy(mask)
    if array.ndim == 2:
        flat: Int32[np.ndarray, "h w"] = components(array[None])[0]
        return flat
    stack = as_masks(array)
    labels = np.zeros(stack.shape, dtype=np.int32)
    total = 0
    for where, box_labels, count in _label_boxes(stack, np.flatnonzero(stack)):
        labels[where][box_labels > 0] = box_labels[box_labels > 0] + total
        total += count
    return labels


def component_areas(labels: Int32[np.ndarray, "*shape"]) -> Int64[np.ndarray, " c"]:
    """Return the number of pixels of components 1, 2, ... of a label array."""
    return np.bincount(labels.ravel())[1:]


def lesion_pixels(masks: Bool[np.ndarray, "n h w"], labels: Any | None = None) -> LesionPixels:
    """Find lesion pixels and the areas of their components.

    Args:
        masks: Lesion masks.
        labels: Result of `components` for these masks, to avoid labelling them again.

    Raises:
        UserError: If ``labels`` does not belong to these masks.
    """
    index = np.flatnonzero(masks)
    if labels is not None:
        ids = _checked_ids(masks, index, labels)
    else:
        found, total = [np.empty(0, dtype=np.int64)], 0
        for where, box_labels, count in _label_boxes(masks, index):
            found.append(box_labels[masks[where]].astype(np.int64) + (total - 1))
            total += count
        ids = np.concatenate(found)
    sizes = np.bincount(ids) if len(ids) else np.empty(0, dtype=np.int64)
    return LesionPixels(index, sizes[ids].astype(np.int64), int(np.count_nonzero(sizes)))


def lesions_by_slice(masks: Bool[np.ndarray, "n h w"]) -> list[LesionPixels]:
    """Find the lesion pixels of each slice; their indices are those of the flattened slice.

    Args:
        masks: Lesion masks.
    """
    nothing = np.empty(0, dtype=np.int64)
    found, pixels = [LesionPixels(nothing, nothing, 0)] * len(masks), masks[0].size if len(masks) else 0
    index = np.flatnonzero(masks)
    ends = np.searchsorted(index, np.arange(1, len(masks) + 1) * pixels)
    for where, labels, count in _label_boxes(masks, index):
        number = where[0]
        own = index[ends[number - 1] if number else 0 : ends[number]] - number * pixels
        ids = labels[masks[where]]
        found[number] = LesionPixels(own, np.bincount(ids)[ids], count)
    return found


def _checked_ids(masks: np.ndarray, index: np.ndarray, labels: Any) -> Int64[np.ndarray, " p"]:
    """Return ids from 0 up for the lesion pixels; labels that restart in each slice are made distinct."""
    array = to_numpy(labels)
    if array.shape != masks.shape:
        raise UserError(f"Components have shape {array.shape} but the masks {masks.shape}; label these masks.")
    at_lesions = array.ravel()[index].astype(np.int64)
    if (at_lesions <= 0).any() or np.count_nonzero(array) != len(index):
        raise UserError("Components and masks disagree on which pixels are lesion; label these masks.")
    if len(index) == 0:
        return np.empty(0, dtype=np.int64)
    slices = index // (masks.shape[1] * masks.shape[2])
    told_apart = slices * (int(at_lesions.max()) + 1) + at_lesions
    ids: Int64[np.ndarray, " p"] = np.unique(told_apart, return_inverse=True)[1].astype(np.int64)
    return ids


def _label_boxes(
    masks: Bool[np.ndarray, "n h w"], index: Int64[np.ndarray, " p"]
) -> Iterator[tuple[tuple[int, slice, slice], Int32[np.ndarray, "bh bw"], int]]:
    """Label the lesions' bounding box in each slice that has lesions: one call on a small array per slice."""
    from scipy import ndimage

    if len(index) == 0:
        return
    _, height, width = masks.shape
    rows, columns = np.divmod(index, width)
    slices, rows = np.divmod(rows, height)
    starts = np.flatnonzero(np.diff(slices, prepend=-1))
    ends = np.append(starts[1:], len(index)) - 1
    left, right = np.minimum.reduceat(columns, starts), np.maximum.reduceat(columns, starts)
    boxes = zip(slices[starts], rows[starts], rows[ends], left, right, strict=True)
    for number, top, bottom, first, last in boxes:
        where = (int(number), slice(int(top), int(bottom) + 1), slice(int(first), int(last) + 1))
        box_labels, count = ndimage.label(masks[where], structure=_EIGHT, output=np.int32)
        yield where, box_labels, int(count)
