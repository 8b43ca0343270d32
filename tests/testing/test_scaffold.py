"""``plugin new`` writes a complete package: it builds, installs, passes its own tests and is found."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from packages import anyadbench, environment, install
from places import ROOT

from anyadbench.errors import UserError
from anyadbench.methods.contract import Method
from anyadbench.testing.scaffold import new_package

LOCAL = ("baselines", "plugins/anyad")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("new")
    printed = anyadbench("plugin", "new", "two-words", cwd=folder)
    assert "Next: pip install --editable anyadbench-two-words" in printed
    return folder / "anyadbench-two-words"


@pytest.fixture(scope="module")
def site(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    install(package, folder)
    return folder


def tool(package: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *arguments], cwd=package, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", [("ruff", "check", "."), ("ruff", "format", "--check", ".")])
def test_the_linter_has_nothing_to_say(command: tuple[str, ...], package: Path) -> None:
    done = tool(package, *command)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_the_type_checker_has_nothing_to_say(package: Path) -> None:
    done = tool(package, "mypy")
    assert done.returncode == 0, done.stdout


def test_the_method_is_short(package: Path) -> None:
    text = (package / "anyadbench_two_words" / "method.py").read_text()
    body = text[text.index("def __init__") :]
    assert len([line for line in body.splitlines() if line.strip()]) <= 40


def test_the_installed_package_is_found_without_editing_a_line(package: Path, site: Path) -> None:
    listed = json.loads(anyadbench("methods", "--json", sites=(site,)))
    assert {"two-words"} <= {item["name"] for item in listed}
    assert "anyadbench-two-words 0.1.0" in anyadbench("methods", "show", "two-words", sites=(site,))


@pytest.mark.slow
def test_the_installed_package_passes_its_own_tests(package: Path, site: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=package, env=environment(site), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "14 passed" in done.stdout


@pytest.mark.slow
def test_the_package_passes_the_kit_from_its_folder(package: Path) -> None:
    printed = anyadbench(
        "plugin", "check", "anyadbench_two_words.descriptor:DESCRIPTOR", "--path", str(package), "--json"
    )
    assert json.loads(printed)["ok"]


@pytest.mark.parametrize("name", ["Mine", "my_method", "2fast", "mine-", "../up"])
def test_a_name_that_cannot_be_one_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="use lower-case letters, digits and hyphens, a letter first"):
        new_package(name, tmp_path / "out")


def test_a_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="anyadbench-baselines has a method 'inpformer'; choose another name"):
        new_package("inpformer", tmp_path / "out")


@pytest.mark.parametrize("name", ["scores", "optimizer-spec", "losses", "method", "batch", "tensor"])
def test_no_name_collides_with_what_the_module_imports(name: str, tmp_path: Path) -> None:
    folder = new_package(name, tmp_path / "out")
    assert "All checks passed" in tool(folder, "ruff", "check", ".").stdout
    source = (folder / f"anyadbench_{name.replace('-', '_')}" / "method.py").read_text()
    names: dict[str, Any] = {"__name__": "written"}
    exec(compile(source, "method.py", "exec"), names)
    (own,) = [thing for thing in names.values() if getattr(thing, "__module__", "") == "written"]
    assert issubclass(own, Method)


def test_the_name_of_an_installed_package_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="A package anyadbench_baselines is already installed; choose a name other"):
        new_package("baselines", tmp_path / "out")


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="already exists; give another folder with --out"):
        new_package("mine", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written \(Not a directory\)"):
        new_package("mine", tmp_path / "file" / "below")


class Fresh:
    """A virtual environment with the harness, the distributions of this project and one package."""

    def __init__(self, folder: Path) -> None:
        self.uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
        self.bin = folder / "venv" / "bin"
        made = [self.uv, "venv", "-q", "--python", sys.executable] if self.uv else [sys.executable, "-m", "venv"]
        subprocess.run([*made, str(folder / "venv")], check=True, capture_output=True)

    def pip(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        python = str(self.bin / "python")
        start = [self.uv, "pip", command, "--python", python] if self.uv else [python, "-m", "pip", command]
        return self.run(*start, *arguments)

    def run(self, *command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return subprocess.run(command, cwd=cwd, env=clean, capture_output=True, text=True, check=False)

    def anyadbench(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run(str(self.bin / "anyadbench"), *arguments)


@pytest.fixture(scope="module")
def fresh(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Fresh:
    made = Fresh(tmp_path_factory.mktemp("fresh"))
    local = [str(ROOT), *(str(ROOT / name) for name in LOCAL), str(package)]
    done = made.pip("install", "-c", str(ROOT / "constraints.txt"), *local, "pytest")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        pytest.skip(f"The dependencies cannot be installed here; a package index is needed: {last[:300]}")
    return made


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_in_a_fresh_environment_the_package_installs_is_listed_and_passes_its_tests(
    fresh: Fresh, package: Path
) -> None:
    listed = {item["name"] for item in json.loads(fresh.anyadbench("methods", "--json").stdout)}
    assert {"anyad", "two-words"} <= listed
    done = fresh.run(str(fresh.bin / "python"), "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=package)
    assert "14 passed" in done.stdout, done.stdout


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_without_its_distribution_a_method_is_gone_and_the_harness_works(fresh: Fresh) -> None:
    removed = fresh.pip("uninstall", *([] if fresh.uv else ["-y"]), "anyadbench-anyad")
    assert removed.returncode == 0, removed.stderr
    listed = {item["name"] for item in json.loads(fresh.anyadbench("methods", "--json").stdout)}
    assert "two-words" in listed
    assert not [name for name in listed if name.startswith("anyad")]
    assert fresh.anyadbench("protocols").returncode == 0
    asked = fresh.anyadbench("run", "--method", "anyad", "--protocol", "phantom-7subsets")
    assert asked.returncode == 2
    assert "No installed plugin offers the method 'anyad'" in asked.stderr
    assert "'pip install anyadbench-anyad' adds it." in asked.stderr
    assert len(asked.stderr.strip().splitlines()) == 1
