"""Scans whose background is not exactly 0: brought to 0 as in prediction, or refused; never counted as brain."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from trees import anatomy, make_tree, path_of, save, save_png, values_of

from anyadbench.data.store.build import prepare
from anyadbench.data.store.remarks import remark
from anyadbench.data.store.store import SliceStore, open_store
from anyadbench.data.trees.background import not_stripped, settle
from anyadbench.data.trees.layouts import get_layout
from anyadbench.data.trees.survey import discover
from anyadbench.data.trees.verify import verify
from anyadbench.data.trees.volume import read_volume
from anyadbench.errors import UserError

BRATS = get_layout("brats2018")
SHAPE = (40, 40, 12)


def changed(root: Path, change: Callable[[np.ndarray], np.ndarray]) -> Path:
    """Return a tree with every image changed."""
    tree = make_tree("brats2018", root, 3)
    for path in sorted(tree.rglob("*.nii.gz")):
        if not path.name.endswith("_seg.nii.gz"):
            save(path, change(values_of(path)))
    return tree


def z_scores(array: np.ndarray) -> np.ndarray:
    brain = array[array > 0]
    return ((array - brain.mean()) / brain.std()).astype(np.float32)


def dust(array: np.ndarray, size: float = 1e-8) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, size, array.shape)
    return (array + noise).astype(np.float32)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> SliceStore:
    root = tmp_path_factory.mktemp("plain")
    return prepare(make_tree("brats2018", root / "tree", 3), BRATS, root / "store")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (z_scores, "outside the brain, where background is 0; it was subtracted from the whole scan"),
        (lambda array: array - 64, "has the value -64 outside the brain"),
        (lambda array: array + 1000, "has the value 1000 outside the brain"),
        (dust, "values next to its background"),
        (lambda array: dust(z_scores(array), 2e-7), "values next to its background"),
    ],
    ids=["z-scores", "negative", "positive", "dust", "z-scores with dust"],
)
def test_another_background_is_taken_off_and_reported(
    tmp_path: Path, plain: SliceStore, change: Callable[[np.ndarray], np.ndarray], sentence: str
) -> None:
    tree = changed(tmp_path / "tree", change)
    problems = verify(tree, BRATS)
    assert all(problem.severity == "warning" for problem in problems)
    lines = [problem.sentence for problem in problems if sentence in problem.cause]
    assert len(lines) == 12 and all(line.startswith("HGG/Brats18") for line in lines)
    store = prepare(tree, BRATS, tmp_path / "store")
    for column in ("scan", "slice", "brain", "lesion_px", "lesion_distance"):
        assert store.slices[column].tolist() == plain.slices[column].tolist()
    for scan in range(3):
        rows = np.flatnonzero(store.scan_of_row == scan)
        ours, theirs = (each.read(rows, BRATS.expected)[0] for each in (store, plain))
        tops = [each.max(axis=(0, 2, 3), keepdims=True) for each in (ours, theirs)]
        np.testing.assert_allclose(ours / tops[0], theirs / tops[1], atol=1e-4)
        np.testing.assert_array_equal(ours == 0, theirs == 0)
    said = remark(open_store(store.path))
    assert said.startswith(f"brats2018: {min(problems).file} {min(problems).cause}; ")
    assert f"; {len(problems) - 1} more warnings are listed in {store.path / 'warnings.json'}" in said
    assert not remark(plain)


def noisy(array: np.ndarray) -> np.ndarray:
    return array + np.random.default_rng(0).rayleigh(3, array.shape).astype(np.float32)


def padded_after_scaling(array: np.ndarray) -> np.ndarray:
    scaled = z_scores(array)
    scaled[:, :10] = 0
    return scaled


def bright_around(array: np.ndarray) -> np.ndarray:
    return np.where(array > 0, array, 400)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (noisy, "is probably not skull-stripped, or has noise as background (only"),
        (padded_after_scaling, "has two backgrounds, 0 and -"),
        (bright_around, "has the value 400 outside the brain, and lower values inside; set the background to 0"),
        (lambda array: np.where(array > 0, array, np.nan), "its background among them; set the background to 0"),
        (lambda array: np.full_like(array, 7), "has the value 7 everywhere; replace it"),
    ],
    ids=["noise", "two", "bright", "nan", "constant"],
)
def test_a_background_without_a_plain_meaning_is_refused(
    tmp_path: Path, change: Callable[[np.ndarray], np.ndarray], sentence: str
) -> None:
    tree = make_tree("brats2018", tmp_path / "tree", 3)
    path = path_of("brats2018", tree, 1, "t2")
    save(path, np.asarray(change(values_of(path)), dtype=np.float32))
    (problem,) = verify(tree, BRATS)
    assert problem.severity == "error" and problem.file.endswith(path.name) and sentence in problem.sentence
    with pytest.raises(UserError) as caught:
        prepare(tree, BRATS, tmp_path / "store")
    assert sentence in str(caught.value)
    assert len(prepare(tree, BRATS, tmp_path / "rest", quarantine=True).scans) == 2


def test_a_whole_head_on_a_clean_background_is_refused(tmp_path: Path) -> None:
    tree = make_tree("brats2018", tmp_path, 1)
    affine = np.diag([-6.0, -6.0, 1.0, 1.0])
    for path in sorted(tree.rglob("*.nii.gz")):
        save(path, values_of(path), affine)
    assert "larger than a brain's" in verify(tree, BRATS)[0].sentence


def test_z_scores_on_0_keep_their_background(tmp_path: Path) -> None:
    array = anatomy(1, SHAPE, "t1")
    volume = read_volume(save(tmp_path / "a.nii", np.where(array > 0, z_scores(array), 0)))
    found = settle(volume)
    assert found.volume is volume and found.notes == [] and not_stripped(volume) == ""


def test_whole_numbers_stay_whole_and_small_values_of_whole_numbers_are_no_dust(tmp_path: Path) -> None:
    array = anatomy(1, SHAPE, "t1").astype(np.int32)
    array[20, 20, 6], array[20, 21, 6] = 1, 30_000_000
    volume = read_volume(save(tmp_path / "a.nii", array + 5))
    found = settle(volume)
    assert found.value == 5 and found.dust == 0
    np.testing.assert_array_equal(found.volume.array, volume.array - 5)


@pytest.mark.parametrize("shift", [3, 0])
def test_the_background_of_png_slices(tmp_path: Path, shift: int) -> None:
    tree = make_tree("anyad-png", tmp_path, 2)
    for path in sorted(tree.rglob("flair/*.png")):
        import cv2

        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert image is not None
        save_png(path, np.clip(image.astype(int) + shift, 0, 255).astype(np.uint8))
    lines = [problem.cause for problem in verify(tree, get_layout("anyad-png"))]
    assert len([line for line in lines if "has the value 3 outside the brain" in line]) == (2 if shift else 0)
    store = prepare(tree, get_layout("anyad-png"), tmp_path.parent / f"{tmp_path.name}-store")
    assert store.slices["brain"].max() < 0.85


def test_png_slices_without_a_background_are_reported(tmp_path: Path) -> None:
    tree = make_tree("anyad-png", tmp_path, 2)
    rng = np.random.default_rng(0)
    for path in sorted(tree.rglob("t1/*.png")):
        save_png(path, rng.integers(1, 200, SHAPE[1::-1]).astype(np.uint8))
    lines = [problem.sentence for problem in verify(tree, get_layout("anyad-png")) if "whole field" in problem.cause]
    assert len(lines) == 2 and all("set the background to 0" in line for line in lines)


@pytest.mark.skipif(not os.environ.get("ANYADBENCH_SHARED"), reason="ANYADBENCH_SHARED is not set: no real heads")
def test_real_heads_are_noticed() -> None:
    folder = Path(os.environ["ANYADBENCH_SHARED"]) / "data" / "raw-heads"
    paths = [path for path in sorted(folder.glob("*.nii.gz")) if "DLWMLS" not in path.name]
    if not paths:
        pytest.skip(f"{folder} has no heads")
    assert all(not_stripped(settle(read_volume(path)).volume) for path in paths[:3])


WITH_SKULL = ("ixi", "mslub", "wmh2017", "isles2022", "atlas", "mets")


@pytest.mark.parametrize("name", WITH_SKULL)
def test_a_head_is_refused_and_another_background_is_brought_to_zero_in_every_set(name: str, tmp_path: Path) -> None:
    layout = get_layout(name)
    tree = make_tree(name, tmp_path / "tree", 2, SHAPE)
    sequence = layout.grid or layout.expected[0]
    head, shifted = (scan.files[sequence] for scan in discover(tree, layout)[:2])
    plain = values_of(shifted)
    noise = np.random.default_rng(0).integers(1, 99, plain.shape).astype(np.int16)
    save(head, values_of(head) + noise)
    save(shifted, (plain - 1024).astype(np.int16))
    found = {problem.severity: problem for problem in verify(tree, layout)}
    assert found["error"].file == head.relative_to(tree).as_posix()
    assert "is probably not skull-stripped" in found["error"].cause and "strip it first" in found["error"].fix
    assert "has the value -1024 outside the brain" in found["warning"].cause
    store = prepare(tree, layout, tmp_path / "store", quarantine=True)
    values, _ = store.read(np.arange(len(store)), [sequence])
    kept = store.slices["slice"].to_numpy()
    assert (values[:, 0] == plain.transpose(2, 1, 0)[kept]).all()
