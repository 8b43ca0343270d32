"""No scan is both trained and tested on, whatever its name, and no store that was changed by hand is read."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from inprocess import run
from trees import make_tree, path_of, save_png

from anyadbench.data.store.build import prepare
from anyadbench.data.store.pixels import rewrite
from anyadbench.data.store.store import SliceStore, open_store
from anyadbench.data.store.verified import check_store
from anyadbench.data.trees.layouts import get_layout
from anyadbench.data.trees.png import read_png
from anyadbench.data.trees.verify import verify
from anyadbench.errors import UserError

TINY = (16, 16, 8)


def test_a_scan_of_the_test_set_that_was_trained_on_is_named(tmp_path: Path) -> None:
    """Every scan of one set has another name in the other set: some train on one side and are tested on the other."""
    data = {name: make_tree(name, tmp_path / name, 6) for name in ("brats2018", "mu")}
    with pytest.raises(
        UserError, match=r"PatientID_\S+ of mu, which cross-brats-mu tests, holds the same image as Brats"
    ):
        run("cross-brats-mu", data, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_mixed_up_sequence_is_found_too(tmp_path: Path) -> None:
    data = {name: make_tree(name, tmp_path / name, [n + 10 * i for n in range(1, 7)])
            for i, name in enumerate(("brats2018", "mu"))}  # fmt: skip
    for number in range(11, 17):
        shutil.copy(
            path_of("brats2018", data["brats2018"], number - 10, "t1"), path_of("mu", data["mu"], number, "flair")
        )
    with pytest.raises(UserError, match="holds the same image as Brats18"):
        run("cross-brats-mu", data, tmp_path / "runs")


PNG_PROTOCOL = """
name = "png"
version = 1
title = "A tree of PNGs"
sequences = ["flair", "t1", "t2"]
[train]
dataset = "anyad-png"
[[test]]
name = "anyad-png"
dataset = "anyad-png"
"""


def png_protocol(folder: Path) -> Path:
    (folder / "png.toml").write_text(PNG_PROTOCOL)
    return folder / "png.toml"


def test_a_slice_in_train_and_test_is_named(tmp_path: Path) -> None:
    """Two slices of one patient, to which no check of patients would object."""
    tree = make_tree("anyad-png", tmp_path / "tree", 3)
    for name in ("flair", "t1", "t2"):
        source = tree / "train" / name / "Brats18_CBICA_A001_1_slice7.png"
        save_png(tree / "test/NORMAL" / name / "Brats18_CBICA_A001_1_slice50.png", read_png(source))
    protocol = png_protocol(tmp_path)
    with pytest.raises(UserError, match="A001_1 slice 50 of anyad-png, which png tests, holds the same image as"):
        run(protocol, {"anyad-png": tree}, tmp_path / "runs")


def test_a_tree_of_pngs_runs(tmp_path: Path) -> None:
    (done,) = run(
        png_protocol(tmp_path), {"anyad-png": make_tree("anyad-png", tmp_path / "tree", 4)}, tmp_path / "runs"
    )
    assert done.rows("anyad-png")["F+T1+T2"].n_abnormal == 6


def build(tmp_path: Path) -> SliceStore:
    return prepare(make_tree("brats2018", tmp_path / "tree", 6), get_layout("brats2018"), tmp_path / "store")


def test_a_store_that_was_changed_by_hand_is_not_run_on(tmp_path: Path) -> None:
    store = build(tmp_path)
    images = np.array(store.images)
    images[5, 0, 3, 3] += 1
    rewrite(store.path, images, np.array(store.masks))
    with pytest.raises(UserError, match=r"was changed after it was made \(slice 5\); delete the store"):
        run("brats-7subsets", {"brats2018": store.path}, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_store_is_read_whole_only_after_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = build(tmp_path)
    read = []
    monkeypatch.setattr(SliceStore, "verify_slices", lambda self, rows=None, progress=None: read.append(self.path))
    check_store(store)
    assert read == []
    os.utime(store.path / "masks.blosc")
    check_store(store)
    check_store(open_store(store.path))
    assert read == [store.path]


def test_a_cache_that_cannot_be_written_does_not_stop_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = build(tmp_path)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ANYADBENCH_CACHE", str(tmp_path / "file"))
    check_store(store)


def test_verify_names_images_that_another_set_holds(tmp_path: Path) -> None:
    store = prepare(make_tree("brats2018", tmp_path / "a", 2, TINY), get_layout("brats2018"), tmp_path / "store")
    other = make_tree("brats2021", tmp_path / "b", [2, 3], TINY)
    (problem,) = verify(other, get_layout("brats2021"), against=[store])
    assert problem.severity == "warning" and problem.scan == "BraTS2021_00002"
    assert "flair, t1, t1ce, t2 is the same image as in Brats18_CBICA_A002_1 of brats2018" in problem.sentence
