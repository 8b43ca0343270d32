"""All thresholds in one pass against one labelling for every threshold."""

from __future__ import annotations

import lesions_reference as reference
import numpy as np
import pytest

from anyadbench.errors import UserError
from anyadbench.metrics.lesions import DilationRule, OverlapRule, Rule, read_scan
from anyadbench.metrics.lesions.detections import Detections, swept_detections
from anyadbench.metrics.lesions.ranking import rank_voxels
from anyadbench.metrics.lesions.targets import targets_of
from anyadbench.metrics.lesions.touching import count_between
from anyadbench.metrics.lesions.tree import component_tree

VOLUMES = 1000


def detections(scores: np.ndarray, truth: np.ndarray, brain: np.ndarray, rule: Rule) -> Detections:
    scan = read_scan(scores, truth, brain, (1, 1, 1))
    return swept_detections(scan, rank_voxels(scan), targets_of(scan, rule), rule)


def agree(ours: Detections, theirs: reference.Found) -> None:
    np.testing.assert_array_equal(ours.lesions, np.array(theirs.lesions, dtype=np.float32))
    np.testing.assert_array_equal(ours.alarms, np.array(theirs.alarms, dtype=np.float32))


@pytest.mark.parametrize("hundred", range(VOLUMES // 100))
def test_the_overlap_rule_equals_a_walk_through_all_thresholds(hundred: int) -> None:
    contested = 0
    for number in range(100 * hundred, 100 * hundred + 100):
        scores, truth, brain = reference.volume(number)
        least, smallest, spare = [(0.1, 1, False), (0.1, 3, True), (0.3, 1, True), (0.05, 2, False)][number // 10 % 4]
        rule = OverlapRule(least, spare_overlapping=spare, smallest_ml=smallest / 1000)
        found = reference.walk(scores, truth, brain, least, smallest, spare)
        agree(detections(scores, truth, brain, rule), found)
        contested += found.contested
    assert contested > 5


def test_knots_of_lesions_and_clusters_equal_a_walk_through_all_thresholds() -> None:
    knotted = 0
    for number in range(300):
        scores, truth, brain = reference.knots(number)
        least, spare = (0.05, 0.1, 0.02)[number % 3], number % 2 == 0
        found = reference.walk(scores, truth, brain, least, 1, spare)
        agree(detections(scores, truth, brain, OverlapRule(least, spare_overlapping=spare, smallest_ml=0)), found)
        knotted += found.knotted > 0
    assert knotted > 100


@pytest.mark.parametrize("number", range(0, VOLUMES, 7))
def test_the_dilation_rule_equals_a_walk_through_all_thresholds(number: int) -> None:
    scores, truth, brain = reference.volume(number)
    truth &= np.random.default_rng(number).random(truth.shape) < 0.3
    dilation, dropped, smallest = [(0, 0, 1), (1, 2, 1), (1, 1, 2), (3, 0, 3)][number % 4]
    rule = DilationRule(dilation, float(dropped), smallest / 1000)
    agree(
        detections(scores, truth, brain, rule),
        reference.walk_dilated(scores, truth, brain, dilation, dropped, smallest),
    )


@pytest.mark.parametrize("number", range(0, 300, 3))
def test_the_tree_counts_the_components_of_every_threshold(number: int) -> None:
    scores, truth, brain = reference.volume(number)
    scan = read_scan(scores, truth, brain, (1, 1, 1))
    tree = component_tree(rank_voxels(scan), scan.brain.shape)
    for smallest in (1, 4):
        counts = count_between(
            tree.level_at(tree.grown(smallest)), tree.level_at(tree.end), len(tree.ranking.level_keys)
        )
        for count, threshold in zip(counts, np.unique(scores[brain])[::-1], strict=True):
            sizes = [part.sum() for part in reference.label((scores >= threshold) & brain)]
            assert count == sum(size >= smallest for size in sizes)


def test_the_tree_of_a_larger_rough_volume_counts_the_components_of_some_thresholds() -> None:
    rng = np.random.default_rng(0)
    scores, brain = rng.standard_normal((40, 30, 35)).astype(np.float32), rng.random((40, 30, 35)) < 0.8
    scan = read_scan(scores, np.zeros_like(brain), brain, (1, 1, 1))
    tree = component_tree(rank_voxels(scan), scan.brain.shape)
    counts = count_between(tree.level_at(tree.grown(1)), tree.level_at(tree.end), len(tree.ranking.level_keys))
    for level in (0, 10, 500, 3000, 9000, len(counts) - 1):
        threshold = np.unique(scores[brain])[::-1][level]
        assert counts[level] == len(reference.label((scores >= threshold) & brain))


@pytest.mark.parametrize("number", [1, 3, 7, 12, 21, 33])
def test_an_increasing_change_of_the_scores_changes_nothing_else(number: int) -> None:
    scores, truth, brain = reference.volume(number)
    before = detections(scores, truth, brain, OverlapRule(smallest_ml=0))
    after = detections(scores**3, truth, brain, OverlapRule(smallest_ml=0))
    np.testing.assert_array_equal(before.lesions**3, after.lesions)
    np.testing.assert_array_equal(before.alarms**3, after.alarms)


@pytest.mark.parametrize("number", [2, 4, 11, 22])
def test_scores_outside_the_brain_and_turning_the_scan_change_nothing(number: int) -> None:
    scores, truth, brain = reference.volume(number)
    rule = OverlapRule(smallest_ml=0)
    before = detections(scores, truth, brain, rule)
    elsewhere = np.where(brain, scores, np.float32(np.nan))
    agree(
        before, reference.Found(*(part.tolist() for part in vars(detections(elsewhere, truth, brain, rule)).values()))
    )
    turned = detections(*(np.ascontiguousarray(part.transpose(2, 0, 1)[::-1]) for part in (scores, truth, brain)), rule)
    np.testing.assert_array_equal(np.sort(before.lesions), np.sort(turned.lesions))
    np.testing.assert_array_equal(before.alarms, turned.alarms)


def test_a_greedy_assignment_has_no_sweep() -> None:
    with pytest.raises(UserError, match="defined at one threshold only; use 'most'"):
        detections(*reference.volume(0), OverlapRule(assignment="greedy"))
