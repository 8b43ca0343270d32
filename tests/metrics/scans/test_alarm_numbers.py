"""Alarms of healthy subjects: conformal thresholds, and what is said when the promise is broken or cannot be made."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from anyadbench.metrics.scans.alarm_numbers import (
    age_group,
    alarm_numbers,
    broken_p,
    conformal_threshold,
    needed_subjects,
    proportion_interval,
)
from anyadbench.metrics.scans.whole_scans import SubjectScore
from anyadbench.results import Alarms


def people(part: str, scores: np.ndarray, healthy: bool = True, test: str = "t") -> list[SubjectScore]:
    return [
        SubjectScore(
            test if part == "test" else "", "F", part, f"{part} {healthy} {i}", healthy, float(score),
            30.0 + i if i % 4 else None, "FM"[i % 2], ("A", "B", "")[i % 3],
        )
        for i, score in enumerate(scores)
    ]  # fmt: skip


@pytest.mark.parametrize(("promise", "need"), [(0.01, 99), (0.05, 19), (0.10, 9)])
def test_a_promise_needs_so_many_subjects(promise: float, need: int) -> None:
    assert needed_subjects(promise) == need
    assert conformal_threshold(list(range(need)), promise) == need - 1
    assert conformal_threshold(list(range(need - 1)), promise) is None


@pytest.mark.parametrize("n", [9, 19, 25, 99])
def test_a_new_subject_alarms_at_most_as_often_as_promised(n: int) -> None:
    rng = np.random.default_rng(n)
    for promise in (0.05, 0.10):
        if n < needed_subjects(promise):
            continue
        draws = rng.standard_normal((20_000, n + 1))
        rate = np.mean([row[n] > conformal_threshold(row[:n].tolist(), promise) for row in draws[:4000]])  # type: ignore[operator]
        assert rate <= promise + 3 * np.sqrt(promise / 4000)
        assert rate >= promise - 1 / (n + 1) - 3 * np.sqrt(promise / 4000)


def test_the_test_of_a_promise_allows_for_the_chance_in_the_threshold() -> None:
    rng = np.random.default_rng(0)
    n, m, promise = 19, 20, 0.05
    alarms = []
    for _ in range(4000):
        scores = rng.standard_normal(n + m)
        threshold = conformal_threshold(scores[:n].tolist(), promise)
        alarms.append(int((scores[n:] > threshold).sum()))  # type: ignore[operator]
    found = np.mean(np.array(alarms) >= 4)
    assert broken_p(4, m, n, promise) == pytest.approx(found, abs=0.012)
    assert broken_p(0, m, n, promise) == pytest.approx(1.0)
    # With many validation subjects it is the binomial test.
    assert broken_p(4, m, 99_999, promise) == pytest.approx(stats.binom.sf(3, m, promise), rel=1e-3)


def test_the_interval_is_that_of_clopper_and_pearson() -> None:
    for count, total in ((0, 12), (3, 20), (12, 12)):
        found = stats.binomtest(count, total).proportion_ci(method="exact")
        assert proportion_interval(count, total) == pytest.approx((found.low, found.high))


def test_rate_promise_patients_and_groups_stand_together() -> None:
    validation = people("val", np.arange(20.0))
    healthy = people("test", np.array([1.0, 2.0, 25.0, 3.0, 26.0, 4.0]))
    patients = people("test", np.array([30.0, 5.0, 40.0]), healthy=False)
    found = [Alarms(**one) for one in alarm_numbers([*validation, *healthy, *patients], "t", "F")]
    assert [one.promise for one in found] == [0.01, 0.05, 0.10]
    assert found[0].threshold is None and found[0].reason == (
        "At most 1 % alarms can be promised from 99 healthy validation subjects on, and there are 20."
    )
    five = found[1]
    assert (five.threshold, five.alarms, five.n_healthy, five.detected, five.n_patients) == (19.0, 2, 6, 2, 3)
    assert five.rate == pytest.approx(1 / 3) and (five.low, five.high) == pytest.approx(proportion_interval(2, 6))
    groups = {(one.by, one.name): (one.alarms, one.n) for one in five.groups}
    assert groups["sex", "F"] == (2, 3) and groups["sex", "M"] == (0, 3)
    assert groups["site", "A"] == (0, 2) and groups["site", "not stated"] == (1, 2)
    assert groups["age", "below 40"] == (1, 4) and groups["age", "not stated"] == (1, 2)


def test_a_broken_promise_is_found_and_a_kept_one_is_not() -> None:
    validation = people("val", np.arange(40.0))
    for shift, broken in ((0.0, False), (100.0, True)):
        healthy = people("test", np.linspace(0, 39, 20) + shift)
        found = alarm_numbers([*validation, *healthy], "t", "F")
        assert [one.get("broken", False) for one in found] == [False, broken, broken]


def test_other_subsets_and_test_sets_do_not_count() -> None:
    scores = [*people("val", np.arange(20.0)), *people("test", np.arange(5.0), test="other")]
    assert alarm_numbers(scores, "t", "F") == [] and alarm_numbers(scores, "other", "T1") == []
    assert alarm_numbers(scores, "other", "F")[1]["n_healthy"] == 5


def test_without_a_name_there_is_no_group() -> None:
    plain = [SubjectScore("t", "F", "test", "a", True, 1.0), *people("val", np.arange(20.0))]
    assert alarm_numbers(plain, "t", "F")[1]["groups"] == []
    assert [age_group(age) for age in (None, 39.9, 40.0, 60.0)] == ["", "below 40", "40 to 59", "from 60"]
