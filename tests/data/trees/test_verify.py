"""Every fault of a tree is found and named, all at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from trees import FAULTS, make_tree, path_of, save

from anyadbench.data.trees.layouts import get_layout
from anyadbench.data.trees.problems import Problem, errors
from anyadbench.data.trees.verify import verify

TINY = (16, 16, 6)

FATAL = {
    "missing-seg": "which has no segmentation; add the segmentation",
    "empty": "is empty (0 bytes)",
    "truncated": "is damaged",
    "text": "is not a NIfTI image",
    "4d": "has 4 axes",
    "nan": "that are NaN or infinite",
    "inf": "that are NaN or infinite",
    "zeros": "contains only zeros",
    "other-shape": "has the shape",
    "other-affine": "has another affine than its sibling",
    "seg-affine": "has another affine than its sibling",
    "seg-shape": "has the shape",
    "fractional": "holds fractional labels",
    "same-t1": "holds the same image as Brats18_CBICA_A001_1_flair.nii.gz: t1 equals flair",
}
HARMLESS = {
    "no-t2": "which has no t2",
    "odd-label": "holds labels that brats2018 does not have: 9 (1 voxels)",
    "apple": "is a macOS archive leftover",
    "stray": "does not match the file names of brats2018",
}


def problems_of(tmp_path: Path, *faults: str, name: str = "brats2018", **more: object) -> list[Problem]:
    return verify(make_tree(name, tmp_path / "source", 2, TINY, faults, **more), get_layout(name))  # type: ignore[arg-type]


@pytest.mark.parametrize("fault", FATAL)
def test_a_fault_that_costs_the_scan(tmp_path: Path, fault: str) -> None:
    (problem,) = problems_of(tmp_path, fault)
    assert FATAL[fault] in problem.sentence
    assert (problem.severity, problem.scan) == ("error", "Brats18_CBICA_A001_1")
    assert problem.file.startswith("HGG/Brats18_CBICA_A001_1/") and problem.sentence.endswith(".")


@pytest.mark.parametrize("fault", HARMLESS)
def test_a_fault_that_costs_nothing(tmp_path: Path, fault: str) -> None:
    (problem,) = problems_of(tmp_path, fault)
    assert HARMLESS[fault] in problem.sentence and problem.severity == "warning"


def test_a_scan_with_hardly_any_brain_is_left_out_by_name(tmp_path: Path) -> None:
    tree = make_tree("brats2018", tmp_path / "source", 2, TINY)
    for name, value in (("flair", 90), ("t1", 80), ("t1ce", 70), ("t2", 60)):
        image = np.zeros(TINY, np.int16)
        image[8, 8, 3] = value
        save(path_of("brats2018", tree, 1, name), image)
    (problem,) = verify(tree, get_layout("brats2018"))
    assert problem.severity == "error" and problem.scan == "Brats18_CBICA_A001_1"
    assert "no axial slice shows brain on 1 % of its field; replace the scan, or leave it out" in problem.sentence


def test_every_fault_has_a_test() -> None:
    assert set(FAULTS) - set(FATAL) - set(HARMLESS) == {"twins", "mu-missing", "segm-355", "junk"}


def test_a_sound_tree_has_no_problems(tmp_path: Path) -> None:
    assert problems_of(tmp_path, "junk") == []


def test_all_problems_are_listed_at_once(tmp_path: Path) -> None:
    tree = make_tree("brats2018", tmp_path, 4, TINY)
    for number, fault in enumerate(("empty", "fractional", "no-t2"), start=1):
        FAULTS[fault]("brats2018", tree, number, TINY, ".nii.gz")
    found = verify(tree, get_layout("brats2018"))
    assert [problem.severity for problem in found] == ["error", "error", "warning"]


def test_several_faults_of_one_scan_are_all_named(tmp_path: Path) -> None:
    assert len(problems_of(tmp_path, "empty", "fractional", "other-affine")) == 3


def test_the_same_images_under_two_patients_keep_the_first(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path, "twins", name="mu")
    assert problem.scan == "PatientID_0090_Timepoint_1" and problem.severity == "error"
    assert "is the same image as in PatientID_0001_Timepoint_1, another patient" in problem.cause


def test_the_two_mu_scans_without_mask_are_found(tmp_path: Path) -> None:
    assert len(errors(problems_of(tmp_path, "mu-missing", name="mu"))) == 2


def test_case_355_is_only_noted(tmp_path: Path) -> None:
    assert [problem.severity for problem in problems_of(tmp_path, "segm-355", name="brats2020")] == ["warning"]


def test_a_3d_image_in_the_decathlon_is_found(tmp_path: Path) -> None:
    from trees import anatomy, path_of, save

    tree = make_tree("msd01", tmp_path, 2, TINY)
    save(path_of("msd01", tree, 1, "flair"), anatomy(1, TINY, "t1"))
    (problem,) = verify(tree, get_layout("msd01"))
    assert "where its layout has 4 axes" in problem.cause and problem.file == "imagesTr/BRATS_001.nii.gz"


def test_results_do_not_depend_on_workers(tmp_path: Path) -> None:
    tree = make_tree("brats2018", tmp_path, 3, TINY, ["empty", "apple"])
    layout = get_layout("brats2018")
    assert verify(tree, layout, workers=1) == verify(tree, layout, workers=3)


def test_progress_counts_the_scans(tmp_path: Path) -> None:
    calls: list[tuple[int, int, str]] = []
    tree = make_tree("brats2018", tmp_path, 2, TINY)
    verify(tree, get_layout("brats2018"), progress=lambda *call: calls.append(call))
    assert calls == [(1, 2, "reading brats2018"), (2, 2, "reading brats2018")]
