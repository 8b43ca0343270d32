"""Calibration on a site's own normals: what it promises, what it stores, what it refuses."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from dicom_fixture import write_series

import anyadbench
from anyadbench.cli import main
from anyadbench.errors import UserError
from anyadbench.hashing import sha256_file
from anyadbench.predict.batch import Patient, from_folder
from anyadbench.predict.findings.calibrate import Calibrator, pooled
from anyadbench.predict.findings.calibration import alarm_threshold, fewest_for, read_calibration
from anyadbench.predict.findings.compare import at_height, patient_percentile, relative_heights
from anyadbench.predict.findings.normals_given import given_normals
from anyadbench.predict.predictor import Predictor
from anyadbench.predict.prepare.plan import parse_plan
from anyadbench.results.normals import normal_slice, normals_of


def call(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments)])
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def predictor(trained_cells: dict[str, Path]) -> Any:
    return anyadbench.load(trained_cells["pixelstats"])


@pytest.fixture(scope="module")
def patients(tiny_phantom: Path) -> list[Patient]:
    return from_folder(tiny_phantom, "phantom")


@pytest.fixture(scope="module")
def made(predictor: Any, patients: list[Patient], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibration of F and F+T1 on six subjects."""
    out = tmp_path_factory.mktemp("calibrated") / "site"
    calibrator = Calibrator(predictor, out, ["F", "F+T1"])
    assert [calibrator.add(patient) for patient in patients[:6]] == [False] * 6
    calibrator.write("phantom", 0)
    return out


def test_thresholds_and_percentiles_are_those_of_the_given_scans(
    made: Path, predictor: Any, patients: list[Patient]
) -> None:
    record = json.loads((made / "calibration.json").read_text())
    assert set(record["subsets"]) == {"F", "F+T1"}
    found = [predictor.predict({"flair": patient.scans["flair"]}) for patient in patients[:6]]
    counted = [(one, i) for one in found for i, item in enumerate(one.slices) if item.counted]
    pixels = np.concatenate([one.grid_maps[i][one.grid_brain[i]] for one, i in counted])
    own = record["subsets"]["F"]
    assert (pixels > own["threshold"]).mean() == pytest.approx(0.01, abs=0.001)
    assert (own["scans"], own["subjects"], own["slices"]) == (6, 6, len(counted))
    site = read_calibration(made).normals.subsets["F"]
    assert site.threshold == own["threshold"]
    np.testing.assert_allclose(site.scan_scores, [one.patient_score for one in found])
    assert site.slices["height"].tolist() == pytest.approx([relative_heights(one)[i] for one, i in counted])


def test_a_prediction_uses_the_sites_normals(made: Path, predictor: Any, patients: list[Patient]) -> None:
    scans = {"flair": patients[7].scans["flair"]}
    calibration = read_calibration(made)
    found, plain = predictor.predict(scans, calibration=made), predictor.predict(scans)
    site = calibration.normals.subsets["F"]
    assert found.threshold == site.threshold != plain.threshold
    assert (
        found.threshold_from == "99th percentile of the brain pixels of the site's own normals (6 scans, site) shown F"
    )
    assert (found.percentiles.patient, found.percentiles.among) == patient_percentile(site, found.patient_score)
    assert (found.percentiles.n_scans, found.reference["among"], found.reference["n"]) == (6, "scans", 6)
    item, height = found.slices[9], relative_heights(found)[9]
    assert found.percentiles.slices[9] == at_height(site, "brain_score", item.brain_score, height)
    assert found.alarm is None, "six subjects promise no rate of alarms"
    assert predictor.predict(scans, calibration=calibration).threshold == found.threshold
    assert predictor.predict(scans, calibration=made, threshold=0.7).threshold == 0.7
    # A subset that was not calibrated keeps the cell's own threshold.
    t1 = {"t1": patients[7].scans["t1"]}
    assert predictor.predict(t1, calibration=made).threshold == predictor.cell.threshold(("t1",))


def test_the_record_says_where_everything_comes_from(made: Path, predictor: Any, patients: list[Patient]) -> None:
    record = json.loads((made / "calibration.json").read_text())
    assert record["cell"]["cell_id"] == predictor.cell.result.cell_id
    assert record["counts"] == {"scans": 6, "subjects": 6, "failed": 0}
    assert record["anyadbench"] == anyadbench.__version__ and len(record["date"]) == 10
    wanted = [{name: sha256_file(path) for name, path in patient.scans.items()} for patient in patients[:6]]
    assert record["files_sha256"] == wanted
    assert patients[0].name not in (made / "calibration.json").read_text(), "no name of a subject is stored"
    assert record["use"] == "Research use; not a medical device."
    assert any(
        note.startswith("No alarm threshold for F, F+T1: to promise that at most 5% of") for note in record["notes"]
    )


def test_an_interrupted_calibration_resumes_and_more_normals_can_be_added(
    made: Path, predictor: Any, patients: list[Patient], tmp_path: Path
) -> None:
    shutil.copytree(made, tmp_path / "site")
    again = Calibrator(predictor, tmp_path / "site", ["F", "F+T1"])
    assert [again.add(patient) for patient in patients[:7]] == [True] * 6 + [False]
    record = again.write("phantom", 0)
    assert record["counts"]["scans"] == 7
    assert read_calibration(tmp_path / "site").normals.subsets["F"].n_subjects == 7


@pytest.mark.parametrize(("count", "rank"), [(18, None), (19, 19), (20, 20), (38, 38), (39, 38), (59, 57)])
def test_the_alarm_threshold_is_the_conformal_quantile(count: int, rank: int | None) -> None:
    scores = list(np.random.default_rng(0).permutation(count) + 1.0)
    assert alarm_threshold(scores) == rank
    assert fewest_for(0.05) == 19 and fewest_for(0.1) == 9 and fewest_for(0.01) == 99


def test_at_most_one_new_normal_in_twenty_alarms() -> None:
    random = np.random.default_rng(7)
    alarms = []
    for _ in range(2000):
        scores = random.lognormal(0, 1, 26)
        limit = alarm_threshold(scores[:25].tolist())
        assert limit is not None
        alarms.append(scores[25] > limit)
    # The exact rate is 1/26; three standard errors of 2000 draws.
    assert np.mean(alarms) == pytest.approx(1 / 26, abs=3 * (0.05 * 0.95 / 2000) ** 0.5)


def with_scores(scores: list[float], subjects: list[str]) -> Any:
    """A calibrator whose scans are simulated."""
    from anyadbench.results.normals import NormalScores

    class Simulated(Calibrator):
        def __post_init__(self) -> None:
            self.subjects = subjects
            random = np.random.default_rng(0)
            for score in scores:
                rows = [normal_slice(0, k / 9, random.random(400).astype(np.float32), 0.0) for k in range(10)]
                self.done.append(NormalScores({"F": normals_of(rows, 0.0, [score], [0])}, {}, "site"))
                self.files.append({})

    return Simulated


def test_alarms_count_subjects_and_not_scans(predictor: Any, tmp_path: Path) -> None:
    scores = [float(i) for i in range(20)]
    record = with_scores(scores, [str(i) for i in range(20)])(predictor, tmp_path / "a").write("x", 0)
    assert record["subsets"]["F"]["alarm"] == {"threshold": 19.0, "rate": 0.05, "subjects": 20}
    calibration = read_calibration(tmp_path / "a")
    assert calibration.alarm("F", 19.5) == {"alarm": True, "threshold": 19.0, "rate": 0.05, "subjects": 20}
    assert calibration.alarm("F", 19.0) is not None and not calibration.alarm("F", 19.0)["alarm"]  # type: ignore[index]
    assert calibration.alarm("T1", 19.5) is None
    record = with_scores(scores, [str(i // 2) for i in range(20)])(predictor, tmp_path / "b").write("x", 0)
    assert record["subsets"]["F"]["alarm"] is None and record["subsets"]["F"]["subjects"] == 10


def test_an_alarm_reaches_the_prediction_and_its_line(
    predictor: Any, patients: list[Patient], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_scores([0.0] * 19, [str(i) for i in range(19)])(predictor, tmp_path / "low").write("x", 0)
    flair = patients[0].scans["flair"]
    found = predictor.predict({"flair": flair}, calibration=tmp_path / "low")
    assert found.alarm == {"alarm": True, "threshold": 0.0, "rate": 0.05, "subjects": 19}
    assert found.as_json()["alarm"] == found.alarm
    options = ("--flair", flair, "--out", tmp_path / "out", "--calibration", tmp_path / "low")
    assert call("predict", "--cell", predictor.cell.folder, *options) == 0
    assert "; ALARM (threshold 0), " in capsys.readouterr().out
    assert "which at most 5 % of normals exceed" in (tmp_path / "out" / "report.html").read_text()
    assert call("predict", "--cell", predictor.cell.folder, *options[:4]) == 0
    assert "(predicted before)" not in capsys.readouterr().out, "another calibration is another request"


def test_a_pooled_threshold_weighs_every_brain_pixel_alike() -> None:
    random = np.random.default_rng(2)
    scans, pixels = [], []
    for i in range(6):
        own = [random.gamma(2, 1 + i / 5, 2000 + 700 * i).astype(np.float32) for _ in range(5)]
        scans.append(normals_of([normal_slice(0, 0.5, one, 0.0) for one in own], 0.0, [0.0], [0]))
        pixels += own
    found = pooled(scans, list(range(6)))
    assert found.threshold == pytest.approx(np.quantile(np.concatenate(pixels), 0.99), rel=0.01)
    assert found.slices["scan"].tolist() == sorted(list(range(6)) * 5)


def test_too_few_subjects_are_refused(predictor: Any, patients: list[Patient], tmp_path: Path) -> None:
    four = with_scores([0.0] * 8, ["a", "b", "c", "d"] * 2)(predictor, tmp_path / "out")
    sentence = (
        "--normals holds 4 usable subjects; a threshold takes at least 5, an alarm for 5% of normals at least 19: "
        "add normals."
    )
    with pytest.raises(UserError) as raised:
        four.write("x", 0)
    assert str(raised.value) == sentence
    assert not (tmp_path / "out").exists()


def test_a_subset_that_few_subjects_serve_is_left_out_with_a_note(predictor: Any, tmp_path: Path) -> None:
    calibrator = with_scores([float(i) for i in range(8)], [str(i) for i in range(8)])(predictor, tmp_path / "out")
    for scan in calibrator.done[:3]:
        scan.subsets["T1"] = scan.subsets["F"]
    record = calibrator.write("x", 0)
    assert list(record["subsets"]) == ["F"]
    assert "No threshold for T1: 3 of the subjects have it; it takes 5." in record["notes"]
    for scan in calibrator.done:
        scan.subsets.pop("F")
    with pytest.raises(UserError, match="no subset of sequences is served by 5 subjects, the fewest for a threshold"):
        calibrator.write("x", 0)


def test_another_cells_calibration_is_refused(made: Path, trained_cells: dict[str, Path]) -> None:
    other = anyadbench.load(trained_cells["anyad"])
    sentence = r"was made for another cell \(pixelstats_tiny_s0_\w+\), whose scores have another scale; run 'anyadbench"
    with pytest.raises(UserError, match=sentence):
        other.predict({"flair": "unread.nii.gz"}, calibration=made)


def test_a_calibration_does_not_describe_another_network(made: Path, predictor: Any, tmp_path: Path) -> None:
    from dataclasses import replace

    replaced = replace(predictor, own=False)
    with pytest.raises(UserError, match="describes what the cell learnt, which --weights replaces by another network"):
        replaced.predict({"flair": "unread.nii.gz"}, calibration=made)
    with pytest.raises(UserError, match="which a calibration of the cell would not describe; leave the option out"):
        Calibrator(replaced, tmp_path)


def test_a_missing_or_damaged_calibration_is_one_sentence(made: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no calibration\.json; give the folder of a finished 'anyadbench calib"):
        read_calibration(tmp_path)
    shutil.copytree(made, tmp_path / "site")
    with (tmp_path / "site" / "normals.npz").open("ab") as handle:
        handle.write(b"more")
    with pytest.raises(UserError, match=r"normals\.npz is missing or not the one that calibration\.json was written"):
        read_calibration(tmp_path / "site")
    for text in ("{", "[]", '{"format": 1}', '{"format": 99}'):
        (tmp_path / "site" / "calibration.json").write_text(text)
        with pytest.raises(UserError, match=r"calibration\.json is damaged; run 'anyadbench calibrate' again"):
            read_calibration(tmp_path / "site")


def test_bad_input_is_one_sentence(predictor: Any, patients: list[Patient], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--subset T1ce: the cell's protocol evaluates F, T1, T2, F\+T1"):
        Calibrator(predictor, tmp_path, ["T1ce"])
    calibrator = Calibrator(predictor, tmp_path / "out", ["T2"])
    without = Patient("anna", {"flair": patients[0].scans["flair"]})
    with pytest.raises(UserError, match="anna has flair, which serves no subset to calibrate; leave it out"):
        calibrator.add(without)
    with pytest.raises(UserError, match="two files"):
        calibrator.add(Patient("ben", {}, "There are two files."))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "normals.npz").write_bytes(b"mine")
    with pytest.raises(UserError, match=r"normals\.npz was not written by 'anyadbench calibrate' and would be"):
        Calibrator(predictor, tmp_path / "mine")
    with pytest.raises(UserError, match="--normals and --table are both missing; give one of them"):
        given_normals(None, None, None)
    with pytest.raises(UserError, match="--normals and --table cannot be combined; give one of them"):
        given_normals(tmp_path, None, tmp_path)
    with pytest.raises(UserError, match="--dataset names the layout of --normals; give --normals too"):
        given_normals(None, "phantom", tmp_path / "t.csv")
    with pytest.raises(UserError, match="--normals .* fits no layout; name one with --dataset"):
        given_normals(tmp_path, None, None)


def test_a_scan_with_little_brain_in_every_slice_is_one_sentence(
    predictor: Any, patients: list[Patient], tmp_path: Path
) -> None:
    image = nibabel.load(patients[0].scans["flair"])
    array = np.asarray(image.dataobj).copy()
    array[:22] = 0
    array[26:] = 0
    nibabel.save(nibabel.Nifti1Image(array, image.affine), tmp_path / "thin.nii.gz")
    calibrator = Calibrator(predictor, tmp_path / "out", ["F"])
    with pytest.raises(UserError, match="no slice has as much brain as the protocol requires; leave the scan out, or"):
        calibrator.add(Patient("thin", {"flair": tmp_path / "thin.nii.gz"}))


def scores_of(calibrator: Calibrator) -> list[float]:
    return [float(scan.subsets["F"].scan_scores[0]) for scan in calibrator.done]


def test_pairs_with_one_header_are_two_scans(predictor: Any, patients: list[Patient], tmp_path: Path) -> None:
    calibrator = Calibrator(predictor, tmp_path / "site", ["F"])
    for number, ending in ((0, ".hdr"), (1, ".hdr"), (2, ".img")):
        image = nibabel.load(patients[number].scans["flair"])
        affine = nibabel.load(patients[0].scans["flair"]).affine
        pair = nibabel.Nifti1Pair(np.asarray(image.dataobj, np.float32), affine)
        (tmp_path / str(number)).mkdir()
        pair.to_filename(tmp_path / str(number) / "flair.hdr")
        scan = tmp_path / str(number) / f"flair{ending}"
        assert not calibrator.add(Patient(str(number), {"flair": scan}))
    assert (tmp_path / "0/flair.hdr").read_bytes() == (tmp_path / "1/flair.hdr").read_bytes()
    assert len(set(scores_of(calibrator))) == 3 and len({each["flair"] for each in calibrator.files}) == 3


@pytest.mark.slow
def test_a_file_of_a_series_is_the_whole_series(predictor: Any, patients: list[Patient], tmp_path: Path) -> None:
    image = nibabel.load(patients[0].scans["flair"])
    write_series(image, tmp_path, "1.2.3")
    patient = Patient("anna", {"flair": tmp_path / "1.2.3_000.dcm"})
    calibrator = Calibrator(predictor, tmp_path / "site", ["F"])
    assert [calibrator.add(patient), calibrator.add(patient)] == [False, True]
    first = patient.scans["flair"].read_bytes()
    array = np.asarray(image.dataobj)
    write_series(nibabel.Nifti1Image(array**2 // array.max(), image.affine), tmp_path, "1.2.3")
    patient.scans["flair"].write_bytes(first)
    assert not calibrator.add(patient)
    assert scores_of(calibrator)[0] == scores_of(calibrator)[1] != scores_of(calibrator)[2]


def test_a_pipe_is_refused_and_not_opened(predictor: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(path: Path) -> str:
        raise AssertionError(f"{path} was opened, which may wait without end")

    monkeypatch.setattr("anyadbench.predict.findings.calibrate.sha256_file", opened)
    os.mkfifo(tmp_path / "flair.nii.gz")
    with pytest.raises(UserError, match="neither a file nor a folder, but a pipe or a device; save the scan to a file"):
        Calibrator(predictor, tmp_path, ["F"]).add(Patient("anna", {"flair": tmp_path / "flair.nii.gz"}))


@pytest.mark.slow
def test_all_sequences_of_a_scan_are_prepared_as_asked(
    predictor: Any, patients: list[Patient], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[list[str], str]] = []
    prepare = Predictor.prepare

    def recorded(self: Predictor, scans: Any, plan: Any = "auto", *more: Any, **options: Any) -> Any:
        asked.append(([*scans], str(plan)))
        return prepare(self, scans, "none", *more, **options)

    monkeypatch.setattr(Predictor, "prepare", recorded)
    for plan, known in (("none", [False, True]), ("auto,bias", [False, True])):
        calibrator = Calibrator(predictor, tmp_path, ["F"], parse_plan(plan))
        assert [calibrator.add(patients[0]), calibrator.add(patients[0])] == known
    every = [*patients[0].scans]
    assert len(every) > 1 and asked == [(["flair"], "none"), (every, "auto,bias")]


@pytest.mark.slow
def test_notes_on_a_normal_are_said_once_and_counted(
    predictor: Any, patients: list[Patient], tmp_path: Path, made: Path
) -> None:
    image = nibabel.load(patients[0].scans["flair"])
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj) + 100, image.affine), tmp_path / "grey.nii.gz")
    shutil.copytree(made, tmp_path / "site")
    said: list[str] = []
    for _ in range(2):
        calibrator = Calibrator(predictor, tmp_path / "site", ["F", "F+T1"], said=said.append)
        for patient in [*patients[1:6], Patient("grey", {**patients[0].scans, "flair": tmp_path / "grey.nii.gz"})]:
            calibrator.add(patient)
        assert len(said) == 1 and said[0].startswith(
            "F has the value 100 outside the brain, where training has 0; it was"
        )
    record = calibrator.write("phantom", 0)
    assert (record["notes_on_scans"], record["prepare"]) == ({"notes": 1, "scans": 1}, "none")


def test_the_command_calibrates_a_table_and_names_what_failed(
    trained_cells: dict[str, Path], patients: list[Patient], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grey, image = tmp_path / "grey.nii.gz", nibabel.load(patients[5].scans["flair"])
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj) + 100, image.affine), grey)
    lines = [f"{patient.name},{patient.scans['flair']}" for patient in patients[:4]] + [f"grey,{grey}"]
    (tmp_path / "table.csv").write_text("\n".join(["patient,flair", *lines, "gone,missing.nii.gz"]) + "\n")
    options = ("--cell", trained_cells["pixelstats"], "--table", tmp_path / "table.csv", "--out", tmp_path / "site")
    assert call("calibrate", *options) == 1
    said = capsys.readouterr()
    assert f"Calibrated on 5 scans of 5 subjects: {tmp_path / 'site'}" in said.out
    assert "F: 5 subjects, threshold " in said.out and "(the cell's own: " in said.out
    assert "6/6 gone: " in said.err and "1 of 6 scans could not be used: gone." in said.err
    assert said.err.count("grey: F has the value 100 outside the brain, where training has 0;") == 1
    assert call("calibrate", *options, "--prepare", "shave") == 2
    assert "--prepare shave: 'shave' is no step; give none, auto, all" in capsys.readouterr().err
    assert call("calibrate", *options, "--json") == 1
    assert json.loads(capsys.readouterr().out)["counts"] == {"scans": 5, "subjects": 5, "failed": 1}
