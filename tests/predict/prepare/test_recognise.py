"""Which file or series of a folder is which sequence."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
from dicom_fixture import short, text, write_slice

from anyadbench.errors import UserError
from anyadbench.predict.prepare.kinds import kind_of_text, kind_of_timing, kinds_of_text, no_sequence
from anyadbench.predict.prepare.recognise import recognise
from anyadbench.predict.prepare.series_kinds import kinds_of_series
from anyadbench.sequences import SEQUENCES

NAMES = {
    "t1": [
        "T1 AX without contrast", "T1 ohne KM", "T1 pre contrast", "t1_pre-contrast.nii.gz", "T1 non-contrast",
        "T1 w/o Gd", "T1 C-", "T1 sin contraste", "T1 -C", "t1_C-.nii.gz", "T1 nativ",
        "T1 sans injection de gadolinium", "T1 senza mdc", "T1 zonder contrast", "T1 noncontrast", "T1_noGd",
        "T1 no gad", "T1 wo contrast", "T1 w/o", "t1 mprage o. KM", "PRE-OP T1", "T1 presat", "T1n.nii.gz",
        "brain_t1n", "sub-01_T1w.nii.gz", "t1_mprage_sag_p2_iso", "3D SPGR", "Subj1_T1.nii.gz", "T1 precontrast",
        "T1_PRE", "AxT1", "SAGT1", "rT1.nii", "Sag T1 unenhanced", "T1 Gd: no", "T1 contrast free",
        "T1 without iv contrast", "ax t1 vor KM", "T1 avant gado", "T1 MPRAGE high contrast",
        "BRAIN T1 W/O CONTRAST", "T1 W O contrast", "T1 non Gd", "POST OP T1 without contrast", "T1 SE TRA NATIV",
        "T1-weighted", "t1 basale", "wrT1.nii", "T1 -Gd", "MP-RAGE", "T1 pre-Gd", "T1_preGd", "T1 kein KM",
        "T1 before contrast",
    ],
    "t1ce": [
        "t1_mprage_tra_KM", "Ax T1 +C", "Brats18_1_t1ce.nii.gz", "T1 post GAD", "x_t1c.nii.gz", "T1post.nii.gz",
        "T1 post", "T1 + C", "T1 mit KM", "T1 gd", "T1 Gd", "ax t1 fs +gd", "T1 C+", "T1 with contrast",
        "T1 w/ contrast", "T1 w contrast", "t1_post-contrast.nii.gz", "T1PostContrast.nii.gz", "POST OP T1 +C",
        "T1 con contraste", "T1 avec gadolinium", "T1 nach KM", "T1 apres gado", "T1 après injection de gado",
        "ce-gadolinium_T1w.nii.gz", "T1w_ce", "CE T1", "t1gd", "T1-GD.nii.gz", "t1 contrast", "contrast T1",
        "T1 vibe +c", "vibe post", "VIBE fs KM", "T1 m. KM", "t1 ohne fs mit km", "T1 enhanced", "T1 POSTGAD",
        "T1CE MPRAGE", "BRAVO +C", "MPRAGE Gd", "T1_postcontrast", "PREOP T1 +C", "T1 post contrast pre op", "T1+C",
        "T1w+Gd",
    ],
    "": [
        "POST OP T1 MPRAGE", "Ax T1 FLAIR", "SAG T1 FLAIR", "T1 with and without contrast", "T1 w/wo contrast",
        "T1 pre/post contrast", "T1 pre and post", "T1 mit und ohne KM", "T1 and T2 map", "head", "T1-C",
        "post-op T1", "T1 post surgery", "t1_flair.nii.gz", "T1 FLAIR +C", "PD T2 tse", "T1 postop", "T1 w & w/o",
    ],
    "flair": [
        "sub-01_FLAIR.nii.gz", "t2_tirm_tra_dark-fluid_fs", "Ax T2 FLAIR", "Subj1_FL.nii.gz",
        "BraTS-GLI-00000-000-t2f.nii.gz", "patient1_flair.nii.gz", "PATIENT1_FLAIR", "visit1_flair",
        "FLAIR post contrast", "FLAIR +C", "pat1_flair", "t2 flair ohne km",
    ],
    "t2": [
        "t2_tse_tra_512", "sub-01_T2w.nii.gz", "patient1_T2.nii", "PART1_T2", "AX T2 FS", "t2w",
    ],
    "pd": [
        "PD", "Ax PD", "proton density", "IXI002-Guys-0828-PD.nii.gz", "pdw_tse",
    ],
    "adc": [
        "adc.nii.gz", "ep2d_diff_ADC", "ADC (10^-6 mm²/s)", "sub-strokecase0001_ses-0001_adc.nii.gz",
        "Apparent Diffusion Coefficient", "dwi_adc",
    ],
    "dwi": [
        "DWI b1000", "dwi.nii.gz", "ep2d_diff_3scan_trace_p2_TRACEW", "sub-1_dwi.nii.gz", "b=1000", "Ax DWI",
    ],
}  # fmt: skip
"""By what they mean; those under the empty text are unclear."""


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in NAMES.items() for text in texts])
def test_descriptions_and_names_are_recognised(kind: str, text: str) -> None:
    assert kind_of_text(text) == kind


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("Ax T1 FLAIR", ("flair", "t1")), ("SAG T1 FLAIR +C", ("flair", "t1ce")), ("POST OP T1 MPRAGE", ("t1", "t1ce")),
        ("T1 with and without contrast", ("t1", "t1ce")), ("T1-C", ("t1", "t1ce")), ("PD T2 tse", ("t2", "pd")),
        ("T1 and T2 map", ()), ("head", ()),
    ],
)  # fmt: skip
def test_what_is_unclear_keeps_all_that_it_may_be(text: str, kinds: tuple[str, ...]) -> None:
    assert kinds_of_text(text) == kinds


@pytest.mark.parametrize(
    "text",
    ["localizer", "3-plane scout", "ep2d_diff", "ep2d_diff_FA", "eADC", "DWI b0", "dti", "t2star_gre", "SWI", "TOF MRA",
     "T1_seg.nii.gz", "GOLD_STANDARD", "T1 map", "ep2d_bold", "T1 SUB", "SUB T1 post", "sub-T1_tra", "SUB-AX_T1",
     "sub_2_T1", "T1_mask.nii.gz", "sub-01_space-T1w_desc-brain_mask.nii.gz", "T2 hemo"],
)  # fmt: skip
def test_what_is_no_sequence_is_left_out(text: str) -> None:
    assert no_sequence(text)
    good = ("t1_mprage", "t2_tse", "t2_tirm_dark-fluid", "T1 post GAD", "ep2d_diff_ADC", "DWI b1000", "pd_tse")
    assert not any(no_sequence(name) for name in good)


def test_a_subject_a_masked_scan_and_chemotherapy_are_no_reason_to_leave_a_scan_out() -> None:
    names = ("sub-mask01_T1w.nii.gz", "T1_masked.nii.gz", "T1_brainmasked.nii.gz", "T1 post chemo", "Sub-01_FLAIR.nii")
    assert not any(no_sequence(name) for name in names)


@pytest.mark.parametrize(
    ("description", "agent", "kinds"),
    [
        ("t1_mprage", "", ("t1",)), ("t1_mprage", "Gadovist", ("t1ce",)), ("t1_mprage", "NONE", ("t1",)),
        ("T1 KM", "", ("t1ce",)), ("T1 KM", "Dotarem", ("t1ce",)), ("T1 KM", "none", ("t1", "t1ce")),
        ("T1 contrast", "", ("t1", "t1ce")), ("T1 contrast", "Gd", ("t1ce",)), ("T1 contrast", "NO CONTRAST", ("t1",)),
        ("T1 ohne KM", "", ("t1",)), ("T1 ohne KM", "Gadovist", ("t1", "t1ce")), ("T1 post op", "", ("t1", "t1ce")),
        ("T1 post op", "Gadovist", ("t1ce",)), ("T1 post op", "none", ("t1",)),
    ],
)  # fmt: skip
def test_text_and_agent_that_contradict_each_other_are_a_question(
    description: str, agent: str, kinds: tuple[str, ...]
) -> None:
    assert kinds_of_series([{"0008|103e": description, "0018|0010": agent}]) == kinds


@pytest.mark.parametrize(
    ("tags", "kinds"),
    [
        ({"0008|103e": "Ax T1 FLAIR", "0018|0080": "2200", "0018|0081": "12", "0018|0082": "860"}, ("t1",)),
        ({"0008|103e": "Ax T1 FLAIR", "0018|0080": "9000", "0018|0081": "110", "0018|0082": "2500"}, ("flair",)),
        ({"0008|103e": "Ax T1 FLAIR", "0018|0080": "2200", "0018|0081": "12", "0018|0082": "860",
          "0018|0010": "Gadovist"}, ("t1ce",)),
        ({"0008|103e": "PD T2", "0018|0080": "3000", "0018|0081": "15"}, ("pd",)),
        ({"0008|103e": "PD T2", "0018|0080": "3000", "0018|0081": "95"}, ("t2",)),
        ({"0008|103e": "ep2d_diff", "0008|0008": "DERIVED\\PRIMARY\\DIFFUSION\\ADC\\ND"}, ("adc",)),
        ({"0008|103e": "ep2d_diff", "0008|0008": "DERIVED\\PRIMARY\\DIFFUSION\\TRACEW"}, ("dwi",)),
        ({"0008|103e": "ep2d_diff", "0008|0008": "DERIVED\\PRIMARY\\DIFFUSION\\FA"}, ()),
        ({"0008|103e": "series 7", "0018|9087": "1000"}, ("dwi",)), ({"0008|103e": "DWI", "0018|9087": "0"}, ()),
        ({"0008|103e": "t1_mprage", "0018|1030": "T1 post KM"}, ("t1ce",)),
        ({"0008|103e": "t1_mprage", "0018|1030": "Brain with contrast"}, ("t1",)),
    ],
)  # fmt: skip
def test_tags_decide_where_the_text_is_unclear(tags: dict[str, str], kinds: tuple[str, ...]) -> None:
    assert kinds_of_series([tags]) == kinds


def test_a_series_of_several_b_values_is_several_volumes() -> None:
    assert kinds_of_series([{"0008|103e": "DWI", "0018|9087": value} for value in ("0", "1000")]) == ()


@pytest.mark.parametrize(
    ("times", "kind"),
    [((9000, 90, 2500), "flair"), ((500, 10, None), "t1"), ((2000, 3, 900), "t1"), ((4000, 100, None), "t2"),
     ((1500, 40, None), ""), ((None, 10, None), "")],
)  # fmt: skip
def test_timing_decides_only_where_it_is_plain(times: tuple[float | None, ...], kind: str) -> None:
    assert kind_of_timing(*times) == kind


PICTURE = np.arange(12, dtype="<u2").reshape(3, 4)


def touch(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")


def test_a_folder_of_files_is_recognised_and_what_is_given_wins(tmp_path: Path) -> None:
    touch(tmp_path / "p", "p_FLAIR.nii.gz", "p_T1.nii.gz", "p_T1_seg.nii.gz", "adc.nii.gz", "notes.txt")
    found = {name: path.name for name, path in recognise(tmp_path / "p").items()}
    assert found == {"flair": "p_FLAIR.nii.gz", "t1": "p_T1.nii.gz", "adc": "adc.nii.gz"}
    assert set(recognise(tmp_path / "p", wanted=("flair", "t1"))) == {"flair", "t1"}
    assert recognise(tmp_path / "p", {"t1": Path("mine.nii")})["t1"] == Path("mine.nii")


def test_a_folder_of_bids_names_is_recognised(tmp_path: Path) -> None:
    touch(
        tmp_path / "sub-01/anat", "sub-01_T1w.nii.gz", "sub-01_ce-gadolinium_T1w.nii.gz", "sub-01_ses-1_FLAIR.nii.gz",
        "sub-01_acq-tse_T2w.nii.gz", "sub-01_desc-brain_mask.nii.gz",
    )  # fmt: skip
    touch(tmp_path / "sub-01/func", "sub-01_task-rest_bold.nii.gz")
    assert {name: path.name for name, path in recognise(tmp_path / "sub-01").items()} == {
        "flair": "sub-01_ses-1_FLAIR.nii.gz", "t1": "sub-01_T1w.nii.gz", "t1ce": "sub-01_ce-gadolinium_T1w.nii.gz",
        "t2": "sub-01_acq-tse_T2w.nii.gz",
    }  # fmt: skip


def test_several_candidates_are_asked_for_and_never_guessed(tmp_path: Path) -> None:
    touch(tmp_path, "a_FLAIR.nii.gz", "b_FLAIR.nii.gz", "T1.nii.gz")
    with pytest.raises(UserError) as raised:
        recognise(tmp_path)
    said = str(raised.value)
    assert "has 2 candidates for F (a_FLAIR.nii.gz; b_FLAIR.nii.gz); choose one with --flair" in said
    asked: list[tuple[str, list[str]]] = []

    def ask(question: str, choices: list[str]) -> int:
        asked.append((question, choices))
        return 2

    assert recognise(tmp_path, None, ask)["flair"].name == "b_FLAIR.nii.gz"
    assert asked[0][1] == ["a_FLAIR.nii.gz", "b_FLAIR.nii.gz"]
    assert set(recognise(tmp_path, None, lambda question, choices: 0)) == {"t1"}


def test_the_maps_of_an_earlier_prediction_are_no_scans(tmp_path: Path) -> None:
    touch(tmp_path, "T1.nii.gz", "FLAIR.nii.gz")
    for out in (tmp_path / "out", tmp_path):  # --out may be the folder of the scans, too
        touch(out, "anomaly.nii.gz", "anomaly_t1.nii.gz", "brain_t1.nii.gz", "mask_t1.nii.gz")
        with pytest.raises(UserError, match="candidates for T1"):
            recognise(tmp_path)
        (out / "prediction.json").write_text('{"unfinished": true, "request": ""}')
        found = {name: path.relative_to(tmp_path).as_posix() for name, path in recognise(tmp_path).items()}
        assert found == {"flair": "FLAIR.nii.gz", "t1": "T1.nii.gz"}


def test_a_folder_without_a_sequence_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such folder; give the folder with one patient's scans"):
        recognise(tmp_path / "none")
    with pytest.raises(
        UserError, match=r"no sequence was recognised in it \(no NIfTI file and no DICOM series\); name"
    ):
        recognise(tmp_path)
    touch(tmp_path, "head.nii.gz")
    with pytest.raises(
        UserError, match=r"no sequence was recognised in it \(head.nii.gz\); name the files with --flair"
    ):
        recognise(tmp_path)


def write_dicom(folder: Path, uid: str, **tags: str) -> None:
    itk = pytest.importorskip("SimpleITK", reason="needs the extra dicom (SimpleITK)")
    names = {"modality": "0008|0060", "description": "0008|103e", "echo": "0018|0081", "repetition": "0018|0080",
             "inversion": "0018|0082", "agent": "0018|0010", "patient": "0010|0010"}  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    writer = itk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for k in range(3):
        image = itk.GetImageFromArray(np.full((8, 8), 5, np.int16))
        fixed = {"0020|000e": uid, "0020|000d": "1.2", "0008|0018": f"{uid}.{k + 1}", "0020|0013": str(k + 1),
                 "0020|0032": f"0\\0\\{k}", "0020|0037": "1\\0\\0\\0\\1\\0", "0008|0060": "MR"}  # fmt: skip
        for tag, value in (fixed | {names[key]: value for key, value in tags.items()}).items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{uid}_{k}.dcm"))
        writer.Execute(image)


def test_series_are_recognised_by_tags_and_no_patient_text_is_shown(tmp_path: Path) -> None:
    one = tmp_path / "all"
    write_dicom(one, "1.2.1", description="t2_tirm_dark-fluid", patient="DOE^JANE")
    write_dicom(one, "1.2.2", description="t1_mprage", agent="Gadovist", patient="DOE^JANE")
    write_dicom(one, "1.2.3", description="localizer", patient="DOE^JANE")
    write_dicom(one, "1.2.4", description="series 4", repetition="4000", echo="100", patient="DOE^JANE")
    found = recognise(one)
    assert {name: path.name.rpartition("_")[0] for name, path in found.items()} == {
        "flair": "1.2.1", "t1ce": "1.2.2", "t2": "1.2.4",
    }  # fmt: skip
    write_dicom(one, "1.2.5", description="t2_tse_tra", patient="DOE^JANE")
    with pytest.raises(UserError, match="2 candidates for T2") as raised:
        recognise(one)
    assert "'t2_tse_tra', 3 files" in str(raised.value) and "DOE" not in str(raised.value)


def test_a_folder_of_another_modality_is_one_sentence(tmp_path: Path) -> None:
    write_dicom(tmp_path, "1.2.1", description="head", modality="CT")
    with pytest.raises(UserError, match="holds DICOM of the modality CT and no MR; give the folder of an MRI"):
        recognise(tmp_path)


def test_a_scan_with_and_one_without_contrast_agent_are_two_sequences(tmp_path: Path) -> None:
    touch(tmp_path, "T1 ohne KM.nii.gz", "T1 mit KM.nii.gz")
    found = recognise(tmp_path)
    assert {name: path.name for name, path in found.items()} == {"t1": "T1 ohne KM.nii.gz", "t1ce": "T1 mit KM.nii.gz"}


def test_an_unclear_file_is_asked_for_where_a_sequence_is_missing(tmp_path: Path) -> None:
    touch(tmp_path, "FLAIR.nii.gz", "Ax T1 FLAIR.nii.gz")
    with pytest.raises(UserError) as raised:
        recognise(tmp_path)
    path = tmp_path / "Ax T1 FLAIR.nii.gz"
    assert str(raised.value) == f"--scan {tmp_path}: Ax T1 FLAIR.nii.gz may be F or T1; name it with --t1 {path}."
    assert recognise(tmp_path, None, lambda question, choices: choices.index("T1") + 1)["t1"] == path
    assert set(recognise(tmp_path, None, lambda question, choices: 0)) == {"flair"}
    assert recognise(tmp_path, {"t1": path})["flair"].name == "FLAIR.nii.gz"
    touch(tmp_path, "T1.nii.gz")
    assert set(recognise(tmp_path)) == {"flair", "t1"}


def test_linked_folders_are_searched_and_circles_end(tmp_path: Path) -> None:
    write_dicom(tmp_path / "archive", "1.2.1", description="t2_tirm_dark-fluid")
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "study").symlink_to(tmp_path / "archive")
    (tmp_path / "archive" / "again").symlink_to(tmp_path / "p")
    assert recognise(tmp_path / "p")["flair"].name == "1.2.1_0.dcm"


def test_a_pair_is_recognised_by_its_header(tmp_path: Path) -> None:
    touch(tmp_path, "x_FLAIR.hdr", "x_FLAIR.img", "lonely_T1.hdr")
    assert {name: path.name for name, path in recognise(tmp_path).items()} == {"flair": "x_FLAIR.hdr"}


def test_a_pipe_in_the_folder_is_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "FLAIR.nii.gz")
    os.mkfifo(tmp_path / "T1.nii.gz")
    os.mkfifo(tmp_path / "scan.dcm")
    assert set(recognise(tmp_path)) == {"flair"}


def test_a_directory_file_is_no_series_and_no_modality(tmp_path: Path) -> None:
    write_dicom(tmp_path / "CT", "1.2.1", description="head", modality="CT")
    write_slice(tmp_path / "DICOMDIR", PICTURE, more={0x00080060: None, 0x7FE00010: None})
    with pytest.raises(UserError, match="holds DICOM of the modality CT and no MR"):
        recognise(tmp_path)
    (tmp_path / "CT").rename(tmp_path.with_name("elsewhere"))
    with pytest.raises(UserError, match="no NIfTI file and no DICOM series"):
        recognise(tmp_path)


def test_what_cannot_be_read_is_named_with_its_cause(tmp_path: Path) -> None:
    for name in ("a.dcm", "b.dcm"):
        write_slice(tmp_path / "bad" / name, PICTURE, more={0x00280010: short(500)})
    text = "bad/a.dcm and 1 more cannot be read (its pictures are larger than the pixels that it holds)"
    with pytest.raises(UserError) as raised:
        recognise(tmp_path)
    assert text in str(raised.value)
    touch(tmp_path, "FLAIR.nii.gz")
    said: list[str] = []
    assert set(recognise(tmp_path, said=said.append)) == {"flair"}
    assert said == [f"--scan {tmp_path}: {text}, so it is left out; copy it again if it belongs to a sequence."]


def test_texts_of_a_series_cannot_control_the_terminal_and_every_option_is_listed(tmp_path: Path) -> None:
    write_slice(tmp_path / "a.dcm", PICTURE, more={0x0008103E: (b"LO", b"\x1b[2Jhead\r\nError: x")})
    with pytest.raises(UserError) as raised:
        recognise(tmp_path)
    assert str(raised.value).isprintable() and "[2Jhead" in str(raised.value)
    assert all(f"--{name}" in str(raised.value) for name in SEQUENCES)


@pytest.mark.parametrize("implicit", [False, True])
def test_a_b_value_is_read_as_the_number_that_it_is(tmp_path: Path, implicit: bool) -> None:
    def series(name: str, *values: float) -> Path:
        for k, value in enumerate(values):
            more = {0x0008103E: text("series 7", b"LO"), 0x00189087: (b"FD", struct.pack("<d", value))}
            write_slice(tmp_path / name / f"{k}.dcm", PICTURE, 4.0 * k, more, implicit=implicit)
        return tmp_path / name

    assert set(recognise(series("dwi", 1000.0, 1000.0))) == {"dwi"}
    for name, values in (("none", (0.0, 0.0)), ("several", (0.0, 1000.0))):
        with pytest.raises(UserError, match="no sequence was recognised in it"):
            recognise(series(name, *values))
