"""What a manifest says of the software and the machine: what was imported, and every environment of a training."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest
from grid_fixture import COMMAND, cells, wait_for
from packages import environment as searching

from anyadbench.cells import manifest
from anyadbench.cells.manifest import differences, environment, with_environment
from anyadbench.results.read import read_cells


def distribution(site: Path, name: str, version: str) -> None:
    info = site / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


@pytest.mark.parametrize(
    ("said", "listed", "used", "installed"),
    [
        ("1.0.2", "1.0.2", "1.0.2", {}),
        ("1.0.2", "1.0.2.86", "1.0.2.86", {}),
        ("1.0.2+cpu", "1.0.2", "1.0.2+cpu", {}),
        ("0.4.12-vendored", "1.0.2", "0.4.12-vendored", {"timm": "1.0.2"}),
        ("1.0.20", "1.0.2", "1.0.20", {"timm": "1.0.2"}),
        (None, "1.0.2", "1.0.2", {}),
    ],
)
def test_the_version_of_what_was_imported_is_recorded(
    said: str | None, listed: str, used: str, installed: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distribution(tmp_path, "timm", listed)
    monkeypatch.syspath_prepend(str(tmp_path))
    module = types.ModuleType("timm")
    module.__file__ = str(tmp_path / "timm" / "__init__.py")
    if said is not None:
        module.__version__ = said  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "timm", module)
    found = environment("cpu")
    assert found["libraries"]["timm"] == used
    assert found["installed"] == installed
    assert "timm" not in found["elsewhere"]


def test_a_module_from_another_folder_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distribution(tmp_path / "site", "timm", "1.0.2")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    module = types.ModuleType("timm")
    module.__file__ = str(tmp_path / "clone" / "timm" / "__init__.py")
    monkeypatch.setitem(sys.modules, "timm", module)
    found = environment("cpu")
    assert "timm" in found["elsewhere"]
    assert found["libraries"]["timm"] == "unknown"
    assert found["installed"]["timm"] == "1.0.2"


def test_odd_metadata_of_a_library_does_not_end_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distribution(tmp_path, "timm", "1.0.2")
    (tmp_path / "timm-1.0.2.dist-info" / "METADATA").write_bytes("Name: timm\nAuthor: José\n".encode("latin-1"))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    assert environment("cpu")["libraries"]["timm"] == "1.0.2"


def test_only_what_trained_the_kept_steps_counts() -> None:
    a, b = {"python": "3.11", "processors": 2}, {"python": "3.12", "processors": 4}
    first = with_environment([], a, 0)
    assert first == [{**a, "first_step": 0}]
    assert with_environment(first, {**a, "processors": 64}, 5) == first  # the number of processors changes nothing
    second = with_environment(first, b, 5)
    assert [one["first_step"] for one in second] == [0, 5]
    assert with_environment(second, a, 5) == first  # the second one kept no step
    assert with_environment(second, b, 0) == [{**b, "first_step": 0}]
    assert [one["first_step"] for one in with_environment(second, a, 9)] == [0, 5, 9]


def test_the_difference_of_environments_is_a_sentence() -> None:
    a = {"libraries": {"timm": "0.0.1", "torch": "2.1"}, "device": "A100", "driver": "535.1", "system": "x"}
    b = {
        "libraries": {"timm": "1.0.2", "torch": "2.1"},
        "device": "A100",
        "driver": "550.2",
        "installed": {"timm": "2"},
    }
    assert differences([a, b]) == "timm 0.0.1, then 1.0.2; driver 535.1, then 550.2; timm (installed) absent, then 2"
    assert differences([a, a]) == differences([a]) == differences([]) == ""


def test_the_processor_and_the_driver_are_read_from_the_system(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n")
    (tmp_path / "version").write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue\n")
    assert manifest._processor(tmp_path / "cpuinfo") == "Some CPU @ 2 GHz"
    assert manifest._processor(tmp_path / "none")
    assert manifest._driver([tmp_path / "none", tmp_path / "version"]) == "550.54.15"
    assert manifest._driver([tmp_path / "none"]) == ""


@pytest.mark.slow
def test_a_training_resumed_under_another_library_is_recorded_and_flagged(
    toy_site: Path, options: list[str], tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    command = [*COMMAND, "run", "--method", "toy", *options, "--runs", str(runs), "--checkpoint-every", "1s"]
    distribution(tmp_path / "older", "timm", "0.0.1")
    quiet = subprocess.DEVNULL
    old = searching(toy_site, tmp_path / "older", TOY_PAUSE="1")
    first = subprocess.Popen(command, env=old, stdout=quiet, stderr=quiet)
    wait_for(lambda: list(runs.glob("fits/*/checkpoints/*.pt")))
    first.send_signal(signal.SIGINT)
    assert first.wait(60) == 130
    done = subprocess.run(command, env=searching(toy_site), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "the training goes on in another environment, which is recorded: timm 0.0.1, then" in done.stderr
    (cell,) = cells(runs)
    trained = json.loads((cell / "manifest.json").read_text())["training_environments"]
    assert [one["libraries"]["timm"] == "0.0.1" for one in trained] == [True, False]
    (fit,) = runs.glob("fits/*/manifest.json")
    assert json.loads(fit.read_text())["environments"] == trained
    (record,) = read_cells(runs)
    assert record.result is not None
    assert str(record.result.train["environments"]).startswith("timm 0.0.1, then ")
    assert "environment changed" in (runs / "boards" / "tiny" / "leaderboard.csv").read_text()
