"""Coverage of the lesions of each slice at very low false-positive rates of the normal slices (AUPIMO), exact.

Bertoldo et al., "AUPIMO: Redefining visual anomaly detection benchmarks with high speed and low tolerance", BMVC 2024.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.errors import UserError
from anyadbench.metrics.core.arrays import as_maps, as_masks
from anyadbench.metrics.core.ordered_bits import float32_keys

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64, Int32

FPR_BOUNDS = (1e-5, 1e-4)


def aupimo(
    maps: Any, masks: Any, brains: Any | None = None, bounds: tuple[float, float] = FPR_BOUNDS
) -> Float64[np.ndarray, " n"]:
    """Return, for each slice with a lesion, the mean covered fraction of its lesions over low false-positive rates.

    The false-positive rate of a threshold t is the mean over the slices without a lesion of their share of pixels with
    a score of at least t; the covered fraction of a slice is that of its lesion pixels. The mean is taken over the
    logarithm of the rate between the bounds. Thresholds are all scores of normal slices, and between two neighbouring
    rates the covered fraction is linear in the logarithm. Below the lowest rate that is not 0, it is the fraction above
    the highest normal score. anomalib takes the same integral over 300 000 thresholds spaced evenly between the lowest
    and highest normal score, from the thresholds nearest to the bounds.

    Args:
        maps: N x H x W finite scores.
        masks: N x H x W lesion masks.
        brains: N x H x W brain masks; then only pixels inside them count, also of the lesions. By default all count.
        bounds: Lowest and highest false-positive rate.

    Returns:
        N values; NaN for slices without a lesion pixel that counts, and for all if there is no normal slice.

    Raises:
        UserError: If shapes do not fit or the bounds are not ascending between 0 and 1.
        ScoreError: If a score is NaN or infinite.
    """
    low, high = bounds
    if not 0 < low < high <= 1:
        raise UserError(
            f"The false-positive rates {low:g} and {high:g} are no bounds; give two ascending ones up to 1."
        )
    scores = as_maps(maps)
    inside = np.ones(scores.shape, dtype=np.bool_) if brains is None else as_masks(brains, scores.shape)
    marked = as_masks(masks, scores.shape)
    normal = ~marked.any(axis=(1, 2)) & inside.any(axis=(1, 2))
    lesion = marked & inside
    values = np.full(len(scores), np.nan)
    if not normal.any():
        return values
    keys, rates = _rates(scores[normal], inside[normal], high)
    for number in np.flatnonzero(lesion.any(axis=(1, 2))):
        values[number] = covered_share(np.sort(float32_keys(scores[number][lesion[number]])), keys, rates, low, high)
    return values


def _rates(
    scores: np.ndarray, inside: Bool[np.ndarray, "m h w"], high: float
) -> tuple[Int32[np.ndarray, " j"], Float64[np.ndarray, " j"]]:
    """Return the scores of normal slices as falling keys, and the rate at each, up to the first above ``high``."""
    pixels = inside.sum(axis=(1, 2))
    weight = np.repeat(1.0 / (pixels * len(pixels)), pixels)
    keys = float32_keys(np.ascontiguousarray(scores[inside]))
    # The largest slice bounds how many pixels a rate can stand for, so that only the top has to be sorted.
    most = min(len(keys), math.ceil(high * len(pixels) * int(pixels.max())) + 1)
    top = np.flatnonzero(keys >= np.partition(keys, len(keys) - most)[len(keys) - most])
    return falling_rates(keys[top], weight[top])


def falling_rates(
    keys: Int32[np.ndarray, " p"], weights: Float64[np.ndarray, " p"]
) -> tuple[Int32[np.ndarray, " j"], Float64[np.ndarray, " j"]]:
    """Return the distinct keys of normal pixels, falling, and the false-positive rate at each.

    Args:
        keys: Ordered keys of the highest scores of normal slices.
        weights: Part of the rate that each of them stands for.
    """
    order = np.argsort(-keys.astype(np.int64), kind="stable")
    falling = keys[order]
    ends = np.flatnonzero(np.append(falling[1:] != falling[:-1], True))
    return falling[ends], np.cumsum(weights[order])[ends]


def covered_share(
    lesion: Int32[np.ndarray, " p"],
    keys: Int32[np.ndarray, " j"],
    rates: Float64[np.ndarray, " j"],
    low: float = FPR_BOUNDS[0],
    high: float = FPR_BOUNDS[1],
) -> float:
    """Return the mean covered fraction of one slice's lesion pixels over the rates between the bounds.

    Args:
        lesion: Ordered keys of its lesion pixels, ascending.
        keys: As `falling_rates` returns them; they must reach a rate of at least ``high``, or hold every pixel.
        rates: The same.
        low: Lowest false-positive rate.
        high: Highest one.
    """
    above = 1.0 - np.searchsorted(lesion, keys, side="right") / len(lesion)
    from_here = 1.0 - np.searchsorted(lesion, keys, side="left") / len(lesion)
    start, end, place = math.log(low), math.log(high), np.log(rates)
    area = float(above[0]) * max(min(float(place[0]), end) - start, 0.0)
    left, right = place[:-1].clip(start, end), place[1:].clip(start, end)
    # From one rate to the next the fraction goes from what lies above the next score to what reaches it.
    before, after = above[1:], from_here[1:]
    width = np.maximum(place[1:] - place[:-1], 1e-300)
    middle = ((left + right) / 2 - place[:-1]) / width
    area += float(((right - left) * (before + (after - before) * middle)).sum())
    return area / (end - start)
