"""Connected lesion components: 8-connected, slice by slice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
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
    ids = component_ids(index, masks.shape[1:]) if labels is None else _checked_ids(masks, index, labels)
    sizes = np.bincount(ids) if len(ids) else np.empty(0, dtype=np.int64)
    return LesionPixels(index, sizes[ids].astype(np.int64), int(np.count_nonzero(sizes)))


def lesions_by_slice(index: Int64[np.ndarray, " p"], shape: tuple[int, ...]) -> list[LesionPixels]:
    """Return the lesion pixels of each slice; their indices are those of the flattened slice.

    Args:
        index: Indices of all lesion pixels into the flattened stack, ascending.
        shape: Slices, height and width of the stack.
    """
    ids, pixels = component_ids(index, shape[1:]), shape[1] * shape[2]
    # Components are numbered in the order of their first pixels, so those of a slice follow each other.
    areas, ends = np.bincount(ids)[ids], np.searchsorted(index, np.arange(shape[0] + 1) * pixels)
    reached = np.append(0, np.maximum.accumulate(ids) + 1)[ends].tolist()
    return [
        LesionPixels(index[first:last] - number * pixels, areas[first:last], reached[number + 1] - reached[number])
        for number, (first, last) in enumerate(pairwise(ends.tolist()))
    ]


def component_ids(index: Int64[np.ndarray, " p"], shape: tuple[int, ...]) -> Int64[np.ndarray, " p"]:
    """Return the 8-connected component of each lesion pixel, from 0 up in the order of their first pixels.

    Runs of pixels in a row are connected to the runs that they touch in the next row, for a whole stack at once: this
    takes time in proportion to the lesions, not to the slices.

    Args:
        index: Indices of the lesion pixels into the flattened stack, ascending.
        shape: Height and width of a slice.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    if len(index) == 0:
        return np.empty(0, dtype=np.int64)
    height, width = shape
    first = np.diff(index, prepend=-2) != 1
    first |= index % width == 0
    places = np.flatnonzero(first)
    lengths = np.diff(places, append=len(index))
    rows, columns = np.divmod(index[places], width)
    # An empty column on each side and an empty row between slices: what is next to each other there is connected.
    line = width + 2
    starts = (rows + rows // height) * line + columns
    ends = starts + lengths - 1
    low = np.searchsorted(ends, starts + (line - 1))
    degrees = np.searchsorted(starts, ends + (line + 1), side="right") - low
    pointers = np.append(0, np.cumsum(degrees))
    touched = np.arange(pointers[-1]) + np.repeat(low - pointers[:-1], degrees)
    graph = csr_array((np.ones(len(touched), dtype=np.int8), touched, pointers), shape=(len(places), len(places)))
    count, found = connected_components(graph, directed=False)
    heads = np.empty(count, dtype=np.int64)
    heads[found[::-1]] = np.arange(len(found))[::-1]  # of repeated places the last value stays, here the first run
    order = np.empty(count, dtype=np.int64)
    order[np.argsort(heads)] = np.arange(count)
    ids: Int64[np.ndarray, " p"] = np.repeat(order[found], lengths)
    return ids


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
