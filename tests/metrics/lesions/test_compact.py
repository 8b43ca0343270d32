"""False alarms are reduced to what a cohort's curve depends on, and no number changes."""

from __future__ import annotations

import lesions_reference as reference
import numpy as np
import pytest

from anyadbench.metrics.lesions import ScanRecord, cohort_numbers, score_scan
from anyadbench.metrics.lesions.compact import alarm_levels, found_levels, snap_alarms


def records_of(seed: int, count: int = 6) -> list[ScanRecord]:
    scans = [reference.volume(100 * seed + number) for number in range(count)]
    return [score_scan(*scan, (1, 1, 1), threshold=0.4) for scan in scans]


@pytest.mark.parametrize("seed", range(12))
def test_no_number_changes_whatever_the_weights(seed: int) -> None:
    records = records_of(seed)
    short = snap_alarms(records)
    draws = np.random.default_rng(seed).multinomial(len(records), np.full(len(records), 1 / len(records)), size=40)
    before, after = (cohort_numbers(own, draws.astype(float)) for own in (records, short))
    for name in before:
        np.testing.assert_array_equal(before[name], after[name], name)
    assert sum(len(one.alarm_scores) for one in short) <= sum(len(one.alarm_scores) for one in records)


def test_an_alarm_takes_the_score_of_the_next_lesion_below_it() -> None:
    levels = np.array([3, 1], np.float32)
    assert alarm_levels(np.array([4, 3, 2, 1, 0.5], np.float32), levels).tolist() == [0, 0, 1, 1]


def test_without_a_found_lesion_no_alarm_is_kept() -> None:
    truth = np.zeros((4, 5, 6), dtype=bool)
    record = score_scan(np.random.default_rng(0).random(truth.shape), truth, ~truth, (1, 1, 1))
    assert len(record.alarm_scores) > 0
    assert len(snap_alarms([record])[0].alarm_scores) == 0 and len(found_levels([record])) == 0
