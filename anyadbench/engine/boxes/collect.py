"""Boxes that maps draw on test slices whose lesions are marked by boxes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from anyadbench.metrics.boxes.numbers import BoxImage, box_image
from anyadbench.metrics.boxes.row import MOST_DETECTIONS

if TYPE_CHECKING:
    from jaxtyping import Float32, Float64, Int

    from anyadbench.engine.slice_reader import SliceReader
    from anyadbench.metrics.core.thresholds import Quantile
    from anyadbench.metrics.rows.row_state import RowState
    from anyadbench.protocols.model import Protocol


def boxes_on_grid(
    boxes: Float64[np.ndarray, "b 4"], shape: tuple[int, int], protocol: Protocol
) -> Float64[np.ndarray, "b 4"]:
    """Return boxes (left, top, width, height) of a stored slice on the protocol's scoring grid.

    They are resized and moved with the slice; one that a crop cuts keeps its size, since it was drawn so.

    Args:
        boxes: In pixels of the stored slice.
        shape: Height and width of the stored slice.
        protocol: Its geometry and its scoring grid.
    """
    size = np.array(shape, dtype=np.float64)
    resized = np.array(protocol.geometry.resize, dtype=np.float64) if any(protocol.geometry.resize) else size
    scale = resized / size
    seen, offset = resized, np.zeros(2)
    if any(protocol.geometry.crop):
        seen = np.array(protocol.geometry.crop, dtype=np.float64)
        offset = np.round((resized - seen) / 2)  # as the crop of the slice, to even
    grid = np.array([want or have for want, have in zip(protocol.scoring_grid, seen, strict=True)])
    last = grid / seen
    moved = np.empty_like(boxes)
    moved[:, :2] = ((boxes[:, :2] * scale[::-1]) - offset[::-1]) * last[::-1]
    moved[:, 2:] = boxes[:, 2:] * scale[::-1] * last[::-1]
    return moved


def add_boxes(
    state: RowState,
    reader: SliceReader,
    protocol: Protocol,
    indices: Int[np.ndarray, " B"],
    maps: Float32[np.ndarray, "B h w"],
    quantile: Quantile | None,
) -> None:
    """Add what the maps of slices draw to a row; nothing if the labels of the data set are masks.

    Args:
        state: The row.
        reader: Reader of the test set.
        protocol: The protocol.
        indices: Slices.
        maps: Their maps on the scoring grid.
        quantile: Threshold from validation normals; without it nothing is drawn.
    """
    store = reader.store
    if store.boxes is None:
        return
    threshold = np.inf if quantile is None else quantile.value
    table = store.slices.iloc[indices]
    places = zip(table["subject"].astype(str), table["scan"].astype(str), table["slice"].astype(int), strict=True)
    for index, scores, place in zip(indices.tolist(), maps, places, strict=True):
        own = store.boxes.get(index, np.zeros((0, 4)))
        found = box_image(scores, boxes_on_grid(own, store.shape, protocol), threshold)
        image = BoxImage(found.boxes, found.detections[:MOST_DETECTIONS], found.hit)
        state.boxes.append((place[0], place[1], int(place[2]), image))
