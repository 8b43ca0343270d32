"""The numbers of whole scans: values, intervals over subjects, reasons, and bins by volume."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from anyadbench.metrics.intervals.plain import amount_interval
from anyadbench.metrics.lesions import cohort_numbers, score_scan
from anyadbench.metrics.scans.scan_numbers import (
    LIMITS,
    SCAN_METRICS,
    interval_key,
    patients_of,
    scan_intervals,
    scan_numbers,
    scan_replicates,
)
from anyadbench.metrics.scans.whole_scans import RowScans, scan_table

SHAPE = (12, 16, 14)


def row_of(scans: int = 8, threshold: float | None = 2.0, lesion: bool = True, subjects: int | None = None) -> RowScans:
    rng = np.random.default_rng(3)
    records = []
    for number in range(scans):
        truth = np.zeros(SHAPE, dtype=bool)
        if lesion:
            size = 2 + number % 4
            truth[2 : 2 + size, 3 : 3 + size, 4 : 4 + size] = True
        scores = rng.standard_normal(SHAPE) + (1 + number % 3) * truth
        records.append(
            score_scan(scores, truth, np.ones(SHAPE, bool), (2, 2, 2), threshold=threshold, grid=(3.0, 2.0, 1.0))
        )
    names = tuple(f"s{number % (subjects or scans)}" for number in range(scans))
    return RowScans("t", "F", "rule", threshold, (3.0, 2.0, 1.0), names, tuple(map(str, range(scans))), tuple(records))


def test_values_are_those_of_the_cohort_and_each_subject_is_left_out_with_all_its_scans() -> None:
    row = row_of(scans=8, subjects=4)
    line = scan_replicates(row)
    whole = cohort_numbers(row.records)
    kept = cohort_numbers([record for name, record in zip(row.subjects, row.records, strict=True) if name != "s1"])
    for place, name in enumerate(SCAN_METRICS):
        np.testing.assert_allclose(line.point[0, place], whole[name][0], rtol=1e-12, err_msg=name)
        np.testing.assert_allclose(line.jack[0, 1, place], kept[name][0], rtol=1e-9, err_msg=name)


def test_the_interval_of_the_volume_bias_leans_to_the_side_of_its_large_differences() -> None:
    row = row_of()
    difference = np.array([(one.predicted - one.truth) * one.voxel_ml for one in row.records])
    error = stats.sem(difference)
    found = scan_intervals(scan_replicates(row), [row])["volume_bias_ml"]
    below, above = difference.mean() - found.low, found.high - difference.mean()
    assert min(below, above) > error and max(below, above) > stats.t.ppf(0.975, len(difference) - 1) * error
    assert (below > above) == (stats.skew(difference) < 0)


@pytest.mark.parametrize("counted", [True, False])
def test_an_amount_without_skewness_has_the_t_interval(counted: bool) -> None:
    moved = np.array([-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5]) / 100
    point, jack = (np.ones(1), np.exp(moved)[None]) if counted else (np.zeros(1), moved[None])
    one = amount_interval(point, jack, counted=counted)
    ends = np.array([one.low, one.high])
    found = np.log(ends) if counted else ends
    shares = np.sqrt(6 / 7) * moved
    effective = np.square(shares).sum() ** 2 / (shares**4).sum()
    degrees = min(6.0, (1.0 if counted else 0.6) * (2 * effective - 1))
    reach = stats.t.ppf(0.975, degrees) * np.sqrt(np.square(shares).sum())
    np.testing.assert_allclose(found, (-reach, reach), atol=1e-9)


def test_a_count_never_goes_below_zero() -> None:
    jack = np.array([[0.0, 0.5, 0.5, 0.5, 0.5, 0.5]])
    found = amount_interval(np.array([0.4167]), jack, counted=True)
    assert 0 < found.low < 0.1 and found.high > 1
    nothing = amount_interval(np.zeros(1), np.zeros((1, 6)), counted=True)
    assert nothing.reason.startswith("No interval: nothing was counted") and np.isnan(nothing.low)


@pytest.mark.parametrize(("value", "noise"), [(0.0, 0.0), (512.0, 0.0), (512.0, 1e-13), (3.0, 1e-15)])
@pytest.mark.parametrize("counted", [True, False])
def test_an_amount_that_no_subject_changes_has_no_interval(value: float, noise: float, counted: bool) -> None:
    jack = value + noise * np.arange(-3.0, 4.0)[None]
    found = amount_interval(np.array([value]), jack, counted=counted)
    assert np.isnan([found.low, found.high]).all() and found.reason.startswith("No interval: ")
    if value:
        assert found.reason == "No interval: the value is the same without any of the subjects."


def test_a_row_says_why_a_number_has_no_interval() -> None:
    found = scan_numbers(row_of(scans=9, subjects=9))
    lacking = {name for name, value in found["metrics"].items() if value is not None and name not in found["intervals"]}
    assert {"lesion_ap", "dice_common"} <= lacking and "dice" in found["intervals"]
    for name in lacking - set(LIMITS):
        assert found["reasons"][interval_key(name)].startswith("No interval: ")
    assert found["reasons"]["lesion_ap_interval"].endswith("less often than it says; it needs 12.")


def test_intervals_of_shares_lie_between_0_and_1_around_the_value() -> None:
    found = scan_numbers(row_of())
    for name in ("dice", "dice_best", "lesion_f1"):
        low, high = found["intervals"][name]
        assert 0 <= low <= found["metrics"][name] <= high <= 1


def test_below_five_subjects_there_is_no_interval_and_a_reason() -> None:
    found = scan_numbers(row_of(scans=8, subjects=4))
    assert found["intervals"] == {} and found["n_subjects"] == 4 and found["n_scans"] == 8
    assert found["reasons"]["intervals"] == "No interval: 4 test subjects, and an interval needs 5."


@pytest.mark.parametrize(
    ("row", "reasons"),
    [
        (row_of(threshold=None), {"dice": "No threshold: no validation normal", "alarms_per_scan": "No threshold"}),
        (row_of(lesion=False), {"dice": "No test scan of this row has a lesion", "lesion_ap": "No test scan"}),
        (row_of(scans=1), {"volume_low_ml": "Limits of agreement need two scans."}),
        (row_of(), {"lesion_f1_from_10ml": "No lesion and no false alarm has this volume."}),
    ],
)
def test_an_undefined_number_has_a_reason(row: RowScans, reasons: dict[str, str]) -> None:
    found = scan_numbers(row)
    for name, text in reasons.items():
        assert found["metrics"][name] is None and found["reasons"][name].startswith(text), name
    undefined = {name for name, value in found["metrics"].items() if value is None}
    assert undefined == {name for name in found["reasons"] if not name.endswith("_interval")} - {"intervals"}


def test_bins_count_lesions_those_found_and_alarms() -> None:
    row = row_of()
    bins = scan_numbers(row)["bins"]
    assert sum(one["lesions"] for one in bins) == 8 == scan_numbers(row)["n_lesions"]
    assert sum(one["alarms"] for one in bins) == sum(int(record.alarm_bins.sum()) for record in row.records)
    assert [one["lesions"] for one in bins] == [2, 4, 2, 0]  # 8, 27, 64 and 125 voxels of .008 ml
    assert scan_numbers(row_of(threshold=None))["bins"][0]["found"] is None


def test_the_common_threshold_is_the_one_with_the_highest_mean_dice() -> None:
    row = row_of()
    means = [
        np.mean([2 * one.grid_hit[i] / (one.grid_predicted[i] + one.truth) for one in row.records]) for i in (0, 1, 2)
    ]
    assert scan_numbers(row)["common_threshold"] == row.grid[int(np.argmax(means))]


def test_one_line_per_scan_shows_the_scan_that_a_mean_hides() -> None:
    table = scan_table(row_of())
    assert [line["scan"] for line in table] == [str(number) for number in range(8)]
    means = np.mean([float(line["dice"]) for line in table])  # type: ignore[arg-type]
    assert means == pytest.approx(scan_numbers(row_of())["metrics"]["dice"])
    assert scan_table(row_of(lesion=False))[0]["dice"] is None
    assert scan_table(row_of(threshold=None))[0]["flagged_ml"] is None


def test_healthy_subjects_do_not_stand_for_patients() -> None:
    patients, healthy = row_of(scans=4), row_of(scans=6, lesion=False)
    both = replace(
        patients, subjects=(*patients.subjects, *(f"h{name}" for name in healthy.subjects)),
        scans=(*patients.scans, *(f"h{name}" for name in healthy.scans)), records=(*patients.records, *healthy.records),
    )  # fmt: skip
    found = scan_numbers(both)
    assert patients_of(both) == 4 and set(found["intervals"]) == {"volume_bias_ml", "alarms_per_scan"}
    assert found["reasons"]["intervals"] == (
        "No interval but of volume and alarms: 4 test subjects have a lesion, and one needs 5."
    )
    assert found["metrics"]["dice"] == scan_numbers(patients)["metrics"]["dice"]


def test_a_point_where_the_curve_ends_has_no_interval() -> None:
    row, rng = row_of(), np.random.default_rng(4)

    def with_alarms(counts: list[int]) -> dict[str, str]:
        records = [
            replace(record, alarm_scores=np.sort(rng.standard_normal(count).astype(np.float32))[::-1])
            for record, count in zip(row.records, counts, strict=True)
        ]
        return scan_numbers(replace(row, records=tuple(records)))["reasons"]

    ends = "No interval: the maps raise {} false alarms per scan in all: the curve ends near here."
    found = with_alarms([7, 9, 8, 8, 6, 10, 8, 7])
    assert found[interval_key("froc_8")] == ends.format("7.88")
    assert ends.format("7.88") not in [found.get(interval_key(name)) for name in ("froc_2", "froc_4", "froc")]
    assert not any("ends near here" in why for why in with_alarms([30, 28, 31, 29, 30, 32, 27, 30]).values())
    assert with_alarms([4, 4, 4, 4, 4, 4, 4, 4])[interval_key("froc_4")] == ends.format("4")


def test_the_f1_of_a_volume_needs_five_subjects_with_such_a_lesion() -> None:
    row = row_of()
    volumes = [(record.lesion_voxels * record.voxel_ml).max() for record in row.records]
    count = sum(0.1 <= volume < 1.0 for volume in volumes)
    assert 0 < count < 5
    why = scan_numbers(row)["reasons"][interval_key("lesion_f1_100ul_to_1ml")]
    have = f"{count} test subject{'s have' if count != 1 else ' has'} a lesion of this volume"
    assert why == f"No interval: {have}, and one needs 5."
