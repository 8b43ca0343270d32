"""Folders of the user's environment that are not known or cannot be written: the advice names the variable."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from anyadbench.cli import doctor
from anyadbench.errors import UserError
from anyadbench.files import variable_of
from anyadbench.paths import cache_dir
from anyadbench.weights import hub
from anyadbench.weights.sources import SOURCES

UNPRIVILEGED = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A folder that nobody may write to."""
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o555)
    return folder


def run(*arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command without the rights of root, and without the variables that choose caches."""
    chosen = ("ANYADBENCH_CACHE", "XDG_CACHE_HOME")
    own = {name: value for name, value in os.environ.items() if name not in chosen} | more
    before = [] if os.geteuid() else UNPRIVILEGED
    command = [*before, sys.executable, "-m", "anyadbench", *map(str, arguments)]
    if before and subprocess.run([*before, "true"], capture_output=True, check=False).returncode:
        pytest.skip("setpriv cannot drop the rights of root here")
    return subprocess.run(command, capture_output=True, text=True, check=False, env=own)


@pytest.mark.parametrize("variable", ["HOME", "XDG_CACHE_HOME", "ANYADBENCH_CACHE"])
def test_a_cache_that_cannot_be_written_names_the_variable(
    variable: str, closed: Path, options: list[str], tmp_path: Path
) -> None:
    own = {"HOME": str(tmp_path), variable: str(closed / "cache" if variable == "ANYADBENCH_CACHE" else closed)}
    grid = ("run", "--method", "pixelstats", *options, "--runs", tmp_path / "runs")
    for arguments in (grid, ("plugin", "check", "pixelstats")):
        done = run(*arguments, **own)
        assert done.returncode == 2, done.stderr
        assert "set ANYADBENCH_CACHE to a folder that you may write to" in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_folders_of_libraries_that_cannot_be_written_do_not_matter(
    closed: Path, options: list[str], tmp_path: Path
) -> None:
    names = ("HOME", "MPLCONFIGDIR", "TORCH_HOME", "TMPDIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME")
    more = dict.fromkeys(names, str(closed)) | {"ANYADBENCH_CACHE": str(tmp_path / "cache")}
    done = run("run", "--method", "pixelstats", *options, "--runs", tmp_path / "runs", **more)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_folder_of_a_library_that_a_method_needs_names_its_variable(
    closed: Path, options: list[str], tmp_path: Path
) -> None:
    own = {"TORCHINDUCTOR_CACHE_DIR": str(closed / "inductor"), "ANYADBENCH_CACHE": str(tmp_path / "cache")}
    grid = ("run", "--method", "dae", "--set", "dae.steps=2", *options, "--runs", tmp_path / "runs")
    done = run(*grid, **own)
    assert done.returncode == 2, done.stderr
    assert "cannot be written (Permission denied); set TORCHINDUCTOR_CACHE_DIR to a folder that you may" in done.stderr


@pytest.mark.parametrize("found", ["~/.cache/anyadbench", None])
def test_a_home_that_is_not_known_names_the_variable(found: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    import platformdirs

    def user_cache_dir(name: str) -> str:
        if found is None:
            raise RuntimeError("could not determine the home directory")
        return found

    monkeypatch.delenv("ANYADBENCH_CACHE")
    monkeypatch.setattr(platformdirs, "user_cache_dir", user_cache_dir)
    with pytest.raises(UserError, match=r"The home folder is not known \(HOME\); set ANYADBENCH_CACHE to a folder"):
        cache_dir()
    assert doctor._folders()[0][:2] == ["cache", "problem"]


def test_the_innermost_variable_of_a_path_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        os, "environ", {"HOME": "/h", "MPLCONFIGDIR": "/h/mpl", "ROOT": "/", "N": "3", "TMPDIR": "/h/t"}
    )
    assert variable_of(Path("/h/mpl/fonts")) == "MPLCONFIGDIR"
    assert variable_of(Path("/h/other")) == "HOME"
    assert variable_of(Path("/h/t/x")) == "HOME"
    assert variable_of(Path("/elsewhere")) == ""


def test_a_hub_cache_that_cannot_be_written_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def refuse(*arguments: object, **more: object) -> str:
        raise PermissionError(13, "Permission denied", "/closed/models")

    monkeypatch.setattr(hub, "_within", lambda seconds, ask: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    with pytest.raises(hub.HubError, match=r"cannot be written \(Permission denied; set HF_HOME to another folder\)"):
        hub._download(SOURCES["resnet18.tv_in1k"])
