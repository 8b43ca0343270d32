"""The exact pixel metrics, compared with scikit-learn and a plain reference, and independent of order and scale."""

from __future__ import annotations

from itertools import pairwise

import metrics_reference as reference
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import average_precision_score, roc_auc_score

from anyadbench.errors import UserError
from anyadbench.metrics import METRICS, PixelStats, ScoreError, components, evaluate, undefined_reasons
from anyadbench.metrics.core import exact

CASES = reference.cases()
PIXEL = ("pixel_auroc", "pixel_ap", "pixel_f1", "aupro", "dice")


def stats_of(maps: np.ndarray, masks: np.ndarray, batch: int = 1000) -> PixelStats:
    stats = PixelStats()
    for start in range(0, len(maps), batch):
        stats.update(maps[start : start + batch], masks[start : start + batch])
    return stats


@pytest.mark.parametrize("name", CASES)
def test_pixel_metrics_equal_the_plain_reference(name: str) -> None:
    maps, masks = CASES[name]
    assert stats_of(maps, masks).compute() == pytest.approx(reference.pixel_metrics(maps, masks), abs=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_pixel_auroc_and_ap_equal_scikit_learn(name: str) -> None:
    maps, masks = CASES[name]
    values = stats_of(maps, masks).compute()
    assert values["pixel_auroc"] == pytest.approx(roc_auc_score(masks.ravel(), maps.ravel()), abs=1e-12)
    assert values["pixel_ap"] == pytest.approx(average_precision_score(masks.ravel(), maps.ravel()), abs=1e-12)


def test_pixel_metrics_equal_scikit_learn_on_many_pixels() -> None:
    rng = np.random.default_rng(1)
    masks = rng.random((20, 64, 64)) < 0.01
    maps = (rng.standard_normal(masks.shape) + masks).astype(np.float16).astype(np.float32)
    values = stats_of(maps, masks).compute()
    assert values["pixel_auroc"] == pytest.approx(roc_auc_score(masks.ravel(), maps.ravel()), abs=1e-12)
    assert values["pixel_ap"] == pytest.approx(average_precision_score(masks.ravel(), maps.ravel()), abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(np.float32, (2, 4, 5), elements=st.integers(-3, 3).map(lambda n: n / 2)),
    hnp.arrays(np.bool_, (2, 4, 5)),
)
def test_pixel_metrics_equal_the_reference_on_drawn_maps(maps: np.ndarray, masks: np.ndarray) -> None:
    values = stats_of(maps, masks).compute()
    if masks.any() and not masks.all():
        assert values == pytest.approx(reference.pixel_metrics(maps, masks), abs=1e-12)
    else:
        assert all(np.isnan(value) for value in values.values())


def test_constant_maps_give_half_and_half_the_limit() -> None:
    values = evaluate(*CASES["constant"])
    assert values["pixel_auroc"] == 0.5
    assert values["aupro"] == pytest.approx(0.15, abs=1e-15)
    assert values["image_auroc"] == 0.5


def test_perfect_maps_give_one() -> None:
    maps, masks = CASES["perfect"]
    assert list(evaluate(maps, masks).values()) == pytest.approx([1.0] * len(METRICS), abs=1e-12)


def test_corner_contact_joins_components() -> None:
    maps, masks = CASES["plain"]
    assert stats_of(maps, masks).components == len(reference.regions(masks)) == 5


@pytest.mark.parametrize("name", ["plain", "negative", "ties", "outlier"])
def test_cubing_the_scores_changes_nothing(name: str) -> None:
    maps, masks = CASES[name]
    cubed = maps.astype(np.float32) ** 3
    assert len(np.unique(cubed)) == len(np.unique(maps))
    assert stats_of(cubed, masks).compute() == stats_of(maps, masks).compute()


def test_one_outlier_hardly_matters() -> None:
    maps, masks = CASES["plain"]
    hot = maps.copy()
    hot[1, 3, 3] = 5.0
    hotter = maps.copy()
    hotter[1, 3, 3] = 1e30
    assert stats_of(hot, masks).compute() == stats_of(hotter, masks).compute()


def test_flushing_subnormal_floats_changes_nothing(flushing: None) -> None:
    maps, masks = CASES["subnormal"]
    assert float((maps * np.float32(1)).max()) == 0.0
    with_flushing = stats_of(maps, masks).compute()
    torch.set_flush_denormal(False)
    assert with_flushing == pytest.approx(reference.pixel_metrics(maps, masks), abs=1e-12)
    assert with_flushing["pixel_auroc"] > 0.6


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_any_batch_size_gives_the_same_bits(batch: int) -> None:
    maps, masks = CASES["plain"]
    assert stats_of(maps, masks, batch).compute() == stats_of(maps, masks).compute()


def test_order_and_sharding_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    masks = rng.random((70, 12, 12)) < 0.05
    maps = np.round(rng.standard_normal(masks.shape) + masks, 1).astype(np.float32)
    whole = stats_of(maps, masks).compute()
    monkeypatch.setattr(exact, "CHUNK", 1000)
    for batch in (1, 7, 32):
        assert stats_of(maps, masks, batch).compute() == whole
    assert stats_of(maps[::-1], masks[::-1], 7).compute() == whole
    shards = [stats_of(maps[start::3], masks[start::3], 5) for start in (2, 0, 1)]
    assert (shards[0] + shards[1] + shards[2]).compute() == whole
    assert shards[1].normal_pixels == (~masks[0::3]).sum()


def test_updating_after_computing_continues() -> None:
    maps, masks = CASES["plain"]
    stats = stats_of(maps[:3], masks[:3])
    stats.compute()
    stats.update(maps[3:], masks[3:])
    assert stats.compute() == stats_of(maps, masks).compute()


def test_known_components_give_the_same() -> None:
    maps, masks = CASES["plain"]
    stats = PixelStats()
    stats.update(maps, masks, components(masks))
    assert stats.compute() == stats_of(maps, masks).compute()


def test_components_of_other_masks_are_refused() -> None:
    maps, masks = CASES["plain"]
    with pytest.raises(UserError, match="disagree on which pixels are lesion"):
        PixelStats().update(maps, masks, components(~masks))
    with pytest.raises(UserError, match="label these masks"):
        PixelStats().update(maps, masks, components(masks)[:2])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_refused_with_its_slices(bad: float) -> None:
    maps, masks = CASES["negative"]
    broken = maps.copy()
    broken[1, 2, 3] = broken[3, 0, 0] = bad
    stats = PixelStats()
    with pytest.raises(ScoreError, match="anomaly maps of slices 1, 3 hold NaN or infinite") as caught:
        stats.update(broken, masks)
    assert caught.value.slices == [1, 3]
    assert stats.normal_pixels == 0
    with pytest.raises(ValueError, match="slices 1, 3"):
        evaluate(broken, masks)


def test_a_bad_image_score_is_refused_with_its_slice() -> None:
    maps, masks = CASES["plain"]
    with pytest.raises(ScoreError, match="image scores of slice 4") as caught:
        evaluate(maps, masks, [0.0, 1.0, 2.0, 3.0, np.nan])
    assert caught.value.slices == [4]


@pytest.mark.parametrize(
    ("change", "defined"),
    [
        (lambda masks: masks & False, ()),
        (lambda masks: masks | True, ()),
        (lambda masks: masks | (np.arange(13) == 6), PIXEL),
    ],
    ids=["no lesion", "all lesion", "lesions in every slice"],
)
def test_undefined_metrics_are_nan_with_a_reason(change: object, defined: tuple[str, ...]) -> None:
    maps, masks = CASES["plain"]
    changed = change(masks)  # type: ignore[operator]
    values = evaluate(maps, changed)
    assert {name for name, value in values.items() if not np.isnan(value)} == set(defined)
    reasons = undefined_reasons(changed)
    assert set(reasons) == set(METRICS) - set(defined)
    assert all(sentence.endswith(".") for sentence in reasons.values())


def test_no_slices_give_nan() -> None:
    values = evaluate(np.empty((0, 4, 4), dtype=np.float32), np.empty((0, 4, 4), dtype=bool))
    assert list(values) == list(METRICS)
    assert all(np.isnan(value) for value in values.values())


def test_evaluate_takes_torch_tensors_and_integer_masks() -> None:
    maps, masks = CASES["plain"]
    tensors = torch.from_numpy(maps), torch.from_numpy(masks.astype(np.uint8) * 255)
    assert evaluate(*tensors) == evaluate(maps, masks)
    half = torch.from_numpy(maps).bfloat16()
    assert evaluate(half, masks) == evaluate(half.float().numpy(), masks)


@pytest.mark.parametrize(
    ("maps", "masks", "sentence"),
    [
        (np.zeros((3, 4)), np.zeros((3, 4), bool), r"maps have shape \(3, 4\); give slices x height x width"),
        (np.zeros((1, 3, 4)), np.zeros((1, 4, 3), bool), r"Masks have shape \(1, 4, 3\); give the shape of the maps"),
        (np.zeros((1, 3, 4)), np.full((1, 3, 4), 0.5), "values other than 0 and 1"),
        (np.zeros((1, 3, 4), complex), np.zeros((1, 3, 4), bool), "give real numbers"),
    ],
)
def test_wrong_arrays_are_refused(maps: np.ndarray, masks: np.ndarray, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        evaluate(maps, masks)


def test_curves_are_thin_monotone_and_reach_the_ends() -> None:
    rng = np.random.default_rng(2)
    masks = rng.random((4, 60, 60)) < 0.2
    maps = (rng.standard_normal(masks.shape) + masks).astype(np.float32)
    stats = stats_of(maps, masks)
    points = stats.curves()
    for name in ("roc", "pro"):
        assert len(points[name]) <= 500
        assert points[name][0].tolist() == [0, 0]
        assert points[name][-1] == pytest.approx([1, 1])
        assert all((b >= a - 1e-12).all() for a, b in pairwise(points[name]))
    thinned = np.trapezoid(points["roc"][:, 1], points["roc"][:, 0])
    assert thinned == pytest.approx(stats.compute()["pixel_auroc"], abs=5e-4)
    assert points["pr"][-1, 0] == 1.0
    assert len(PixelStats().curves()["roc"]) == 0
