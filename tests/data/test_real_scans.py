"""The data layer on small real samples, if available."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from anyadbench.data.slices.rules import SliceRules
from anyadbench.data.slices.selection import select_slices, split_subjects
from anyadbench.data.store.build import prepare
from anyadbench.data.store.store import SliceStore
from anyadbench.data.trees.layouts import get_layout
from anyadbench.data.trees.problems import Problem, errors
from anyadbench.data.trees.verify import verify
from anyadbench.errors import UserError

SHARED = os.environ.get("ANYADBENCH_SHARED")
pytestmark = pytest.mark.skipif(not SHARED, reason="ANYADBENCH_SHARED is not set: no real samples on this machine")
SAMPLES = {"brats2018": "brats2018-mini", "mslub": "mslub"}


def source(name: str) -> Path:
    return Path(str(SHARED)) / "data" / SAMPLES[name]


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SliceStore]:
    root = tmp_path_factory.mktemp("shared")
    return {name: prepare(source(name), get_layout(name), root / name) for name in SAMPLES}


@pytest.fixture(scope="module")
def problems() -> dict[str, list[Problem]]:
    return {name: verify(source(name), get_layout(name)) for name in SAMPLES}


@pytest.mark.parametrize("name", SAMPLES)
def test_the_samples_have_no_errors(problems: dict[str, list[Problem]], name: str) -> None:
    assert errors(problems[name]) == []


def test_label_3_of_brats_2013_only_triggers_a_warning(problems: dict[str, list[Problem]]) -> None:
    odd = [problem for problem in problems["brats2018"] if "labels that" in problem.cause]
    assert {problem.scan[:12] for problem in odd} == {"Brats18_2013"} and len(odd) == 4


def test_availability_is_that_of_the_scans(stores: dict[str, SliceStore]) -> None:
    has = stores["brats2018"].scans[["has_flair", "has_t1", "has_t1ce", "has_t2"]]
    assert has.sum().tolist() == [5, 1, 5, 1]
    assert stores["mslub"].sequences == ("flair", "t1", "t2") and stores["mslub"].shape == (218, 182)


@pytest.mark.parametrize("name", SAMPLES)
def test_stored_values_are_the_files(stores: dict[str, SliceStore], name: str) -> None:
    store = stores[name]
    row = len(store) // 2
    entry = store.slices.iloc[row]
    file = source(name) / store.scans.loc[entry["scan"], "files"].split(" | ")[0]
    tools: Any = nibabel
    array = np.asarray(tools.as_closest_canonical(tools.loadsave.load(file)).dataobj)
    values, _ = store.read(np.array([row]), ("flair",))
    # In RAS+ order both in-plane axes run in the opposite direction.
    np.testing.assert_array_equal(values[0, 0], array[::-1, ::-1, entry["slice"]].T)


@pytest.mark.parametrize(("name", "match_height"), [("brats2018", True), ("brats2018", False), ("mslub", False)])
def test_the_default_rules_find_slices(stores: dict[str, SliceStore], name: str, match_height: bool) -> None:
    store = stores[name]
    split = split_subjects(sorted(store.scans["subject"]))
    selection = select_slices(store, SliceRules(match_height=match_height), split)
    assert len(selection.train_normals) >= 10 and len(selection.val_normals) >= 3
    assert len(selection.test_abnormals) >= 10 and len(selection.test_normals) >= 5
    assert selection.validation == "slice block"


def test_two_ms_patients_cannot_be_matched_in_height(stores: dict[str, SliceStore]) -> None:
    store = stores["mslub"]
    with pytest.raises(UserError, match="lies within 10 mm in height"):
        select_slices(store, SliceRules(), {"patient07": "test", "patient26": "train"})


def test_a_real_patient_named_as_in_bids_gives_the_same_slices(stores: dict[str, SliceStore], tmp_path: Path) -> None:
    names = {"flair": "FLAIR", "t1": "T1w", "t1ce": "ce-gd_T1w", "t2": "T2w", "seg": "label-lesion_mask"}
    scan, real = "Brats18_TCIA_DU7294_1", stores["brats2018"]
    for file in (source("brats2018") / "LGG" / scan).iterdir():
        kind = file.name.removesuffix(".nii.gz").rpartition("_")[2]
        place = tmp_path / "bids" / ("derivatives/experts" if kind == "seg" else "") / "sub-01/anat"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"sub-01_{names[kind]}.nii.gz").symlink_to(file)
    store = prepare(tmp_path / "bids", get_layout("bids"), tmp_path / "store")
    own = np.flatnonzero(real.slices["scan"] == scan)
    assert store.sequences == real.sequences and np.array_equal(store.images, real.images[own])
    assert np.array_equal(np.asarray(store.masks) > 0, np.asarray(real.masks[own]) > 0)
