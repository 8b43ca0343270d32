"""The parity command, on the fixtures of AnyAD and INP-Former and on damaged folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from places import FIXTURES
from safetensors.numpy import load_file, save_file

from anyadbench.cli.parity import parity
from anyadbench.errors import UserError
from anyadbench.methods.descriptor import MethodDescriptor
from anyadbench.testing.parity import ParityReport, fill, images, normal, run_parity
from anyadbench_anyad.descriptors import ANYAD
from anyadbench_baselines.catalogue.distillation import RD4AD
from anyadbench_baselines.descriptors import INPFORMER

FOLDER = FIXTURES / "parity"


TINY = MethodDescriptor("tiny", "Tiny", "A test.", "x:y", parity="parity_claimants:tiny_claimant")


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the functions of this file be imported as those of a method's package are."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one fixture that the substitute reproduces."""
    entry = {"method": "tiny", "batch": 1, "steps": 1, "image_size": 4}
    (tmp_path / "manifest.json").write_text(json.dumps({"seed": 5, "dtype": "float64", "fixtures": {"one": entry}}))
    (tmp_path / "one.names.json").write_text(json.dumps({"net": {"a.weight": [3, 2]}}))
    weight = normal("a.weight", (3, 2), 5) / np.sqrt(2)
    pictures = normal("one/images", (2, 1, 3, 4, 4), 5)
    save_file({"sum": np.asarray(weight.sum()), "images": pictures[0, 0, 0, :1].copy()}, tmp_path / "one.safetensors")
    return tmp_path


def add_copy(folder: Path, method: str = "tiny") -> None:
    """Add a fixture ``two`` with the files of ``one``, whose images do not match it."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["fixtures"]["two"] = {**manifest["fixtures"]["one"], "method": method}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    for suffix in (".names.json", ".safetensors"):
        shutil.copyfile(folder / f"one{suffix}", folder / f"two{suffix}")


@pytest.mark.parametrize("name", ["anyad", "inpformer_reg4"])
def test_every_number_of_the_authors_is_reproduced(name: str) -> None:
    report = run_parity(FOLDER, [ANYAD, INPFORMER], tolerance=1e-9)
    assert set(report.methods) == {"anyad", "inpformer_reg4"}
    assert set(report.unclaimed.values()) == {"rd4ad", "recontrast"}  # claimed in test_distillation.py
    assert len(report.results[name]) == len(load_file(FOLDER / f"{name}.safetensors")) == 21
    assert {entry.entry: entry.error for entry in report.results[name] if entry.error > 1e-9} == {}


def test_the_fill_rule() -> None:
    names = {"bn.weight": (4,), "bn.bias": (4,), "bn.running_mean": (4,), "bn.running_var": (4,), "c.bias": (3, 2, 5)}
    filled = fill({**names, "bn.num_batches_tracked": ()}, seed=2)
    z = {name: normal(name, shape, 2) for name, shape in names.items()}
    assert np.array_equal(filled["bn.weight"], 1 + 0.1 * z["bn.weight"])
    assert np.array_equal(filled["bn.bias"], 0.1 * z["bn.bias"])
    assert np.array_equal(filled["bn.running_mean"], 0.1 * z["bn.running_mean"])
    assert np.array_equal(filled["bn.running_var"], 1 + 0.2 * np.abs(z["bn.running_var"]))
    assert np.array_equal(filled["c.bias"], z["c.bias"] / np.sqrt(10))
    assert filled["bn.num_batches_tracked"] == 0 and filled["bn.num_batches_tracked"].dtype == np.int64


def test_numbers_depend_on_name_and_seed() -> None:
    assert normal("a", (2,), 0)[0] == pytest.approx(np.random.default_rng([0xE8B7BE43, 0]).standard_normal(2)[0])
    assert not np.array_equal(normal("a", (2,), 0), normal("b", (2,), 0))
    assert not np.array_equal(normal("a", (2,), 0), normal("a", (2,), 1))
    assert images("f", 0, steps=2, batch=3, image_size=8).shape == (3, 3, 3, 8, 8)


def test_a_correct_method_passes(folder: Path) -> None:
    report = run_parity(folder, [TINY])
    assert report.ok and report.worst == 0.0 and report.methods == {"one": "tiny"}


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (lambda n: n.update(sum=np.asarray(n["sum"] + 1e-3)), ""),
        (lambda n: n.update(more=np.zeros(2)), "the method does not compute it"),
        (lambda n: n.update(images=np.zeros(3)), "shape (1, 4) instead of (3,)"),
    ],
)
def test_a_wrong_missing_or_misshapen_number_fails(folder: Path, change, note: str) -> None:  # type: ignore[no-untyped-def]
    numbers = load_file(folder / "one.safetensors")
    change(numbers)
    save_file(numbers, folder / "one.safetensors")
    report = run_parity(folder, [TINY])
    assert not report.ok
    assert [entry.note for entry in report.results["one"] if entry.error > 1e-6] == [note]


def test_numbers_that_are_not_finite_fail(folder: Path) -> None:
    save_file({"sum": np.asarray(np.nan)}, folder / "one.safetensors")
    report = run_parity(folder, [TINY])
    assert not report.ok and report.results["one"][0].note == "not finite"


def test_a_folder_that_no_method_claims_is_reported_and_does_not_pass(folder: Path) -> None:
    report = run_parity(folder, [])
    assert report.unclaimed == {"one": "tiny"} and not report.ok


@pytest.mark.parametrize(
    ("file", "text", "sentence"),
    [
        ("manifest.json", None, "manifest.json does not exist; give a folder of parity fixtures"),
        ("manifest.json", "{", "manifest.json cannot be read as JSON .*; copy it again"),
        ("manifest.json", "{}", "is not a manifest of parity fixtures .*'seed'.* it needs 'seed' and 'fixtures'"),
        ("manifest.json", '{"seed": 0, "fixtures": {"one": {}}}', "KeyError: 'method'"),
        ("manifest.json", '{"seed": -1, "fixtures": {}}', "manifest.json is not a manifest .*negative"),
        ("manifest.json", '{"seed": 0, "dtype": "long", "fixtures": 3}', "manifest.json is not a manifest"),
        ("one.names.json", None, "one.names.json does not exist"),
        ("one.names.json", '{"net": 3}', "does not map modules to entries with shapes; copy it again"),
        ("one.safetensors", None, "one.safetensors does not exist; copy the whole folder"),
        ("one.safetensors", "damaged", "one.safetensors cannot be read as safetensors .*; copy it again"),
    ],
)
def test_a_damaged_folder_is_reported_in_one_sentence(folder: Path, file: str, text: str | None, sentence: str) -> None:
    (folder / file).unlink()
    if text is not None:
        (folder / file).write_text(text)
    with pytest.raises(UserError, match=sentence):
        run_parity(folder, [TINY])


def test_an_empty_file_of_numbers_is_an_error(folder: Path) -> None:
    save_file({}, folder / "one.safetensors")
    with pytest.raises(UserError, match="holds no numbers; copy it again"):
        run_parity(folder, [TINY])


def only_note(report: ParityReport, name: str) -> str:
    (entry,) = report.results[name]
    assert (entry.entry, entry.error) == ("(all)", np.inf)
    return entry.note


@pytest.mark.parametrize(
    ("name", "module", "entry", "sentence"),
    [
        ("anyad", "model", "encoder.norm.bias", "Fixture 'anyad' lacks 'encoder.vit.norm.bias'"),
        (
            "rd4ad_resnet18",
            "bn",
            "bn_layer.0.bn1.bias",
            "Module 'bn' of rd4ad_resnet18.names.json lacks 'bn_layer.0.bn1",
        ),
        ("rd4ad_resnet18", "encoder", "conv1.weight", "Module 'encoder' of rd4ad_resnet18.names.json lacks 'conv1.w"),
    ],
)
def test_weights_that_do_not_fit_the_network_fail_their_fixture(
    folder: Path, name: str, module: str, entry: str, sentence: str
) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    names = json.loads((FOLDER / f"{name}.names.json").read_text())
    del names[module][entry]
    manifest["fixtures"] |= {name: json.loads((FOLDER / "manifest.json").read_text())["fixtures"][name]}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / f"{name}.names.json").write_text(json.dumps(names))
    shutil.copyfile(FOLDER / f"{name}.safetensors", folder / f"{name}.safetensors")
    report = run_parity(folder, [TINY, ANYAD, RD4AD])
    assert sentence in only_note(report, name)
    assert len(report.results["one"]) == 2 and not report.ok


WHOLE = (
    "manifest.json sets {} of fixture 'one' to {}, which must be a whole number of at least {}; "
    "copy the manifest again."
)


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ({"batch": "two"}, WHOLE.format("'batch'", "'two'", 1)),
        ({"steps": None}, WHOLE.format("'steps'", "None", 0)),
        ({"image_size": -4}, WHOLE.format("'image_size'", "-4", 1)),
    ],
)
def test_a_wrong_size_in_the_manifest_fails_its_fixture_alone(folder: Path, change: dict[str, Any], note: str) -> None:
    add_copy(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["fixtures"]["one"] |= change
    (folder / "manifest.json").write_text(json.dumps(manifest))
    report = run_parity(folder, [TINY])
    assert only_note(report, "one") == note
    assert [entry.entry for entry in report.results["two"]] == ["images", "sum"]


def test_a_setting_or_module_that_is_missing_fails_its_fixture_alone(folder: Path) -> None:
    add_copy(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["fixtures"]["one"]["steps"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "two.names.json").write_text("{}")
    report = run_parity(folder, [TINY])
    assert only_note(report, "one") == "The manifest's fixture 'one' has no 'steps'; copy the manifest again."
    assert only_note(report, "two") == "two.names.json has no module 'net'; copy it again."


@pytest.mark.parametrize(
    ("path", "note"),
    [
        ("pkg.missing:f", "pkg.missing:f failed with ModuleNotFoundError: No module named 'pkg'"),
        (
            "parity_claimants:absent",
            "parity_claimants:absent failed with AttributeError: module 'parity_claimants' has no attribute",
        ),
        ("parity_claimants:raising", "parity_claimants:raising failed with RuntimeError: first second"),
        ("parity_claimants:no_numbers", "parity_claimants:no_numbers failed with AttributeError: 'NoneType'"),
    ],
)
def test_a_broken_method_fails_its_fixtures_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch, path: str, note: str
) -> None:
    add_copy(folder, method="broken")
    broken = MethodDescriptor("broken", "Broken", "A test.", "x:y", parity=path)
    monkeypatch.setattr("anyadbench.plugins.load_methods", lambda: {"tiny": TINY, "broken": broken})
    table = CliRunner().invoke(parity, [str(folder)])
    assert table.exit_code == 1 and note in " ".join(table.output.split())
    assert "2 fixtures, 3 entries, worst error inf: NOT within 1e-06" in table.output
    result = CliRunner().invoke(parity, [str(folder), "--json"])
    document = json.loads(result.output)
    assert result.exit_code == 1 and not document["ok"]
    assert document["results"]["two"][0]["note"].startswith(note) and document["results"]["two"][0]["error"] is None
    assert [entry["error"] for entry in document["results"]["one"]] == [0.0, 0.0]


def test_the_command_ends_with_1_above_the_tolerance(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anyadbench.plugins.load_methods", lambda: {"tiny": TINY})
    good = CliRunner().invoke(parity, [str(folder)])
    assert good.exit_code == 0 and "2 entries, worst error 0.0e+00: all within 1e-06" in good.output
    save_file({"sum": np.asarray(0.0)}, folder / "one.safetensors")
    bad = CliRunner().invoke(parity, [str(folder), "--json"])
    assert bad.exit_code == 1 and json.loads(bad.output)["results"]["one"][0]["error"] > 1e-6


def test_the_command_reports_what_no_method_claims(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anyadbench.plugins.load_methods", dict)
    result = CliRunner().invoke(parity, [str(folder)])
    assert result.exit_code == 1
    assert "one: no installed method named 'tiny' claims it" in result.output
    assert "Nothing was compared." in result.output
