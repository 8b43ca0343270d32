"""What is special about the further data sets: grids, ignored labels, tables, formats, boxes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trees import anatomy, make_tree, save, save_png, values_of

from anyadbench.data.export_png import export_png
from anyadbench.data.slices.rules import SliceRules
from anyadbench.data.slices.selection import select_slices
from anyadbench.data.store.build import prepare
from anyadbench.data.store.store import open_store
from anyadbench.data.trees.files import Person, ScanFiles
from anyadbench.data.trees.layouts import REGIONS, Layout, get_layout
from anyadbench.data.trees.problems import Problem, errors
from anyadbench.data.trees.reader import reader_of
from anyadbench.data.trees.readers.people import Entry, age_of, by_subject, person_of
from anyadbench.data.trees.survey import discover, survey
from anyadbench.data.trees.verify import verify
from anyadbench.errors import UserError
from anyadbench.predict.batch import from_folder

TINY = (24, 24, 12)


def tree_of(name: str, tmp_path: Path, subjects: int = 2) -> Path:
    return make_tree(name, tmp_path / name, subjects, TINY)


def read(files: ScanFiles, name: str) -> tuple[object, list[Problem]]:
    layout = get_layout(name)
    return reader_of(layout).read_scan(files, layout)


def test_wmh_reads_the_preprocessed_images_and_knows_sites(tmp_path: Path) -> None:
    scans = discover(tree_of("wmh2017", tmp_path, 3), get_layout("wmh2017"))
    assert {scan.person.site for scan in scans} == {"Utrecht", "Singapore", "GE3T"}
    assert all(scan.files["flair"].parent.name == "pre" for scan in scans)


def test_pixels_of_an_ignored_label_are_neither_lesion_nor_normal(tmp_path: Path) -> None:
    store = prepare(tree_of("wmh2017", tmp_path), get_layout("wmh2017"), tmp_path / "store")
    ignored = np.asarray(store.masks) == REGIONS["ignored"]
    assert ignored.any() and not store.abnormal(np.arange(len(store)))[ignored].any()
    only = store.slices[(store.slices["lesion_px"] == 0) & ignored.reshape(len(store), -1).any(axis=1)]
    assert list(only["lesion_distance"]) == [0, 0]  # a normal slice is at least one away from any label


def test_a_label_that_could_be_ignored_or_lesion_excludes_the_scan(tmp_path: Path) -> None:
    tree = tree_of("wmh2017", tmp_path)
    path = sorted(tree.rglob("wmh.nii.gz"))[0]
    labels = np.array(values_of(path))
    labels[0, 0, 0] = 7
    save(path, labels)
    (problem,) = verify(tree, get_layout("wmh2017"))
    expected = (
        "holds labels that wmh2017 does not have: 7 (1 voxels); give the segmentation of the release, whose labels"
    )
    assert problem.severity == "error" and expected in problem.sentence and "1 lesion, 2 ignored." in problem.sentence


def test_an_ignored_label_needs_the_list_of_abnormal_ones() -> None:
    with pytest.raises(ValueError, match="layout 'mine' ignores a label that is abnormal; list the abnormal regions"):
        Layout("mine", "Mine", (), {}, labels={2: "ignored"})


def test_flair_of_isles_is_resampled_to_the_mask_and_verify_says_so(tmp_path: Path) -> None:
    tree, layout = tree_of("isles2022", tmp_path, 1), get_layout("isles2022")
    (problem,) = verify(tree, layout)
    assert problem.severity == "warning" and problem.file.endswith("_FLAIR.nii.gz")
    assert (
        "has another grid than sub-strokecase0001_ses-0001_dwi.nii.gz (12 x 12 x 24 voxels of 2 x 2 x 0.5 mm where"
        in (problem.sentence)
    )
    scan, _ = reader_of(layout).read_scan(discover(tree, layout)[0], layout)
    assert scan is not None and scan.volumes["flair"].shape == TINY
    brain, flair = scan.volumes["dwi"].array > 0, scan.volumes["flair"].array > 0
    assert (brain & flair).sum() / (brain | flair).sum() > 0.75  # one ellipsoid of the world on both grids


def test_a_resampled_linear_image_is_the_same_linear_image(tmp_path: Path) -> None:
    from anyadbench.data.trees.resampling import on_grid
    from anyadbench.data.trees.volume import read_volume

    affine = np.diag([-2.0, -2.0, 1.0, 1.0])
    x, y, z = np.meshgrid(*map(np.arange, (8, 8, 12)), indexing="ij")
    coarse = save(tmp_path / "a.nii.gz", (100 - 2.0 * x + 4.0 * y + z).astype(np.float32), affine)
    fine = save(tmp_path / "b.nii.gz", np.zeros((14, 14, 11), np.float32), np.diag([-1.0, -1.0, 1.0, 1.0]))
    moved = on_grid(read_volume(coarse), read_volume(fine))
    i, j, k = np.meshgrid(*map(np.arange, (14, 14, 11)), indexing="ij")
    assert moved.array == pytest.approx(100 - i + 2.0 * j + k, abs=1e-3)
    same = read_volume(fine)
    assert on_grid(same, same) is same


def test_atlas_with_skull_is_refused(tmp_path: Path) -> None:
    tree = tree_of("atlas", tmp_path)
    path = sorted(tree.rglob("*_T1w.nii.gz"))[0]
    rng = np.random.default_rng(0)
    save(path, rng.integers(5, 400, TINY).astype(np.int16))
    (problem,) = errors(verify(tree, get_layout("atlas")))
    assert "is probably not skull-stripped" in problem.sentence and "strip it first" in problem.sentence


def test_patients_of_two_centres_with_one_number_are_two_people(tmp_path: Path) -> None:
    scans = discover(tree_of("msseg", tmp_path, 4), get_layout("msseg"))
    assert sorted(scan.subject for scan in scans) == [
        "Training_Center_01_Patient_02", "Training_Center_01_Patient_03",
        "Training_Center_02_Patient_01", "Training_Center_02_Patient_02",
    ]  # fmt: skip
    assert set(scans[0].files) == {"flair", "t1", "t1ce", "t2", "pd"} and scans[0].person.site == "Center_01"


def test_oasis_pairs_are_read_and_people_with_dementia_left_out(tmp_path: Path) -> None:
    tree, layout = tree_of("oasis", tmp_path, 3), get_layout("oasis")
    found = survey(tree, layout)
    assert [scan.subject for scan in found.scans] == ["OAS1_0001", "OAS1_0002"]
    assert found.scans[0].person == Person(True, "", 21.0, "M")
    (problem,) = found.problems
    assert "who has a dementia rating above 0 and is left out" in problem.sentence and problem.severity == "warning"
    scan, problems = reader_of(layout).read_scan(found.scans[0], layout)
    assert not problems and scan is not None
    assert np.array_equal(scan.volumes["t1"].array, anatomy(1, TINY, "t1"))


def test_oasis_needs_its_table_and_everybody_in_it(tmp_path: Path) -> None:
    tree, layout = tree_of("oasis", tmp_path, 3), get_layout("oasis")
    table = tree / "oasis_cross-sectional.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], *lines[2:]]))
    (problem,) = errors(survey(tree, layout).problems)
    assert "OAS1_0001, who is not in oasis_cross-sectional.csv" in problem.sentence
    table.unlink()
    with pytest.raises(UserError, match=r"has no oasis_cross-sectional.csv, which says who has dementia; download it"):
        survey(tree, layout)


def test_an_analyze_header_without_its_values_is_named(tmp_path: Path) -> None:
    tree, layout = tree_of("oasis", tmp_path, 2), get_layout("oasis")
    sorted(tree.rglob("*masked_gfc.img"))[0].unlink()
    (problem,) = errors(verify(tree, layout))
    assert "is the .hdr file of a pair whose .img file is missing" in problem.sentence


def test_bids_reads_anatomy_contrast_masks_and_people(tmp_path: Path) -> None:
    tree, layout = tree_of("bids", tmp_path, 3), get_layout("bids")
    found = survey(tree, layout)
    assert [scan.scan for scan in found.scans] == ["sub-01_ses-a", "sub-02_ses-a", "sub-03_ses-a"]
    first, last = found.scans[0], found.scans[-1]
    assert set(first.files) == {"flair", "t1", "t1ce", "t2"} and first.timepoint == "a" and first.subject == "sub-01"
    assert first.files["t1ce"].name == "sub-01_ses-a_ce-gd_T1w.nii.gz" and "derivatives" not in first.files["t1"].parts
    assert first.seg is not None and first.seg.name.endswith("label-lesion_mask.nii.gz")
    assert last.seg is None and last.person == Person(True, "A", 33.0, "M") and not first.person.healthy
    assert {problem.severity for problem in found.problems} == {"warning"}
    assert "is a further t2 of sub-01_ses-a and is not read; sub-01_ses-a_run-1_T2w.nii.gz is" in (
        found.problems[0].sentence
    )


def test_bids_images_under_derivatives_count_if_there_are_no_others(tmp_path: Path) -> None:
    tree = tree_of("bids", tmp_path, 1)
    shutil.rmtree(tree / "sub-01")
    (scan,) = discover(tree, get_layout("bids"))
    assert scan.files["t1"].name == "sub-01_ses-a_desc-preproc_T1w.nii.gz"


def test_a_patient_of_bids_without_a_mask_is_named(tmp_path: Path) -> None:
    tree = tree_of("bids", tmp_path, 3)
    sorted(tree.rglob("*label-lesion_mask.nii.gz"))[0].unlink()
    (problem,) = errors(survey(tree, get_layout("bids")).problems)
    assert problem.scan == "sub-01_ses-a" and "has no segmentation" in problem.sentence


def test_a_healthy_control_with_a_lesion_is_left_out(tmp_path: Path) -> None:
    tree = tree_of("bids", tmp_path, 2)
    mask = sorted(tree.rglob("*label-lesion_mask.nii.gz"))[0]
    target = Path(str(mask).replace("sub-01", "sub-02"))
    target.parent.mkdir(parents=True)
    shutil.copy(mask, target)
    (problem,) = errors(verify(tree, get_layout("bids")))
    assert "labelled voxels, but sub-02 counts as healthy; leave the scan out" in problem.sentence


def test_a_bids_folder_without_anatomy_is_refused(tmp_path: Path) -> None:
    tree = tree_of("bids", tmp_path, 2)
    for path in tree.rglob("anat"):
        shutil.rmtree(path)
    with pytest.raises(UserError, match=r"has subjects but no anatomy that bids reads; give a folder with sub-01/"):
        survey(tree, get_layout("bids"))


def test_a_table_of_participants_without_names_is_refused(tmp_path: Path) -> None:
    tree = tree_of("bids", tmp_path, 2)
    (tree / "participants.tsv").write_text("name\tage\nsub-01\t3\n")
    with pytest.raises(UserError, match=r"participants.tsv lacks the column 'participant_id'; add it"):
        survey(tree, get_layout("bids"))


def test_a_special_layout_is_recognised_before_bids(tmp_path: Path) -> None:
    tree = tree_of("atlas", tmp_path)
    with pytest.raises(UserError, match="but looks like atlas .*; give atlas as the data set"):
        survey(tree, get_layout("mu"))


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"sex": "female", "age": "89+"}, Person(False, "", 89.0, "F")),
        ({"gender": "M", "age": "n/a", "diagnosis": "HC"}, Person(True, "", None, "M")),
        ({"scanner": "Trio", "group": "patient"}, Person(False, "Trio", None, "")),
        ({"age": "-4", "sex": "3"}, Person()),
    ],
)
def test_people_are_read_from_the_columns_that_data_sets_use(row: dict[str, str], expected: Person) -> None:
    assert person_of(row) == expected


def test_ages_that_are_none_are_unknown() -> None:
    texts = ("", "abc", "inf", "31.5", "030Y", "31 y", "40 years", "89+", "31,5", "018M", "12 parsecs", "1,234", "400")
    expected = [None, None, None, 31.5, 30, 31, 40, 89, 31.5, 1.5, None, None, None]
    assert [age_of(text) for text in texts] == expected


HEAD = "participant_id\tage\tsex\tsite\tgroup\n"


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (
            "sub-02\t\t\t\tpatient\nsub-02\t\t\t\tcontrol",
            r"lines 2 and 3, give sub-02 two groups \(patient and control\)",
        ),
        ("sub-02\t\t\t\tpatient\n\n2\t\t\t\tcontrol", r"lines 2 and 4, give sub-02 two groups"),
        ("SUB-01\t30\t\t\t\n01\t31\t\t\t", r"lines 2 and 3, give sub-01 two ages \(30.0 and 31.0\); keep the right"),
        ("1\t\tF\t\t\nsub-01\t\tM\t\t", r"lines 2 and 3, give sub-01 two sexes \(F and M\); keep"),
        ("1\t\t\tA\t\nsub-01\t\t\tB\t", r"lines 2 and 3, give sub-01 two sites \(A and B\); keep"),
        ("sub-01\t\t\tA\t\n\t31\t\tB\tcontrol", r"line 3, has no participant_id; name the subject, or remove the line"),
    ],
)
def test_a_table_of_people_that_contradicts_itself_is_refused(tmp_path: Path, lines: str, sentence: str) -> None:
    tree = tree_of("bids", tmp_path, 2)
    (tree / "participants.tsv").write_text(f"{HEAD}{lines}\n")
    with pytest.raises(UserError, match=rf"participants\.tsv, {sentence}"):
        survey(tree, get_layout("bids"))


def test_two_columns_that_disagree_on_who_is_healthy_are_refused(tmp_path: Path) -> None:
    tree = tree_of("bids", tmp_path, 2)
    (tree / "participants.tsv").write_text("participant_id\tgroup\tdiagnosis\nsub-02\tcontrol\tglioma\n")
    sentence = r"line 2, calls sub-02 'control' in group and 'glioma' in diagnosis; correct the one that is wrong"
    with pytest.raises(UserError, match=sentence):
        survey(tree, get_layout("bids"))


@pytest.mark.parametrize(
    "names", [("01", "02"), ("1", "2"), ("1.0", "2.0"), ("SUB-01", "Sub-2"), ("sub-001", "sub-002")]
)
def test_names_that_spreadsheets_change_mean_the_subject(tmp_path: Path, names: tuple[str, str]) -> None:
    tree = tree_of("bids", tmp_path, 2)
    (tree / "participants.tsv").write_text(f"{HEAD}{names[0]}\t030Y\tf\tA\tpatient\n{names[1]}\t31 y\t\t\tHC\n")
    found = survey(tree, get_layout("bids"))
    assert [scan.person for scan in found.scans] == [Person(False, "A", 30.0, "F"), Person(True, "", 31.0, "")]
    assert not [problem for problem in found.problems if "participants" in problem.file]


def test_a_number_that_fits_two_subjects_means_neither() -> None:
    entries = [Entry("1", 2, Person(True)), Entry("sub-7", 3, Person(True))]
    assert by_subject(Path("t.tsv"), entries, ["sub-01", "sub-001", "sub-7"]) == {"sub-7": entries[1]}


@pytest.mark.parametrize(
    ("lines", "sentences"),
    [
        (
            "P7\t\t\t\tcontrol",
            ["lists 1 people, none of whom is a subject of the tree, and is not used; name people as the files do, "
             "such as sub-01."],
        ),
        (
            "P7\t\t\t\t\nsub-02\t\t\t\tcontrol",
            ["lists 1 of 2 people who are no subject of the tree, such as P7; name people as the files do, such as "
             "sub-01.",
             "lacks 1 of 2 subjects, such as sub-01, of whom nothing is known; add a line for each."],
        ),
        (
            "sub-01\told\t1\t\t\n2\t\t\t\tcontrol\nsub-02\t\t\t\t",
            ["lists sub-02 2 times (lines 3, 4); keep one line.",
             "has 2 cells that cannot be read and count as unknown, such as the age 'old' (line 2); write ages in "
             "years, and sex as F or M."],
        ),
    ],
)  # fmt: skip
def test_what_is_odd_about_a_table_of_people_is_a_warning(tmp_path: Path, lines: str, sentences: list[str]) -> None:
    tree = tree_of("bids", tmp_path, 2)
    (tree / "participants.tsv").write_text(f"{HEAD}{lines}\n")
    problems = [problem for problem in survey(tree, get_layout("bids")).problems if "participants" in problem.file]
    assert [problem.sentence for problem in problems] == [f"participants.tsv {sentence}" for sentence in sentences]
    assert {problem.severity for problem in problems} == {"warning"}


@pytest.mark.parametrize(
    ("lines", "outcome"),
    [
        ("oas1_1_mr1,30,0", True),
        ("OAS1_0001_MR1,30,\nOAS1_0001_MR2,31,0.5", False),  # whoever is rated in any session
        ("OAS1_0001_MR1,30,\nOAS1_0001_MR2,31,", True),
        ("OAS1_0001_MR1,30,0\nOAS1_0001_MR1,30,0.5", r"lines 2 and 3, give oas1_0001_mr1 two groups \(0 and 0.5\)"),
        ("OAS1_0001_MR1,30,0\nOAS1_0001_MR1,31,0", "lines 2 and 3, give oas1_0001_mr1 two ages"),
        ("OAS1_0001_MR1,30,mild", "line 2: could not convert string to float: 'mild'; correct the column CDR"),
        ("OAS1_0001_MR1,30,-1", "line 2: '-1' is no rating from 0 to 3; correct the column CDR"),
    ],
)
def test_ratings_of_oasis_are_read_of_every_session(tmp_path: Path, lines: str, outcome: bool | str) -> None:
    tree, layout = tree_of("oasis", tmp_path, 1), get_layout("oasis")
    (tree / "oasis_cross-sectional.csv").write_text(f"ID,Age,CDR\n{lines}\n")
    if isinstance(outcome, str):
        with pytest.raises(UserError, match=outcome):
            survey(tree, layout)
        return
    assert [scan.person.age for scan in survey(tree, layout).scans] == ([30.0] if outcome else [])


def test_arrays_are_sorted_into_subjects_with_the_channels_of_their_set(tmp_path: Path) -> None:
    tree, layout = tree_of("brain-omnia", tmp_path), get_layout("brain-omnia")
    found = survey(tree, layout)
    by_name = {scan.scan: scan for scan in found.scans}
    assert len(by_name) == 6 and set(by_name["ISLES_train_0001"].files) == {"adc", "dwi", "flair"}
    assert by_name["IXI_train_0002"].person.healthy and not by_name["ISLES_train_0001"].person.healthy
    assert [item.index for item in by_name["BRATS2021_train_0002"].slices] == list(range(50, 62))
    assert "is the first of 12 slices of BRATS2021_train_0001, where the set has 60" in found.problems[0].sentence
    part, _ = reader_of(layout).read_scan(by_name["BRATS2021_train_0001"], layout)
    expected = anatomy(1 + 7 * len("BraTS2021"), TINY, "t2")
    values = part.images[4, part.sequences.index("t2")] * part.row["scale_t2"]
    assert values == pytest.approx(expected[:, :, 4].T / expected.max(), abs=1e-4)
    assert part.sequences == ("t1", "t2", "t1ce", "flair") and part.slices[3]["lesion_px"] == 64


def test_a_picture_of_brisc_is_a_subject(tmp_path: Path) -> None:
    scans = discover(tree_of("brisc", tmp_path, 4), get_layout("brisc"))
    assert [scan.subject for scan in scans] == [f"BRISC_train_{n:04d}" for n in range(1, 5)]


@pytest.mark.parametrize(
    ("array", "cause"),
    [
        (np.zeros((3, 8, 8)), "has the shape (3, 8, 8) and type float64 where its set has 2 channels of pixels"),
        (np.full((2, 8, 8), np.nan), "holds NaN or infinity"),
        (np.full((2, 8, 8), 0.4), "holds labels that are not whole numbers from 0 (up to 0.4 away)"),
        (b"no array", "cannot be read as an array"),
    ],
)
def test_an_array_that_is_none_of_its_set_is_named(tmp_path: Path, array: np.ndarray | bytes, cause: str) -> None:
    tree, layout = tree_of("brisc", tmp_path), get_layout("brisc")
    path = tree / "BRISC" / "train" / "1.npy"
    if isinstance(array, bytes):
        path.write_bytes(array)
    else:
        np.save(path, array)
    (problem,) = errors(verify(tree, layout))
    assert cause in problem.sentence and problem.file == "BRISC/train/1.npy"


def test_pictures_are_stored_with_their_boxes(tmp_path: Path) -> None:
    tree, layout = tree_of("nova", tmp_path, 3), get_layout("nova")
    assert verify(tree, layout) == []
    wide = save_png(tree / "images" / "case0009_002.png", np.full((30, 40), 7, np.uint8))
    table = tree / "bboxes_gold.csv"
    table.write_text(f"{table.read_text()}case0009_002.png,9,1,30,20,10,10\ncase0010_001.png,10,1,,,,\n")
    shutil.copy(wide, tree / "images" / "case0010_001.png")
    save_png(tree / "images" / "case0010_001.png", np.full((24, 24), 9, np.uint8))
    store = prepare(tree, layout, tmp_path / "store")
    assert store.sequences == ("flair", "t1", "t2") and store.shape == (30, 40) and not store.masks[:].any()
    scans = list(store.slices["scan"])
    assert store.boxes is not None
    shown = {scans[row]: boxes.tolist() for row, boxes in store.boxes.items()}
    assert shown == {  # moved by the padding of 24 x 24 to 30 x 40
        "case0001_001": [[12.0, 8.0, 6.0, 4.0], [13.0, 9.0, 6.0, 4.0]],
        "case0002_001": [[12.0, 8.0, 6.0, 4.0]],
        "case0003_001": [[12.0, 8.0, 6.0, 4.0]],
        "case0009_002": [[30.0, 20.0, 10.0, 10.0]],
    }
    parts = dict(zip(scans, store.slices["part"], strict=True))
    assert parts["case0010_001"] == "test/normal" and parts["case0009_002"] == "test/abnormal"
    assert store.slices["slice"][scans.index("case0009_002")] == 2
    (tmp_path / "store" / "boxes.csv").write_text("row,left,top,width,height\n0,1.0,1.0,2.0,2.0\n")
    with pytest.raises(UserError, match=r"The boxes of the store .* were changed after it was made; delete it"):
        open_store(tmp_path / "store")


@pytest.mark.parametrize(
    ("mode", "depth", "fits"),
    [("L", 8, True), ("RGB", 8, True), ("I;16", 16, False), ("RGBA", 8, False), ("P", 8, False), ("LA", 8, False)],
)
def test_pictures_of_other_kinds_than_grey_are_refused(tmp_path: Path, mode: str, depth: int, fits: bool) -> None:
    tree, layout = tree_of("nova", tmp_path, 1), get_layout("nova")
    path = tree / "images/case0001_001.png"
    with Image.open(path) as old:
        grey = np.array(old)
    image = Image.fromarray(grey.astype(np.uint16) * 100) if depth == 16 else Image.fromarray(grey).convert(mode)
    image.save(path)
    problems = verify(tree, layout)
    if fits:
        assert problems == []
        np.testing.assert_array_equal(read(discover(tree, layout)[0], "nova")[0].grey, grey)  # type: ignore[attr-defined]
    else:
        assert "is not an 8-bit grey image" in problems[0].sentence


def test_a_picture_in_colour_is_refused(tmp_path: Path) -> None:
    tree = tree_of("nova", tmp_path, 1)
    Image.fromarray(np.full((24, 24, 3), (9, 9, 10), np.uint8)).save(tree / "images/case0001_001.png")
    (problem,) = verify(tree, get_layout("nova"))
    assert "is not an 8-bit grey image" in problem.sentence and problem.severity == "error"


def test_a_box_of_a_picture_that_is_listed_twice_is_a_warning(tmp_path: Path) -> None:
    tree = tree_of("nova", tmp_path, 2)
    table = tree / "bboxes_gold.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines, lines[1]]) + "\n")
    (problem,) = verify(tree, get_layout("nova"))
    assert problem.severity == "warning"
    assert f"lists a box of case0001_001 twice (lines 2 and {len(lines) + 1}), which counts once" in problem.sentence


def test_a_store_with_boxes_is_not_exported_as_masks(tmp_path: Path) -> None:
    store = prepare(tree_of("nova", tmp_path), get_layout("nova"), tmp_path / "store")
    selection = select_slices(store, SliceRules(), {}, ("test",))
    with pytest.raises(UserError, match=r"has boxes instead of masks, which the release's tree cannot hold; export"):
        export_png(store, tmp_path / "png", selection)


def test_boxes_and_pictures_must_fit_each_other(tmp_path: Path) -> None:
    tree, layout = tree_of("nova", tmp_path, 3), get_layout("nova")
    table = tree / "bboxes_gold.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], "case0001_001.png,1,1,20,4,9,4", lines[3], "case0009_001.png,9,1,1,1,2,2"]))
    found = [problem.sentence for problem in verify(tree, layout)]
    assert "images/case0001_001.png has 24 x 24 pixels, and a box at (20.0, 4.0, 9.0, 4.0) that does not" in found[0]
    assert "images/case0003_001.png is not listed in bboxes_gold.csv; add it, or remove the picture." in found[1]
    assert "lists 1 pictures that are not there, such as case0009_001; download" in found[2]
    table.unlink()
    with pytest.raises(UserError, match=r"has no bboxes_gold.csv; download it with the pictures"):
        verify(tree, layout)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("mets", "BraTS-MET-00001-000-t2f.nii.gz"),  # the files of pretreat have the same names
        ("atlas", "sub-r001s002_ses-1_space-MNI152NLin2009aSym_T1w.nii.gz"),  # fits BIDS, too
        ("bids", "sub-01_ses-a_FLAIR.nii.gz"),
    ],
)
def test_prediction_recognises_trees_whose_names_fit_several_layouts(tmp_path: Path, name: str, file: str) -> None:
    found = from_folder(tree_of(name, tmp_path), None)
    assert len(found) == 2 and not found[0].problem
    assert file in {path.name for path in found[0].scans.values()}
