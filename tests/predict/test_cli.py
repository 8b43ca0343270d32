"""``anyadbench predict``: its files, batches and refusals."""

from __future__ import annotations

import csv
import errno
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from trees import make_tree
from viewer_fixture import a_prediction

import anyadbench
from anyadbench.cli import main
from anyadbench.errors import UserError


def scan_path(tree: Path, scan: str, name: str) -> str:
    return str(tree / "HGG" / scan / f"{scan}_{name}.nii.gz")


def predict(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "anyadbench", "predict", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def call(*arguments: str | Path) -> int:
    """Predict in this process, where system errors can be simulated; return the exit code."""
    with pytest.raises(SystemExit) as ended:
        main(["predict", *map(str, arguments)])
    return int(ended.value.code or 0)


def failures(out: Path) -> dict[str, bool]:
    """Return for each patient of ``predictions.csv`` whether it failed; the page has as many failures."""
    rows = list(csv.DictReader((out / "predictions.csv").open()))
    found = {row["patient"]: bool(row["failure"]) for row in rows}
    page = (out / "index.html").read_text()
    assert page.count("Failed: ") == sum(found.values())
    assert all(bool(row["patient_score"]) != bool(row["failure"]) for row in rows)
    return found


@pytest.fixture(scope="module")
def written(
    trained_cells: dict[str, Path], tiny_phantom: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("predicted") / "<b>patient"
    scans = [scan_path(tiny_phantom, "Phantom_001_1", name) for name in ("t1", "flair")]
    done = predict("--cell", trained_cells["pixelstats"], "--t1", scans[0], "--flair", scans[1], "--out", out)
    assert done.returncode == 0, done.stderr
    return out, done.stdout + done.stderr


def test_one_patient_is_written_whole(
    written: tuple[Path, str], trained_cells: dict[str, Path], tiny_phantom: Path
) -> None:
    out, _ = written
    assert sorted(path.name for path in out.iterdir()) == [
        "anomaly.nii.gz", "clusters.csv", "mask.nii.gz", "prediction.json", "report.html",
    ]  # fmt: skip
    paths = {name: scan_path(tiny_phantom, "Phantom_001_1", name) for name in ("t1", "flair")}
    found = anyadbench.load(trained_cells["pixelstats"]).predict(paths)
    source, image, mask = (nibabel.load(p) for p in (paths["t1"], out / "anomaly.nii.gz", out / "mask.nii.gz"))
    np.testing.assert_array_equal(np.asarray(image.dataobj), found.map)
    np.testing.assert_array_equal(np.asarray(mask.dataobj), found.mask)
    assert image.get_data_dtype() == np.float32
    assert mask.get_data_dtype() == np.uint8
    for one in (image, mask):
        np.testing.assert_array_equal(one.affine, source.affine)
        for code in ("sform_code", "qform_code"):
            assert int(one.header[code]) == int(source.header[code])
        assert one.header.get_xyzt_units() == source.header.get_xyzt_units()


def test_scores_are_json_of_every_slice_and_of_the_patient(written: tuple[Path, str]) -> None:
    scores = json.loads((written[0] / "prediction.json").read_text())
    assert scores["use"] == "Research use; not a medical device."
    assert (scores["grid_of"], scores["subset"], scores["patient"]) == ("t1", "F+T1", "<b>patient")
    tops = [item["brain_score"] for item in scores["slices"] if item["counted"]]
    assert min(tops) < scores["patient_score"] <= max(tops)
    areas = sum(item["above_threshold_mm2"] for item in scores["slices"] if item["counted"])
    # No voxel of the tiny phantom is below the smallest cluster, so none was removed.
    assert scores["volume_above_threshold_ml"] == pytest.approx(areas * 7.5 / 1000)
    assert "it is not a measure of lesion load, and scores of different subsets" in scores["patient_score_means"]


def test_the_report_needs_nothing_else_and_escapes_names(written: tuple[Path, str]) -> None:
    page = (written[0] / "report.html").read_text()
    assert "Research use; not a medical device." in page
    assert "<b>patient" not in page and "&lt;b&gt;patient" in page
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    assert page.count("data:image/png;base64,") >= 12
    assert "budget tiny" in page


def test_what_a_reader_must_know_is_printed(written: tuple[Path, str]) -> None:
    assert "The cell was trained with the budget tiny" in written[1]
    assert "patient score" in written[1]


def test_progress_is_shown_and_the_time_recorded(written: tuple[Path, str]) -> None:
    out, said = written
    assert re.search(r"^<b>patient: reading$", said, re.MULTILINE)
    assert re.search(r"^<b>patient: slices: \d+/\d+$", said, re.MULTILINE)
    seconds = json.loads((out / "prediction.json").read_text())["seconds"]
    assert seconds > 0
    assert f"<dt>Time</dt><dd><b>{seconds:.1f} s</b>" in (out / "report.html").read_text()
    assert re.search(r" mm, \d+\.\d s; ", said)


@pytest.mark.slow
def test_a_folder_in_a_known_layout_is_a_batch_that_resumes_where_it_ended(
    trained_cells: dict[str, Path], tiny_phantom: Path, tmp_path: Path
) -> None:
    tree = tmp_path / "tree" / "HGG"
    for scan in ("Phantom_001_1", "Phantom_002_1", "Phantom_003_1"):
        tree.joinpath(scan).mkdir(parents=True)
        shutil.copy(scan_path(tiny_phantom, scan, "flair"), tree / scan)
    (tree / "Phantom_002_1" / "Phantom_002_1_flair.nii.gz").write_bytes(b"no image")
    arguments = ("--cell", trained_cells["pixelstats"], "--data", tmp_path / "tree", "--out", tmp_path / "out")
    first = predict(*arguments)
    assert first.returncode == 1
    assert "2/3 Phantom_002_1: " in first.stderr and "is not a NIfTI image" in first.stderr
    assert re.search(r"^1/3 Phantom_001_1: slices: \d+/\d+$", first.stderr, re.MULTILINE)
    assert re.search(r"^3/3 Phantom_003_1( \(.* left for all\))?: slices: \d+/\d+$", first.stderr, re.MULTILINE)
    assert "1 of 3 patients could not be predicted: Phantom_002_1." in first.stderr
    assert failures(tmp_path / "out") == {"Phantom_001_1": False, "Phantom_002_1": True, "Phantom_003_1": False}
    shutil.copy(scan_path(tiny_phantom, "Phantom_002_1", "flair"), tree / "Phantom_002_1")
    again = predict(*arguments)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("(predicted before)") == 2
    assert not any(failures(tmp_path / "out").values())
    page = (tmp_path / "out" / "index.html").read_text()
    assert re.findall(r'<a href="([^"]*)">', page) == [f"./Phantom_00{n}_1/report.html" for n in (1, 2, 3)]
    assert page.count('<img class="thumb"') == 3


@pytest.mark.parametrize("name", ["mask.nii.gz", "report.html", "prediction.json", "anomaly.nii.gz"])
def test_files_that_are_no_prediction_are_never_replaced(
    name: str, trained_cells: dict[str, Path], tiny_phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text('{"mine": 1}')
    scan = scan_path(tiny_phantom, "Phantom_001_1", "flair")
    assert call("--cell", trained_cells["pixelstats"], "--flair", scan, "--out", tmp_path) == 2
    assert f"{name} was not written by 'anyadbench predict' and would be replaced; give" in capsys.readouterr().err
    found = anyadbench.load(trained_cells["pixelstats"]).predict({"flair": scan})
    with pytest.raises(UserError, match="and would be replaced; give another --out folder, or move the file"):
        found.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == '{"mine": 1}'


def test_a_prediction_stopped_while_it_is_written_is_written_again(
    trained_cells: dict[str, Path], tiny_phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = anyadbench.load(trained_cells["pixelstats"]).predict(
        {"flair": scan_path(tiny_phantom, "Phantom_001_1", "flair")}
    )

    names: list[str] = []
    replace = os.replace

    def stop(source: Path, target: Path) -> None:
        if len(names) == 3:
            raise KeyboardInterrupt
        names.append(target.name)
        replace(source, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", stop)
        found.save(tmp_path)
    assert names == ["prediction.json", "anomaly.nii.gz", "mask.nii.gz"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["anomaly.nii.gz", "mask.nii.gz", "prediction.json"]
    assert json.loads((tmp_path / "prediction.json").read_text())["unfinished"]
    found.save(tmp_path)
    assert json.loads((tmp_path / "prediction.json").read_text())["patient"] == "patient"


def test_a_patient_with_two_files_for_one_sequence_is_named_and_fails(
    trained_cells: dict[str, Path], tiny_phantom: Path, tmp_path: Path
) -> None:
    tree = tmp_path / "tree" / "HGG"
    for scan in ("Phantom_001_1", "Phantom_002_1"):
        tree.joinpath(scan).mkdir(parents=True)
        shutil.copy(scan_path(tiny_phantom, scan, "flair"), tree / scan)
    image = nibabel.load(scan_path(tiny_phantom, "Phantom_001_1", "flair"))
    nibabel.save(image, tree / "Phantom_001_1" / "Phantom_001_1_flair.nii")
    nibabel.save(image, tree / "Phantom_002_1" / "flair.nii.gz")
    done = predict("--cell", trained_cells["pixelstats"], "--data", tmp_path / "tree", "--out", tmp_path / "out")
    assert done.returncode == 1
    assert "1/2 Phantom_001_1: HGG/Phantom_001_1/Phantom_001_1_flair.nii and HGG/" in done.stderr
    assert "are both flair of Phantom_001_1; keep one of them" in done.stderr
    assert f"--data {tmp_path / 'tree'}: HGG/Phantom_002_1/flair.nii.gz does not match the file names of" in done.stderr
    assert "1 of 2 patients could not be predicted: Phantom_001_1." in done.stderr
    assert failures(tmp_path / "out") == {"Phantom_001_1": True, "Phantom_002_1": False}


def test_what_the_system_refuses_of_one_patient_costs_only_that_patient(
    trained_cells: dict[str, Path], tiny_phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    locked, stat = tmp_path / "locked", os.stat

    def refused(path: Any, *arguments: Any, **options: Any) -> os.stat_result:
        if str(path).startswith(f"{locked}/"):  # as the system does, but root may search every folder
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return stat(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", refused)
    good = scan_path(tiny_phantom, "Phantom_001_1", "flair")
    long = "x" * 300
    (tmp_path / "table.csv").write_text(
        f"patient,flair\nanna,{locked}/flair.nii.gz\nben,{good}\ncleo,{long}\n{long},{good}\n"
    )
    options = ("--table", tmp_path / "table.csv", "--out", tmp_path / "out")
    code = call("--cell", trained_cells["pixelstats"], *options)
    said = capsys.readouterr().err
    assert code == 1, said
    assert f"1/4 anna: {locked}/flair.nii.gz: Permission denied; give another path, or fix this one" in said
    assert "3/4 cleo: " in said and said.count("File name too long") == 2
    assert f"3 of 4 patients could not be predicted: anna, cleo, {long}." in said
    assert failures(tmp_path / "out") == {"anna": True, "ben": False, "cleo": True, long: True}


def test_a_method_that_gives_no_numbers_costs_only_that_patient(
    trained_cells: dict[str, Path], tiny_phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from anyadbench.engine.numerics import NotFinite
    from anyadbench.engine.scoring import Evaluator

    score, calls = Evaluator.score, iter(range(1000))

    def once(*arguments: Any) -> Any:
        if next(calls) == 0:
            raise NotFinite("the scores of slice 3, shown F, hold NaN or infinity")
        return score(*arguments)

    monkeypatch.setattr(Evaluator, "score", once)
    good = scan_path(tiny_phantom, "Phantom_001_1", "flair")
    (tmp_path / "table.csv").write_text(f"patient,flair\nanna,{good}\nben,{good}\n")
    options = ("--table", tmp_path / "table.csv", "--out", tmp_path / "out")
    code = call("--cell", trained_cells["pixelstats"], *options)
    said = capsys.readouterr().err
    assert code == 1, said
    assert "1/2 anna: The method returned no finite scores: the scores of slice 3, shown F, hold NaN" in said
    assert "or infinity; check the scan for values out of range, or leave it out." in said
    assert (tmp_path / "out" / "ben" / "anomaly.nii.gz").is_file()


def test_an_unexpected_error_costs_only_its_patient(
    trained_cells: dict[str, Path], tiny_phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from anyadbench.predict.predictor import Predictor

    prepare = Predictor.prepare

    def sometimes(self: Predictor, scans: Any, *arguments: Any, **options: Any) -> Any:
        if "Phantom_002" in str(scans):
            raise RuntimeError("no kernel\nof that size")
        return prepare(self, scans, *arguments, **options)

    monkeypatch.setattr(Predictor, "prepare", sometimes)
    bad, good = (scan_path(tiny_phantom, name, "flair") for name in ("Phantom_002_1", "Phantom_001_1"))
    (tmp_path / "table.csv").write_text(f"patient,flair\nanna,{bad}\nben,{good}\n")
    options = ("--cell", trained_cells["pixelstats"], "--table", tmp_path / "table.csv", "--out", tmp_path / "out")
    assert call(*options) == 1
    said = capsys.readouterr().err
    sentence = "1/2 anna: Prediction ended with an unexpected error (RuntimeError: no kernel of that size)"
    assert f"{sentence}; --traceback shows where; check the scans, or leave them out.\n" in said
    assert "Traceback" not in said and failures(tmp_path / "out") == {"anna": True, "ben": False}
    assert call(*options, "--traceback") == 1
    said = capsys.readouterr().err
    assert f"{sentence}; check the scans" in said and "  | RuntimeError: no kernel" in said


@pytest.mark.parametrize("command", ["predict", "card"])
def test_an_unwritable_folder_is_reported_with_the_option_out(
    command: str, trained_cells: dict[str, Path], tiny_phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    scans = ("--flair", scan_path(tiny_phantom, "Phantom_001_1", "flair")) if command == "predict" else ()
    out = tmp_path / "file" / "new"
    with pytest.raises(SystemExit) as ended:
        main([command, "--cell", str(trained_cells["pixelstats"]), *scans, "--out", str(out / "card.md")])
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert "cannot be written (Not a directory); give --out a folder that you may write to." in said


def test_a_full_disk_is_reported_with_the_option_of_predict(
    trained_cells: dict[str, Path], tiny_phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(nibabel.Nifti1Image, "to_stream", full)
    scan = scan_path(tiny_phantom, "Phantom_001_1", "flair")
    assert call("--cell", trained_cells["pixelstats"], "--flair", scan, "--out", tmp_path / "out") == 2
    assert "mask.nii.gz; free some space, or give --out a folder on another disk" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_no_text_of_the_scans_header_is_passed_on(
    kind: Any, trained_cells: dict[str, Path], tiny_phantom: Path, tmp_path: Path
) -> None:
    source = nibabel.load(scan_path(tiny_phantom, "Phantom_001_1", "flair"))
    image = kind(np.asarray(source.dataobj), source.affine)
    fields = image.header.keys()
    for name in {"descrip", "data_type", "db_name", "aux_file", "intent_name"} & set(fields):
        image.header[name] = b"DOE^JANE"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"DOE^JANE"))
    nibabel.save(image, tmp_path / "scan.nii")
    anyadbench.load(trained_cells["pixelstats"]).predict({"flair": tmp_path / "scan.nii"}).save(tmp_path / "out")
    for name in ("anomaly.nii.gz", "mask.nii.gz"):
        assert b"JANE" not in gzip.decompress((tmp_path / "out" / name).read_bytes())


def test_maps_of_other_subsets_are_in_the_report_and_the_scores(
    trained_cells: dict[str, Path], tiny_phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scans = [word for name in ("flair", "t1") for word in (f"--{name}", scan_path(tiny_phantom, "Phantom_001_1", name))]
    arguments = ("--cell", trained_cells["pixelstats"], *scans, "--out", tmp_path / "anna")
    assert call(*arguments, "--subsets", "F,XX") == 2
    assert "--subsets F,XX: 'XX' is not a subset of sequences" in capsys.readouterr().err
    assert call(*arguments, "--subsets", "F,F+T2") == 0
    assert "There is no map from F+T2: F+T1 was shown." in capsys.readouterr().err
    scores = json.loads((tmp_path / "anna" / "prediction.json").read_text())
    assert [item["subset"] for item in scores["subsets"]] == ["F"]
    page = (tmp_path / "anna" / "report.html").read_text()
    assert page.count('<script type="text/plain" id="map-') == 2
    assert call(*arguments) == 0 and "(predicted before)" not in capsys.readouterr().out
    assert '"subsets": []' in (tmp_path / "anna" / "prediction.json").read_text()


def test_a_foreign_index_is_refused_before_the_work(
    trained_cells: dict[str, Path], tiny_phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "index.html").write_text("mine")
    (tmp_path / "table.csv").write_text(f"patient,flair\nanna,{scan_path(tiny_phantom, 'Phantom_001_1', 'flair')}\n")
    options = ("--table", tmp_path / "table.csv", "--out", tmp_path)
    assert call("--cell", trained_cells["pixelstats"], *options) == 2
    assert "index.html was not written by 'anyadbench predict' and would be replaced" in capsys.readouterr().err
    assert not (tmp_path / "anna").exists()


def test_what_is_missing_or_asked_otherwise_is_predicted_again(
    trained_cells: dict[str, Path], tiny_phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    scan = scan_path(tiny_phantom, "Phantom_001_1", "flair")

    def before(*more: str) -> bool:
        assert call("--cell", trained_cells["pixelstats"], "--flair", scan, "--out", tmp_path / "anna", *more) == 0
        return "(predicted before)" in capsys.readouterr().out

    assert not before() and before()
    for name in ("anomaly.nii.gz", "mask.nii.gz", "clusters.csv", "report.html"):
        (tmp_path / "anna" / name).unlink()
        assert not before() and before()
        assert (tmp_path / "anna" / name).is_file()
    assert not before("--name", "Anna B.")
    assert json.loads((tmp_path / "anna" / "prediction.json").read_text())["patient"] == "Anna B."
    assert before("--name", "Anna B.")
    monkeypatch.setattr("anyadbench.predict.predictor.code_hash", lambda *_: "of an edited plugin")
    assert not before("--name", "Anna B.")


@pytest.mark.slow
def test_every_file_of_a_patient_is_needed_to_be_done(tmp_path: Path) -> None:
    from anyadbench.predict.batch import is_done
    from anyadbench.predict.inputs import read_inputs
    from anyadbench.predict.prepare.plan import parse_plan
    from anyadbench.predict.prepare.prepared import unchanged
    from anyadbench.predict.write import write_prediction

    plain = a_prediction()
    images = {
        name: nibabel.spatialimages.SpatialImage(volume.array, volume.affine) for name, volume in plain.volumes.items()
    }
    prediction = a_prediction(preparation=unchanged(read_inputs(images, None), parse_plan("register")))
    write_prediction(prediction, tmp_path, "anna", "asked", segments={"flair": b"a segmentation"})
    assert is_done(tmp_path, "asked") and not is_done(tmp_path, "something else")
    names = {path.name for path in tmp_path.iterdir()} - {"prediction.json"}
    assert names == {
        "anomaly.nii.gz", "mask.nii.gz", "clusters.csv", "report.html", "brain.nii.gz", "anomaly_t1.nii.gz",
        "mask_t1.nii.gz", "brain_t1.nii.gz", "mask_flair.dcm",
    }  # fmt: skip
    for name in names:
        (tmp_path / name).rename(tmp_path / "elsewhere")
        assert not is_done(tmp_path, "asked"), name
        (tmp_path / "elsewhere").rename(tmp_path / name)
    assert is_done(tmp_path, "asked")


def test_a_table_is_a_batch_with_paths_beside_it(
    trained_cells: dict[str, Path], tiny_phantom: Path, tmp_path: Path
) -> None:
    shutil.copy(scan_path(tiny_phantom, "Phantom_001_1", "flair"), tmp_path / "f.nii.gz")
    (tmp_path / "table.csv").write_text("patient,flair,t2\nanna,f.nii.gz,\n")
    options = ("--table", tmp_path / "table.csv", "--out", tmp_path / "out", "--json")
    done = predict("--cell", trained_cells["pixelstats"], *options)
    assert done.returncode == 0, done.stderr
    (scores,) = json.loads(done.stdout)
    assert scores["patient"] == "anna" and scores["shown"] == ["flair"]
    assert (tmp_path / "out" / "anna" / "anomaly.nii.gz").is_file()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name,flair\na,f\n", "has the column 'name'; name its columns patient,flair,t1,t1ce,t2"),
        ("flair,t1\na,f\n", "lacks the column 'patient' or any sequence"),
        ("patient,flair,t1,flair\na,f,t,g\n", "has several columns 'flair'; keep one."),
        ("patient,patient,flair\na,b,f\n", "has several columns 'patient'; keep one"),
        ("patient,flair\n", "has no line below its header"),
        (
            "patient,flair\na,f\na,g\n",
            "line 3: the patient 'a' occurs twice; correct that line, or distinguish scans of",
        ),
        ("patient,scan,flair\na,1,f\na,1,g\n", "line 3: the patient 'a_1' occurs twice; correct that line"),
        ("patient,scan,flair\na,1/2,f\n", "line 2: the patient 'a_1/2' cannot name a folder"),
        ("patient,flair\n../a,f\n", "line 2: the patient '../a' cannot name a folder"),
        ("patient,flair\na,\n", "line 2: the patient 'a' cannot name a folder, or has no scan"),
    ],
)
def test_a_bad_table_is_one_sentence(text: str, sentence: str, tmp_path: Path) -> None:
    from anyadbench.predict.batch import from_table

    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(UserError, match=re.escape(sentence)):
        from_table(tmp_path / "table.csv")


def test_a_table_and_a_folder_distinguish_the_scans_of_a_patient(tmp_path: Path) -> None:
    from anyadbench.predict.batch import from_folder, from_table

    (tmp_path / "table.csv").write_text("patient,scan,flair\nanna,2019,f\nanna,2021,g\nben,,h\n")
    found = from_table(tmp_path / "table.csv")
    assert [(one.name, one.subject, one.scan) for one in found] == [
        ("anna_2019", "anna", "2019"), ("anna_2021", "anna", "2021"), ("ben", "ben", ""),
    ]  # fmt: skip
    for scan in ("BraTS-GLI-00001-000", "BraTS-GLI-00001-001", "BraTS-GLI-00002-000"):
        (tmp_path / "tree" / scan).mkdir(parents=True)
        for name in ("t1n", "t1c", "t2w", "t2f"):
            (tmp_path / "tree" / scan / f"{scan}-{name}.nii.gz").write_bytes(b"")
    found = from_folder(tmp_path / "tree", None)
    assert [one.scan for one in found] == [one.name for one in found] and len(found) == 3
    assert found[0].subject == found[1].subject != found[2].subject


def test_folders_that_fit_no_layout_or_have_no_volumes_are_refused(tmp_path: Path) -> None:
    from anyadbench.predict.batch import from_folder

    with pytest.raises(UserError, match="fits no layout; name one with --dataset, or list the files in a --table"):
        from_folder(tmp_path, None)
    with pytest.raises(UserError, match="layout msd01 has no NIfTI volume per sequence; give NIfTI files in a --table"):
        from_folder(tmp_path, "msd01")


def test_files_that_a_folder_leaves_out_are_named(tmp_path: Path) -> None:
    from anyadbench.predict.findings.normals_given import given_normals

    tree = make_tree("brats2018", tmp_path / "tree", 1, (20, 16, 8))
    scan = next(tree.rglob("*_flair.nii.gz"))
    (scan.parent / scan.name.replace("_flair", "_t2")).unlink()  # a sequence may be missing
    for number in range(25):
        shutil.copy(scan, scan.with_name(f"copy{number:02d}.nii.gz"))
    said: list[str] = []
    (patient,), _ = given_normals(tree, None, None, said.append)
    assert patient.scans.keys() == {"flair", "t1", "t1ce"} and len(said) == 21
    assert said[0].startswith(
        f"--normals {tree}: HGG/{scan.parent.name}/copy00.nii.gz does not match the file names of "
    )
    assert said[-1] == f"--normals {tree}: there are 5 more of such files; 'anyadbench data verify' lists all."


def test_oasis_is_refused_because_its_files_say_nothing_about_their_axes(tmp_path: Path) -> None:
    from anyadbench.predict.batch import from_folder

    tree = make_tree("oasis", tmp_path / "tree", 2)
    with pytest.raises(UserError, match="the layout oasis has no NIfTI volume per sequence; give NIfTI files in a --"):
        from_folder(tree, "oasis")
    with pytest.raises(UserError, match="fits no layout; name one with --dataset"):
        from_folder(tree, None)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "There is no scan; give scans of one patient"),
        (("--flair", "f", "--table", "t"), "--table and --flair cannot be combined"),
        (("--flair", "f", "--threshold", "nan"), "The threshold nan is not a finite number; give one in units of the"),
        (("--flair", "f", "--threshold", "-inf"), "The threshold -inf is not a finite number"),
        (("--flair", "f", "--smallest-ml", "-1"), "The smallest cluster of -1.0 ml is out of range; give 0 or more"),
        (("--flair", "f", "--flair", "g"), "--flair is given 2 times; give one scan of each sequence"),
        (
            ("--table", "t", "--name", "anna"),
            "--name names one patient, and --table has a name for each of its patients",
        ),
        (("--flair", "f", "--dataset", "phantom"), "--dataset names the layout of --data"),
        (("--flair", "f.nii.gz"), "there is no such folder; give the folder of a finished cell"),
    ],
)
def test_bad_calls_are_one_sentence(arguments: tuple[str, ...], sentence: str, tmp_path: Path) -> None:
    done = predict("--cell", tmp_path / "none", "--out", tmp_path / "out", *arguments)
    assert done.returncode == 2
    assert sentence in done.stderr and "Traceback" not in done.stderr


def test_importing_the_package_imports_neither_numpy_nor_torch() -> None:
    code = "import sys, anyadbench, anyadbench.predict; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.browser
@pytest.mark.skipif(
    shutil.which("chromium") is None, reason="no Chromium is installed (Debian: apt-get install chromium)"
)
def test_the_report_opens_without_errors(written: tuple[Path, str], tmp_path: Path) -> None:
    shutil.copy(written[0] / "report.html", tmp_path / "report.html")
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--enable-logging=stderr", "--dump-dom")
    command = ["chromium", *flags, f"--user-data-dir={tmp_path / 'profile'}", "--window-size=400,800"]
    done = subprocess.run(
        [*command, f"file://{tmp_path / 'report.html'}"], capture_output=True, text=True, timeout=120, check=False
    )
    assert "Slices with the highest scores" in done.stdout
    assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line]
