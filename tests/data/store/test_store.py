"""The content of a slice store, and the handling of a changed one."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.reduction import ForkingPickler
from operator import attrgetter
from pathlib import Path

import numpy as np
import pytest
from trees import LPS, anatomy, lesion, make_tree, path_of, save, save_as

from anyadbench.data.store.build import find_or_prepare, prepare
from anyadbench.data.store.encoding import encode, fit_coding
from anyadbench.data.store.pixels import rewrite
from anyadbench.data.store.remarks import read_warnings
from anyadbench.data.store.store import SliceStore, open_store, overlap
from anyadbench.data.trees.layouts import Layout, get_layout
from anyadbench.errors import UserError
from anyadbench.sequences import COMMON

TINY = (20, 16, 10)


def build(tmp_path: Path, name: str = "brats2018", **more: object) -> SliceStore:
    tree = make_tree(name, tmp_path / "source", shape=TINY, **more)  # type: ignore[arg-type]
    return prepare(tree, get_layout(name), tmp_path / "store")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> SliceStore:
    return build(tmp_path_factory.mktemp("store"), faults=["no-t2"])


def row_of(store: SliceStore, scan: str, index: int) -> int:
    table = store.slices
    return int(table.index[(table["scan"] == scan) & (table["slice"] == index)][0])


def test_values_are_those_of_the_files(store: SliceStore) -> None:
    row = row_of(store, "Brats18_CBICA_A002_1", 4)
    values, present = store.read(np.array([row]), COMMON)
    for place, name in enumerate(COMMON):
        np.testing.assert_array_equal(values[0, place], anatomy(2, TINY, name)[:, :, 4].T)
    assert present.all() and values.dtype == np.float32


def test_a_sequence_that_a_scan_lacks_is_zero_and_absent(store: SliceStore) -> None:
    rows = np.array([row_of(store, "Brats18_CBICA_A001_1", 4), row_of(store, "Brats18_CBICA_A002_1", 4)])
    values, present = store.read(rows, ("t2", "flair"))
    assert present.tolist() == [[False, True], [True, True]]
    assert not values[0, 0].any() and values[1, 0].any()


def test_a_sequence_that_no_scan_has_is_absent(tmp_path: Path) -> None:
    store = build(tmp_path, "ixi", subjects=2)
    assert store.sequences == ("t1", "t2")
    values, present = store.read(np.arange(2), ("flair", "t1"))
    assert present.tolist() == [[False, True]] * 2 and not values[:, 0].any()


def test_regions_are_the_same_for_every_data_set(tmp_path: Path) -> None:
    masks = {}
    for name in ("brats2018", "brats2023", "msd01"):
        made = build(tmp_path / name, name, subjects=1)
        masks[name] = made.labels(np.arange(len(made)))
    np.testing.assert_array_equal(masks["brats2018"], masks["brats2023"])
    assert set(np.unique(masks["msd01"])) == {0, 1, 2, 3}


def test_the_cavity_is_abnormal_by_switch(tmp_path: Path) -> None:
    store = build(tmp_path, "mu", subjects=1)
    rows = np.arange(len(store))
    with_it, without = store.abnormal(rows).sum(), store.abnormal(rows, cavity=False).sum()
    assert with_it - without == 2 == store.slices["cavity_px"].sum()


def test_labels_a_layout_calls_not_abnormal_do_not_count(tmp_path: Path) -> None:
    tree = make_tree("brats2018", tmp_path / "source", 1, TINY)
    plain = get_layout("brats2018")
    own = Layout("own", "", plain.patterns, plain.kinds, labels=plain.labels, abnormal=("enhancing",))
    store = prepare(tree, own, tmp_path / "store")
    assert store.slices["lesion_px"].max() == 1 == store.abnormal(np.arange(len(store))).sum(axis=(1, 2)).max()


def test_the_table_contains_areas_and_distances(store: SliceStore) -> None:
    table = store.slices[store.slices["scan"] == "Brats18_CBICA_A001_1"].set_index("slice")
    labels = lesion("brats2018", TINY)
    assert table.loc[2, "lesion_px"] == (labels[:, :, 2] > 0).sum() == 64
    assert table.loc[7, "lesion_distance"] == 4 and table.loc[3, "lesion_distance"] == 0
    foreground = np.logical_or.reduce([anatomy(1, TINY, name)[:, :, 4] != 0 for name in ("flair", "t1", "t1ce")])
    assert table.loc[4, "brain"] == pytest.approx(foreground.mean())
    assert table.loc[4, "height_mm"] == 4.0
    assert store.slices["key"].is_unique and (store.slices["key"] >= 0).all()


def test_a_set_without_lesions_has_distance_minus_one(tmp_path: Path) -> None:
    assert (build(tmp_path, "ixi", subjects=1).slices["lesion_distance"] == -1).all()


def test_percentiles_are_of_the_sequences_own_foreground(store: SliceStore) -> None:
    volume = anatomy(1, TINY, "t1")
    expected = np.percentile(volume[volume > 0].astype(float), 99.8)
    assert store.scans.loc["Brats18_CBICA_A001_1", "p99.8_t1"] == expected
    assert store.scans.loc["Brats18_CBICA_A001_1", "max_t1"] == volume.max()
    assert np.isnan(store.scans["p99.8_t2"].to_numpy()[0])


def test_slices_with_hardly_any_brain_are_not_stored(store: SliceStore) -> None:
    assert store.slices["brain"].min() >= 0.01
    assert len(store.slices[store.slices["scan"] == "Brats18_CBICA_A001_1"]) < TINY[2]


def test_text_columns_stay_text(tmp_path: Path) -> None:
    store = build(tmp_path, "pretreat", subjects=1)
    assert set(store.slices["timepoint"]) == {"000"}


@pytest.mark.parametrize("axes", ["RAS", "LAS", "SPL"])
def test_orientation_of_the_files_does_not_matter(tmp_path: Path, axes: str) -> None:
    stores = []
    for orientation in ("LPS", axes):
        root = tmp_path / orientation
        for kind in ("flair", "t1", "seg"):
            volume = lesion("brats2018", TINY) if kind == "seg" else anatomy(1, TINY, kind)
            save_as(root / f"HGG/Brats18_X_1/Brats18_X_1_{kind}.nii.gz", volume, orientation)
        stores.append(prepare(root, get_layout("brats2018"), tmp_path / f"store-{orientation}"))
    np.testing.assert_array_equal(stores[0].images, stores[1].images)
    np.testing.assert_array_equal(stores[0].masks, stores[1].masks)
    assert stores[0].content_hash == stores[1].content_hash


def test_shapes_that_differ_are_padded_around_the_centre(tmp_path: Path) -> None:
    root = make_tree("brats2018", tmp_path / "source", [1], (20, 16, 10))
    make_tree("brats2018", root, [2], (16, 20, 10))
    flair = path_of("brats2018", root, 2, "flair")
    values = anatomy(2, (16, 20, 10), "flair").astype(np.float32) - 50.5  # background is not the lowest value
    values[anatomy(2, (16, 20, 10), "flair") == 0] = 0
    save(flair, values)
    store = prepare(root, get_layout("brats2018"), tmp_path / "store")
    assert store.shape == (20, 20)
    read, _ = store.read(np.array([row_of(store, "Brats18_CBICA_A002_1", 4)]), ("flair",))
    np.testing.assert_allclose(read[0, 0, :, 2:18], values[:, :, 4].T, atol=0.02)
    assert not read[0, 0, :, :2].any() and not read[0, 0, :, 18:].any()
    assert store.labels(np.array([row_of(store, "Brats18_CBICA_A001_1", 2)]))[0, 2:18].any()


@pytest.mark.parametrize("low", [-300.0, 0.0])
def test_floats_are_kept_within_half_a_step_and_zero_exactly(low: float) -> None:
    array = np.random.default_rng(0).uniform(low, 900, (6, 7, 8)).astype(np.float32)
    array[:2] = 0
    coding = fit_coding(array)
    back = (encode(array, coding).astype(np.float64) - coding.zero) * coding.scale
    assert np.abs(back - array).max() <= coding.scale / 2 * 1.01
    np.testing.assert_array_equal(back == 0, array == 0)


def test_whole_numbers_with_a_sign_are_kept_exactly() -> None:
    array = np.array([-1024, 0, 3000], np.int16)
    coding = fit_coding(array)
    assert coding.scale == 1.0
    np.testing.assert_array_equal(encode(array, coding).astype(int) - coding.zero, array)


def test_values_next_to_a_huge_one_do_not_become_background() -> None:
    array = np.array([0.0, 1e-3, 1e6], np.float32)
    assert (encode(array, fit_coding(array)) > 0).tolist() == [False, True, True]


def test_a_spawned_worker_gets_the_path_alone_and_maps_the_files_itself(store: SliceStore) -> None:
    assert len(ForkingPickler.dumps(store)) < 500
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(attrgetter("content_hash"), store).result(60) == store.content_hash


def copy(store: SliceStore, tmp_path: Path) -> Path:
    return Path(shutil.copytree(store.path, tmp_path / "copy"))


def test_another_version_is_refused(store: SliceStore, tmp_path: Path) -> None:
    path = copy(store, tmp_path) / "store.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    with pytest.raises(UserError, match=r"has format 99, but .* reads format 5; delete it and run"):
        open_store(path.parent)


@pytest.mark.parametrize("name", ["slices.csv", "scans.csv"])
def test_a_changed_table_is_refused(store: SliceStore, tmp_path: Path, name: str) -> None:
    folder = copy(store, tmp_path)
    (folder / name).write_text((folder / name).read_text().replace("A001", "A009", 1))
    with pytest.raises(UserError, match=r"tables of the store .* were changed after it was made; delete it"):
        open_store(folder)


def test_a_changed_description_is_refused(store: SliceStore, tmp_path: Path) -> None:
    path = copy(store, tmp_path) / "store.json"
    path.write_text(path.read_text().replace('"brats2018"', '"brats2019"'))
    with pytest.raises(UserError, match="were changed after it was made"):
        open_store(path.parent)


@pytest.mark.parametrize("which", [0, 1])
def test_changed_pixels_are_found(store: SliceStore, tmp_path: Path, which: int) -> None:
    folder = copy(store, tmp_path)
    arrays = [np.array(store.images), np.array(store.masks)]
    arrays[which][3, ..., 5, 5] += 1
    rewrite(folder, *arrays)
    changed = open_store(folder)
    changed.verify_slices(np.array([0, 1, 2]))
    with pytest.raises(UserError, match=r"was changed after it was made \(slice 3\); delete the store"):
        changed.verify_slices()


def test_a_missing_array_is_named(store: SliceStore, tmp_path: Path) -> None:
    folder = copy(store, tmp_path)
    (folder / "masks.blosc").unlink()
    with pytest.raises(UserError, match=r"lacks masks\.blosc; delete it and run"):
        open_store(folder)


@pytest.mark.parametrize("name", ["images.blosc", "masks.blosc", "index.npy"])
@pytest.mark.parametrize("cut", [10, 100_000])
def test_a_truncated_array_is_named(store: SliceStore, tmp_path: Path, name: str, cut: int) -> None:
    path = copy(store, tmp_path) / name
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(UserError, match=rf"{name} is damaged .*; delete it"):
        open_store(path.parent)


def test_a_folder_that_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not a slice store; make one with `anyadbench data prepare`"):
        open_store(tmp_path)


def test_unreadable_description(store: SliceStore, tmp_path: Path) -> None:
    path = copy(store, tmp_path) / "store.json"
    path.write_text("{")
    with pytest.raises(UserError, match=r"store\.json cannot be read .*; delete the store"):
        open_store(path.parent)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"table_hash": None}, r"store\.json lacks 'table_hash'; delete the store and prepare it again"),
        ({"content_hash": None}, r"store\.json lacks 'content_hash'; delete"),
        ({"format": None}, r"store\.json lacks 'format'; delete"),
        ({"shape": None}, "were changed after it was made"),
        ({"shape": float("nan")}, "were changed after it was made"),
    ],
)
def test_a_description_without_a_field_is_one_sentence(
    store: SliceStore, tmp_path: Path, change: dict[str, object], sentence: str
) -> None:
    path = copy(store, tmp_path) / "store.json"
    head = {**json.loads(path.read_text()), **change}
    path.write_text(json.dumps({name: value for name, value in head.items() if value is not None}))
    with pytest.raises(UserError, match=sentence):
        open_store(path.parent)


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("store.json", "[" * 100_000, r"store\.json cannot be read"),
        ("store.json", "null", r"store\.json does not hold an object; delete the store"),
        ("warnings.json", "", r"warnings\.json cannot be read"),
        ("warnings.json", "[1]", r"warnings\.json lists no problems"),
        ("quarantine.json", "[{}]", r"quarantine\.json lists no problems"),
        ("quarantine.json", "{}", r"quarantine\.json does not hold a list; delete the store"),
        ("inputs.json", "[1]", r"inputs\.json does not hold an object"),
        ("inputs.json", "{}", "is a store of other files"),
    ],
)
def test_json_of_a_store_that_is_damaged_is_one_sentence(
    store: SliceStore, tmp_path: Path, name: str, text: str, sentence: str
) -> None:
    folder = copy(store, tmp_path)
    (folder / name).write_text(text)
    with pytest.raises(UserError, match=sentence):
        read_warnings(prepare(store.path.parent / "source", get_layout("brats2018"), folder))


def test_a_tree_is_prepared_into_the_cache_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYADBENCH_CACHE", str(tmp_path / "cache"))
    tree = make_tree("brats2018", tmp_path / "source", 2, TINY)
    calls: list[tuple[int, int, str]] = []
    first = find_or_prepare(tree, "brats2018", lambda *call: calls.append(call))
    assert len(calls) == 2 and first.path.is_relative_to((tmp_path / "cache" / "stores").resolve())
    assert find_or_prepare(tree, "brats2018", lambda *call: calls.append(call)).path == first.path
    assert len(calls) == 2
    assert find_or_prepare(first.path, "brats2018").content_hash == first.content_hash


def test_a_changed_tree_is_prepared_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYADBENCH_CACHE", str(tmp_path / "cache"))
    tree = make_tree("brats2018", tmp_path / "source", 2, TINY)
    first = find_or_prepare(tree, "brats2018")
    save(path_of("brats2018", tree, 1, "flair"), anatomy(7, TINY, "flair"), LPS)
    assert find_or_prepare(tree, "brats2018").content_hash != first.content_hash


def test_a_store_of_another_set_is_refused(store: SliceStore) -> None:
    with pytest.raises(UserError, match=r"is a store of brats2018, but mslub is wanted"):
        find_or_prepare(store.path, "mslub")


def test_images_that_two_stores_share_are_found(tmp_path: Path) -> None:
    first = build(tmp_path / "a", "brats2018", subjects=2)
    second = build(tmp_path / "b", "brats2021", subjects=[2, 3])
    assert ("Brats18_CBICA_A002_1", "BraTS2021_00002", "flair") in overlap(first, second)
    assert {pair[:2] for pair in overlap(first, second)} == {("Brats18_CBICA_A002_1", "BraTS2021_00002")}
