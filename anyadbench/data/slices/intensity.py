"""From stored units to the scale a method sees, for each sequence from its own values alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.data.trees.scan_slices import PERCENTILES, percentile_column
from anyadbench.errors import UserError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Float64, Int

    from anyadbench.data.store.store import SliceStore

MODES = ("volume", "slice-minmax8")


def apply_scale(
    values: Float32[np.ndarray, "N S H W"],
    present: Bool[np.ndarray, "N S"],
    store: SliceStore,
    rows: Int[np.ndarray, " N"],
    sequences: Sequence[str],
    mode: str = "volume",
    percentile: float = 99.8,
) -> Float32[np.ndarray, "N S H W"]:
    """Scale the output of ``SliceStore.read`` to [0, 1]; absent sequences stay exactly 0.

    Args:
        values: Slices in source units.
        present: Which sequences each slice has.
        store: Store that they came from.
        rows: Their indices in the store.
        sequences: Their sequences.
        mode: ``volume`` divides by the sequence's percentile over the scan's own foreground and clips to [0, 1];
            ``slice-minmax8`` min-max scales every slice and sequence and truncates to 8 bits, as the AnyAD release's
            loader does.
        percentile: For ``volume``: 99, 99.5, 99.8, 99.9, or 100 for the maximum.

    Raises:
        UserError: If the mode or percentile is unknown.
    """
    tops = np.zeros(present.shape)
    if mode == "volume":
        tops = scan_tops(store, rows, sequences, percentile)
    return scale_values(values, present, tops, mode)


def scan_tops(
    store: SliceStore, rows: Int[np.ndarray, " N"], sequences: Sequence[str], percentile: float
) -> Float64[np.ndarray, "N S"]:
    """Return the value that becomes 1 under ``volume``, of each sequence of each slice's scan; 0 if it is absent.

    Raises:
        UserError: If the percentile is unknown.
    """
    if percentile not in (*PERCENTILES, 100):
        known = ", ".join(f"{value:g}" for value in (*PERCENTILES, 100))
        raise UserError(f"Percentile {percentile:g} is not stored; use one of {known}.")
    tops = np.zeros((len(rows), len(sequences)))
    owner = store.scan_of_row[np.asarray(rows, dtype=np.int64)]
    for place, name in enumerate(sequences):
        if name in store.sequences:
            tops[:, place] = store.scans[percentile_column(percentile, name)].to_numpy(np.float64)[owner]
    return tops


def scan_factors(present: Bool[np.ndarray, "N S"], tops: Float64[np.ndarray, "N S"]) -> Float32[np.ndarray, "N S"]:
    """Return what ``volume`` multiplies each sequence of each slice by; 0 for an absent or empty one."""
    factors = np.zeros(present.shape, np.float32)
    usable = present & (tops > 0)
    factors[usable] = 1.0 / tops[usable]
    return factors


def scale_values(
    values: Float32[np.ndarray, "N S H W"],
    present: Bool[np.ndarray, "N S"],
    tops: Float64[np.ndarray, "N S"],
    mode: str = "volume",
) -> Float32[np.ndarray, "N S H W"]:
    """Scale slices to [0, 1] with given percentiles of their scans; see ``apply_scale``.

    Args:
        values: Slices in source units.
        present: Which sequences each slice has.
        tops: For ``volume``: the value that becomes 1, for each slice's scan and sequence.
        mode: ``volume`` or ``slice-minmax8``.

    Raises:
        UserError: If the mode is unknown.
    """
    if mode == "slice-minmax8":
        return _minmax8(values, present)
    if mode != "volume":
        raise UserError(f"Unknown intensity mode {mode!r}; use one of {', '.join(MODES)}.")
    out = values * scan_factors(present, tops)[:, :, None, None]
    return np.clip(out, 0.0, 1.0, out=out)


def _minmax8(
    values: Float32[np.ndarray, "N S H W"], present: Bool[np.ndarray, "N S"]
) -> Float32[np.ndarray, "N S H W"]:
    out = np.zeros_like(values)
    for i, place in np.argwhere(present):
        image, own = values[i, place], out[i, place]
        low, high = image.min(), image.max()
        np.subtract(image, low, out=own)
        own /= high - low + np.float32(1e-8)
        own *= np.float32(255)
        # The release casts to uint8, which truncates instead of rounding.
        np.floor(own, out=own)
        own /= np.float32(255)
    return out
