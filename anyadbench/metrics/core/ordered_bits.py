"""Scores as integers that sort like the scores.

A finite float and its sign-corrected bit pattern have the same order, and ``-0.0`` and ``0.0`` get the same integer.
This package compares all scores by these keys, so a processor that flushes subnormal floats to zero
(``torch.set_flush_denormal``) cannot merge or reorder them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.errors import UserError

if TYPE_CHECKING:
    from jaxtyping import Float32, Float64, Int32, Int64

_INF = 0x7F800000
_NEGATIVE_INF_BITS = 0xFF800000
_SMALLEST_NORMAL = 0x00800000
_INT32_MIN = np.int32(-(2**31))
_INT64_MIN = np.int64(-(2**63))


class ScoreError(UserError, ValueError):
    """A score is NaN or infinite.

    Args:
        what: Name of the array that holds it.
        slices: See below.

    Attributes:
        slices: Indices of the slices with such a score in the given arrays, ascending.
    """

    def __init__(self, what: str, slices: list[int]) -> None:
        self.slices = slices
        shown = ", ".join(str(index) for index in slices[:8]) + (", ..." if len(slices) > 8 else "")
        noun = "slice" if len(slices) == 1 else "slices"
        super().__init__(
            f"The {what} of {noun} {shown} hold NaN or infinite values; "
            "scores must be finite, so fix the method that produced them."
        )


def float32_keys(values: Float32[np.ndarray, "*shape"]) -> Int32[np.ndarray, "*shape"]:
    """Return the ordered integer view of finite float32 values.

    The result may share memory with ``values`` (it does if no value is negative): do not write to it.
    """
    bits = values.view(np.int32)
    if bits.size == 0 or int(bits.min()) >= 0:
        return bits
    return np.where(bits < 0, _INT32_MIN - bits, bits)


def float64_keys(values: Float64[np.ndarray, "*shape"]) -> Int64[np.ndarray, "*shape"]:
    """Return the ordered integer view of finite float64 values (see `float32_keys`)."""
    bits = values.view(np.int64)
    return np.where(bits < 0, _INT64_MIN - bits, bits)


def key_values(keys: Int32[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
    """Return the float32 values of keys, as float64.

    A flushing processor also reads subnormal float32 as zero when it widens them, so those are scaled from integers.
    """
    bits = np.where(keys < 0, _INT32_MIN - keys, keys).astype(np.int32, copy=False)
    values = bits.view(np.float32).astype(np.float64)
    tiny = np.abs(keys) < _SMALLEST_NORMAL
    if tiny.any():
        values[tiny] = keys[tiny] * 2.0**-149
    return values


def threshold_key(threshold: float) -> int:
    """Return the key of the largest float32 that does not exceed ``threshold``.

    A float32 score is greater than the threshold if and only if its key is greater than this.

    Raises:
        UserError: If the threshold is NaN or infinite.
    """
    if not math.isfinite(threshold):
        raise UserError(f"The threshold {threshold} is not finite; give a finite number on the scale of the maps.")
    if abs(threshold) < 2.0**-126:
        return math.floor(threshold * 2.0**149)
    largest = float(np.finfo(np.float32).max)
    if abs(threshold) > largest:
        return _INF if threshold > 0 else -_INF
    nearest = np.asarray([threshold], dtype=np.float32)
    key = int(float32_keys(nearest)[0])
    return key - 1 if float(nearest[0]) > threshold else key


def require_finite_maps(maps: Float32[np.ndarray, "n h w"]) -> None:
    """Check that every pixel of every map is finite.

    Raises:
        ScoreError: If one is not; it lists the slices.
    """
    if maps.size == 0:
        return
    # Two integer maxima decide for both signs: negative floats are the upper half of the unsigned view.
    if int(maps.view(np.int32).max()) < _INF and int(maps.view(np.uint32).max()) < _NEGATIVE_INF_BITS:
        return
    bad = (maps.view(np.int32) & 0x7FFFFFFF) >= _INF
    raise ScoreError("anomaly maps", np.flatnonzero(bad.any(axis=(1, 2))).tolist())
