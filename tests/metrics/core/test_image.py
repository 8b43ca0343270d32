"""Slice scores and slice metrics."""

from __future__ import annotations

import metrics_reference as reference
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from anyadbench.errors import UserError
from anyadbench.metrics import image_metrics, lesion_size_metrics, top_fraction_mean


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-4, 4), st.booleans()), min_size=2, max_size=30))
def test_image_metrics_equal_scikit_learn(rows: list[tuple[int, bool]]) -> None:
    scores, labels = np.asarray([score / 3 for score, _ in rows]), np.asarray([label for _, label in rows])
    values = image_metrics(scores, labels)
    if labels.all() or not labels.any():
        assert all(np.isnan(value) for value in values.values())
        return
    precision, recall, _ = precision_recall_curve(labels, scores)
    best = (2 * precision * recall / np.maximum(precision + recall, 1e-300)).max()
    assert values["image_auroc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert values["image_ap"] == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
    assert values["image_f1"] == pytest.approx(best, abs=1e-12)


def test_image_scores_are_compared_in_double_precision() -> None:
    scores = np.asarray([1.0, 1.0 + 1e-12])
    assert image_metrics(scores, [0, 1])["image_auroc"] == 1.0


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_subnormal_image_scores_are_ordered_with_flushing(dtype: type) -> None:
    scores = np.asarray([1, 2, 3, -1], dtype=dtype) * np.finfo(dtype).smallest_subnormal
    labels = np.asarray([False, True, True, False])
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush subnormal floats")
    try:
        value = image_metrics(scores, labels)["image_auroc"]
    finally:
        torch.set_flush_denormal(False)
    assert value == 1.0


def test_signed_zeros_tie() -> None:
    assert image_metrics([0.0, -0.0], [True, False])["image_auroc"] == 0.5


def test_the_reference_agrees_on_slices() -> None:
    rng = np.random.default_rng(0)
    scores, labels = np.round(rng.normal(size=40), 1), rng.random(40) < 0.4
    assert image_metrics(scores, labels)["image_f1"] == pytest.approx(reference.f1_max(scores, labels), abs=1e-12)


def test_top_fraction_takes_655_of_65536_pixels() -> None:
    maps = np.zeros((1, 256, 256), dtype=np.float32)
    maps.ravel()[:655] = 1.0
    assert top_fraction_mean(maps)[0] == 1.0
    maps.ravel()[:654] = 2.0
    assert top_fraction_mean(maps)[0] == pytest.approx((654 * 2 + 1) / 655, abs=1e-15)


def test_top_fraction_is_at_least_one_pixel_and_may_be_all() -> None:
    maps = np.arange(16, dtype=np.float32).reshape(1, 4, 4) - 8
    assert top_fraction_mean(maps)[0] == 7.0
    assert top_fraction_mean(maps, fraction=1.0)[0] == -0.5


def test_a_slice_scores_the_same_in_any_batch_and_layout() -> None:
    maps = np.exp(9 * np.random.default_rng(0).standard_normal((45, 48, 48))).astype(np.float32)
    whole = top_fraction_mean(maps, fraction=0.2)
    alone = np.concatenate([top_fraction_mean(maps[i : i + 1], fraction=0.2) for i in range(45)])
    turned = top_fraction_mean(maps.transpose(0, 2, 1)[:, ::-1], fraction=0.2)
    assert whole.tolist() == alone.tolist() == turned.tolist()
    expected = np.sort(maps.reshape(45, -1), axis=1)[:, -460:].astype(np.float64).mean(axis=1)
    assert whole == pytest.approx(expected, rel=1e-12)


def test_the_mean_of_subnormal_pixels_survives_flushing() -> None:
    maps = np.full((1, 10, 10), 1e-41, dtype=np.float32)
    expected = float(maps[0, 0, 0])
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush subnormal floats")
    try:
        value = top_fraction_mean(maps)[0]
    finally:
        torch.set_flush_denormal(False)
    assert value == pytest.approx(expected, rel=1e-9)


def test_metrics_by_lesion_size_use_all_normals_in_each_bin() -> None:
    scores = [0.1, 0.5, 0.3, 0.9, 0.2]
    rows = lesion_size_metrics(scores, [0, 0, 25, 500, 30], edges=[20, 100, 1000])
    assert [row["n"] for row in rows] == [2, 1, 0]
    assert rows[0]["image_auroc"] == pytest.approx(0.5)
    assert rows[1]["image_auroc"] == 1.0
    assert np.isnan(rows[2]["image_auroc"])


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: image_metrics([1.0, 2.0], [True]), "one score for each of the 1 slices"),
        (lambda: image_metrics([1.0], [[True]]), "one label per slice"),
        (lambda: image_metrics([1.0], [2.5]), "values other than 0 and 1"),
        (lambda: top_fraction_mean(np.zeros((1, 2, 2)), fraction=0), "above 0 and at most 1"),
        (lambda: top_fraction_mean(np.zeros((1, 0, 2))), "no pixels"),
        (lambda: lesion_size_metrics([1.0], [0], edges=[5, 5]), "positive and ascending"),
    ],
)
def test_wrong_input_is_refused(call: object, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        call()  # type: ignore[operator]
