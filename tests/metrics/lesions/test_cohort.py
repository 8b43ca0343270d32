"""Cohort numbers from records: against picai_eval, plain definitions, and repeated scans."""

from __future__ import annotations

from dataclasses import replace

import lesions_reference as reference
import numpy as np
import pytest

from anyadbench.errors import UserError
from anyadbench.metrics.lesions import FALSE_POSITIVES, OverlapRule, ScanRecord, cohort_numbers, score_scan
from anyadbench.metrics.lesions.cohort import FROC_NAMES
from anyadbench.metrics.lesions.volumes import BIN_NAMES

SCANS = 20
GRID = (-1.0, -0.5, 0.0, 0.25, 0.5, 1.0, 1.5)


def scan(number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    scores, truth, brain = reference.volume(number)
    return np.abs(scores) + np.float32(0.125), truth, brain


def records(first: int, curve: str = "sweep", spare: bool = False) -> list[ScanRecord]:
    rule = OverlapRule(smallest_ml=0, spare_overlapping=spare)
    return [
        score_scan(*scan(number), (1, 1, 1), threshold=0.6, grid=GRID, rule=rule, curve=curve)  # type: ignore[arg-type]
        for number in range(first, first + SCANS)
    ]


def value(listed: list[ScanRecord], name: str) -> float:
    return float(cohort_numbers(listed)[name][0])


@pytest.mark.parametrize("spare", [True, False])
def test_peaks_give_the_average_precision_and_froc_of_picai_eval(spare: bool) -> None:
    picai = pytest.importorskip("picai_eval.eval")
    for first in range(0, 1000, SCANS):
        maps, truths = [], []
        for number in range(first, first + SCANS):
            scores, truth, brain = scan(number)
            maps.append(np.zeros(scores.shape, dtype=np.float32))
            for cluster in reference.label((scores.astype(np.float64) > 0.6) & brain):
                maps[-1][cluster] = scores[cluster].max()
            truths.append(truth.astype(int))
        theirs = picai.evaluate(
            maps, truths, num_parallel_calls=1, allow_unmatched_candidates_with_minimal_overlap=spare
        )
        listed = records(first, "peaks", spare)
        # Its curve drops the lowest threshold, which stands for missed lesions: without any it would drop a real one.
        assert sum(np.isnan(record.lesion_scores).sum() for record in listed) > 0
        assert value(listed, "lesion_ap") == pytest.approx(theirs.AP, abs=1e-12)
        for name, rate in zip(FROC_NAMES, FALSE_POSITIVES, strict=True):
            assert value(listed, name) == pytest.approx(theirs.lesion_TPR_at_FPR(rate), abs=1e-7)


def test_the_sweep_gives_the_average_precision_of_picai_eval_for_its_scores() -> None:
    metrics = pytest.importorskip("picai_eval.metrics")
    for first in range(0, 1000, SCANS):
        listed = records(first)
        lesions = [[(1, 0.0 if np.isnan(s) else float(s), 0.0) for s in record.lesion_scores] for record in listed]
        alarms = [[(0, float(s), 0.0) for s in record.alarm_scores] for record in listed]
        results = {n: found + raised for n, (found, raised) in enumerate(zip(lesions, alarms, strict=True))}
        assert value(listed, "lesion_ap") == pytest.approx(metrics.Metrics(results).AP, abs=1e-12)


def test_the_froc_of_the_sweep_equals_that_of_a_walk_through_all_thresholds() -> None:
    for first in (0, 40, 100):
        walks = [reference.walk(*scan(number)) for number in range(first, first + SCANS)]
        listed = records(first)
        for name, rate in zip(FROC_NAMES, FALSE_POSITIVES, strict=True):
            assert value(listed, name) == pytest.approx(reference.froc(walks, rate), abs=1e-12)


def test_dice_volumes_and_counts_equal_their_definitions() -> None:
    listed = records(0)
    dice, best, common, differences = [], [], [], []
    for number in range(SCANS):
        scores, truth, brain = scan(number)
        wide = scores.astype(np.float64)
        masks = {t: (wide > t) & brain for t in (0.6, *GRID)}
        differences.append((masks[0.6].sum() - truth.sum()) / 1000)
        if truth.any():
            dice.append(2 * (masks[0.6] & truth).sum() / (masks[0.6].sum() + truth.sum()))
            every = [(wide >= t) & brain for t in np.unique(wide[brain])]
            best.append(max(2 * (mask & truth).sum() / (mask.sum() + truth.sum()) for mask in every))
            common.append([2 * (masks[t] & truth).sum() / (masks[t].sum() + truth.sum()) for t in GRID])
    means = np.mean(common, axis=0)
    assert value(listed, "dice") == pytest.approx(np.mean(dice))
    assert value(listed, "dice_best") == pytest.approx(np.mean(best))
    assert value(listed, "dice_common") == pytest.approx(means.max())
    assert value(listed, "dice_common_place") == means.argmax()
    bias, spread = np.mean(differences), np.std(differences, ddof=1)
    assert value(listed, "volume_bias_ml") == pytest.approx(bias)
    assert value(listed, "volume_low_ml") == pytest.approx(bias - 1.96 * spread)
    assert value(listed, "volume_high_ml") == pytest.approx(bias + 1.96 * spread)
    found = sum(int(record.lesion_found.sum()) for record in listed)
    total, raised = (
        sum(len(record.lesion_found) for record in listed),
        sum(record.alarm_bins.sum() for record in listed),
    )
    assert value(listed, "lesion_f1") == pytest.approx(2 * found / (found + total + raised))
    assert value(listed, "lesion_sensitivity") == pytest.approx(found / total)
    assert value(listed, "lesion_precision") == pytest.approx(found / (found + raised))
    assert value(listed, "alarms_per_scan") == pytest.approx(raised / SCANS)


def test_f1_by_volume_bins_lesions_by_their_truth_and_alarms_by_themselves() -> None:
    # Edges belong to the upper bin, also where 100 x .001 ml is not exactly .1 ml.
    record = made(
        lesion_voxels=np.array([99, 100, 999, 1000, 9999, 10000]),
        lesion_found=np.array([True, False, True, True, True, False]),
        lesion_scores=np.full(6, 0.5, dtype=np.float32),
        truth=22197,
        predicted=13095,  # holds the lesions found and the least volume of the alarms
        alarm_bins=np.array([1, 0, 2, 0]),
    )
    values = cohort_numbers([record])
    assert [float(values[f"lesion_f1_{name}"][0]) for name in BIN_NAMES] == [2 / 3, 2 / 3, 4 / 6, 0.0]
    assert np.isnan(cohort_numbers([made()])["lesion_f1_from_10ml"][0])


def made(**changes: object) -> ScanRecord:
    """Return the record of a scan with nothing in it, but for the changes."""
    nothing, scores = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
    record = ScanRecord(
        0.001, 0, 0, 0, 1, 0, nothing, nothing, nothing, scores, np.empty(0, dtype=bool), scores, np.zeros(4, dtype=int)
    )
    record = replace(record, **changes)  # type: ignore[arg-type]
    if "lesion_scores" not in changes:
        scores = np.full(len(record.lesion_voxels), np.nan, dtype=np.float32)
        record = replace(record, lesion_scores=scores, truth=int(record.lesion_voxels.sum()))
    record.check()
    return record


def test_a_curve_by_hand() -> None:
    first = made(
        lesion_voxels=np.array([5, 5]), lesion_scores=np.array([0.9, 0.3], dtype=np.float32), truth=10,
        lesion_found=np.array([True, False]), alarm_scores=np.array([0.5, 0.3], dtype=np.float32), predicted=1,
    )  # fmt: skip
    second = made(
        lesion_voxels=np.array([5, 5]), lesion_scores=np.array([0.7, np.nan], dtype=np.float32), truth=10,
        lesion_found=np.array([True, False]), alarm_scores=np.array([0.8], dtype=np.float32), predicted=1,
    )  # fmt: skip
    values = {name: float(found[0]) for name, found in cohort_numbers([first, second]).items()}
    # Found and raised from the top: .9 (1, 0), .8 (1, 1), .7 (2, 1), .5 (2, 2), .3 (3, 3); four lesions, two scans.
    assert values["lesion_ap"] == pytest.approx((1 / 1 + 2 / 3 + 3 / 6) / 4)
    assert [values[name] for name in FROC_NAMES] == [0.25, 0.5, 0.5, 0.75, 0.75, 0.75]
    assert values["froc"] == pytest.approx(np.mean([values[name] for name in FROC_NAMES]))


def test_a_weight_counts_a_scan_as_often() -> None:
    listed = records(20)
    draws = np.random.default_rng(0).integers(0, 3, (70, SCANS)).astype(np.float64)
    values = cohort_numbers(listed, draws)
    for row in (0, 5, 69):
        repeated = [record for record, times in zip(listed, draws[row], strict=True) for _ in range(int(times))]
        for name, found in cohort_numbers(repeated).items():
            assert values[name][row] == pytest.approx(found[0], abs=1e-12, nan_ok=True), name


def test_the_order_of_scans_changes_nothing() -> None:
    listed = records(60)
    backwards = cohort_numbers(listed[::-1])
    for name, found in cohort_numbers(listed).items():
        assert found[0] == pytest.approx(backwards[name][0], abs=1e-12, nan_ok=True), name


def test_without_lesions_only_volumes_and_alarms_are_defined() -> None:
    scores, _, brain = scan(0)
    record = score_scan(scores, np.zeros_like(brain), brain, (1, 1, 1), threshold=0.6, grid=GRID)
    values = cohort_numbers([record, record])
    defined = {name for name, found in values.items() if not np.isnan(found[0])}
    assert defined >= {"volume_bias_ml", "volume_low_ml", "volume_high_ml", "alarms_per_scan"}
    assert not defined & {"dice", "dice_best", "dice_common", "lesion_ap", "froc", *FROC_NAMES, "lesion_sensitivity"}


def test_without_a_threshold_only_the_curve_and_the_best_dice_are_defined() -> None:
    values = cohort_numbers([score_scan(*scan(number), (1, 1, 1)) for number in (1, 2, 3)])
    defined = {name for name, found in values.items() if not np.isnan(found[0])}
    assert defined == {"dice_best", "lesion_ap", "froc", *FROC_NAMES}


def test_a_resample_without_scans_is_undefined() -> None:
    values = cohort_numbers(records(0), np.zeros((1, SCANS)))
    assert all(np.isnan(found[0]) for found in values.values())


@pytest.mark.parametrize(
    ("listed", "weights", "sentence"),
    [
        ([], None, "There is no scan to compute lesion metrics from; score at least one."),
        ([made(), made(grid_predicted=np.array([1]), grid_hit=np.array([0]))], None, "different common thresholds"),
        ([made(), made(predicted=-1, hit=-1)], None, "some with a threshold|with a threshold and some without"),
        ([made()], np.ones((2, 3)), r"Weights have shape \(2, 3\); give non-negative ones, resamples x 1 scans."),
        ([made()], -np.ones((1, 1)), "give non-negative ones"),
    ],
)
def test_records_that_do_not_belong_together_give_one_sentence(
    listed: list[ScanRecord], weights: np.ndarray | None, sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        cohort_numbers(listed, weights)
