"""Building packages and 'installing' them without an index: a wheel is unpacked into a folder on the path."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

from anyadbench import plugins


def install(package: Path, site: Path) -> None:
    """Build a package's wheel and unpack it into a folder."""
    site.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(site / "dist")]
    subprocess.run(command, cwd=package, check=True, capture_output=True)
    for wheel in (site / "dist").glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
        wheel.unlink()


def write_package(folder: Path, name: str, modules: dict[str, str], entries: dict[str, dict[str, str]]) -> Path:
    """Write a package of single-file modules with entry points by group."""
    tables = "".join(
        f'\n[project.entry-points."{group}"]\n' + "".join(f'{key} = "{value}"\n' for key, value in points.items())
        for group, points in entries.items()
    )
    listed = ", ".join(f'"{module}"' for module in modules)
    folder.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n\n'
        f'[project]\nname = "{name}"\nversion = "1.0"\n{tables}\n'
        f"[tool.hatch.build.targets.wheel]\nonly-include = [{listed}]\n"
    )
    for module, text in modules.items():
        (folder / module).write_text(text)
    return folder


def environment(*sites: Path, **more: str) -> dict[str, str]:
    """Return an environment in which folders are on the path."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sites)), **more}


def anyadbench(*arguments: str, sites: tuple[Path, ...] = (), cwd: Path | None = None) -> str:
    """Run a command that must succeed, and return its output."""
    command = [sys.executable, "-m", "anyadbench", *arguments]
    done = subprocess.run(command, env=environment(*sites), cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def forget() -> None:
    """Make this process look for plugins again."""
    plugins.method_entries.cache_clear()
    plugins.hooks.cache_clear()
