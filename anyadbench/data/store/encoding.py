"""Encoding a volume's values as 16-bit integers, and decoding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Shaped, UInt16

TOP = 65535


@dataclass(frozen=True)
class Coding:
    """A linear code, ``value = (stored - zero) * scale``: background 0 is stored as ``zero`` and decodes exactly."""

    scale: float
    zero: int

    @property
    def offset(self) -> float:
        """The same code as ``value = stored * scale + offset``."""
        return -self.zero * self.scale if self.zero else 0.0


def fit_coding(array: Shaped[np.ndarray, "*shape"]) -> Coding:
    """Choose the code of a volume: integers that span less than 65536 are stored exactly, with scale 1."""
    low, high = min(float(array.min()), 0.0), max(float(array.max()), 0.0)
    whole = array.dtype.kind in "iu" or bool((np.rint(array) == array).all())
    if whole and high - low <= TOP:
        return Coding(1.0, int(-low))
    # One step on either side of zero stays unused, so that no value other than 0 becomes background.
    scale = (high - low) / (TOP - 1)
    return Coding(scale, int(np.ceil(-low / scale)) if low < 0 else 0)


def encode(array: Shaped[np.ndarray, "*shape"], coding: Coding) -> UInt16[np.ndarray, "*shape"]:
    """Encode values; non-zero values stay at least one step away from the background."""
    if coding.scale == 1.0 and array.dtype.kind in "iu":
        # A code of scale 1 maps every value to 16 bits; only a shift can leave the array's own type on the way.
        return (array.astype(np.int64) + coding.zero if coding.zero else array).astype(np.uint16)
    steps = np.rint(array.astype(np.float64) / coding.scale)
    steps = np.where((steps == 0) & (array != 0), np.sign(array), steps)
    return np.asarray(np.clip(steps + coding.zero, 0, TOP).astype(np.uint16))
