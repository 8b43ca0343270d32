"""AUPIMO of each slice of a row inside the brain, from what has to be kept while slices are scored.

Only the highest scores of normal slices decide at rates up to 1e-4, so a few scores for each slice are kept of them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.metrics.core.aupimo import FPR_BOUNDS, covered_share, falling_rates
from anyadbench.metrics.core.ordered_bits import float32_keys

if TYPE_CHECKING:
    from jaxtyping import Float32, Int32

    from anyadbench.metrics.rows.split_counts import SlicePixels

SPARE = 1 << 15
"""Scores that are kept beyond those needed before the lowest are dropped."""


class LowRates:
    """Highest brain scores of normal slices, and lesion scores of the others.

    Args:
        slices: Most slices that will be added.
    """

    def __init__(self, slices: int) -> None:
        self._slices, self._field, self._normals = slices, 0, 0
        self._keys: list[Int32[np.ndarray, " p"]] = []
        self._weights: list[np.ndarray] = []
        self._held = 0
        self._least = -(2**31)
        self._lesions: list[Int32[np.ndarray, " p"] | None] = []

    def add(self, scores: Float32[np.ndarray, " p"], places: SlicePixels, normal: bool) -> None:
        """Add a slice.

        Args:
            scores: Its finite scores, flattened.
            places: Where its brain and the lesions in it lie.
            normal: Whether it is a normal slice.
        """
        keys = float32_keys(scores)
        self._lesions.append(None if normal else np.sort(keys[places.brain_lesions.index]))
        if not normal or not places.brain_pixels:
            return
        self._normals += 1
        self._field = max(self._field, len(scores))
        high = keys[places.brain & (keys >= self._least)]
        self._keys.append(high)
        self._weights.append(np.full(len(high), 1.0 / places.brain_pixels))
        self._held += len(high)
        if self._held > 2 * self._most() + SPARE:
            self._prune()

    def _most(self) -> int:
        """Return how many of the highest scores a rate of at most the upper bound can stand for; no brain fills more
        than the field.
        """
        return math.ceil(FPR_BOUNDS[1] * self._slices * self._field) + 1

    def _prune(self) -> None:
        keys, weights = np.concatenate(self._keys), np.concatenate(self._weights)
        most = min(len(keys), self._most())
        self._least = int(np.partition(keys, len(keys) - most)[len(keys) - most])
        kept = keys >= self._least
        self._keys, self._weights, self._held = [keys[kept]], [weights[kept]], int(kept.sum())

    def values(self) -> list[float | None]:
        """Return the value of each slice in the order they were added, rounded to float32.

        ``None`` for normal slices, for those without a lesion pixel inside the brain, and without normal slices.
        """
        if not self._normals:
            return [None] * len(self._lesions)
        keys, weights = np.concatenate(self._keys), np.concatenate(self._weights) / self._normals
        falling, rates = falling_rates(keys, weights)
        return [
            None if lesion is None or not len(lesion) else float(np.float32(covered_share(lesion, falling, rates)))
            for lesion in self._lesions
        ]
