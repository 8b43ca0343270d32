"""Paired comparisons, Holm's step-down, all pairs of a board, groups, ranks and numbers of subjects."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from anyadbench.errors import UserError
from anyadbench.metrics.intervals.groups import rank_intervals, tie_groups
from anyadbench.metrics.intervals.jackknife import Replicates
from anyadbench.metrics.intervals.paired import METHODS, MODELS, Paired, family_p, paired, step_down, subjects_needed
from anyadbench.metrics.intervals.pairs import ALPHA, BOARD_FACTOR, BOARD_FACTORS, all_pairs
from anyadbench.metrics.intervals.scales import ARCSINE, effective_subjects, freedom, influences, variance


def line(values: np.ndarray) -> Replicates:
    """A line whose metric is the mean of one value per subject; the first axis counts seeds."""
    values = np.atleast_2d(values)
    jack = (values.sum(axis=1, keepdims=True) - values) / (values.shape[1] - 1)
    names = tuple(str(number) for number in range(values.shape[1]))
    return Replicates(names, ("aupro",), values.mean(axis=1)[:, None], jack[:, :, None])


def two(gap: float, count: int = 12, spread: float = 0.01, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    common = rng.normal(0.5, 0.1, count)
    return common + gap + rng.normal(0, spread, count), common + rng.normal(0, spread, count)


def test_the_statistic_is_that_of_the_paired_t_test_where_the_scale_is_straight() -> None:
    first, second = two(0.005)
    found = paired(line(first), line(second), "aupro")
    assert found.difference == pytest.approx((first - second).mean())
    assert found.t == pytest.approx(stats.ttest_rel(first, second).statistic, rel=0.02)
    assert found.se == pytest.approx((first - second).std(ddof=1) / np.sqrt(12), rel=0.02)
    assert found.p == pytest.approx(2 * stats.t.sf(abs(found.t), found.df)) and found.claim == MODELS


def test_swapping_changes_the_signs_only() -> None:
    first, second = (line(values) for values in two(0.02))
    one, other = paired(first, second, "aupro"), paired(second, first, "aupro")
    assert (one.difference, one.low, one.t) == pytest.approx((-other.difference, -other.high, -other.t))
    assert (one.p, one.df, one.se) == pytest.approx((other.p, other.df, other.se))


def test_the_interval_leaves_zero_out_exactly_if_p_is_at_most_5_percent() -> None:
    decided = set()
    for seed in range(40):
        first, second = two(0.006, 9, seed=seed)
        found = paired(line(first), line(second), "aupro")
        assert (found.low > 0 or found.high < 0) == (found.p <= 0.05)
        decided.add(found.p <= 0.05)
    assert decided == {True, False}


def test_the_interval_of_a_difference_stays_within_what_differences_can_be() -> None:
    # One subject carries the whole variance, so t has hardly more than one degree of freedom.
    high, low = line(np.array([0.95] * 7 + [0.3])), line(np.array([0.05] * 7 + [0.7]))
    one, other = paired(high, low, "aupro"), paired(low, high, "aupro")
    assert one.difference + 12.7 * one.se > 1.0  # it would end there
    assert one.high == 1.0 and other.low == -1.0 and one.low == pytest.approx(-other.high)


def test_seed_variance_is_in_the_test_of_methods() -> None:
    first, second = two(0.05)
    steady = paired(line(np.stack([first, first, first])), line(np.stack([second, second])), "aupro")
    assert steady.claim == METHODS and steady.subject_share == 1.0
    apart = np.array([[-0.05], [0.0], [0.05]])
    noisy = paired(line(first + apart), line(second + apart[:2]), "aupro")
    assert noisy.p > 10 * steady.p and noisy.subject_share < 0.5
    assert paired(line(first + apart), line(second), "aupro").claim == MODELS


def test_the_drop_of_one_method_pairs_its_seeds() -> None:
    first, second = two(0.05)
    apart = np.array([[-0.05], [0.0], [0.05]])
    full, subset = line(first + apart), line(second + apart)
    drop = paired(full, subset, "aupro", same_runs=True)
    assert drop.p < paired(full, subset, "aupro").p / 10 and drop.subject_share > 0.9
    with pytest.raises(UserError, match=r"The two subsets have different numbers of seeds; run every seed on both\."):
        paired(full, line(second), "aupro", same_runs=True)


def test_reasons_for_no_test() -> None:
    first, second = two(0.05, 7)
    found = paired(line(first), line(second), "aupro")
    assert found.reason == "No p-value: 7 test subjects, and a test needs 8."
    assert np.isnan(found.p) and found.difference == pytest.approx((first - second).mean())
    eight = line(two(0.0, 8)[0])
    assert paired(eight, eight, "aupro").reason == "No test: the difference is the same without any of the subjects."
    undefined = replace(eight, point=np.full((1, 1), np.nan))
    assert paired(eight, undefined, "aupro").reason == "No test: the metric is undefined for one of the two."
    jack = eight.jack.copy()
    jack[0, 2] = np.nan
    expected = "No test: without one of the subjects there is no lesion, or no normal, left."
    assert paired(replace(eight, jack=jack), eight, "aupro").reason == expected
    with pytest.raises(
        UserError, match=r"The two methods were scored on different subjects; run both on the same data\."
    ):
        paired(eight, line(two(0.0, 9)[0]), "aupro")


def test_equal_values_have_a_standard_error() -> None:
    first, second = two(0.0)
    second = second + (first - second).mean()
    found = paired(line(first), line(second), "aupro")
    assert found.p == pytest.approx(1.0) and found.low == pytest.approx(-found.high)
    assert found.se == pytest.approx((first - second).std(ddof=1) / np.sqrt(12), rel=0.02)


def test_a_value_of_exactly_one_is_compared() -> None:
    first = line(np.ones(10))
    found = paired(first, line(np.random.default_rng(0).uniform(0.6, 0.8, 10)), "aupro")
    assert found.p < 1e-4 and found.low > 0


def plain_holm(values: list[float]) -> list[float]:
    adjusted, worst = [0.0] * len(values), 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=lambda i: values[i])):
        worst = max(worst, min(1.0, (len(values) - rank) * values[place]))
        adjusted[place] = worst
    return adjusted


def test_step_down_is_holms() -> None:
    values = list(np.random.default_rng(0).uniform(0, 0.1, 30))
    assert step_down(values) == pytest.approx(plain_holm(values))
    assert step_down([0.01, 0.04, 0.03]).tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert step_down([0.01, np.nan, 0.03]) == pytest.approx([0.02, np.nan, 0.03], nan_ok=True)
    assert step_down([]).tolist() == []


def test_a_family_has_at_most_the_median_degrees_of_freedom() -> None:
    t, df = np.array([4.0, -6.0, np.nan, 1.0]), np.array([3.0, 9.0, np.nan, 5.0])
    shared = 2 * stats.t.sf(np.abs(t), np.array([3.0, 5.0, np.nan, 5.0]))
    assert family_p(t, df) == pytest.approx(step_down(shared), nan_ok=True)
    assert np.isnan(family_p([math.nan], [math.nan])).all()


def board(count: int = 6, subjects: int = 12) -> list[Replicates]:
    rng = np.random.default_rng(1)
    common = rng.normal(0, 0.05, subjects)
    return [line(0.8 - 0.05 * (i // 2) + common + rng.normal(0, 0.01, subjects)) for i in range(count)]


def test_all_pairs_are_the_single_comparisons_with_shared_freedom() -> None:
    lines = board()
    found = all_pairs(lines, "aupro")
    pairs = [(i, j) for i in range(6) for j in range(i + 1, 6)]
    centres, apart = [], []
    for i, j in pairs:
        values = [ARCSINE.forward(lines[k].point[0, 0]) for k in (i, j)]
        parts = [influences(lines[k].point[0, 0], lines[k].jack[0, :, 0], ARCSINE) for k in (i, j)]
        centres.append(float(values[0] - values[1]))
        apart.append(parts[0] - parts[1])
    df = freedom(np.median([effective_subjects(shares) for shares in apart]), 12, BOARD_FACTORS["aupro"])
    p = [2 * stats.t.sf(abs(c) / np.sqrt(variance(s)), df) for c, s in zip(centres, apart, strict=True)]
    assert [found.p[pair] for pair in pairs] == pytest.approx(p)
    assert [found.adjusted[j, i] for i, j in pairs] == pytest.approx(plain_holm([float(value) for value in p]))
    assert [found.se[pair] for pair in pairs] == pytest.approx(
        [paired(lines[i], lines[j], "aupro").se for i, j in pairs]
    )
    assert found.difference[0, 5] == pytest.approx(-found.difference[5, 0]) and np.isnan(np.diag(found.p)).all()
    assert (found.beats.sum(), found.beats[0].tolist()) == (12, [False, False, True, True, True, True])


def test_image_metrics_have_fewer_degrees_of_freedom_on_a_board() -> None:
    lines = board()
    images = [replace(item, metrics=("image_auroc",)) for item in lines]
    assert min(BOARD_FACTORS.values()) > BOARD_FACTOR
    wider, pixels = all_pairs(images, "image_auroc").p, all_pairs(lines, "aupro").p
    assert (wider > pixels)[np.triu_indices(6, 1)].all()


def test_seeds_are_in_the_tests_of_a_board() -> None:
    lines = board()
    apart = np.array([-0.1, 0.0, 0.1])[:, None]
    runs = [replace(item, point=item.point + apart, jack=item.jack + apart[:, None]) for item in lines]
    assert (all_pairs(lines, "aupro").p < all_pairs(runs, "aupro").p)[np.triu_indices(6, 1)].all()
    mixed = all_pairs([*lines[:3], *runs[3:]], "aupro")
    assert mixed.p[0, 2] == pytest.approx(all_pairs(lines, "aupro").p[0, 2], rel=0.5) and mixed.p[0, 5] > 0.05


def test_a_board_keeps_methods_without_a_value_out_and_says_why_there_is_no_test() -> None:
    lines = board()
    hole = replace(lines[2], point=np.full((1, 1), np.nan))
    found = all_pairs([*lines[:2], hole, *lines[3:]], "aupro")
    assert np.isnan(found.p[2]).all() and not found.beats[2].any() and found.beats[0, 5]
    twins = all_pairs([lines[0], lines[0], lines[5]], "aupro")
    assert np.isnan(twins.p[0, 1]) and not twins.beats[0, 1] and twins.beats[0, 2]
    few = all_pairs(board(subjects=7), "aupro")
    assert few.reason.startswith("No p-value: 7 test subjects") and not few.beats.any()
    with pytest.raises(UserError, match="The methods of a board were scored on different subjects"):
        all_pairs([*lines, *board(1, 13)], "aupro")


def test_equal_methods_are_separated_on_few_boards() -> None:
    rng = np.random.default_rng(7)
    false = 0
    for _ in range(100):
        common = rng.normal(0, 0.05, 10)
        lines = [line(0.7 + common + rng.normal(0, 0.03, 10)) for _ in range(15)]
        false += bool((all_pairs(lines, "aupro").adjusted <= ALPHA).any())
    assert false <= 10


def test_groups_end_where_their_leader_wins() -> None:
    point = np.array([0.9, 0.7, 0.8, np.nan, 0.6, 0.5])
    beats = np.zeros((6, 6), dtype=bool)
    beats[0, [1, 4, 5]] = beats[2, [4, 5]] = beats[1, 5] = True
    assert tie_groups(point, beats).tolist() == [1, 2, 1, 0, 2, 3]
    assert tie_groups(point, np.zeros((6, 6), dtype=bool)).tolist() == [1, 1, 1, 0, 1, 1]
    found = all_pairs(board(), "aupro")
    assert tie_groups(found.point, found.beats).tolist() == [1, 1, 2, 2, 3, 3]


def test_rank_intervals_hold_all_ranks_that_the_tests_leave_open() -> None:
    beats = np.zeros((4, 4), dtype=bool)
    beats[0, [1, 2, 3]] = beats[1, 3] = True
    low, high = rank_intervals(beats)
    assert (low.tolist(), high.tolist()) == ([1, 2, 2, 3], [1, 3, 4, 4])
    low, high = rank_intervals(beats, np.array([False, True, True, True]))
    assert (low.tolist(), high.tolist()) == ([0, 1, 1, 2], [0, 2, 3, 3])


def test_the_number_of_subjects_gives_the_wanted_power() -> None:
    for t in (0.4, 1.0, 2.0):
        test = Paired(0.1, t=t, df=19.0, n=20, subject_share=1.0)
        needed = subjects_needed(test)
        assert needed is not None
        powers = []
        for count in (needed - 1, needed):
            df, centre = 19.0 * count / 20, t * np.sqrt(count / 20)
            powers.append(float(stats.nct.sf(stats.t.ppf(0.975, df), df, centre)))
        assert powers[0] < powers[1] and powers[1] == pytest.approx(0.8, abs=0.04)
    numbers = [subjects_needed(Paired(0.1, t=2.0, df=19.0, n=20, subject_share=share)) for share in (1.0, 0.9, 0.8)]
    assert all(a is not None and b is not None and a < b for a, b in pairwise(numbers))


def test_no_number_of_subjects_makes_up_for_seeds() -> None:
    assert subjects_needed(Paired(0.1, t=1.0, df=10.0, n=20, subject_share=0.5)) is None
    assert subjects_needed(Paired(0.1, t=0.0, df=10.0, n=20, subject_share=1.0)) is None
    assert subjects_needed(Paired(0.1, reason="No test.")) is None
    assert subjects_needed(Paired(0.1, t=30.0, df=19.0, n=20, subject_share=1.0)) == 8
