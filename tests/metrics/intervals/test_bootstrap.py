"""Intervals over subjects, paired comparison and Holm's adjustment."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from anyadbench.errors import UserError
from anyadbench.metrics import METRICS, PixelState, PixelStats, evaluate, holm, paired_bootstrap, subject_bootstrap
from anyadbench.metrics.core import cohort as cohort_counts
from anyadbench.metrics.core.cohort import binned_cohort
from anyadbench.metrics.core.ranking import Steps
from anyadbench.metrics.intervals import bootstrap
from anyadbench.metrics.intervals.resample import draw_subjects, resample

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


def test_each_resample_has_the_values_of_the_drawn_subjects() -> None:
    rows = cohort()
    states, images = statistics(rows)
    draws = draw_subjects(len(rows), 6, 3)
    values = resample(binned_cohort(states), images, draws)
    assert draws.sum(axis=1).tolist() == [8.0] * 7
    for number, draw in enumerate(draws):
        chosen = [rows[i] for i in np.repeat(np.arange(len(rows)), draw.astype(int))]
        expected = evaluate(*(np.concatenate(parts) for parts in zip(*chosen, strict=True)))
        # Bins of 20 bits tie neighbouring scores close to zero, even after rounding to one decimal.
        assert {name: values[name][number] for name in METRICS} == pytest.approx(expected, abs=2e-3)


def test_intervals_hold_the_point_and_depend_only_on_the_seed() -> None:
    states, image = statistics(cohort())
    intervals = subject_bootstrap(states, image, n_resamples=200, seed=1)
    points = evaluate(*(np.concatenate(parts) for parts in zip(*cohort(), strict=True)))
    assert list(intervals) == list(METRICS)
    for name, (low, high) in intervals.items():
        assert low < points[name] < high
    assert subject_bootstrap(states, image, n_resamples=200, seed=1) == intervals
    assert subject_bootstrap(states, image, n_resamples=200, seed=2) != intervals


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
    draws = draw_subjects(len(rows), 6, 3)
    values = resample(counts, statistics(rows)[1], draws)
    for number, draw in enumerate(draws):
        chosen = [rows[i] for i in np.repeat(np.arange(len(rows)), draw.astype(int))]
        expected = evaluate(*(np.concatenate(parts) for parts in zip(*chosen, strict=True)))
        assert {name: values[name][number] for name in METRICS} == pytest.approx(expected, abs=1e-7)


def test_fewer_groups_hardly_move_an_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(maps + np.random.default_rng(4).random(maps.shape, np.float32), *rest) for maps, *rest in cohort(20)]
    images, draws = statistics(rows)[1], draw_subjects(20, 200, 1)
    points = evaluate(*(np.concatenate(parts) for parts in zip(*rows, strict=True)))

    def ends(groups: int) -> np.ndarray:
        monkeypatch.setattr(cohort_counts, "MOST_GROUPS", groups)
        counts, steps = exact_cohort_of(rows)
        counts.check(steps)
        assert counts.tied.shape[1] <= groups
        return np.array([bootstrap.interval(v) for v in bootstrap.replicates(counts, images, draws, points).values()])

    assert np.abs(ends(200) - ends(10_000)).max() < 2e-3


def test_counts_that_do_not_belong_to_the_row_are_found() -> None:
    counts, steps = exact_cohort_of(cohort())
    tied = counts.tied.copy()
    tied[2, 5] += 1
    with pytest.raises(UserError, match="do not add up to those of the row"):
        replace(counts, tied=tied).check(steps)
    with pytest.raises(UserError, match="are impossible"):
        replace(counts, tied=tied[:, 1:]).check()


def test_several_seeds_widen_an_interval_by_their_spread() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(0.5, 0.01, (3, 2, 1000))
    values[2] += 0.2
    nested = bootstrap.over_seeds(values)
    assert nested.shape == (2, 1000)
    low, high = bootstrap.interval(nested[0])
    assert low < 0.52 and high > 0.62
    assert bootstrap.over_seeds(values[:1]).tolist() == values[0].tolist()
    assert bootstrap.over_seeds(values).tolist() == nested.tolist()


def test_known_points_centre_the_intervals() -> None:
    states, image = statistics(cohort())
    plain = subject_bootstrap(states, image, n_resamples=50)
    point = states[0]
    for state in states[1:]:
        point = point + state
    moved = subject_bootstrap(states, image, n_resamples=50, points={"aupro": point.compute()["aupro"] + 0.01})
    assert moved["aupro"] == pytest.approx([end + 0.01 for end in plain["aupro"]], abs=1e-12)
    assert moved["pixel_ap"] == plain["pixel_ap"]


def test_few_subjects_have_no_interval() -> None:
    assert np.isnan(list(subject_bootstrap(*statistics(cohort(4)), n_resamples=10).values())).all()
    effects = paired_bootstrap(statistics(cohort(4)), statistics(cohort(4, 2.0)), n_resamples=10)
    assert np.isnan([effects["aupro"].low, effects["aupro"].high, effects["aupro"].p_value]).all()
    assert effects["aupro"].effect < 0


def test_metrics_without_lesions_have_no_interval() -> None:
    rows = [(maps, masks & False, scores) for maps, masks, scores in cohort()]
    assert np.isnan(list(subject_bootstrap(*statistics(rows), n_resamples=10).values())).all()


def test_a_better_method_is_separated_from_a_worse_one() -> None:
    worse, better = statistics(cohort()), statistics(cohort(strength=3.0, seed=9))
    effect = paired_bootstrap(better, worse, n_resamples=200)["pixel_auroc"]
    assert 0 < effect.low < effect.effect < effect.high
    assert effect.p_value == pytest.approx(2 / 201)
    back = paired_bootstrap(worse, better, n_resamples=200)["pixel_auroc"]
    assert (back.effect, back.low, back.high) == pytest.approx((-effect.effect, -effect.high, -effect.low))


def test_a_method_does_not_differ_from_itself() -> None:
    method = statistics(cohort())
    effects = paired_bootstrap(method, method, n_resamples=20)
    assert {"pixel_auroc", "image_auroc"} <= effects.keys()
    for effect in effects.values():
        assert (effect.effect, effect.low, effect.high, effect.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_holm_multiplies_by_what_is_left_and_stays_monotone() -> None:
    adjusted = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": float("nan"), "e": 0.5})
    assert adjusted["a"] == pytest.approx(0.04)
    assert adjusted["c"] == pytest.approx(0.09)
    assert adjusted["b"] == pytest.approx(0.09)
    assert adjusted["e"] == 0.5
    assert np.isnan(adjusted["d"])
    assert list(adjusted) == ["a", "b", "c", "d", "e"]


def test_wrong_input_is_refused() -> None:
    states, image = statistics(cohort())
    with pytest.raises(UserError, match="8 pixel states but image scores of 7 subjects"):
        subject_bootstrap(states, image[:-1])
    with pytest.raises(UserError, match="at least one subject and one resample"):
        subject_bootstrap([], [])
    with pytest.raises(UserError, match="One method has 8 subjects, the other 7"):
        paired_bootstrap((states, image), (states[:-1], image[:-1]))
    flipped = [(scores, ~labels) for scores, labels in image]
    with pytest.raises(UserError, match="Subject 0 has different slices"):
        paired_bootstrap((states, image), (states, flipped))
