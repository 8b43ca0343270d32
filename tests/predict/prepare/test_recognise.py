"""Which file or series of a folder is which sequence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from anyadbench.errors import UserError
from anyadbench.predict.prepare.kinds import kind_of_text, kind_of_timing, no_sequence
from anyadbench.predict.prepare.recognise import recognise


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("sub-01_FLAIR.nii.gz", "flair"), ("t2_tirm_tra_dark-fluid_fs", "flair"), ("Ax T2 FLAIR", "flair"),
        ("Subj1_FL.nii.gz", "flair"), ("BraTS-GLI-00000-000-t2f.nii.gz", "flair"), ("sub-01_T1w.nii.gz", "t1"),
        ("t1_mprage_sag_p2_iso", "t1"), ("3D SPGR", "t1"), ("Subj1_T1.nii.gz", "t1"), ("t1_mprage_tra_KM", "t1ce"),
        ("Ax T1 +C", "t1ce"), ("Brats18_1_t1ce.nii.gz", "t1ce"), ("T1 post GAD", "t1ce"), ("x_t1c.nii.gz", "t1ce"),
        ("T1post.nii.gz", "t1ce"), ("brain_t1n", "t1"), ("t2_tse_tra_512", "t2"), ("sub-01_T2w.nii.gz", "t2"),
        ("T1 and T2 map", ""), ("head", ""),
    ],
)  # fmt: skip
def test_descriptions_and_names_are_recognised(text: str, kind: str) -> None:
    assert kind_of_text(text) == kind


@pytest.mark.parametrize(
    "text",
    ["localizer", "3-plane scout", "ep2d_diff_ADC", "t2star_gre", "SWI", "TOF MRA", "T1_seg.nii.gz", "GOLD_STANDARD"],
)
def test_what_is_no_sequence_is_left_out(text: str) -> None:
    assert no_sequence(text)
    assert not any(no_sequence(good) for good in ("t1_mprage", "t2_tse", "t2_tirm_dark-fluid", "T1 post GAD"))


@pytest.mark.parametrize(
    ("times", "kind"),
    [((9000, 90, 2500), "flair"), ((500, 10, None), "t1"), ((2000, 3, 900), "t1"), ((4000, 100, None), "t2"),
     ((1500, 40, None), ""), ((None, 10, None), "")],
)  # fmt: skip
def test_timing_decides_only_where_it_is_plain(times: tuple[float | None, ...], kind: str) -> None:
    assert kind_of_timing(*times) == kind


def touch(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")


def test_a_folder_of_files_is_recognised_and_what_is_given_wins(tmp_path: Path) -> None:
    touch(tmp_path / "p", "p_FLAIR.nii.gz", "p_T1.nii.gz", "p_T1_seg.nii.gz", "adc.nii.gz", "notes.txt")
    found = recognise(tmp_path / "p")
    assert {name: path.name for name, path in found.items()} == {"flair": "p_FLAIR.nii.gz", "t1": "p_T1.nii.gz"}
    assert recognise(tmp_path / "p", {"t1": Path("mine.nii")})["t1"] == Path("mine.nii")


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
