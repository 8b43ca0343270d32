"""Anomaly maps of images whose lesions are marked by boxes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.data.store.npy import load_npy
from anyadbench.data.trees.readers.boxes import Box, boxes_and_notes, outside
from anyadbench.errors import UserError
from anyadbench.metrics.boxes.numbers import box_image, box_metrics

if TYPE_CHECKING:
    from jaxtyping import Float32

QUANTILE = 0.99
"""Share of the pixels of all maps that lie below the default threshold: there are no normal images to take one from."""


@dataclass(frozen=True)
class BoxScores:
    """The numbers of a folder of maps.

    Attributes:
        images: Number of images.
        boxes: Number of boxes.
        threshold: Pixels above it form detections.
        metrics: Every number of ``box_metrics``.
        notes: What is odd about the table of boxes, as sentences.
    """

    images: int
    boxes: int
    threshold: float
    metrics: dict[str, float]
    notes: tuple[str, ...] = ()


def score_boxes(maps: Path, table: Path, threshold: float | None = None) -> BoxScores:
    """Score a folder with one ``IMAGE.npy`` (H x W, the size of its image) for each image of a table of boxes.

    Args:
        maps: The folder.
        table: Boxes, see ``read_boxes``.
        threshold: Pixels above it form detections; by default the ``QUANTILE`` of all pixels of all maps.

    Raises:
        UserError: If a map is missing, is no map, or is smaller than a box says.
    """
    boxes, odd = boxes_and_notes(table)
    if not boxes:
        raise UserError(f"The table of boxes {table} lists no image; add a line for each.")
    stems = {path.stem for path in maps.glob("*.npy")} if maps.is_dir() else set()
    missing = sorted(set(boxes) - stems)
    if missing:
        raise UserError(
            f"{maps} has no map {missing[0]}.npy ({len(missing)} of {len(boxes)} are missing); write one for each."
        )
    scores = {name: _read(maps / f"{name}.npy", boxes[name]) for name in sorted(boxes)}
    if threshold is None:
        threshold = float(np.quantile(np.concatenate([values.ravel() for values in scores.values()]), QUANTILE))
    images = [
        box_image(values, np.array(boxes[name], np.float64).reshape(-1, 4), threshold)
        for name, values in scores.items()
    ]
    notes = tuple(f"The table of boxes {table} {note}." for note in odd)
    return BoxScores(len(images), sum(map(len, boxes.values())), threshold, box_metrics(images), notes)


def _read(path: Path, boxes: list[Box]) -> Float32[np.ndarray, "H W"]:
    array = load_npy(path, "write the map again with numpy.save")
    if array.ndim != 2 or array.dtype.kind not in "fiu" or not array.size:
        raise UserError(f"{path} has the shape {array.shape} and type {array.dtype}; write a map of numbers, H x W.")
    with np.errstate(over="ignore"):
        values = array.astype(np.float32)
    if not np.isfinite(values).all():
        raise UserError(f"{path} holds NaN or infinite values as float32; write finite scores.")
    height, width = (int(length) for length in values.shape)
    if (wrong := outside(boxes, (height, width))) is not None:
        raise UserError(
            f"{path} has {width} x {height} pixels, and a box at {wrong} that does not lie inside; write maps at the "
            "size of their images."
        )
    return values


def as_json(found: BoxScores) -> dict[str, object]:
    """Return the numbers as plain values; ``null`` for one that is undefined."""
    metrics = {name: None if math.isnan(value) else value for name, value in found.metrics.items()}
    return {"images": found.images, "boxes": found.boxes, "threshold": found.threshold, "metrics": metrics}
