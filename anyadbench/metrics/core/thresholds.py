"""Metrics at a fixed threshold that comes from validation normals, never from the test set."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.errors import UserError
from anyadbench.metrics.core.arrays import to_numpy
from anyadbench.metrics.core.exact import PixelStats
from anyadbench.metrics.core.ordered_bits import ScoreError, float32_keys, key_values, threshold_key
from anyadbench.metrics.core.streaming import PixelState

if TYPE_CHECKING:
    from jaxtyping import Int32


@dataclass(frozen=True)
class Quantile:
    """Location of a quantile of a `PixelState`'s normal pixels, as integers from which its value follows.

    Attributes:
        quantile: 0 to 1.
        bits: Bits of the state.
        bin: The bin that contains the quantile.
        below: Normal pixels in lower bins.
        inside: Normal pixels in this bin.
        total: All normal pixels.
    """

    quantile: float
    bits: int
    bin: int
    below: int
    inside: int
    total: int

    @property
    def value(self) -> float:
        """Upper edge of the bin, so that `at_threshold` on states of the same bits counts exactly."""
        signed = self.bin - (1 << (self.bits - 1))
        return _value(((signed + 1) << (32 - self.bits)) - 1)

    def check(self) -> None:
        """Check that the counts put the quantile into the bin.

        Raises:
            UserError: If they do not.
        """
        possible = 12 <= self.bits <= 24 and 0 <= self.quantile <= 1 and 0 <= self.bin < 1 << self.bits
        if (
            not possible
            or not 0 <= self.below <= _rank(self.total, self.quantile) < self.below + self.inside <= self.total
        ):
            raise UserError("The counts of the validation normals do not give the threshold's bin; run the cell again.")


def threshold_from_normals(values: Any, quantile: float = 0.99) -> float:
    """Return the score that the given fraction of normal pixels does not exceed.

    The quantile is an order statistic (numpy's method "higher"), hence an actual score. From a `PixelState` it is the
    upper edge of that score's bin, so that `at_threshold` on states of the same bits counts exactly.

    Args:
        values: Scores of normal pixels in any shape, or a `PixelStats` or `PixelState`, whose normal pixels count.
        quantile: 0 to 1.

    Raises:
        UserError: If there is no normal pixel or the quantile is out of range.
        ScoreError: If a score is NaN or infinite.
    """
    if not 0 <= quantile <= 1:
        raise UserError(f"The quantile {quantile} is out of range; give a number from 0 to 1, for example 0.99.")
    if isinstance(values, PixelState):
        return quantile_of_state(values, quantile).value
    if isinstance(values, PixelStats):
        return _value(_order_statistic(values.normal_chunks(), _rank(values.normal_pixels, quantile)))
    scores = np.ascontiguousarray(to_numpy(values), dtype=np.float32).ravel()
    if not np.isfinite(scores).all():
        raise ScoreError("normal scores", np.flatnonzero(~np.isfinite(scores)).tolist())
    rank = _rank(len(scores), quantile)
    return _value(int(np.partition(float32_keys(scores), rank)[rank]))


def at_threshold(stats: PixelStats | PixelState, threshold: float) -> dict[str, float]:
    """Return Dice and related metrics over the pixels of all slices; scores above the threshold are positive.

    A `PixelState` counts whole bins: bins above the threshold's bin are positive.

    Returns:
        ``dice``, ``sensitivity``, ``specificity``, ``precision`` (NaN where 0/0) and the counts ``tp``, ``fp``, ``fn``
        and ``tn``.

    Raises:
        UserError: If the threshold is not finite.
    """
    false_positive, true_positive = stats.counts_above(threshold_key(threshold))
    return decision_values(true_positive, false_positive, *_totals(stats))


def decision_values(true_positive: int, false_positive: int, normal: int, lesion: int) -> dict[str, float]:
    """Return the values of `at_threshold` from the counts of flagged and of all normal and lesion pixels."""
    false_negative, true_negative = lesion - true_positive, normal - false_positive
    return {
        "dice": _ratio(2 * true_positive, 2 * true_positive + false_positive + false_negative),
        "sensitivity": _ratio(true_positive, lesion),
        "specificity": _ratio(true_negative, normal),
        "precision": _ratio(true_positive, true_positive + false_positive),
        "tp": float(true_positive),
        "fp": float(false_positive),
        "fn": float(false_negative),
        "tn": float(true_negative),
    }


def _totals(stats: PixelStats | PixelState) -> tuple[int, int]:
    if isinstance(stats, PixelStats):
        return stats.normal_pixels, stats.lesion_pixels
    arrays = stats.to_arrays()
    return int(arrays["normal"].sum()), int(arrays["lesion"].sum())


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _rank(count: int, quantile: float) -> int:
    if count == 0:
        raise UserError("There are no normal pixels to set a threshold from; give maps of validation normals.")
    return math.ceil(quantile * (count - 1))


def quantile_of_state(state: PixelState, quantile: float = 0.99) -> Quantile:
    """Return the location of a quantile of the state's normal pixels.

    Raises:
        UserError: If there is no normal pixel.
    """
    arrays = state.to_arrays()
    cumulated = np.cumsum(arrays["normal"])
    total = int(cumulated[-1]) if len(cumulated) else 0
    place = int(np.searchsorted(cumulated, _rank(total, quantile), side="right"))
    inside = int(arrays["normal"][place])
    return Quantile(quantile, state.bits, int(arrays["bins"][place]), int(cumulated[place]) - inside, inside, total)


def _order_statistic(chunks: list[Int32[np.ndarray, " m"]], rank: int) -> int:
    """Find the key with ``rank`` smaller ones in sorted chunks, by halving the range of keys."""
    low, high = -(2**31), 2**31 - 1
    while low < high:
        middle = (low + high) // 2
        not_above = sum(int(np.searchsorted(chunk, np.int32(middle), side="right")) for chunk in chunks)
        low, high = (low, middle) if not_above > rank else (middle + 1, high)
    return low


def _value(key: int) -> float:
    return float(key_values(np.asarray([key], dtype=np.int32))[0])
