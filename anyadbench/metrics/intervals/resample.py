"""Metrics of weighted subjects, from counts that add up over subjects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.metrics.core import curves
from anyadbench.metrics.core.arrays import as_labels, as_scores
from anyadbench.metrics.core.curves import FIELD, INSIDE, Curve, Region
from anyadbench.metrics.core.image import IMAGE_METRICS
from anyadbench.metrics.core.ordered_bits import float64_keys
from anyadbench.metrics.names import HEIGHT

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64, Int64

    from anyadbench.metrics.core.cohort import Cohort

Values = dict[str, "Float64[np.ndarray, ' resamples']"]
ImageData = Sequence[tuple[Any, Any]]

HEIGHT_OF = ("image_auroc", "image_ap", "image_f1")
"""What the metrics of `anyadbench.metrics.names.HEIGHT` are of the normalised scores."""

_BLOCK = 64


def resample(
    cohort: Cohort,
    images: ImageData,
    draws: Float64[np.ndarray, "r s"],
    brain: Cohort | None = None,
    heights: ImageData | None = None,
) -> Values:
    """Return every metric for each draw; NaN if a draw has no lesion or no normal.

    Args:
        cohort: Pixel counts by subject.
        images: For the same subjects, image scores and labels of their slices.
        draws: How often each subject counts.
        brain: Pixel counts inside the brain; without them there are no metrics of the brain.
        heights: Image scores normalised by height, and labels; without them there are no metrics of these scores.
    """
    parts: list[_Pixels | _Slices] = [_Pixels(cohort, FIELD), _Slices(images)]
    parts += [_Pixels(brain, INSIDE)] if brain is not None else []
    parts += [_Slices(heights, normalised=True)] if heights is not None else []
    return _drawn(parts, draws)


def resample_pixels(cohort: Cohort, region: Region, draws: Float64[np.ndarray, "r s"]) -> Values:
    """Return the pixel metrics of one region for each draw, as `resample` does."""
    return _drawn([_Pixels(cohort, region)], draws)


def _drawn(parts: Sequence[_Pixels | _Slices], draws: Float64[np.ndarray, "r s"]) -> Values:
    blocks = range(0, len(draws), _BLOCK)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = [[part.values(draws[start : start + _BLOCK]) for start in blocks] for part in parts]
    return {name: np.concatenate([block[name] for block in part]) for part in found for name in part[0]}


class _Pixels:
    """Cumulative counts of each subject at each group."""

    def __init__(self, cohort: Cohort, region: Region) -> None:
        self._region = region
        within = np.cumsum(cohort.tied, axis=1)
        above = np.cumsum(cohort.gaps[:, :-1], axis=1) + within - cohort.tied
        self._above, self._reached = above.astype(np.float64), (above + cohort.tied).astype(np.float64)
        self._found = np.cumsum(cohort.lesions, axis=1).astype(np.float64)
        self._covered = np.cumsum(cohort.weights, axis=1).astype(np.float64)
        self._normals = (cohort.gaps.sum(axis=1) + cohort.tied.sum(axis=1)).astype(np.float64)

    def values(self, draws: Float64[np.ndarray, "r s"]) -> Values:
        if self._found.shape[1] == 0:
            return {name: np.full(len(draws), np.nan) for name in self._region.names}
        covered = draws @ self._covered
        curve = Curve(
            above=draws @ self._above,
            reached=draws @ self._reached,
            found=draws @ self._found,
            covered=covered / covered[:, -1:],
            normals=draws @ self._normals,
            lesions=draws @ self._found[:, -1],
        )
        return {name: _defined(found, curve) for name, found in self._region.curves(curve).items()}


class _Slices:
    """Cumulative counts of each subject's slices at each score of an abnormal slice."""

    def __init__(self, images: ImageData, normalised: bool = False) -> None:
        self._names = (
            dict(zip(HEIGHT_OF, HEIGHT, strict=True)) if normalised else {name: name for name in IMAGE_METRICS}
        )
        scores, labels, subjects = joined(images)
        keys = float64_keys(scores)
        steps = np.unique(keys[labels])[::-1]
        shape = (len(images), len(steps))
        self._above, self._reached, self._found = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        self._normals = np.bincount(subjects[~labels], minlength=shape[0]).astype(np.float64)
        for row in range(shape[0]):
            mine = subjects == row
            normal, lesion = np.sort(keys[mine & ~labels]), np.sort(keys[mine & labels])
            self._above[row] = len(normal) - np.searchsorted(normal, steps, side="right")
            self._reached[row] = len(normal) - np.searchsorted(normal, steps, side="left")
            self._found[row] = len(lesion) - np.searchsorted(lesion, steps, side="left")

    def values(self, draws: Float64[np.ndarray, "r s"]) -> Values:
        if self._found.shape[1] == 0:
            return {name: np.full(len(draws), np.nan) for name in self._names.values()}
        found = draws @ self._found
        curve = Curve(
            above=draws @ self._above,
            reached=draws @ self._reached,
            found=found,
            covered=found / found[:, -1:],
            normals=draws @ self._normals,
            lesions=found[:, -1],
        )
        values = curves.image_values(curve)
        return {name: _defined(values[plain], curve) for plain, name in self._names.items()}


def joined(
    images: ImageData,
) -> tuple[Float64[np.ndarray, " n"], Bool[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """Return scores, labels and subject numbers of all slices."""
    labels = [as_labels(label) for _, label in images]
    scores = [as_scores(score, len(label)) for (score, _), label in zip(images, labels, strict=True)]
    subjects = np.repeat(np.arange(len(labels)), [len(label) for label in labels])
    return np.concatenate(scores), np.concatenate(labels), subjects


def _defined(values: np.ndarray, curve: Curve) -> np.ndarray:
    return np.where((curve.normals > 0) & (curve.lesions > 0), values, np.nan)
