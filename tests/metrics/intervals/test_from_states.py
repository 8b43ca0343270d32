"""Values of weighted subjects, and intervals and paired tests from states by subject."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from anyadbench.errors import UserError
from anyadbench.metrics import METRICS, PixelState, PixelStats, evaluate, paired_tests, subject_intervals
from anyadbench.metrics.core import cohort as cohort_counts
from anyadbench.metrics.core.cohort import binned_cohort
from anyadbench.metrics.core.ranking import Steps
from anyadbench.metrics.intervals.interval import intervals
from anyadbench.metrics.intervals.jackknife import jackknife_values, one_seed
from anyadbench.metrics.intervals.resample import resample

Subjects = list[tuple[np.ndarray, np.ndarray, np.ndarray]]


def cohort(subjects: int = 8, strength: float = 1.0, seed: int = 0) -> Subjects:
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(subjects):
        masks = np.zeros((4, 10, 10), dtype=bool)
        masks[: 1 + number % 3, 2:5, 3 : 6 + number % 2] = True
        maps = np.round(rng.standard_normal(masks.shape) + strength * masks, 1).astype(np.float32)
        rows.append((maps, masks, maps.max(axis=(1, 2)).astype(np.float64)))
    return rows


def statistics(rows: Subjects, bits: int = 24) -> tuple[list[PixelState], list[tuple[np.ndarray, np.ndarray]]]:
    states = []
    for maps, masks, _ in rows:
        state = PixelState(bits)
        state.update(maps, masks)
        states.append(state)
    return states, [(scores, masks.any(axis=(1, 2))) for _, masks, scores in rows]


def drawn(subjects: int, count: int, seed: int) -> np.ndarray:
    """How often each subject is drawn in each of some samples with replacement."""
    rng = np.random.default_rng(seed)
    picks = [rng.integers(0, subjects, subjects) for _ in range(count)]
    return np.stack([np.bincount(pick, minlength=subjects) for pick in picks]).astype(np.float64)


def test_each_resample_has_the_values_of_the_drawn_subjects() -> None:
    rows = cohort()
    states, images = statistics(rows)
    draws = drawn(len(rows), 6, 3)
    values = resample(binned_cohort(states), images, draws)
    for number, draw in enumerate(draws):
        chosen = [rows[i] for i in np.repeat(np.arange(len(rows)), draw.astype(int))]
        expected = evaluate(*(np.concatenate(parts) for parts in zip(*chosen, strict=True)))
        # Bins of 20 bits tie neighbouring scores close to zero, even after rounding to one decimal.
        assert {name: values[name][number] for name in METRICS} == pytest.approx(expected, abs=2e-3)


def test_intervals_hold_the_point() -> None:
    states, image = statistics(cohort())
    found = subject_intervals(states, image)
    points = evaluate(*(np.concatenate(parts) for parts in zip(*cohort(), strict=True)))
    assert found.keys() >= set(METRICS)
    for name, value in points.items():
        assert found[name].low < value < found[name].high, name
        assert found[name].remark == "one seed: its noise is not in the interval"


def exact_cohort_of(rows: Subjects) -> tuple[cohort_counts.Cohort, Steps]:
    states = []
    for maps, masks, _ in rows:
        state = PixelStats(1 << 12)
        state.update(maps, masks)
        states.append(state)
    pooled = PixelStats()
    for state in states:
        pooled.merge(state)
    return cohort_counts.exact_cohort(states, pooled.steps(), cohort_counts.lesion_owners(states)), pooled.steps()


def test_exact_counts_give_each_resample_its_exact_values() -> None:
    rows = cohort()
    counts, steps = exact_cohort_of(rows)
    counts.check(steps)
    draws = drawn(len(rows), 6, 3)
    values = resample(counts, statistics(rows)[1], draws)
    for number, draw in enumerate(draws):
        chosen = [rows[i] for i in np.repeat(np.arange(len(rows)), draw.astype(int))]
        expected = evaluate(*(np.concatenate(parts) for parts in zip(*chosen, strict=True)))
        assert {name: values[name][number] for name in METRICS} == pytest.approx(expected, abs=1e-7)


def test_fewer_groups_hardly_move_an_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(maps + np.random.default_rng(4).random(maps.shape, np.float32), *rest) for maps, *rest in cohort(20)]
    images = statistics(rows)[1]
    points = dict.fromkeys(subject_intervals(*statistics(rows)), 0.5)
    points |= evaluate(*(np.concatenate(parts) for parts in zip(*rows, strict=True)))
    names = [f"{number:02d}" for number in range(20)]

    def ends(groups: int) -> np.ndarray:
        monkeypatch.setattr(cohort_counts, "MOST_GROUPS", groups)
        counts, steps = exact_cohort_of(rows)
        counts.check(steps)
        assert counts.tied.shape[1] <= groups
        found = intervals(one_seed(names, *jackknife_values(counts, images, points)))
        return np.array([(found[name].low, found[name].high) for name in METRICS])

    assert np.abs(ends(200) - ends(10_000)).max() < 2e-3


def test_counts_that_do_not_belong_to_the_row_are_found() -> None:
    counts, steps = exact_cohort_of(cohort())
    tied = counts.tied.copy()
    tied[2, 5] += 1
    with pytest.raises(UserError, match="do not add up to those of the row"):
        replace(counts, tied=tied).check(steps)
    with pytest.raises(UserError, match="are impossible"):
        replace(counts, tied=tied[:, 1:]).check()


def test_known_points_centre_the_intervals() -> None:
    states, image = statistics(cohort())
    plain = subject_intervals(states, image)
    point = states[0]
    for state in states[1:]:
        point = point + state
    moved = subject_intervals(states, image, points={"aupro": point.compute()["aupro"] + 0.01})
    assert moved["aupro"].low > plain["aupro"].low and moved["aupro"].high > plain["aupro"].high
    assert moved["pixel_ap"] == plain["pixel_ap"]


def test_few_subjects_have_no_interval_and_no_test() -> None:
    found = subject_intervals(*statistics(cohort(4)))
    assert {one.reason for one in found.values()} == {"No interval: 4 test subjects, and an interval needs 5."}
    effect = paired_tests(statistics(cohort(4)), statistics(cohort(4, 2.0)))["aupro"]
    assert np.isnan([effect.low, effect.high, effect.p]).all() and effect.difference < 0
    assert effect.reason == "No p-value: 4 test subjects, and a test needs 8."


def test_metrics_without_lesions_have_no_interval() -> None:
    rows = [(maps, masks & False, scores) for maps, masks, scores in cohort()]
    assert {one.reason for one in subject_intervals(*statistics(rows)).values()} == {
        "No interval: the metric is undefined."
    }


def test_a_better_method_is_separated_from_a_worse_one() -> None:
    worse, better = statistics(cohort()), statistics(cohort(strength=3.0, seed=9))
    effect = paired_tests(better, worse)["pixel_auroc"]
    assert 0 < effect.low < effect.difference < effect.high
    assert effect.p < 1e-3
    back = paired_tests(worse, better)["pixel_auroc"]
    assert (back.difference, back.low, back.high) == pytest.approx((-effect.difference, -effect.high, -effect.low))


def test_a_method_does_not_differ_from_itself() -> None:
    method = statistics(cohort())
    effects = paired_tests(method, method)
    assert {"pixel_auroc", "image_auroc"} <= effects.keys()
    for effect in effects.values():
        assert effect.difference == 0.0 and np.isnan(effect.p)
        assert effect.reason == "No test: the difference is the same without any of the subjects."


def test_wrong_input_is_refused() -> None:
    states, image = statistics(cohort())
    with pytest.raises(UserError, match="8 pixel states but image scores of 7 subjects"):
        subject_intervals(states, image[:-1])
    with pytest.raises(UserError, match="An interval needs at least one subject"):
        subject_intervals([], [])
    with pytest.raises(UserError, match="One method has 8 subjects, the other 7"):
        paired_tests((states, image), (states[:-1], image[:-1]))
    flipped = [(scores, ~labels) for scores, labels in image]
    with pytest.raises(UserError, match="Subject 0 has different slices"):
        paired_tests((states, image), (states, flipped))
