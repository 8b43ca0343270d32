"""Lesions and clusters of one mask, against panoptica, picai_eval and the definition of BraTS 2023."""

from __future__ import annotations

import os
from typing import Any

import lesions_reference as reference
import numpy as np
import pytest

from anyadbench.metrics.lesions import DilationRule, OverlapRule, Rule, read_scan
from anyadbench.metrics.lesions.matching import Clusters, clusters_above, pair_up, peak_scores
from anyadbench.metrics.lesions.ranking import rank_voxels
from anyadbench.metrics.lesions.targets import targets_of

VOLUMES = 1000


def clusters_of(scores: np.ndarray, truth: np.ndarray, brain: np.ndarray, rule: Rule, threshold: float) -> Clusters:
    scan = read_scan(scores, truth, brain, (1, 1, 1))
    return clusters_above(scan, rank_voxels(scan), targets_of(scan, rule), rule, threshold)


def counts(clusters: Clusters) -> tuple[int, int, int]:
    return int(clusters.found.sum()), int(clusters.alarm.sum()), int((~clusters.found).sum())


def case(number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    scores, truth, brain = reference.volume(number)
    return scores, truth, brain, float(np.quantile(scores[brain], 0.5 if number % 4 else 0.8))


def panoptica_evaluator(greedy: bool) -> Any:
    os.environ["PANOPTICA_CITATION_REMINDER"] = "False"
    panoptica = pytest.importorskip("panoptica")
    from panoptica.metrics import Metric

    matcher = panoptica.NaiveThresholdMatching if greedy else panoptica.MaxBipartiteMatching
    return panoptica.Panoptica_Evaluator(
        expected_input=panoptica.InputType.SEMANTIC,
        instance_approximator=panoptica.ConnectedComponentsInstanceApproximator(),
        instance_matcher=matcher(matching_metric=Metric.IOU, matching_threshold=0.1),
        instance_metrics=[Metric.IOU],
        global_metrics=[Metric.DSC],
        verbose=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("greedy", [True, False])
def test_found_missed_and_alarms_equal_panoptica(greedy: bool) -> None:
    evaluator = panoptica_evaluator(greedy)
    rule = OverlapRule(assignment="greedy" if greedy else "most", smallest_ml=0)
    for number in range(VOLUMES):
        scores, truth, brain, threshold = case(number)
        mask = (scores.astype(np.float64) > threshold) & brain
        theirs = evaluator.evaluate(mask.astype(np.uint8), truth.astype(np.uint8))["ungrouped"]
        ours = clusters_of(scores, truth, brain, rule, threshold)
        assert counts(ours) == (theirs.tp, theirs.fp, theirs.fn), number
        if theirs.tp:
            assert ours.overlap_of[ours.found].mean() == pytest.approx(theirs.sq, abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("spare", [True, False])
def test_found_missed_and_alarms_equal_picai_eval(spare: bool) -> None:
    picai = pytest.importorskip("picai_eval.eval")
    rule = OverlapRule(spare_overlapping=spare, smallest_ml=0)
    for number in range(VOLUMES):
        scores, truth, brain, threshold = case(number)
        scores, threshold = scores - scores.min() + 1, threshold - float(scores.min()) + 1
        detection_map = np.zeros(scores.shape, dtype=np.float32)
        for cluster in reference.label((scores.astype(np.float64) > threshold) & brain):
            detection_map[cluster] = scores[cluster].max()
        theirs = picai.evaluate_case(
            detection_map, truth.astype(int), allow_unmatched_candidates_with_minimal_overlap=spare
        )[0]
        ours = clusters_of(scores, truth, brain, rule, threshold)
        peaks = peak_scores(ours)
        found = sorted(zip(peaks[ours.cluster_of[ours.found]], ours.overlap_of[ours.found], strict=True))
        expected = sorted((score, share) for lesion, score, share in theirs if lesion and score > 0)
        np.testing.assert_allclose(np.array(found).reshape(-1, 2), np.array(expected).reshape(-1, 2), atol=1e-7)
        assert sorted(peaks[ours.alarm]) == sorted(score for lesion, score, _ in theirs if not lesion)
        assert int((~ours.found).sum()) == sum(lesion and score == 0 for lesion, score, _ in theirs)


def test_most_pairs_come_before_larger_overlaps() -> None:
    lesion, cluster = np.array([0, 0, 1]), np.array([0, 1, 0])
    overlap = np.array([0.9, 0.1, 0.1])
    assert pair_up(lesion, cluster, overlap, OverlapRule()).tolist() == [1, 2]
    assert pair_up(lesion, cluster, overlap, OverlapRule(assignment="greedy")).tolist() == [0]


def test_most_pairs_hold_where_picai_eval_takes_fewer_with_larger_overlaps() -> None:
    lesion, cluster = np.array([0, 1, 1, 2, 2]), np.array([0, 0, 1, 1, 2])
    overlap = np.array([0.10, 0.72, 0.10, 0.83, 0.10])
    assert pair_up(lesion, cluster, overlap, OverlapRule()).tolist() == [0, 2, 4]


@pytest.mark.parametrize("number", range(0, VOLUMES, 9))
def test_the_dilation_rule_equals_its_definition(number: int) -> None:
    scores, truth, brain, threshold = case(number)
    truth &= np.random.default_rng(number).random(truth.shape) < 0.3
    dilation, dropped = [(0, 0), (1, 2), (1, 0), (3, 50)][number % 4]
    found = reference.walk_dilated(np.where((scores > threshold) & brain, 1.0, 0.0), truth, brain, dilation, dropped, 1)
    ours = clusters_of(scores, truth, brain, DilationRule(dilation, float(dropped)), threshold)
    scan = read_scan(scores, truth, brain, (1, 1, 1))
    counted = targets_of(scan, DilationRule(dilation, float(dropped))).counted
    assert ours.found[counted].sum() == sum(score == 1.0 for score in found.lesions)
    assert counted.sum() == len(found.lesions)
    assert ours.alarm.sum() == sum(score == 1.0 for score in found.alarms)


def line(text: str, value: str) -> np.ndarray:
    return np.array([[[letter in value for letter in text]]])


@pytest.mark.parametrize(
    ("picture", "strict", "spared"),
    [
        # B is lesion and cluster, L lesion alone, C cluster alone.
        ("..BB..BB..", (2, 0, 0), (2, 0, 0)),
        ("..BBCCBB..", (1, 0, 1), (1, 0, 1)),
        ("..BBLLBB..", (1, 1, 0), (1, 0, 0)),
        ("..LL..CC..", (0, 1, 1), (0, 1, 1)),
        ("..LL......", (0, 0, 1), (0, 0, 1)),
        ("......CC..", (0, 1, 0), (0, 1, 0)),
        ("..........", (0, 0, 0), (0, 0, 0)),
        ("....B.....", (1, 0, 0), (1, 0, 0)),
        ("BCCCCCCCCC", (1, 0, 0), (1, 0, 0)),
        ("BCCCCCCCCCC", (0, 1, 1), (0, 1, 1)),
    ],
)
def test_pictures(picture: str, strict: tuple[int, int, int], spared: tuple[int, int, int]) -> None:
    scores, truth = line(picture, "BC").astype(np.float32), line(picture, "BL")
    brain = np.ones_like(truth)
    assert counts(clusters_of(scores, truth, brain, OverlapRule(smallest_ml=0), 0.5)) == strict
    rule = OverlapRule(smallest_ml=0, spare_overlapping=True)
    assert counts(clusters_of(scores, truth, brain, rule, 0.5)) == spared


def test_lesions_that_touch_at_a_corner_are_one() -> None:
    truth = np.zeros((3, 3, 3), dtype=bool)
    truth[0, 0, 0] = truth[1, 1, 1] = truth[2, 2, 2] = True
    scan = read_scan(np.zeros(truth.shape), truth, np.ones_like(truth), (1, 1, 1))
    assert scan.lesion_voxels.tolist() == [3]


def test_small_clusters_are_left_out_by_their_volume_and_not_their_voxels() -> None:
    scores, truth = line("CC..BBB..", "BC").astype(np.float32), line("CC..BBB..", "B")
    for spacing, smallest, alarms, found in [
        ((1, 1, 1), 0.003, 0, 1),
        ((1, 1, 1.5), 0.003, 1, 1),
        ((1, 1, 1), 0.004, 0, 0),
    ]:
        scan = read_scan(scores, truth, np.ones_like(truth), spacing)
        rule = OverlapRule(smallest_ml=smallest)
        ours = clusters_above(scan, rank_voxels(scan), targets_of(scan, rule), rule, 0.5)
        assert counts(ours) == (found, alarms, 1 - found)


def test_lesion_voxels_outside_the_brain_count_as_missed() -> None:
    truth = np.zeros((1, 4, 10), dtype=bool)
    truth[0, 1, :] = truth[0, 2, 0] = True
    brain = np.ones_like(truth)
    brain[0, 2, 0] = False
    scan = read_scan(truth.astype(np.float32), truth, brain, (1, 1, 1))
    ours = clusters_above(scan, rank_voxels(scan), targets_of(scan, OverlapRule()), OverlapRule(), 0.5)
    assert ours.overlap_of.tolist() == [10 / 11]
