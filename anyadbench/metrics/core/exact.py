"""Exact pixel metrics by the split method: normal scores are sorted as values, lesion scores searched among them.

Only 1 % of the pixels are lesion, so no index array over all pixels is needed: sorting plain integers is the whole
cost. The state holds 4 bytes per pixel; use `anyadbench.metrics.PixelState` where that is too much.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.metrics.core.arrays import as_maps, as_masks
from anyadbench.metrics.core.components import lesion_pixels
from anyadbench.metrics.core.curves import Curve, ranks_among
from anyadbench.metrics.core.ordered_bits import float32_keys
from anyadbench.metrics.core.ranking import Steps

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Float64, Int32, Int64

    from anyadbench.metrics.core.components import LesionPixels

CHUNK = 1 << 24
"""Normal scores per sorted chunk; larger chunks sort slower, many small ones search slower."""

_ABOVE_ALL = np.int32(2**31 - 1)


class PixelStats:
    """Accumulates maps and masks; its pixel metrics are the same bit for bit in any order and sharding.

    Scores are compared as float32, exactly. Each pixel of a component of area A adds 1/A, kept as integers, so that the
    order of addition does not matter.

    Args:
        chunk: Scores held unsorted; lower it to hold many states at once.
    """

    def __init__(self, chunk: int | None = None) -> None:
        self._chunk = chunk or CHUNK
        self._chunks: list[Int32[np.ndarray, " m"]] = []
        self._buffer: Int32[np.ndarray, " chunk"] | None = None
        self._filled = 0
        self._lesions_in_buffer = 0
        self._lesion_parts: list[Int64[np.ndarray, " p"]] = []
        self._lesions_sorted = False
        self._steps: Steps | None = None
        self.components = 0
        self.normal_pixels = 0
        self.lesion_pixels = 0

    def update(self, maps: Any, masks: Any, components: Any | None = None) -> None:
        """Add slices.

        Args:
            maps: N x H x W finite scores, higher is more anomalous; types other than float32 are rounded to it.
            masks: N x H x W lesion masks.
            components: Result of `anyadbench.metrics.components` for the masks, if available.

        Raises:
            UserError: If shapes or values do not fit.
            ScoreError: If a score is NaN or infinite; the state is unchanged.
        """
        scores = as_maps(maps)
        self.add_pixels(scores.ravel(), lesion_pixels(as_masks(masks, scores.shape), components))

    def add_pixels(self, flat: Float32[np.ndarray, " n"], lesions: LesionPixels) -> None:
        """Add finite scores, of which those at the lesions' places are lesion pixels."""
        self._add_lesions(float32_keys(flat[lesions.index]), lesions)
        self.normal_pixels += flat.size - len(lesions.index)
        for start, part in self._room(flat.size):
            first, last = np.searchsorted(lesions.index, [start, start + len(part)])
            part[:] = float32_keys(flat[start : start + len(part)])
            # Overwriting the few lesion pixels and dropping them after the sort is cheaper than a boolean selection.
            part[lesions.index[first:last] - start] = _ABOVE_ALL
            self._lesions_in_buffer += int(last - first)

    def add_keys(self, keys: Int32[np.ndarray, " n"], normals: Bool[np.ndarray, " n"], lesions: LesionPixels) -> None:
        """Add some of the ordered keys of a slice.

        Args:
            keys: Those of all its pixels.
            normals: Which normal pixels to add.
            lesions: The lesion pixels to add.
        """
        self._add_lesions(keys[lesions.index], lesions)
        chosen = keys[normals]
        self.normal_pixels += len(chosen)
        for start, part in self._room(len(chosen)):
            part[:] = chosen[start : start + len(part)]

    def _add_lesions(self, keys: Int32[np.ndarray, " p"], lesions: LesionPixels) -> None:
        self._steps, self._lesions_sorted = None, False
        self._lesion_parts.append(_pack(keys, lesions.areas))
        self.components += lesions.count
        self.lesion_pixels += len(lesions.index)

    def _room(self, count: int) -> Iterator[tuple[int, Int32[np.ndarray, " m"]]]:
        """Yield the parts of buffers that take so many keys, each with the number of keys before it, to be filled."""
        start = 0
        while start < count:
            if self._buffer is None:
                self._buffer, self._filled, self._lesions_in_buffer = np.empty(self._chunk, dtype=np.int32), 0, 0
            size = min(count - start, self._chunk - self._filled)
            self._filled += size
            yield start, self._buffer[self._filled - size : self._filled]
            start += size
            if self._filled == self._chunk:
                self._sort_buffer()

    def _sort_buffer(self) -> None:
        if self._buffer is None:
            return
        filled = self._buffer[: self._filled]
        filled.sort()
        normals = filled[: self._filled - self._lesions_in_buffer]
        roomy = len(normals) < self._chunk // 4  # memory that was never written to takes up address space alone
        self._chunks.append(normals.copy() if roomy else normals)
        self._buffer, self._filled, self._lesions_in_buffer = None, 0, 0

    def merge(self, other: PixelStats) -> None:
        """Add the counts of another state, which stays unchanged."""
        other._sort_buffer()
        self._chunks += other._chunks
        self._lesion_parts += other._lesion_parts
        self.components += other.components
        self.normal_pixels += other.normal_pixels
        self.lesion_pixels += other.lesion_pixels
        self._steps, self._lesions_sorted = None, False

    def merge_normals(self, other: PixelStats) -> None:
        """Add the normal pixels of another state, which stays unchanged."""
        other._sort_buffer()
        self._chunks += other._chunks
        self.normal_pixels += other.normal_pixels
        self._steps = None

    def __add__(self, other: PixelStats) -> PixelStats:
        """Return a new state with the pixels of both."""
        result = PixelStats()
        result.merge(self)
        result.merge(other)
        return result

    def steps(self) -> Steps:
        """Return the lesion pixels' scores as integers from which every metric follows."""
        if self._steps is None:
            packed = self._sorted_lesions()
            keys, counts = distinct_keys(packed)
            below, up_to = ranks_among(self._sorted_normals(), keys)
            bounds = np.stack([self.normal_pixels - up_to[::-1], self.normal_pixels - below[::-1]], axis=1)
            self._steps = Steps(
                gaps=np.append(bounds[:, 0], self.normal_pixels) - np.append(0, bounds[:, 1]),
                tied=bounds[:, 1] - bounds[:, 0],
                lesions=counts[::-1],
                areas=(packed & 0xFFFFFFFF)[::-1],
                weights=np.empty(0, dtype=np.int64),
                components=self.components,
            )
        return self._steps

    def curve(self) -> Curve:
        """Return the ranking from which the metrics follow."""
        return self.steps().curve()

    def compute(self) -> dict[str, float]:
        """Return ``pixel_auroc``, ``pixel_ap``, ``pixel_f1`` and ``aupro``.

        All are NaN without a lesion pixel or without a normal one. ``pixel_f1`` is the highest Dice over all thresholds
        of the pixels pooled over slices, 2TP / (2TP + FP + FN).
        """
        return self.steps().compute()

    def curves(self) -> dict[str, Float64[np.ndarray, "p 2"]]:
        """Return at most 500 points of each of the ``roc``, ``pr`` and ``pro`` curves, for plots."""
        return self.steps().curves()

    def counts_above(self, key: int) -> tuple[int, int]:
        """Return how many normal and how many lesion pixels have an ordered key above ``key``."""
        wanted = np.int32(key)
        normal = sum(len(chunk) - int(np.searchsorted(chunk, wanted, side="right")) for chunk in self._sorted_normals())
        lesion_keys = self._sorted_lesions() >> 32
        return normal, len(lesion_keys) - int(np.searchsorted(lesion_keys, key, side="right"))

    def normals_above(self, keys: Int32[np.ndarray, " k"]) -> Int64[np.ndarray, " k"]:
        """Return how many normal pixels have an ordered key above each of ``keys``."""
        chunks = self._sorted_normals()
        return self.normal_pixels - sum(
            (np.searchsorted(c, keys, side="right") for c in chunks), np.zeros_like(keys, np.int64)
        )

    def normals_from(self, keys: Int32[np.ndarray, " k"]) -> Int64[np.ndarray, " k"]:
        """Return how many normal pixels have an ordered key of at least each of ``keys``."""
        chunks = self._sorted_normals()
        return self.normal_pixels - sum(
            (np.searchsorted(c, keys, side="left") for c in chunks), np.zeros_like(keys, np.int64)
        )

    def packed_lesions(self) -> Int64[np.ndarray, " p"]:
        """Return ordered key and component area of each lesion pixel as one integer, ascending."""
        return self._sorted_lesions()

    def normal_chunks(self) -> list[Int32[np.ndarray, " m"]]:
        """Return the ordered keys of the normal pixels as ascending chunks."""
        return list(self._sorted_normals())

    def join(self) -> None:
        """Sort what was added, so that states that share these scores need not sort them again."""
        self._sorted_normals()

    def _sorted_normals(self) -> list[Int32[np.ndarray, " m"]]:
        self._sort_buffer()
        if len(self._chunks) > 2 + 2 * self.normal_pixels // CHUNK:
            self._chunks = [_joined(group) for group in _groups(self._chunks)]
        return self._chunks

    def _sorted_lesions(self) -> Int64[np.ndarray, " p"]:
        if not self._lesions_sorted:
            self._lesion_parts = [np.sort(np.concatenate([np.empty(0, dtype=np.int64), *self._lesion_parts]))]
            self._lesions_sorted = True
        return self._lesion_parts[0]


def _groups(chunks: list[Int32[np.ndarray, " m"]]) -> list[list[Int32[np.ndarray, " m"]]]:
    """Group small chunks, so that merging many small states does not need many searches."""
    groups: list[list[Int32[np.ndarray, " m"]]] = []
    size = 0
    for chunk in chunks:
        if not groups or size + len(chunk) > CHUNK:
            groups.append([])
            size = 0
        groups[-1].append(chunk)
        size += len(chunk)
    return groups


def _joined(group: list[Int32[np.ndarray, " m"]]) -> Int32[np.ndarray, " m"]:
    if len(group) == 1:
        return group[0]
    joined = np.concatenate(group)
    joined.sort(kind="stable")  # merges the chunks, which are sorted
    return joined


def _pack(keys: Int32[np.ndarray, " p"], areas: Int64[np.ndarray, " p"]) -> Int64[np.ndarray, " p"]:
    """Pack key and component area into one integer that sorts by key."""
    packed: Int64[np.ndarray, " p"] = (keys.astype(np.int64) << 32) | areas
    return packed


def distinct_keys(packed: Int64[np.ndarray, " p"]) -> tuple[Int32[np.ndarray, " k"], Int64[np.ndarray, " k"]]:
    """Return the distinct lesion keys, ascending, and the number of pixels at each."""
    keys = (packed >> 32).astype(np.int32)
    if len(keys) == 0:
        return keys, np.empty(0, dtype=np.int64)
    starts = np.flatnonzero(np.diff(keys, prepend=np.int32(keys[0] - 1)))
    return keys[starts], np.diff(starts, append=len(keys))
