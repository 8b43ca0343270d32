"""The plan's estimate of what a cell's rows hold is within 20 % of what they do hold, exact or binned."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from anyadbench.launch import resources
from anyadbench.metrics.rows import row_state
from anyadbench.metrics.rows.row_numbers import row_numbers
from anyadbench.metrics.rows.row_state import RowState
from anyadbench.metrics.rows.split_counts import slice_pixels

SIDE, SUBJECTS, OWN, ROWS = 128, 4, 24, 3


def maps_and_places() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    maps = np.exp2(rng.uniform(-6, 4, (OWN, SIDE, SIDE))).astype(np.float32)  # eleven octaves
    brains, masks = np.zeros(maps.shape, dtype=bool), np.zeros(maps.shape, dtype=bool)
    brains[:, 20:100, 20:100] = True
    masks[::2, 30:50, 40:60] = True
    return maps, masks, brains


def scored(exact: bool) -> list[RowState]:
    maps, masks, brains = maps_and_places()
    places = slice_pixels(masks, brains)
    states = [RowState("F", exact, slices=SUBJECTS * OWN) for _ in range(ROWS)]
    for state in states:
        for subject in range(SUBJECTS):
            records = [
                {"test": "t", "subset": "F", "subject": f"s{subject}", "scan": f"s{subject}", "slice": number,
                 "height_mm": float(number), "label": int(mask.any()), "lesion_px": int(mask.sum()),
                 "brain": number / 31, "image_score": number / 7}
                for number, mask in enumerate(masks)
            ]  # fmt: skip
            state.add(maps * np.float32(1 + subject / 50), places, records)
        state.finish()
    return states


@pytest.mark.parametrize("exact", [True, False])
def test_the_estimate_of_rows_is_within_a_fifth(exact: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "EXACT_PIXELS", 2**40 if exact else 0)
    # What a subject's last buffer has left over costs no memory, but is counted here: keep it small.
    monkeypatch.setattr(row_state, "SUBJECT_CHUNK", 2**14)
    row_numbers(scored(exact)[0].pixels("t", None), [], [])  # fills what is cached on first use
    tracemalloc.start()
    try:
        kept = []
        for state in scored(exact):
            kept.append(state.pixels("t", None))
            state.release()
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    slices = SUBJECTS * OWN
    lesions = SUBJECTS * int(maps_and_places()[1].sum())
    expected = resources.rows_memory(slices, SIDE * SIDE, lesions, SUBJECTS, ROWS)
    assert expected / 1.2 < taken < expected * 1.2, f"{taken / 1e6:.1f} MB instead of {expected / 1e6:.1f} MB"
