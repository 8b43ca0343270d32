"""The AnyAD release's PNG tree, read with its own parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from trees import anatomy, make_tree, save_png

from anyadbench.data.slices.rules import SliceRules
from anyadbench.data.slices.selection import select_slices, split_subjects
from anyadbench.data.store.build import prepare
from anyadbench.data.store.store import SliceStore
from anyadbench.data.trees.layouts import get_layout
from anyadbench.data.trees.png import read_png
from anyadbench.data.trees.problems import Problem
from anyadbench.data.trees.verify import verify
from anyadbench.errors import UserError

TINY = (20, 16, 10)
LAYOUT = get_layout("anyad-png")
BAD = "test/ABNORMAL"
STEM = "Brats18_CBICA_A002_1_slice2"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree("anyad-png", tmp_path / "BraTs2018", 3, TINY)


def build(tree: Path) -> SliceStore:
    return prepare(tree, LAYOUT, tree.parent / "store")


def problems(tree: Path) -> list[Problem]:
    return verify(tree, LAYOUT)


def test_slices_come_back_as_they_are(tree: Path) -> None:
    store = build(tree)
    rows = np.flatnonzero((store.slices["scan"] == "Brats18_CBICA_A002_1") & (store.slices["slice"] == 5))
    values, present = store.read(rows, ("flair", "t1", "t2"))
    for place, name in enumerate(("flair", "t1", "t2")):
        image = np.clip(anatomy(2, TINY, name)[:, :, 5].T / 3, 0, 255).astype(np.uint8)
        np.testing.assert_array_equal(values[0, place], image)
    assert present.all()


def test_the_trees_own_parts_are_kept(tree: Path) -> None:
    store = build(tree)
    selection = select_slices(store, SliceRules(), split_subjects(sorted(store.scans["subject"])))
    parts = store.slices["part"].to_numpy()
    assert set(parts[selection.test_normals]) == {"test/normal"} and len(selection.test_normals) == 8
    assert set(parts[selection.test_abnormals]) == {"test/abnormal"} and len(selection.test_abnormals) == 4
    assert set(parts[np.concatenate([selection.train_normals, selection.val_normals])]) == {"train"}
    assert store.abnormal(selection.test_abnormals).any(axis=(1, 2)).all()


def test_time_points_are_separated_from_subjects(tmp_path: Path) -> None:
    for time in (1, 2):
        image = np.full((8, 8), time, np.uint8)
        save_png(tmp_path / f"train/flair/PatientID_0054_Timepoint_{time}_slice100.png", image)
    store = prepare(tmp_path, LAYOUT, tmp_path.parent / "store-mu")
    assert list(store.scans["subject"]) == ["PatientID_0054"] * 2 and list(store.scans["timepoint"]) == ["1", "2"]


def test_a_sound_tree_has_no_problems(tree: Path) -> None:
    assert problems(tree) == []


def test_abnormal_slice_without_mask(tree: Path) -> None:
    (tree / BAD / "mask" / f"{STEM}_mask.png").unlink()
    assert "is in ABNORMAL but has no mask; add the mask" in problems(tree)[0].sentence


def test_slice_without_a_sequence(tree: Path) -> None:
    (tree / BAD / "t1" / f"{STEM}.png").unlink()
    assert "has no t1 beside it" in problems(tree)[0].sentence


def test_mask_with_label_values(tree: Path) -> None:
    path = tree / BAD / "mask" / f"{STEM}_mask.png"
    save_png(path, np.where(read_png(path) > 0, 4, 0).astype(np.uint8))
    assert "holds the values 4 where a mask holds 0 and 255; save it with 255" in problems(tree)[0].sentence


@pytest.mark.parametrize(("data", "cause"), [(b"", "is empty (0 bytes)"), (b"text", "is damaged or not a PNG")])
def test_files_that_are_no_images(tree: Path, data: bytes, cause: str) -> None:
    (tree / BAD / "t1" / f"{STEM}.png").write_bytes(data)
    (problem,) = problems(tree)
    assert cause in problem.sentence and problem.severity == "error"


@pytest.mark.parametrize("image", [np.zeros((16, 20), np.uint16), np.zeros((16, 20, 3), np.uint8)])
def test_images_that_are_not_8_bit_grey(tree: Path, image: np.ndarray) -> None:
    save_png(tree / BAD / "t1" / f"{STEM}.png", image)
    assert "is not an 8-bit grey image" in problems(tree)[0].sentence


def test_slices_of_several_sizes(tree: Path) -> None:
    save_png(tree / BAD / "t1" / f"{STEM}.png", np.zeros((9, 9), np.uint8))
    assert "whose slices have several shapes" in problems(tree)[0].sentence


def test_one_slice_in_two_parts(tree: Path) -> None:
    image = read_png(tree / BAD / "t1" / f"{STEM}.png")
    save_png(tree / "test/NORMAL/t1" / f"{STEM}.png", image)
    assert any("is in test/abnormal as well as in test/normal" in problem.cause for problem in problems(tree))


def test_a_patient_in_train_and_test_triggers_a_warning(tree: Path) -> None:
    for name in ("flair", "t1", "t2"):
        save_png(tree / "train" / name / "Brats18_CBICA_A002_1_slice1.png", np.full((16, 20), 9, np.uint8) + len(name))
    (warning,) = [problem for problem in problems(tree) if problem.severity == "warning"]
    assert "has slices in both train and test; split by patient" in warning.sentence


def test_a_patient_in_train_and_test_is_known_at_another_time_point(tree: Path) -> None:
    for part, scan in (("train", "PatientID_0054_Timepoint_1"), ("test/NORMAL", "PatientID_0054_Timepoint_2")):
        for name in ("flair", "t1", "t2"):
            image = np.full((16, 20), 9, np.uint8) + len(name) + len(part)
            image[:, :6] = 0
            save_png(tree / part / name / f"{scan}_slice100.png", image)
    (warning,) = [problem for problem in problems(tree) if problem.severity == "warning"]
    assert "belongs to PatientID_0054, who has slices in both train and test" in warning.cause


def test_the_same_image_in_train_and_test_is_found(tree: Path) -> None:
    source = tree / "train/flair/Brats18_CBICA_A001_1_slice4.png"
    (tree / "test/NORMAL/flair/Brats18_CBICA_A003_1_slice5.png").write_bytes(source.read_bytes())
    (problem,) = problems(tree)
    assert problem.scan == "Brats18_CBICA_A003_1" and "is the same image as in Brats18_CBICA_A001_1" in problem.cause
    with pytest.raises(UserError, match="another patient"):
        build(tree)
