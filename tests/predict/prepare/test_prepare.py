"""Preparation as part of prediction, on the tiny phantom: moved, doubled, flipped and foreign scans."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from threading import Barrier
from typing import Any

import nibabel
import numpy as np
import pytest
from dicom_fixture import write_series
from scipy.spatial.transform import Rotation

import anyadbench
from anyadbench.cli import main
from anyadbench.errors import UserError
from anyadbench.predict.inputs import read_inputs
from anyadbench.predict.prepare import pipeline
from anyadbench.predict.prepare.pipeline import prepare_inputs
from anyadbench.predict.prepare.plan import parse_plan
from anyadbench.predict.prepare.quality import fit_of
from anyadbench.predict.prepare.views import View

pytest.importorskip("SimpleITK", reason="needs the extra prepare (SimpleITK)")


@pytest.fixture(scope="module")
def predictor(trained_cells: dict[str, Path]) -> Any:
    return anyadbench.load(trained_cells["pixelstats"])


@pytest.fixture(scope="module")
def scans(tiny_phantom: Path) -> dict[str, Any]:
    folder = tiny_phantom / "HGG" / "Phantom_001_1"
    return {name: nibabel.load(folder / f"Phantom_001_1_{name}.nii.gz") for name in ("flair", "t1")}


def move(image: Any, mm: float = 15.0, degrees: float = 8.0) -> tuple[Any, np.ndarray]:
    """Return an image moved in the world about its middle, and the move."""
    middle = image.affine[:3, :3] @ ((np.array(image.shape) - 1) / 2) + image.affine[:3, 3]
    found = np.eye(4)
    found[:3, :3] = Rotation.from_rotvec(np.radians(degrees) * np.array([0.36, 0.48, 0.8])).as_matrix()
    found[:3, 3] = np.array([0.8, -0.6, 0]) * mm + middle - found[:3, :3] @ middle
    return nibabel.Nifti1Image(np.asarray(image.dataobj), found @ image.affine), found


def test_a_moved_scan_is_noticed_and_with_auto_laid_back(predictor: Any, scans: dict[str, Any], tmp_path: Path) -> None:
    moved, truth = move(scans["t1"])
    given = {"flair": scans["flair"], "t1": moved}
    plain = predictor.predict(given)
    assert any(note.startswith("T1 does not fit F well") and "--prepare auto" in note for note in plain.notes)
    assert not plain.transforms["t1"][:3, 3].any()
    found = predictor.predict(given, prepare="auto")
    names = [step.name for step in found.prepared]
    assert names == ["check", "register", "check left and right", "strip"]
    assert not any("does not fit" in note for note in found.notes)
    left = found.transforms["t1"] @ truth
    middle = scans["t1"].affine[:3, 3] + scans["t1"].affine[:3, :3] @ ((np.array(moved.shape) - 1) / 2)
    assert np.linalg.norm(left[:3, :3] @ middle + left[:3, 3] - middle) < 2  # voxels have 7.5 mm
    assert np.degrees(np.arccos((np.trace(left[:3, :3]) - 1) / 2)) < 2
    np.testing.assert_array_equal(found.transforms["flair"], np.eye(4))
    good = predictor.predict(scans)
    inside = good.brain & found.brain
    assert np.corrcoef(good.map[inside], found.map[inside])[0, 1] > 0.9
    found.save(tmp_path)
    written = {path.name for path in tmp_path.iterdir()}
    assert written >= {"brain.nii.gz", "anomaly_t1.nii.gz", "brain_t1.nii.gz"}
    assert ("mask_t1.nii.gz" in written) == (found.mask is not None)
    own = nibabel.load(tmp_path / "anomaly_t1.nii.gz")
    np.testing.assert_allclose(own.affine, moved.affine, atol=1e-4)  # NIfTI holds it in float32
    there = found.on_grid_of("t1")
    np.testing.assert_array_equal(np.asarray(own.dataobj), there.map)
    both = there.brain & good.brain  # the moved scan has the voxels of the good one
    assert 2 * both.sum() / (there.brain.sum() + good.brain.sum()) > 0.9
    scores = json.loads((tmp_path / "prediction.json").read_text())
    assert [step["name"] for step in scores["prepared"]] == names
    assert scores["prepared"][1]["figures"]["turned_degrees"] == pytest.approx(8, abs=2)


def test_scans_are_registered_at_once_and_reported_in_order(
    tiny_phantom: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_phantom / "HGG" / "Phantom_001_1"
    images = {name: nibabel.load(folder / f"Phantom_001_1_{name}.nii.gz") for name in ("flair", "t1", "t2")}
    moved, truth = move(images["t1"])
    inputs = read_inputs({"flair": images["flair"], "t1": moved, "t2": move(images["t2"])[0]}, None)
    said, both = list[str](), Barrier(2)
    process: Any = pytest.importorskip("SimpleITK").ProcessObject
    own = process.GetGlobalDefaultNumberOfThreads()

    def find(fixed: View, moving: View, threads: int, **options: Any) -> np.ndarray:
        both.wait(60)  # fails unless two are here at once
        assert threads == process.GetGlobalDefaultNumberOfThreads() == 1
        return np.linalg.inv(truth)

    monkeypatch.setattr(pipeline, "find_rigid", find)
    monkeypatch.setattr(pipeline, "fit_and_mirrored", lambda fixed, moved, threads: fit_of(fixed, moved))
    found = prepare_inputs(inputs, parse_plan("auto"), threads=2, said=said.append)
    each = ["check", "register", "check left and right"]
    wanted = [(scan, name) for scan in ("t1", "t2") for name in each]
    assert [(step.sequence, step.name) for step in found.steps] == [*wanted, ("flair", "strip")]
    assert sorted(said) == sorted(f"{name} {scan}" for scan in ("T1", "T2") for name in each)
    assert found.seconds >= max(step.seconds for step in found.steps) - 0.01
    np.testing.assert_allclose(found.transforms["t2"] @ truth, np.eye(4), atol=1e-9)

    def apart(*views: Any, **options: Any) -> np.ndarray:
        raise UserError("No position was found.")

    monkeypatch.setattr(pipeline, "find_rigid", apart)
    with pytest.raises(UserError, match="No position was found"):
        prepare_inputs(inputs, parse_plan("auto"), threads=2)
    assert process.GetGlobalDefaultNumberOfThreads() == own


@pytest.mark.slow
def test_python_and_the_command_give_the_same_from_paths_and_from_arrays(
    trained_cells: dict[str, Path], predictor: Any, scans: dict[str, Any], tmp_path: Path
) -> None:
    given = {"flair": scans["flair"], "t1": move(scans["t1"])[0]}
    paths = {name: tmp_path / f"{name}.nii.gz" for name in given}
    for name, image in given.items():
        nibabel.save(image, paths[name])
    options = ["--cell", str(trained_cells["pixelstats"]), "--prepare", "auto", "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit):
        main(["predict", *options, *(part for name in paths for part in (f"--{name}", str(paths[name])))])
    found = predictor.predict(paths, prepare="auto")
    scores = json.loads((tmp_path / "out" / "prediction.json").read_text())
    # Registration on several threads may differ in the last digits, and a voxel at a limit with it.
    for name, array in (("anomaly", found.map), ("mask", found.mask), ("brain", found.brain)):
        written = np.asarray(nibabel.load(tmp_path / "out" / f"{name}.nii.gz").dataobj)
        assert np.isclose(written, array, rtol=1e-4, atol=1e-5).mean() > 0.999, name
    volumes = [item["volume_ml"] for item in scores["clusters"]]
    assert [cluster.volume_ml for cluster in found.clusters] == pytest.approx(volumes, rel=0.01) and volumes
    assert found.percentiles.patient == pytest.approx(scores["percentiles"]["patient"])
    np.testing.assert_allclose(found.transforms["t1"], scores["transforms"]["t1"], atol=1e-3)
    turned = {name: nibabel.as_closest_canonical(nibabel.load(path)) for name, path in paths.items()}
    arrays = {name: image.get_fdata() for name, image in turned.items()}  # axes to right, anterior, superior
    again = predictor.predict(arrays, affine={name: image.affine for name, image in turned.items()}, prepare="auto")
    plain = nibabel.as_closest_canonical(nibabel.Nifti1Image(found.map, found.affine))
    np.testing.assert_allclose(again.affine, plain.affine, atol=1e-5)
    assert np.isclose(again.map, np.asarray(plain.dataobj), rtol=1e-2, atol=1e-2).mean() > 0.99


def test_stripped_scans_on_one_grid_are_only_checked(predictor: Any, scans: dict[str, Any]) -> None:
    plain, found = predictor.predict(scans), predictor.predict(scans, prepare="auto")
    assert "register" not in [step.name for step in found.prepared]
    assert found.prepared[-1].text == "Every scan was stripped already"
    np.testing.assert_array_equal(found.map, plain.map)
    assert found.notes == plain.notes


def test_one_image_under_two_names_is_caught(predictor: Any, scans: dict[str, Any]) -> None:
    for other in (scans["flair"], nibabel.Nifti1Image(np.asarray(scans["flair"].dataobj) * 3, scans["flair"].affine)):
        found = predictor.predict({"flair": scans["flair"], "t1": other})
        assert any("T1 and F are one image" in note and "wrong name" in note for note in found.notes)


@pytest.mark.slow
def test_another_head_is_refused_and_the_next_patient_goes_on(
    trained_cells: dict[str, Path], scans: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = np.zeros(scans["t1"].shape, np.float32)
    noise[2:5, 2:22, 2:5] = np.random.default_rng(0).random((3, 20, 3)) + 1
    nibabel.save(scans["flair"], tmp_path / "f.nii.gz")
    nibabel.save(scans["t1"], tmp_path / "t1.nii.gz")
    nibabel.save(nibabel.Nifti1Image(noise, scans["t1"].affine), tmp_path / "rod.nii.gz")
    (tmp_path / "table.csv").write_text("patient,flair,t1\nanna,f.nii.gz,rod.nii.gz\nben,f.nii.gz,t1.nii.gz\n")
    arguments = ["--cell", str(trained_cells["pixelstats"]), "--table", str(tmp_path / "table.csv")]
    with pytest.raises(SystemExit) as ended:
        main(["predict", *arguments, "--out", str(tmp_path / "out"), "--prepare", "auto"])
    said = capsys.readouterr()
    assert ended.value.code == 1
    assert "rod.nii.gz and " in said.err and "do not show one head" in said.err and "scans of one patient" in said.err
    assert "ben: T1 was compared as given" in said.err
    assert (tmp_path / "out" / "ben" / "anomaly_t1.nii.gz").is_file()


@pytest.mark.slow
def test_a_skull_is_cut_from_every_scan_that_shows_it(
    predictor: Any, scans: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    brain = np.asarray(scans["t1"].dataobj) > 0
    heads = {}
    for name, image in scans.items():
        values = np.asarray(image.dataobj).astype(np.float32)
        noise = np.random.default_rng(1).random(values.shape).astype(np.float32)
        heads[name] = nibabel.Nifti1Image(np.where(brain, values, 0.1 + noise * values.max()), image.affine)
    lps = np.flip(brain, [axis for axis, code in enumerate(nibabel.aff2axcodes(scans["t1"].affine)) if code in "RAI"])
    monkeypatch.setattr(pipeline, "find_brain", lambda volume, device: lps)
    monkeypatch.setattr(pipeline, "outline_brain", lambda volume, coarse, device: coarse)
    plain = predictor.predict({"t1": heads["t1"]})
    assert any("probably not skull-stripped" in note for note in plain.notes)
    found = predictor.predict(heads, prepare="auto")
    assert [step.name for step in found.prepared][:2] == ["find brain", "find brain"]
    assert any(step.text == "The brain was outlined on T1 and cut from F, T1" for step in found.prepared)
    assert not any("skull" in note for note in found.notes)
    np.testing.assert_array_equal(found.brain, brain)


@pytest.mark.slow
def test_bias_is_corrected_on_request_only(predictor: Any, scans: dict[str, Any]) -> None:
    shape = scans["t1"].shape
    ramp = np.linspace(0.6, 1.4, shape[0])[:, None, None]
    tilted = nibabel.Nifti1Image(np.asarray(scans["t1"].dataobj) * ramp, scans["t1"].affine)
    prepared = predictor.prepare({"t1": tilted}, "bias")
    (step,) = prepared.steps
    assert step.name == "bias" and step.figures["field_p95"] > 1.1 > 0.95 > step.figures["field_p5"]
    assert not any(step.name == "bias" for step in predictor.prepare({"t1": tilted}, "all").steps)


def test_arrays_take_the_affine_of_nibabel(predictor: Any, scans: dict[str, Any]) -> None:
    image = nibabel.as_closest_canonical(scans["t1"])
    array = image.get_fdata()
    found = predictor.predict({"t1": array}, affine=image.affine)
    wanted = predictor.predict({"t1": image})
    np.testing.assert_array_equal(found.map, wanted.map)
    np.testing.assert_array_equal(found.affine, image.affine)
    with pytest.raises(UserError, match="t1: an array takes spacing or affine, not both; give affine=image.affine"):
        predictor.predict({"t1": array}, affine=image.affine, spacing=(1, 1, 1))
    with pytest.raises(UserError, match="t1: an array needs a finite 4 × 4 affine"):
        predictor.predict({"t1": array}, affine=np.eye(3))


def test_without_simpleitk_one_sentence_names_the_extra(
    predictor: Any, scans: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(UserError, match=r"Registration needs SimpleITK: run 'pip install anyadbench\[prepare\]', or"):
        predictor.prepare(scans, "register")
    assert predictor.predict(scans).prepared  # the check itself needs no package


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("strip,denoise", "--prepare strip,denoise: 'denoise' is no step; give none, auto, all, register, strip, bias"),
        ("none,strip", "--prepare none,strip: none excludes every step"),
    ],
)
def test_unknown_steps_are_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        parse_plan(text)
    assert parse_plan("all") == parse_plan("strip, register") and str(parse_plan("auto,bias")) == "auto,bias"


def test_options_that_exclude_each_other_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options, sentence in (
        (["--t1", "t.nii", "--raw", "--prepare", "auto"], "--raw is the same as --prepare all; give one of the two"),
        (["--scan", str(tmp_path), "--data", "d"], "--data and --scan cannot be combined"),
    ):
        with pytest.raises(SystemExit):
            main(["predict", "--cell", "c", "--out", str(tmp_path / "out"), *options])
        assert sentence in capsys.readouterr().err


@pytest.mark.slow
def test_no_text_of_a_patient_reaches_an_output(
    trained_cells: dict[str, Path], scans: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tags = ("0010|0010", "0010|0020", "0010|0030", "0008|0080", "0008|0081", "0008|0090", "0008|1048", "0008|1070",
            "0010|1000", "0010|1040", "0010|4000", "0020|4000", "0032|1032", "0008|0050", "0020|0010")  # fmt: skip
    planted = dict.fromkeys(tags, "JANE7DOE")
    for number, (name, text) in enumerate((("flair", "t2_tirm_dark-fluid"), ("t1", "t1_mprage"))):
        write_series(scans[name], tmp_path / "scan", f"1.2.3.{number}", more=planted | {"0008|103e": text})
    assert b"JANE7DOE" in next((tmp_path / "scan").iterdir()).read_bytes()
    out = tmp_path / "out"
    arguments = ["--cell", str(trained_cells["pixelstats"]), "--scan", str(tmp_path / "scan"), "--out", str(out)]
    with pytest.raises(SystemExit) as ended:
        main(["predict", *arguments, "--prepare", "auto"])
    said = capsys.readouterr()
    assert ended.value.code in (0, None), said.err
    assert "JANE7DOE" not in said.out + said.err
    written = sorted(out.iterdir())
    assert {"anomaly.nii.gz", "prediction.json", "report.html"} <= {path.name for path in written}
    for path in written:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        assert b"JANE7DOE" not in data
    scores = json.loads((out / "prediction.json").read_text())
    assert scores["subset"] == "F+T1" and scores["grid_of"] == "flair"


def test_every_sequence_can_be_the_one_whose_brain_is_outlined() -> None:
    from anyadbench.sequences import SEQUENCES

    assert sorted(pipeline.BEST) == sorted(SEQUENCES)
