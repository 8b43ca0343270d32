"""The structure of the harness: folders of a manageable size, and imports in one direction."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from import_graph import circles, imports, modules
from places import ROOT

PACKAGE = ROOT / "anyadbench"

ALLOWED_CIRCLES = 2
"""``Prediction.write`` and the lazy reading of ``ResolvedWeights``: methods that load their module when called."""


def test_imports_have_at_most_two_circles() -> None:
    found = circles(imports(modules(PACKAGE)))
    assert len(found) <= ALLOWED_CIRCLES, found


def test_a_circle_is_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": {"f"}, "f": set()}
    assert circles(graph) == [["a", "b", "c"]]


def test_no_folder_holds_more_than_fifteen_modules() -> None:
    sizes = Counter(path.parent for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
    crowded = {str(folder.relative_to(ROOT)): n for folder, n in sizes.items() if n > 15 and folder.name != "cli"}
    assert crowded == {}


@pytest.mark.parametrize(
    ("pattern", "home"),
    [(r"\bos\.replace\(|\bflock\(|\bumask\(", "files.py"), (r"\breader\s*==", "nowhere")],
)
def test_some_things_are_done_in_one_place(pattern: str, home: str) -> None:
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if re.search(pattern, path.read_text(encoding="utf-8"))
    }
    assert found - {home} == set()


def test_tests_mirror_the_package() -> None:
    outside = {"fixtures", "helpers", "project"}
    distributions = {"anomalib", "anyad", "baselines", "ray", "rivals"}
    tests = ROOT / "tests"
    folders = {path.parent.relative_to(tests) for path in tests.rglob("test_*.py")} - {Path()}
    unknown = [
        str(folder)
        for folder in folders
        if folder.parts[0] not in outside | distributions and not (PACKAGE / folder).is_dir()
    ]
    assert unknown == []
