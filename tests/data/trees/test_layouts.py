"""Finding scans by the names of the releases."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from trees import make_tree, path_of

from anyadbench.cli import main
from anyadbench.data.trees.layouts import LAYOUTS, Layout, get_layout
from anyadbench.data.trees.problems import errors
from anyadbench.data.trees.survey import discover, survey
from anyadbench.errors import UserError

NIFTI = ["brats2018", "brats2019", "brats2020", "brats2021", "brats2023", "brats2024", "mu", "pretreat", "mslub",
         "mets", "ped", "mslub-short", "phantom", "msd01"]  # fmt: skip
TINY = (12, 12, 6)


def layout_of(name: str) -> Layout:
    return get_layout(name.removesuffix("-short"))


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("name", NIFTI)
def test_scans_are_found_under_their_real_names(tmp_path: Path, name: str, ending: str) -> None:
    scans = discover(make_tree(name, tmp_path / "deep" / "er", 2, TINY, ending=ending), layout_of(name))
    assert len(scans) == 2 and all(scan.seg is not None for scan in scans)
    assert set(scans[0].files) >= set(layout_of(name).expected)


@pytest.mark.parametrize("name", NIFTI)
def test_a_nested_root_makes_no_difference(tmp_path: Path, name: str) -> None:
    make_tree(name, tmp_path / "My data" / "copy 2" / name, 2, TINY)
    assert [scan.scan for scan in discover(tmp_path, layout_of(name))] == [
        scan.scan for scan in discover(tmp_path / "My data" / "copy 2" / name, layout_of(name))
    ]


def test_the_given_folder_may_be_the_patient(tmp_path: Path) -> None:
    make_tree("mslub-short", tmp_path, 2, TINY)
    assert [scan.subject for scan in discover(tmp_path / "patient01", get_layout("mslub"))] == ["patient01"]


def test_case_and_separators_do_not_matter(tmp_path: Path) -> None:
    tree = make_tree("brats2023", tmp_path / "a", 1, TINY)
    for path in sorted(tree.rglob("*.nii.gz")):
        path.rename(path.with_name(path.name.replace("-", "_").upper().replace(".NII.GZ", ".nii.gz")))
    (scan,) = discover(tree, get_layout("brats2023"))
    assert (scan.subject, scan.timepoint) == ("BRATS_GLI_00001", "000")


def test_time_points_of_one_patient_share_the_subject(tmp_path: Path) -> None:
    tree = make_tree("mu", tmp_path, 1, TINY, faults=["mu-missing"])
    for kind in ("flair", "seg"):
        source = path_of("mu", tree, 1, kind)
        target = Path(str(source).replace("Timepoint_1", "Timepoint_6"))
        target.parent.mkdir(exist_ok=True)
        shutil.copy(source, target)
    scans = discover(tree, get_layout("mu"))
    assert [(scan.subject, scan.timepoint) for scan in scans] == [("PatientID_0001", "1"), ("PatientID_0001", "6")]


def test_ixi_needs_no_segmentation(tmp_path: Path) -> None:
    scans = discover(make_tree("ixi", tmp_path, 2, TINY), get_layout("ixi"))
    assert [set(scan.files) for scan in scans] == [{"t1", "t2"}] * 2


def test_case_355_keeps_its_segmentation(tmp_path: Path) -> None:
    found = survey(make_tree("brats2020", tmp_path, 1, TINY, faults=["segm-355"]), get_layout("brats2020"))
    assert {scan.scan for scan in found.scans} == {"BraTS20_Training_001", "BraTS20_Training_355"}
    (note,) = found.problems
    assert note.severity == "warning" and "is read as the segmentation of BraTS20_Training_355" in note.sentence


def test_the_two_mu_scans_without_mask_are_named(tmp_path: Path) -> None:
    found = survey(make_tree("mu", tmp_path, 1, TINY, faults=["mu-missing"]), get_layout("mu"))
    assert [problem.scan for problem in found.problems] == ["PatientID_0187_Timepoint_3", "PatientID_0191_Timepoint_1"]
    assert all("no segmentation (as in the published release)" in problem.cause for problem in found.problems)
    assert len(found.scans) == 1


def test_junk_is_skipped(tmp_path: Path) -> None:
    found = survey(make_tree("brats2018", tmp_path, 1, TINY, faults=["junk"]), get_layout("brats2018"))
    assert len(found.scans) == 1 and not found.problems


def test_apple_files_and_unknown_files_trigger_a_warning(tmp_path: Path) -> None:
    found = survey(make_tree("brats2018", tmp_path, 1, TINY, faults=["apple", "stray"]), get_layout("brats2018"))
    assert {problem.file for problem in found.problems} == {"._leftover.nii.gz", "average.nii.gz"}
    assert {problem.severity for problem in found.problems} == {"warning"}


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = make_tree("brats2018", tmp_path, 2, TINY)
    locked = sorted(path for path in tree.rglob("*") if path.is_dir() and path.name.startswith("Brats"))[0]
    scandir = os.scandir

    def refused(path: Any) -> Any:
        if str(path) == str(locked):  # as the system does, but root may list every folder
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    found = survey(tree, get_layout("brats2018"))
    name = locked.relative_to(tree).as_posix()
    sentence = f"{name} cannot be read (Permission denied); check the permissions, or remove it."
    assert [problem.sentence for problem in errors(found.problems)] == [sentence]
    assert locked.name not in [item.scan for item in found.scans]


def test_two_copies_of_a_file_are_named(tmp_path: Path) -> None:
    tree = make_tree("brats2018", tmp_path, 2, TINY)
    flair = path_of("brats2018", tree, 1, "flair")
    shutil.copy(flair, flair.parent.parent / flair.name)
    found = survey(tree, get_layout("brats2018"))
    assert len(found.scans) == 1
    assert "are both flair of Brats18_CBICA_A001_1; keep one of them" in found.problems[0].sentence


def test_a_segmentation_alone_is_no_scan(tmp_path: Path) -> None:
    tree = make_tree("brats2018", tmp_path, 2, TINY)
    for kind in ("flair", "t1", "t1ce", "t2"):
        path_of("brats2018", tree, 1, kind).unlink()
    found = survey(tree, get_layout("brats2018"))
    assert len(found.scans) == 1 and "has no image; add the images" in found.problems[0].sentence


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"The folder .*none does not exist; check the path"):
        discover(tmp_path / "none", get_layout("brats2018"))


def test_file_instead_of_folder(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(UserError, match=r"is a file, not a folder; give the folder"):
        discover(tmp_path / "a.txt", get_layout("brats2018"))


def test_folder_without_scans(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no scan of brats2021; give a folder with files like"):
        discover(tmp_path, get_layout("brats2021"))


def test_another_release_is_recognised(tmp_path: Path) -> None:
    make_tree("brats2019", tmp_path, 1, TINY)
    with pytest.raises(UserError, match=r"but looks like brats2019 .*; give brats2019 as the data set"):
        discover(tmp_path, get_layout("brats2018"))


def test_two_releases_in_one_folder(tmp_path: Path) -> None:
    make_tree("brats2018", tmp_path, 1, TINY)
    make_tree("brats2019", tmp_path, 1, TINY)
    with pytest.raises(UserError, match=r"holds files of brats2019 .* beside brats2018; move each release"):
        discover(tmp_path, get_layout("brats2018"))


def test_brats_2023_and_2024_are_two_releases(tmp_path: Path) -> None:
    make_tree("brats2023", tmp_path, 1, TINY)
    make_tree("brats2024", tmp_path, 1, TINY)
    with pytest.raises(UserError, match="beside brats2024"):
        discover(tmp_path, get_layout("brats2024"))


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    tree = make_tree("brats2018", tmp_path / "a", 1, TINY)
    (tree / "HGG" / "again").symlink_to(tree)
    assert len(discover(tree, get_layout("brats2018"))) == 1


def test_unknown_data_set_gets_a_suggestion() -> None:
    with pytest.raises(UserError, match="Did you mean 'brats2018'"):
        get_layout("brast2018")


def test_a_layout_may_be_added() -> None:
    own = Layout("mine", "Mine", (r"(?P<scan>(?P<subject>P\d+))/(?P<kind>flair)",), {"flair": "flair"}, healthy=True)
    assert get_layout("mine", [own]) is own


def test_a_layout_with_unknown_words_is_refused() -> None:
    with pytest.raises(
        ValueError, match="unknown name 'swi'; regions are .*, sequences flair, t1, t1ce, t2, pd, dwi, adc"
    ):
        Layout("mine", "Mine", (), {"swi": "swi"})


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_says_where_it_comes_from(name: str) -> None:
    layout = LAYOUTS[name]
    assert all([layout.title, layout.where, layout.licence, layout.citation, layout.tree])


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_command_prints_everything(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    layout = LAYOUTS[name]
    with pytest.raises(SystemExit) as ended:
        main(["datasets", "show", name])
    said = capsys.readouterr().out
    assert not ended.value.code
    assert all(text in said for text in (layout.where, layout.licence, layout.citation, layout.tree))


def test_the_command_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["datasets", "show", "mu", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["labels"]["4"] == "cavity" and "cross-brats-mu" in told["protocols"]


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_has_a_tiny_tree(tmp_path: Path, name: str) -> None:
    expected = {"oasis": 1, "brain-omnia": 6}.get(name, 2)  # one person with dementia; three sets in one tree
    assert len(discover(make_tree(name, tmp_path / "tree", 2, TINY), LAYOUTS[name])) == expected


def test_kinds_in_capitals_are_those_of_any_case(tmp_path: Path) -> None:
    folder = tmp_path / "W1"
    folder.mkdir()
    for kind in ("FLAIR", "T1W", "Lesion"):
        (folder / f"W1_{kind}.nii.gz").touch()
    kinds = {"FLAIR": "flair", "T1w": "t1", "LESION": "seg"}
    layout = Layout(
        "MINE", "Mine", (r"(?P<scan>(?P<subject>W\d+))_(?P<kind>FLAIR|T1W|LESION)",), kinds, ("flair", "t1")
    )
    (scan,) = discover(tmp_path, layout)
    assert set(scan.files) == {"flair", "t1"} and scan.seg is not None
    lower = Layout("MINE", "Mine", layout.patterns, {"flair": "flair", "t1w": "t1", "lesion": "seg"}, ("flair", "t1"))
    assert layout.fingerprint == lower.fingerprint


def test_kinds_that_differ_in_their_case_alone_have_one_meaning() -> None:
    with pytest.raises(ValueError, match=r"layout 'mine' gives the kind 't1' two meanings, 't2' and 't1'; .* keep one"):
        Layout("mine", "Mine", (), {"T1": "t2", "t1": "t1"})
    assert Layout("mine", "Mine", (), {"T1": "t1", "t1": "t1"}).kinds == {"t1": "t1"}
