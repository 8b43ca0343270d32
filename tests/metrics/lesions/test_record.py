"""What is stored of a scan: small, complete, and checked when it is read."""

from __future__ import annotations

import io
from dataclasses import fields

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
