"""Every process that a command starts imports what the command does, whatever the current folder holds."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from grid_fixture import cells
from job_fixture import planned
from places import HELPERS

from anyadbench.launch.launchers import cell_command
from anyadbench.launch.supervisor import worker_environment
from anyadbench.processes import portable_command, python_path, search_path, without_current_folder

WRONG = "raise SystemExit('the module of the current folder was imported')\n"


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with modules of its own: a file of notes, a library's old release, and names of Python's own modules."""
    folder = tmp_path / "here"
    for name in ("torch", "nibabel", "json", "socket", "pickle", "anyadbench"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(WRONG)
    (folder / "timm.py").write_text(WRONG)
    return folder


@pytest.fixture
def script(tmp_path: Path) -> list[str]:
    """What an installed command does: a script in another folder, so that the current one is not searched."""
    path = tmp_path / "elsewhere" / "start.py"
    path.parent.mkdir()
    path.write_text("from anyadbench.cli import main\nif __name__ == '__main__':\n    main()\n")
    return [sys.executable, str(path)]


def run(command: list[str], cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, cwd=cwd, env={**os.environ, **more}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


def test_a_worker_imports_nothing_from_the_current_folder(here: Path, script: list[str], options: list[str]) -> None:
    run([*script, "run", "--method", "pixelstats", *options, "--runs", "runs"], here)
    assert len(cells(here / "runs")) == 1


@pytest.mark.slow
def test_printed_commands_import_nothing_from_the_folder_they_run_in(
    here: Path, script: list[str], options: list[str]
) -> None:
    printed = run([*script, "run", "--method", "pixelstats", *options, "--runs", "runs", "--launcher", "shell"], here)
    run(shlex.split(printed.stdout), here)
    assert len(cells(here / "runs")) == 1


@pytest.mark.slow
def test_the_kit_imports_nothing_from_the_current_folder(here: Path, script: list[str]) -> None:
    checked = run([*script, "plugin", "check", "broken_descriptors:GOOD", "--path", str(HELPERS)], here)
    assert "passed" in checked.stdout


def test_the_processes_of_a_phantom_import_nothing_from_the_current_folder(here: Path, tmp_path: Path) -> None:
    make = tmp_path / "make.py"
    make.write_text(
        "from pathlib import Path\nfrom anyadbench.data.phantom import PhantomSpec, generate\n"
        "if __name__ == '__main__':\n    generate(Path('tree'), PhantomSpec.tiny(2), workers=2)\n"
    )
    run([sys.executable, str(make)], here)
    assert (here / "tree" / "phantom.json").is_file()


@pytest.mark.slow
def test_a_command_that_searches_the_current_folder_has_workers_that_do(
    toy_site: Path, options: list[str], tmp_path: Path
) -> None:
    """``python -m anyadbench`` in a folder of plugins finds them, and so do its workers, in another folder too."""
    command = [sys.executable, "-m", "anyadbench", "run", "--method", "toy", *options, "--runs", str(tmp_path / "runs")]
    run(command, toy_site)
    assert len(cells(tmp_path / "runs")) == 1


def test_the_search_path_is_that_of_this_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stdlib = sysconfig.get_path("stdlib")
    scripts = sysconfig.get_path("scripts")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [scripts, "", "relative", "/a:b", str(tmp_path), stdlib, "/site-packages"])
    assert search_path() == [str(tmp_path), str(tmp_path / "relative")]
    assert python_path() == {"PYTHONPATH": os.pathsep.join(search_path())}
    assert portable_command("-m", "x")[:2] == ["env", f"PYTHONPATH={tmp_path}:{tmp_path / 'relative'}"]
    monkeypatch.setattr(sys, "path", [stdlib, "/site-packages"])
    assert portable_command("-m", "x") == [sys.executable, "-P", "-m", "x"]


def test_workers_and_commands_for_other_machines_search_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path / "mine"))
    job = planned(tmp_path)
    folders = worker_environment(job, None)["PYTHONPATH"].split(os.pathsep)
    assert folders[0] == str(tmp_path / "mine")
    command = cell_command(job)
    assert command[1].startswith(f"PYTHONPATH={tmp_path / 'mine'}")
    assert command[2:5] == [sys.executable, "-P", "-m"]


@pytest.mark.parametrize("before", [None, "1", ""])
def test_a_pool_is_started_without_the_current_folder(before: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    if before is not None:
        monkeypatch.setenv("PYTHONSAFEPATH", before)
    with without_current_folder():
        assert os.environ["PYTHONSAFEPATH"] == "1"
    assert os.environ.get("PYTHONSAFEPATH") == before
