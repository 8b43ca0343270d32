"""Tree readers: the built-in ones by name, and those of a third party."""

from __future__ import annotations

import multiprocessing
import shutil
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from array_reader import ARCHIVES, ARRAYS, PATH, ArrayReader, array_layout, make_archives, make_arrays
from trees import make_tree, path_of

from anyadbench.data.store.build import default_target, inputs_hash, prepare
from anyadbench.data.store.store import SliceStore, open_store
from anyadbench.data.trees.layouts import LAYOUTS, READERS, Layout, get_layout
from anyadbench.data.trees.problems import BadFile, errors
from anyadbench.data.trees.reader import TreeReader, reader_of
from anyadbench.data.trees.survey import discover, survey
from anyadbench.data.trees.verify import verify
from anyadbench.errors import UserError
from anyadbench.predict.batch import from_folder

TINY = (20, 16, 8)
FINGERPRINTS = {"brats2018": "4a3af8cac73db4a5", "msd01": "7298c9c677121c27", "mslub": "b382231423f7e872",
                "ixi": "de8152c1fa71fb1b", "anyad-png": "1f2fff269fef66d0"}  # fmt: skip


def images(store: SliceStore) -> list[np.ndarray]:
    values, present = store.read(np.arange(len(store)), ("flair", "t1", "t2"))
    return [values, present, np.array(store.masks) > 0, store.slices["lesion_distance"].to_numpy()]


def test_every_layout_has_a_reader() -> None:
    found = {name: reader_of(layout).name for name, layout in LAYOUTS.items()}
    assert {name for name, reader in found.items() if reader == "png"} == {"anyad-png"}
    assert set(found.values()) == set(READERS)


@pytest.mark.parametrize("name", FINGERPRINTS)
def test_stores_of_earlier_versions_stay_valid(name: str) -> None:
    assert get_layout(name).fingerprint.startswith(FINGERPRINTS[name])


def test_a_layout_may_hold_a_built_in_reader_itself() -> None:
    layout = get_layout("brats2018")
    assert replace(layout, reader=reader_of(layout)).fingerprint == layout.fingerprint


@pytest.mark.parametrize("reader", [PATH, ARRAYS], ids=["path", "object"])
def test_a_third_party_reads_arrays(tmp_path: Path, reader: str | ArrayReader) -> None:
    tree, layout = make_arrays(tmp_path / "shelf", 3, TINY), array_layout(reader)
    assert verify(tree, layout) == []
    store = prepare(tree, layout, tmp_path / "store")
    same = prepare(make_tree("brats2018", tmp_path / "nifti", 3, TINY), get_layout("brats2018"), tmp_path / "other")
    for own, other in zip(images(store), images(same), strict=True):
        np.testing.assert_array_equal(own, other)
    assert list(store.scans["subject"]) == ["S001", "S002", "S003"]


def test_a_third_party_reads_scans_that_are_no_volumes(tmp_path: Path) -> None:
    tree = make_archives(tmp_path / "archives", 3, TINY)
    assert verify(tree, ARCHIVES) == []
    store = prepare(tree, ARCHIVES, tmp_path / "store")
    assert len(store) == 3 * TINY[2] and list(store.scans["subject"]) == ["001", "002", "003"]
    shutil.copy(tree / "scan_001.npz", tree / "scan_002.npz")
    (tree / "scan_003.npz").write_bytes(b"text")
    assert [problem.scan for problem in errors(verify(tree, ARCHIVES))] == ["002", "003"]


def prepare_elsewhere(tree: Path, layout: Layout, out: Path) -> str:
    return prepare(tree, layout, out).content_hash


@pytest.mark.parametrize("reader", [PATH, ARRAYS], ids=["path", "object"])
def test_another_process_finds_the_reader(tmp_path: Path, reader: str | ArrayReader) -> None:
    tree, layout = make_arrays(tmp_path / "shelf", 2, TINY), array_layout(reader)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        made = pool.submit(prepare_elsewhere, tree, layout, tmp_path / "there").result()
    assert made == prepare(tree, layout, tmp_path / "here").content_hash == open_store(tmp_path / "there").content_hash


def test_its_problems_are_reported_with_all_others(tmp_path: Path) -> None:
    tree, layout = make_arrays(tmp_path / "shelf", 5, TINY), array_layout(PATH)
    (tree / "S001" / "t1.npy").write_bytes(b"text")
    (tree / "S002" / "lesion.npy").unlink()
    np.save(tree / "S003" / "t2.npy", np.full(TINY, np.nan))
    np.save(tree / "S004" / "t2.npy", np.zeros((4, 4), np.int16))
    np.save(tree / "S005" / "lesion.npy", np.full(TINY, 0.5))
    np.save(tree / "S005" / "mean.npy", np.zeros(TINY))
    make_tree("ixi", tree / "more", 1, TINY)
    (tree / "more" / "IXI" / "IXI001-Guys-0828-T1.nii.gz").rename(tree / "S001" / "atlas.nii.gz")
    shutil.rmtree(tree / "more")
    found = {(problem.file, problem.severity): problem.cause for problem in verify(tree, layout)}
    causes = {
        ("S001/t1.npy", "error"): "cannot be read",
        ("S002/flair.npy", "error"): "has no segmentation",
        ("S003/t2.npy", "error"): "NaN or infinite",
        ("S004/t2.npy", "error"): "has 2 axes (4, 4) where a volume has 3",
        ("S005/lesion.npy", "error"): "holds fractional labels",
        ("S005/mean.npy", "warning"): "file names of shelf",
        ("S001/atlas.nii.gz", "warning"): "file names of shelf",
    }
    assert set(found) == set(causes)
    assert all(causes[key] in cause for key, cause in found.items())


def test_arrays_in_a_tree_of_volumes_are_no_problem(tmp_path: Path) -> None:
    tree = make_tree("brats2018", tmp_path, 1, TINY)
    np.save(path_of("brats2018", tree, 1, "t1").with_name("features.npy"), np.zeros(3))
    assert survey(tree, get_layout("brats2018")).problems == []


def test_a_release_of_another_reader_is_recognised(tmp_path: Path) -> None:
    make_tree("anyad-png", tmp_path, 2, TINY)
    with pytest.raises(UserError, match=r"holds no scan of shelf but looks like anyad-png \(e.g. test/"):
        discover(tmp_path, array_layout(PATH))


def test_a_new_version_of_a_reader_is_another_store(tmp_path: Path) -> None:
    class Next(ArrayReader):
        version = 1

    tree = make_arrays(tmp_path / "shelf", 1, TINY)
    old, new = (array_layout(reader) for reader in (ARRAYS, Next()))
    assert inputs_hash(survey(tree, old), old) != inputs_hash(survey(tree, new), new)
    assert default_target(tree, old) != default_target(tree, new)


def test_a_format_without_4d_images_says_so(tmp_path: Path) -> None:
    layout = replace(array_layout(PATH), kinds={"flair": "4d", "lesion": "seg"}, channels=("flair", "t1"))
    tree = make_arrays(tmp_path / "shelf", 1, TINY)
    sentence = "should hold flair, t1 in one image, which the tree reader test-arrays does not read; give one file"
    assert sentence in errors(verify(tree, layout))[0].sentence
    with pytest.raises(BadFile):
        ARRAYS.channels(tmp_path, ("flair",))


@pytest.mark.parametrize(
    ("reader", "cause"),
    [
        (
            "no_such_package:READER",
            "cannot be loaded (ModuleNotFoundError: No module named 'no_such_package'); inst",
        ),
        ("array_reader:NOTHING", "cannot be loaded (AttributeError: "),
        ("array_reader:SEQUENCES", "is a tuple, not an instance of anyadbench.api.TreeReader; fix"),
        ("array_reader:ArrayReader", "is a ABCMeta, not an instance of"),
    ],
)
def test_a_reader_that_cannot_be_used_is_one_sentence(tmp_path: Path, reader: str, cause: str) -> None:
    with pytest.raises(UserError) as raised:
        survey(make_arrays(tmp_path / "shelf", 1, TINY), array_layout(reader))
    assert f"The tree reader '{reader}' of the data set 'shelf' {cause}" in str(raised.value)


def test_a_reader_of_an_unknown_name_is_refused_with_its_layout() -> None:
    with pytest.raises(
        ValueError,
        match=r"names the unknown tree reader 'dicom'; use nifti, png, bids, oasis, arrays, boxes or a path 'package",
    ):
        array_layout("dicom")


def test_prediction_takes_only_files_that_it_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = make_arrays(tmp_path / "shelf", 1, TINY)
    known = {"broken": replace(array_layout("no_such_package:READER"), name="broken"), "shelf": array_layout(PATH)}
    monkeypatch.setattr("anyadbench.predict.batch.find_layout", known.__getitem__)
    monkeypatch.setattr("anyadbench.predict.batch.all_layouts", lambda: {**known, **LAYOUTS})
    with pytest.raises(UserError, match="the layout shelf has no NIfTI volume per sequence; give NIfTI files in"):
        from_folder(tree, "shelf")
    with pytest.raises(UserError, match="fits no layout"):
        from_folder(tree, None)
    volumes = make_tree("mslub", tmp_path / "volumes", 2, TINY)
    assert [patient.name for patient in from_folder(volumes, None)] == ["patient01", "patient02"]


def test_suffixes_are_taken_in_any_case_and_whole() -> None:
    reader: TreeReader = reader_of(get_layout("ixi"))  # type: ignore[type-arg]
    assert reader.stem("a/b.NII.gz") == "a/b" and reader.stem("a/b.nii") == "a/b"
    assert reader.stem("a/b.png") is None and reader.stem("a/b.gz") is None
