"""Boxes, and the boxes that an anomaly map draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.metrics.core.components import components

if TYPE_CHECKING:
    from jaxtyping import Float, Float64


@dataclass(frozen=True)
class Detection:
    """A box drawn from a map.

    Attributes:
        box: Left, top, width and height in pixels.
        score: Its highest pixel.
    """

    box: tuple[float, float, float, float]
    score: float


def detections_above(scores: Float[np.ndarray, "H W"], threshold: float) -> list[Detection]:
    """Return the bounding box of each 8-connected component above a threshold, the highest score first.

    Args:
        scores: One anomaly map.
        threshold: Pixels with a higher score count.
    """
    found = []
    labels = components(scores > threshold)
    for number in range(1, int(labels.max(initial=0)) + 1):
        rows, columns = np.nonzero(labels == number)
        top, left = int(rows.min()), int(columns.min())
        box = (float(left), float(top), float(columns.max() - left + 1), float(rows.max() - top + 1))
        found.append(Detection(box, float(scores[rows, columns].max())))
    return sorted(found, key=lambda item: (-item.score, item.box))


def box_overlap(first: Float64[np.ndarray, "a 4"], second: Float64[np.ndarray, "b 4"]) -> Float64[np.ndarray, "a b"]:
    """Return the intersection over union of every pair of boxes (left, top, width, height)."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, :2] + first[:, None, 2:], second[None, :, :2] + second[None, :, 2:])
    inner = np.clip(high - low, 0, None).prod(axis=2)
    union = first[:, 2:].prod(axis=1)[:, None] + second[:, 2:].prod(axis=1)[None, :] - inner
    return np.asarray(np.divide(inner, union, out=np.zeros_like(inner), where=union > 0))


def peak_inside(scores: Float[np.ndarray, "H W"], boxes: Float64[np.ndarray, "b 4"]) -> bool:
    """Whether the centre of a map's highest pixel lies in a box; of equal pixels, the first in reading order counts."""
    row, column = np.unravel_index(int(np.argmax(scores)), scores.shape)
    at = np.array([column + 0.5, row + 0.5])
    return bool(((boxes[:, :2] <= at) & (at < boxes[:, :2] + boxes[:, 2:])).all(axis=1).any())
