"""What is stored of a scan: small, complete, and checked when it is read."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import lesions_reference as reference
import numpy as np
import pytest

from anyadbench.errors import UserError
from anyadbench.metrics.lesions import DilationRule, OverlapRule, ScanRecord, cohort_numbers, score_scan
from anyadbench.metrics.lesions.record import MOST_GRID

MOST_BYTES = 20_000


def record_of(number: int, **options: object) -> ScanRecord:
    options = {"threshold": 0.4, "grid": (0.0, 1.0)} | options
    return score_scan(*reference.volume(number), (1, 1, 1), **options)  # type: ignore[arg-type]


def same(first: ScanRecord, second: ScanRecord) -> None:
    for field in fields(ScanRecord):
        np.testing.assert_array_equal(getattr(first, field.name), getattr(second, field.name), field.name)


@pytest.mark.parametrize("number", range(0, 60, 3))
def test_a_record_survives_being_stored_bit_for_bit(number: int) -> None:
    for options in ({}, {"threshold": None}, {"curve": "peaks"}, {"rule": DilationRule(1, 1.0)}):
        record = record_of(number, **options)
        file = io.BytesIO()
        np.savez_compressed(file, **record.to_arrays())
        file.seek(0)
        with np.load(file) as arrays:
            read = ScanRecord.from_arrays(arrays)
        same(record, read)
        ours, theirs = cohort_numbers([record]), cohort_numbers([read])
        assert all(np.array_equal(ours[name], theirs[name], equal_nan=True) for name in ours)


def test_a_scan_of_noise_with_1500_lesions_takes_at_most_20_kilobytes() -> None:
    rng = np.random.default_rng(0)
    truth = np.zeros((60, 60, 60), dtype=bool)
    places = np.argwhere(np.ones((20, 20, 20)))
    truth[tuple((3 * rng.permutation(places)[:1500]).T)] = True
    scores = rng.standard_normal(truth.shape)
    record = score_scan(
        scores, truth, np.ones_like(truth), (1, 1, 1), threshold=2.0, grid=np.linspace(-3, 3, MOST_GRID),
        rule=OverlapRule(smallest_ml=0),
    )  # fmt: skip
    assert len(record.lesion_voxels) == 1500 and len(record.alarm_scores) == 1000
    assert sum(array.nbytes for array in record.to_arrays().values()) <= MOST_BYTES


def test_alarms_beyond_the_first_thousand_do_not_count() -> None:
    scores = np.zeros((1, 1, 2401), dtype=np.float32)
    scores[..., ::2] = np.arange(1201, 0, -1)
    record = score_scan(
        scores, np.zeros(scores.shape, dtype=bool), np.ones(scores.shape), (1, 1, 1), rule=OverlapRule(smallest_ml=0)
    )
    assert record.alarm_scores.tolist() == list(range(1201, 201, -1))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("counts", lambda a: a[:4]),
        ("counts", lambda a: a * 0 - 5),
        ("grid", lambda a: a[:1]),
        ("grid", lambda a: a[::-1] + np.array([[9], [99]], dtype=a.dtype)),
        ("lesion_voxels", lambda a: a[1:]),
        ("lesion_voxels", lambda a: a + 10_000),
        ("lesion_voxels", lambda a: a * 0),
        ("lesion_scores", lambda a: a * np.inf),
        ("alarm_scores", lambda a: np.append(a, np.float32(1e9))),
        ("alarm_scores", lambda a: a[:, None]),
        ("alarm_bins", lambda a: a[:2]),
        ("voxel_ml", lambda a: a * 0),
    ],
)
def test_a_changed_record_is_refused(name: str, change: object) -> None:
    arrays = record_of(1).to_arrays()
    assert arrays["lesion_voxels"].size and arrays["alarm_scores"].size
    arrays[name] = change(arrays[name])  # type: ignore[operator]
    with pytest.raises(UserError, match="run the cell again"):
        ScanRecord.from_arrays(arrays)
    del arrays[name]
    with pytest.raises(UserError, match="damaged or incomplete; run the cell again"):
        ScanRecord.from_arrays(arrays)


IMPOSSIBLE: dict[str, Callable[[ScanRecord], dict[str, Any]]] = {
    "a perfect mask below its own best Dice": lambda one: {
        "predicted": one.truth, "hit": one.truth, "best_hit": 1, "best_predicted": 5 * one.truth
    },
    "lesions found in an empty mask": lambda one: {
        "predicted": 0, "hit": 0, "lesion_found": ~np.isnan(one.lesion_scores), "alarm_bins": 0 * one.alarm_bins
    },
    "alarms in an empty mask": lambda one: {
        "predicted": 0, "hit": 0, "lesion_found": 0 * one.lesion_found == 1, "alarm_bins": np.array([1, 0, 0, 0])
    },
    "lesions found without a threshold": lambda one: {
        "predicted": -1, "hit": -1, "lesion_found": ~np.isnan(one.lesion_scores), "alarm_bins": 0 * one.alarm_bins
    },
    "a negative number of alarms": lambda one: {"alarm_bins": one.alarm_bins - np.array([0, 0, 0, 1])},
    "alarms of 10 ml in fewer voxels": lambda one: {"alarm_bins": one.alarm_bins + np.array([0, 0, 0, 1])},
    "a lesion that no threshold finds": lambda one: {"lesion_scores": np.nan * one.lesion_scores},
    "a Dice on the grid above the best": lambda one: {"grid_hit": np.minimum(one.grid_predicted, one.truth)},
    "masks that are not nested": lambda one: {
        "grid_predicted": np.append(one.predicted + 1, one.grid_predicted[1:]),
        "grid_hit": np.append(0, one.grid_hit[1:]),
    },
    "another mask of the same size": lambda one: {
        "grid_predicted": np.append(one.predicted, one.grid_predicted[1:]),
        "grid_hit": np.append(one.hit - 1, one.grid_hit[1:]),
    },
}  # fmt: skip


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_counts_that_no_map_can_give_are_refused(what: str) -> None:
    record = record_of(1)
    record.check()
    assert record.hit > 0 and record.lesion_found.any() and np.isfinite(record.lesion_scores).all()
    with pytest.raises(UserError, match="impossible counts or scores; run the cell again"):
        replace(record, **IMPOSSIBLE[what](record)).check()
