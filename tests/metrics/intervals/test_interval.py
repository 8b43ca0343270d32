"""Jackknife variances against closed forms, and intervals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.special import logit

from anyadbench.metrics.boxes.row import SHARES as BOX_SHARES
from anyadbench.metrics.intervals import interval as module
from anyadbench.metrics.intervals.interval import (
    ONE_SEED,
    OUTSIDE,
    SMALLEST,
    Rule,
    _unskewed,
    ends,
    interval,
    intervals,
    intervals_of,
    reliable,
    rule_of,
)
from anyadbench.metrics.intervals.jackknife import Replicates
from anyadbench.metrics.intervals.scales import (
    ARCSINE,
    LOGIT,
    PLAIN,
    effective_subjects,
    freedom,
    influences,
    skewness,
    variance,
)
from anyadbench.metrics.intervals.seeds import satterthwaite, seed_variance
from anyadbench.metrics.names import BALANCED, BRAIN, HEIGHT, METRICS
from anyadbench.metrics.scans.scan_numbers import SHARES as SCAN_SHARES


def means_without(values: np.ndarray) -> np.ndarray:
    """The mean without each item of the last axis."""
    count = values.shape[-1]
    return (values.sum(axis=-1, keepdims=True) - values) / max(count - 1, 1)


def line(values: np.ndarray, metric: str = "aupro") -> Replicates:
    """A line whose metric is the mean of one value per subject; the first axis counts seeds."""
    values = np.atleast_2d(values)
    names = tuple(str(number) for number in range(values.shape[1]))
    return Replicates(names, (metric,), values.mean(axis=1)[:, None], means_without(values)[:, :, None])


def test_the_variance_of_a_mean_is_the_textbook_one() -> None:
    values = np.random.default_rng(0).normal(0.5, 0.1, 12)
    shares = influences(np.asarray(values.mean()), means_without(values), PLAIN)
    assert variance(shares) == pytest.approx(values.var(ddof=1) / 12)
    assert shares == pytest.approx((values - values.mean()) / np.sqrt(12 * 11))
    assert skewness(shares) == pytest.approx(stats.skew(values) / np.sqrt(12))


def test_on_a_scale_the_variance_is_that_of_the_delta_method_for_small_spread() -> None:
    values = np.random.default_rng(1).normal(0.8, 1e-4, 20)
    for scale in (LOGIT, ARCSINE):
        shares = influences(np.asarray(values.mean()), means_without(values), scale)
        slope = float(scale.slope(np.asarray(values.mean())))
        assert np.sqrt(variance(shares)) == pytest.approx(slope * values.std(ddof=1) / np.sqrt(20), rel=1e-3)
        assert scale.backward(scale.forward(values)) == pytest.approx(values)


def test_values_of_exactly_one_without_a_subject_use_the_slope_at_the_point() -> None:
    jack = np.array([1.0, 0.9, 0.88, 0.92])
    shares = influences(np.asarray(0.925), jack, LOGIT)
    assert np.isfinite(shares).all()
    assert shares == pytest.approx(influences(np.asarray(0.925), jack, PLAIN) / (0.925 * 0.075))


def test_the_variance_of_an_auroc_is_delongs() -> None:
    rng = np.random.default_rng(2)
    positive, negative = rng.normal(1, 1, 150), rng.normal(0, 1, 150)
    won = (positive[:, None] > negative[None, :]).astype(float)
    # A subject with one slice of each class: leaving it out removes a row and a column.
    total = won.sum() - won.sum(axis=1) - won.sum(axis=0) + np.diag(won)
    shares = influences(np.asarray(won.mean()), total / 149**2, PLAIN)
    rows, columns = won.mean(axis=1), won.mean(axis=0)
    delong = np.cov(rows, columns).sum() / 150
    assert variance(shares) == pytest.approx(delong, rel=0.03)


def test_effective_subjects_and_freedom() -> None:
    assert effective_subjects(np.full(9, 0.3)) == pytest.approx(9)
    assert effective_subjects(np.array([0.3, 0, 0])) == pytest.approx(1)
    assert effective_subjects(np.random.default_rng(0).normal(size=200_000)) == pytest.approx(200_000 / 3, rel=0.02)
    assert freedom(np.array([1.0, 3.0, 9.0]), 9, 1.0).tolist() == [1.0, 5.0, 8.0]
    assert freedom(np.array([1.0, 3.0]), 9, 0.5).tolist() == [1.0, 2.5]


def test_halls_transformation_is_undone() -> None:
    x = np.linspace(-4, 4, 9)
    for skew in (-0.7, 1e-9, 0.2, 0.8):
        t = _unskewed(x, np.full(9, skew))
        assert t + skew / 3 * t**2 + skew**2 / 27 * t**3 + skew / 6 == pytest.approx(x, abs=1e-8)


def test_without_skewness_the_interval_is_t_on_the_logit_scale() -> None:
    jack = LOGIT.backward(logit(0.7) + 0.02 * np.array([-2.0, -1, -1, 1, 1, 2, -1.5, 1.5]))
    low, high, df = ends(np.array([0.7]), jack[None], Rule())
    shares = influences(np.asarray(0.7), jack, LOGIT)
    assert df == pytest.approx(min(7, 2 * effective_subjects(shares) - 1))
    reach = stats.t.ppf(0.975, df) * np.sqrt(variance(shares))
    assert logit([low, high]) == pytest.approx([logit(0.7) - reach, logit(0.7) + reach], rel=1e-6)


def test_skewness_and_bias_move_the_interval() -> None:
    values = np.array([0.5, 0.52, 0.51, 0.49, 0.5, 0.53, 0.48, 0.9])
    low, high, _ = ends(np.array([values.mean()]), means_without(values)[None], Rule())
    centre = logit(values.mean())
    assert logit(high) - centre > 1.2 * (centre - logit(low))
    jack = means_without(values) - 0.001
    moved = ends(np.array([values.mean()]), jack[None], Rule(1.0, True))
    plain = ends(np.array([values.mean()]), jack[None], Rule(1.0, False))
    slope = float(LOGIT.slope(np.asarray(values.mean())))
    assert logit(moved[0]) - logit(plain[0]) == pytest.approx(7 * 0.001 * slope)


def test_seed_variance_is_that_of_crossed_random_effects() -> None:
    rng = np.random.default_rng(3)
    seeds, count = 4, 10
    values = (
        0.5 + rng.normal(0, 0.02, (seeds, 1)) + rng.normal(0, 0.02, (1, count)) + rng.normal(0, 0.01, (seeds, count))
    )
    found = seed_variance(values.mean(axis=1), means_without(values), PLAIN)
    rest = values - values.mean(axis=1, keepdims=True) - values.mean(axis=0) + values.mean()
    mean_square = (rest**2).sum() / ((seeds - 1) * (count - 1))
    between = count * values.mean(axis=1).var(ddof=1)
    assert found == pytest.approx((between - mean_square) / (seeds * count))
    assert seed_variance(values[:1].mean(axis=1), means_without(values[:1]), PLAIN) == 0.0
    level = values - values.mean(axis=1, keepdims=True)
    assert seed_variance(level.mean(axis=1), means_without(level), PLAIN) == 0.0


def test_satterthwaite() -> None:
    assert satterthwaite(np.asarray(1.0), np.asarray(9.0)) == pytest.approx(9)
    assert satterthwaite(np.asarray(1.0), np.asarray(9.0), (np.asarray(0.0), 0)) == pytest.approx(9)
    assert satterthwaite(np.asarray(1.0), np.asarray(9.0), (np.asarray(1.0), 9)) == pytest.approx(18)
    assert satterthwaite(np.asarray(1.0), np.asarray(8.0), (np.asarray(3.0), 2)) == pytest.approx(16 / (1 / 8 + 9 / 2))


def test_seeds_widen_the_interval_and_one_seed_is_remarked() -> None:
    values = np.random.default_rng(4).uniform(0.4, 0.8, 10)
    one = interval(line(values), "aupro")
    assert one.remark == ONE_SEED and one.low < values.mean() < one.high
    same = interval(line(np.stack([values, values, values])), "aupro")
    assert (same.low, same.high, same.remark) == (pytest.approx(one.low), pytest.approx(one.high), "")
    apart = interval(line(np.stack([values - 0.1, values, values + 0.1])), "aupro")
    assert apart.high - apart.low > 1.5 * (one.high - one.low) and apart.df < one.df


def test_a_seed_of_exactly_one_and_seeds_that_alone_vary_have_an_interval() -> None:
    values = np.random.default_rng(6).uniform(0.9, 0.98, 10)
    found = interval(line(np.stack([values, np.ones(10)])), "aupro")
    assert 0 < found.low < found.high < 1
    flat = interval(line(np.stack([np.full(8, 0.5), np.full(8, 0.6), np.full(8, 0.7)])), "aupro")
    reach = stats.t.ppf(0.975, 2) * logit([0.5, 0.6, 0.7]).std(ddof=1) / np.sqrt(3)
    assert flat.df == pytest.approx(2) and logit(flat.high) == pytest.approx(logit(0.6) + reach)


def test_pixel_metrics_have_the_wider_interval() -> None:
    values = np.random.default_rng(5).uniform(0.4, 0.8, 10)
    narrow, wide = interval(line(values), "aupro"), interval(line(values, "pixel_ap"), "pixel_ap")
    assert wide.high - wide.low > narrow.high - narrow.low


def test_all_metrics_at_once_have_the_intervals_of_one_at_a_time() -> None:
    rng = np.random.default_rng(6)
    names = ("image_auroc", "image_f1", "pixel_ap", "aupro", "pixel_auroc")
    point = rng.uniform(0.3, 0.8, (3, len(names)))
    jack = np.clip(point[:, None] + rng.normal(0, 0.02, (3, 12, len(names))), 0, 1)
    jack[:, :, 4] = np.nan
    both = Replicates(tuple("abcdefghijkl"), names, point, jack)
    found = intervals(both)
    assert list(found) == list(names) and found["pixel_auroc"].reason
    for name in names[:4]:
        alone = interval(both, name)
        assert (found[name].low, found[name].high, found[name].df) == pytest.approx((alone.low, alone.high, alone.df))
        assert found[name].remark == alone.remark == ""


@pytest.mark.parametrize("at_once", [1, 2**20])
def test_many_lines_at_once_have_the_intervals_of_each_to_the_bit(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", at_once)
    rng, lines = np.random.default_rng(11), []
    for seeds, count in ((1, 8), (3, 57), (1, 8), (9, 20), (1, 4), (3, 57), (1, 8)):
        point = rng.uniform(0.3, 0.8, (1, 3)) + rng.normal(0, 0.02, (seeds, 3))
        jack = point[:, None] + rng.normal(0, 0.01, (seeds, count, 3))
        names = tuple(f"{number:02d}" for number in range(count))
        lines.append(Replicates(names, ("image_f1", "pixel_ap", "aupro"), point, jack))
    lines[2].point[:, 1] = np.nan
    lines[6].jack[:, 3, 2] = np.nan
    for mean in (False, True):
        found = intervals_of(lines, mean=mean)
        # Their text has every digit, and is the same where a number is NaN.
        assert [str(one) for one in found] == [str(intervals(line, mean=mean)) for line in lines]
    assert found[2]["pixel_ap"].reason and found[6]["aupro"].reason and all(one.reason for one in found[4].values())
    assert sum(not one.reason for each in found for one in each.values()) == 16


def test_reasons_for_no_interval() -> None:
    def reason(values: np.ndarray) -> str:
        found = interval(line(values), "aupro")
        assert np.isnan([found.low, found.high]).all()
        return found.reason

    assert reason(np.full(1, 0.5)) == "No interval: 1 test subject, and an interval needs 5."
    assert reason(np.linspace(0.4, 0.6, 4)) == "No interval: 4 test subjects, and an interval needs 5."
    assert reason(np.ones(8)) == "No interval: the value is exactly 1, and the subjects show no variation."
    assert reason(np.zeros(8)) == "No interval: the value is exactly 0, and the subjects show no variation."
    assert reason(np.full(8, 0.5)) == "No interval: the value is the same without any of the subjects."
    assert reason(np.full(8, np.nan)) == "No interval: the metric is undefined."
    lonely = line(np.linspace(0.4, 0.6, 8))
    lonely.jack[0, 3] = np.nan
    expected = "No interval: without one of the subjects there is no lesion, or no normal, left."
    assert interval(lonely, "aupro").reason == expected
    flat = line(np.full(8, 0.5) + 1e-15 * np.arange(8))
    assert interval(flat, "aupro").reason == "No interval: the value is the same without any of the subjects."


@pytest.mark.parametrize("metric", ["pixel_ap", "image_f1_balanced", "brain_aupro_05", "image_auroc_height", "froc"])
def test_metrics_that_hold_the_truth_from_five_subjects_on_have_an_interval(metric: str) -> None:
    assert reliable(metric, 4) == "No interval: 4 test subjects, and an interval needs 5." and not reliable(metric, 5)


@pytest.mark.parametrize(("metric", "smallest"), [("lesion_ap", 12), ("dice_common", 12), ("dice", 8), ("ap50", 12)])
def test_a_metric_has_no_interval_where_it_would_be_too_short(metric: str, smallest: int) -> None:
    short = f"No interval: with {smallest - 1} test subjects it would hold the truth less often than it says; "
    values = np.linspace(0.4, 0.6, smallest)
    assert interval(line(values[1:], metric), metric).reason == f"{short}it needs {smallest}."
    assert intervals(line(values[1:], metric))[metric].reason == f"{short}it needs {smallest}."
    assert not interval(line(values, metric), metric).reason


def test_a_metric_that_was_not_simulated_has_no_interval() -> None:
    found = interval(line(np.linspace(0.4, 0.6, 30), "aupimo"), "aupimo")
    assert found.reason == "No interval: how often one of this metric holds the truth was not simulated."
    simulated = {*METRICS, *BALANCED, *BRAIN, *HEIGHT, *SCAN_SHARES, *BOX_SHARES}
    assert set(SMALLEST) == simulated


def test_below_eight_subjects_pixel_metrics_have_fewer_degrees_of_freedom() -> None:
    assert rule_of("pixel_ap", 7).factor < rule_of("pixel_ap", 8).factor
    assert rule_of("aupro", 7).factor < rule_of("aupro", 8).factor
    assert rule_of("image_ap", 7) == rule_of("image_ap", 8)


def test_below_eight_subjects_balanced_f1_keeps_its_rules() -> None:
    for mean in (False, True):
        assert rule_of("image_f1_balanced", 7, mean=mean) == rule_of("image_f1_balanced", 8, mean=mean)
    assert rule_of("image_f1_balanced", 7, mean=True).unbiased


def test_balanced_f1_is_corrected_for_bias_only_in_a_mean_over_subsets() -> None:
    assert not rule_of("image_f1_balanced", 57).unbiased and rule_of("image_f1_balanced", 57, mean=True).unbiased
    values = line(np.random.default_rng(7).uniform(0.4, 0.8, 12), "image_f1_balanced")
    values.jack[:] -= 0.002
    alone, mean = (intervals(values, mean=mean)["image_f1_balanced"] for mean in (False, True))
    assert alone.low < mean.low and alone.high < mean.high


def test_a_value_outside_its_own_interval_is_remarked() -> None:
    values = line(np.linspace(0.59, 0.61, 12), "image_f1")
    values.jack[:] -= 0.01
    found = interval(values, "image_f1")
    assert not found.low <= 0.6 <= found.high and found.remark == f"{ONE_SEED}; {OUTSIDE}"
    assert intervals(values)["image_f1"].remark == found.remark


def test_an_interval_of_several_seeds_keeps_their_interaction() -> None:
    values = np.random.default_rng(8).normal(0.6, 0.05, (3, 9))
    point, jack = values.mean(axis=1), means_without(values)
    assert seed_variance(point, jack, PLAIN, interaction=True) == pytest.approx(point.var(ddof=1) / 3)
    assert seed_variance(point, jack, PLAIN) < seed_variance(point, jack, PLAIN, interaction=True)
