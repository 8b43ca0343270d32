"""Slice-level scores and metrics."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.errors import UserError
from anyadbench.metrics.core import curves
from anyadbench.metrics.core.arrays import as_labels, as_maps, as_scores, to_numpy
from anyadbench.metrics.core.ordered_bits import float32_keys, float64_keys, key_values
from anyadbench.metrics.names import BALANCED

if TYPE_CHECKING:
    from jaxtyping import Float64, Int32

TOP_FRACTION = 0.01
"""Fraction of the pixels whose mean is a slice's score: 655 of 256 x 256 (AnyAD, INP-Former)."""

IMAGE_METRICS = ("image_auroc", "image_ap", "image_f1", *BALANCED)

_BLOCK_PIXELS = 1 << 21
_SAMPLE = 1 << 12


def top_fraction_mean(maps: Any, fraction: float = TOP_FRACTION) -> Float64[np.ndarray, " n"]:
    """Return the mean of the highest pixels of each map.

    The ``max(1, int(fraction * H * W))`` values are added in order of size in float64, so a map's score does not depend
    on its batch.

    Raises:
        UserError: If the fraction is not above 0 and at most 1, or the maps are not slices x height x width.
        ScoreError: If a value is NaN or infinite.
    """
    if not 0 < fraction <= 1:
        raise UserError(f"The fraction {fraction} of top pixels is out of range; give a number above 0 and at most 1.")
    array = as_maps(maps)
    pixels = array.shape[1] * array.shape[2]
    if pixels == 0:
        raise UserError(f"Anomaly maps have shape {array.shape} and no pixels; give at least one pixel per slice.")
    flat = array.reshape(len(array), pixels)
    count = max(1, int(fraction * pixels))
    result = np.empty(len(array), dtype=np.float64)
    step = max(1, _BLOCK_PIXELS // pixels)
    for start in range(0, len(array), step):
        keys = float32_keys(flat[start : start + step])
        top = np.stack([_highest(one, count) for one in keys])
        result[start : start + step] = key_values(top).sum(axis=1) / count
    return result


def _highest(keys: Int32[np.ndarray, " p"], count: int) -> Int32[np.ndarray, " k"]:
    """Return the highest keys, ascending.

    A sample gives a key that a few more than those exceed, so that only these have to be put in order.
    """
    sample = keys[:: len(keys) // _SAMPLE] if len(keys) > _SAMPLE else keys
    wanted = min(len(sample), 2 * count * len(sample) // len(keys) + 16)
    kept = keys[keys >= np.partition(sample, len(sample) - wanted)[len(sample) - wanted]]
    if len(kept) < count:
        kept = keys
    return np.sort(np.partition(kept, len(kept) - count)[len(kept) - count :])


def image_metrics(scores: Any, labels: Any) -> dict[str, float]:
    """Return the image metrics from one score per slice, with equal scores grouped.

    ``image_auroc``, ``image_ap`` and ``image_f1``, and ``image_ap_balanced`` and ``image_f1_balanced`` for a
    prevalence of one half. If only one class is present, all are NaN (see `anyadbench.metrics.undefined_reasons`).

    Args:
        scores: N finite numbers, used in float64.
        labels: N booleans, true for slices with a lesion.

    Raises:
        UserError: If the shapes differ or the labels are not binary.
        ScoreError: If a score is NaN or infinite.
    """
    abnormal = as_labels(labels)
    keys = float64_keys(as_scores(scores, count=len(abnormal)))
    if abnormal.all() or not abnormal.any():
        return dict.fromkeys(IMAGE_METRICS, float("nan"))
    distinct, counts = np.unique(keys[abnormal], return_counts=True)
    curve = curves.from_sorted(np.sort(keys[~abnormal]), distinct, counts)
    return {name: float(value) for name, value in curves.image_values(curve).items()}


def lesion_size_metrics(scores: Any, areas: Any, edges: Sequence[float]) -> list[dict[str, float]]:
    """Return the image metrics for each bin of lesion area, every bin against all normal slices.

    Args:
        scores: N finite numbers.
        areas: N lesion areas in pixels; 0 marks a normal slice.
        edges: Ascending areas e0 < e1 < ...; bin i holds e(i) <= area < e(i+1), and the last bin has no upper end.

    Returns:
        One dict per edge: the image metrics (NaN for an empty bin) and ``n``, the number of abnormal slices in the bin.

    Raises:
        UserError: If shapes differ, or the edges are not positive and ascending.
    """
    area = to_numpy(areas)
    values = as_scores(scores, count=len(area))
    if len(edges) == 0 or edges[0] <= 0 or any(a >= b for a, b in pairwise(edges)):
        raise UserError(f"Lesion-size edges {list(edges)} must be positive and ascending, for example 20, 100, 500.")
    rows = []
    for low, high in zip(edges, [*edges[1:], float("inf")], strict=True):
        inside = (area >= low) & (area < high)
        kept = inside | (area == 0)
        rows.append(image_metrics(values[kept], inside[kept]) | {"n": float(inside.sum())})
    return rows
