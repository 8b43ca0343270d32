"""Intensity scales: each sequence from its own values, absent ones exactly 0."""

from __future__ import annotations

import numpy as np
import pytest
from trees import make_tree

from anyadbench.data.slices.intensity import apply_scale
from anyadbench.data.store.build import prepare
from anyadbench.data.store.store import SliceStore
from anyadbench.data.trees.layouts import get_layout
from anyadbench.errors import UserError

NAMES = ("flair", "t2")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> SliceStore:
    root = tmp_path_factory.mktemp("intensity")
    return prepare(make_tree("brats2018", root / "a", 2, (16, 16, 8), ["no-t2"]), get_layout("brats2018"), root / "s")


def scaled(store: SliceStore, mode: str, percentile: float = 99.0, change: float = 1.0) -> np.ndarray:
    rows = np.arange(len(store))
    values, present = store.read(rows, NAMES)
    values[:, 1] *= change
    return apply_scale(values, present, store, rows, NAMES, mode, percentile)


def test_volume_scale_divides_by_the_volumes_percentile(store: SliceStore) -> None:
    values, _ = store.read(np.arange(len(store)), NAMES)
    top = store.scans["p99_flair"].loc[store.slices["scan"]].to_numpy()[:, None, None]
    np.testing.assert_allclose(scaled(store, "volume")[:, 0], np.clip(values[:, 0] / top, 0, 1), rtol=1e-6)
    assert scaled(store, "volume")[:, 0].max() == 1.0


def test_the_maximum_is_percentile_100(store: SliceStore) -> None:
    out = scaled(store, "volume", 100)
    assert np.sum(out[:, 0] >= 0.999999) == 2


@pytest.mark.parametrize("mode", ["volume", "slice-minmax8"])
def test_absent_sequences_stay_zero(store: SliceStore, mode: str) -> None:
    absent = (store.slices["scan"] == "Brats18_CBICA_A001_1").to_numpy()
    out = scaled(store, mode)
    assert not out[absent, 1].any() and out[~absent, 1].any() and out.dtype == np.float32


@pytest.mark.parametrize("mode", ["volume", "slice-minmax8"])
def test_one_sequence_says_nothing_about_another(store: SliceStore, mode: str) -> None:
    np.testing.assert_array_equal(scaled(store, mode)[:, 0], scaled(store, mode, change=7.0)[:, 0])


def test_slice_scale_is_the_releases(store: SliceStore) -> None:
    values, _ = store.read(np.array([3]), ("flair",))
    image = values[0, 0]
    expected = ((image - image.min()) / (image.max() - image.min() + 1e-8) * 255).astype(np.uint8) / np.float32(255)
    out = scaled(store, "slice-minmax8")[3, 0]
    np.testing.assert_array_equal(out, expected)
    assert out.max() == 1.0 and out.min() == 0.0


def test_a_constant_slice_becomes_zero(store: SliceStore) -> None:
    values = np.full((1, 1, 4, 4), 7, np.float32)
    out = apply_scale(values, np.ones((1, 1), bool), store, np.array([0]), ("flair",), "slice-minmax8")
    assert not out.any()


def test_unknown_mode_and_percentile(store: SliceStore) -> None:
    with pytest.raises(UserError, match=r"Unknown intensity mode 'z-score'; use one of volume, slice-minmax8\."):
        scaled(store, "z-score")
    with pytest.raises(UserError, match=r"98 is not stored; use one of 99, 99\.5, 99\.8, 99\.9, 100\."):
        scaled(store, "volume", 98)
