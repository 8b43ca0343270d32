"""Streaming pixel metrics: a histogram over the ordered bits of float32 scores.

The number format fixes the bins, so no range has to be known, an outlier moves nothing, and states merge by addition.
Counts and region weights are integers: any order, batch size and sharding gives the same state bit for bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.errors import UserError
from anyadbench.metrics.core.arrays import as_maps, as_masks
from anyadbench.metrics.core.components import lesion_pixels
from anyadbench.metrics.core.curves import Curve
from anyadbench.metrics.core.ordered_bits import float32_keys
from anyadbench.metrics.core.ranking import STREAM_UNIT, Steps
from anyadbench.metrics.core.sparse_histogram import PagedTable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float32, Float64, Int32, Int64

    from anyadbench.metrics.core.components import LesionPixels

DEFAULT_BITS = 24
UNIT = STREAM_UNIT

_MOST_COMPONENTS = 1 << 22
_BLOCK_PIXELS = 1 << 21


def checked_components(count: int) -> int:
    """Return the number of components of a state.

    Raises:
        UserError: If there are too many.
    """
    if count > _MOST_COMPONENTS:
        raise UserError(f"One pixel state holds at most {_MOST_COMPONENTS} lesions; use one state per part.")
    return count


def component_weights(areas: Int64[np.ndarray, " p"]) -> Int64[np.ndarray, " p"]:
    """Return the share of its component that each lesion pixel is, as a rounded integer in units of 1 / `UNIT`.

    Args:
        areas: Area of each pixel's component; that of 0 counts nothing.
    """
    # The float64 quotient is never rounded up to the next integer: that is 1 / area away, and its last bit is less.
    shares = (UNIT + (areas >> 1)) / np.maximum(areas, 1)
    weights: Int64[np.ndarray, " p"] = shares.astype(np.int64) * (areas > 0)
    return weights


class PixelState:
    """Counts of normal and lesion pixels and region weights per bin of scores.

    Args:
        bits: Leading bits of the ordered float32 pattern that form a bin, 12 to 24. With 24 a bin is 2^-15 of its
            octave wide; scores in one bin count as tied, and `error_bound` gives the largest error this can cause.

    Raises:
        UserError: If ``bits`` is out of range.
    """

    def __init__(self, bits: int = DEFAULT_BITS) -> None:
        if not 12 <= bits <= 24:
            raise UserError(f"A pixel state cannot have {bits} bits; choose 12 to 24.")
        self.bits = bits
        self.components = 0
        self._total, self._lesion, self._weight = PagedTable(bits), PagedTable(bits), PagedTable(bits)

    @property
    def nbytes(self) -> int:
        """Bytes of the tables."""
        return self._total.nbytes + self._lesion.nbytes + self._weight.nbytes

    def update(self, maps: Any, masks: Any, components: Any | None = None) -> None:
        """Add slices; arguments and errors as in `anyadbench.metrics.PixelStats.update`."""
        scores = as_maps(maps)
        self.add_pixels(scores.ravel(), lesion_pixels(as_masks(masks, scores.shape), components))

    def add_pixels(self, flat: Float32[np.ndarray, " n"], lesions: LesionPixels) -> None:
        """Add finite scores, of which those at the lesions' places are lesion pixels."""
        self._add_lesions(float32_keys(flat[lesions.index]), lesions)
        for start in range(0, flat.size, _BLOCK_PIXELS):
            self._total.count_keys(float32_keys(flat[start : start + _BLOCK_PIXELS]))

    def update_torch(self, maps: Any, masks: Any, components: Any | None = None) -> None:
        """Add slices given as torch tensors, counting on the device that holds the maps.

        The state is identical to that of `update`. Only counts and the lesion pixels' scores are copied to the host.

        Args:
            maps: N x H x W float32 tensor.
            masks: N x H x W boolean tensor or array.
            components: As in `update`.

        Raises:
            UserError: If the maps are not a float32 tensor or shapes do not fit.
            ScoreError: If a score is NaN or infinite; the state is unchanged.
        """
        import torch

        if not isinstance(maps, torch.Tensor) or maps.dtype != torch.float32 or maps.ndim != 3:
            raise UserError("update_torch needs a float32 tensor of slices x height x width; convert it with .float().")
        if not bool(torch.isfinite(maps).all()):
            as_maps(maps)
        lesions = lesion_pixels(as_masks(masks, tuple(maps.shape)), components)
        flat = maps.detach().contiguous().view(torch.int32).ravel()
        keys = torch.where(flat < 0, -(2**31) - flat, flat)
        index = torch.from_numpy(lesions.index).to(maps.device)
        self._add_lesions(keys[index].cpu().numpy(), lesions)
        if keys.numel() == 0:
            return
        bins = (keys >> (32 - self.bits)).long()
        first = int(bins.min())
        counts = torch.bincount(bins - first)
        occupied = torch.nonzero(counts).ravel()
        self._total.add((occupied + first).cpu().numpy(), counts[occupied].cpu().numpy())

    @classmethod
    def of_tables(cls, components: int, total: PagedTable, lesion: PagedTable, weight: PagedTable) -> PixelState:
        """Return the state of pixels that were counted elsewhere; it takes the tables over.

        Args:
            components: Number of lesion components.
            total: All pixels, by bins.
            lesion: Lesion pixels.
            weight: Sums of `component_weights`.
        """
        state = cls(total.bits)
        state.components, state._total, state._lesion, state._weight = components, total, lesion, weight
        return state

    def _add_lesions(self, keys: Int32[np.ndarray, " p"], lesions: LesionPixels) -> None:
        self.components = checked_components(self.components + lesions.count)
        self._lesion.count_keys(keys)
        self._weight.add(keys >> (32 - self.bits), component_weights(lesions.areas))

    def merge(self, other: PixelState) -> None:
        """Add the counts of another state, which stays unchanged.

        Raises:
            UserError: If the other state has another number of bits.
        """
        if other.bits != self.bits:
            raise UserError(f"States of {self.bits} and {other.bits} bits cannot be merged; coarsen one of them first.")
        self.components = checked_components(self.components + other.components)
        for mine, theirs in zip(self._tables(), other._tables(), strict=True):
            mine.add(*theirs.items())

    def merge_normals(self, other: PixelState) -> None:
        """Add the normal pixels of another state of the same bits, which stays unchanged."""
        bins, total = other._total.items()
        self._total.add(bins, total - other._lesion.at(bins))

    def __add__(self, other: PixelState) -> PixelState:
        """Return a new state with the pixels of both."""
        result = PixelState(self.bits)
        result.merge(self)
        result.merge(other)
        return result

    def coarsened(self, bits: int) -> PixelState:
        """Return the state that fewer bits would have produced.

        Raises:
            UserError: If ``bits`` is more than this state has, or out of range.
        """
        if bits > self.bits:
            raise UserError(f"A state of {self.bits} bits cannot be refined to {bits}; coarsen the finer one instead.")
        result = PixelState(bits)
        result.components = self.components
        for mine, coarse in zip(self._tables(), result._tables(), strict=True):
            bins, values = mine.items()
            coarse.add(bins >> (self.bits - bits), values)
        return result

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the occupied bins, ascending, for storage (for example with ``numpy.savez_compressed``).

        Returns:
            ``bins`` (uint32), ``normal``, ``lesion`` and ``weight`` (int64, one per bin), ``components`` and ``bits``.
        """
        bins, total = self._total.items()
        lesion = self._lesion.at(bins)
        return {
            "bins": (bins + (1 << (self.bits - 1))).astype(np.uint32),
            "normal": total - lesion,
            "lesion": lesion,
            "weight": self._weight.at(bins),
            "components": np.asarray(self.components, dtype=np.int64),
            "bits": np.asarray(self.bits, dtype=np.int64),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> PixelState:
        """Return the state from the arrays of `to_arrays`.

        Raises:
            UserError: If an array is missing, or no state has such arrays.
        """
        names = ("bins", "normal", "lesion", "weight", "components", "bits")
        missing = [name for name in names if name not in arrays]
        if missing:
            raise UserError(f"Pixel statistics lack the array {missing[0]!r}; write them again with to_arrays().")
        state = cls(int(arrays["bits"]))
        bins, normal, lesion, weight = (np.asarray(arrays[name]).astype(np.int64) for name in names[:4])
        if not bins.shape == normal.shape == lesion.shape == weight.shape or bins.ndim != 1:
            raise UserError("Pixel statistics have arrays of different lengths; write them again with to_arrays().")
        negative = any((values < 0).any() for values in (bins, normal, lesion, weight))
        if negative or (bins >= 1 << state.bits).any() or (np.diff(bins) <= 0).any():
            raise UserError("Pixel statistics hold impossible bins or counts; write them again with to_arrays().")
        state.components = int(arrays["components"])
        signed = bins - (1 << (state.bits - 1))
        for table, values in zip(state._tables(), (normal + lesion, lesion, weight), strict=True):
            table.add(signed[values > 0], values[values > 0])
        return state

    def steps(self) -> Steps:
        """Return the bins of lesion pixels as integers from which every metric follows."""
        bins, lesions = (np.ascontiguousarray(values[::-1]) for values in self._lesion.items())
        found, tied = np.cumsum(lesions), self._total.at(bins) - lesions
        above = self._total.above(bins) - (found - lesions)
        normals = self._total.total() - int(found[-1] if len(found) else 0)
        return Steps(
            gaps=np.append(above, normals) - np.append(0, above + tied),
            tied=tied,
            lesions=lesions,
            areas=np.empty(0, dtype=np.int64),
            weights=self._weight.at(bins),
            components=self.components,
        )

    def curve(self) -> Curve:
        """Return the ranking from which the metrics follow, with the scores of one bin tied."""
        return self.steps().curve()

    def compute(self) -> dict[str, float]:
        """Return ``pixel_auroc``, ``pixel_ap``, ``pixel_f1`` and ``aupro`` (see `PixelStats.compute`)."""
        return self.steps().compute()

    def curves(self) -> dict[str, Float64[np.ndarray, "p 2"]]:
        """Return at most 500 points of each of the ``roc``, ``pr`` and ``pro`` curves, for plots."""
        return self.steps().curves()

    @property
    def error_bound(self) -> dict[str, float]:
        """Return, for each metric, the largest possible error of `compute` (see `Steps.error_bound`)."""
        return self.steps().error_bound()

    def counts_above(self, key: int) -> tuple[int, int]:
        """Return how many normal and how many lesion pixels lie in bins above the bin of ``key``."""
        arrays = self.to_arrays()
        above = arrays["bins"].astype(np.int64) > (key >> (32 - self.bits)) + (1 << (self.bits - 1))
        return int(arrays["normal"][above].sum()), int(arrays["lesion"][above].sum())

    def _tables(self) -> tuple[PagedTable, PagedTable, PagedTable]:
        return self._total, self._lesion, self._weight
