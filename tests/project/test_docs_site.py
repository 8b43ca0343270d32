"""The documentation as a site: built strictly and completely, without loading anything from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT


def pages() -> list[str]:
    return sorted(path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md"))


def test_every_page_is_in_the_navigation_once() -> None:
    listed = re.findall(r"^ *- (?:[^:\n]+: )?([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(listed) == pages()


def test_the_reference_names_modules_and_members_that_exist() -> None:
    from importlib import import_module

    named = 0
    for page in (ROOT / "docs" / "reference").glob("*.md"):
        for module, options in re.findall(r"^::: ([\w.]+)((?:\n    .*)*)", page.read_text(), re.MULTILINE):
            found = import_module(module)
            members = re.search(r"members: \[(.*)\]", options)
            for name in members.group(1).split(", ") if members else ():
                assert hasattr(found, name), f"{page.name}: {module}.{name}"
                named += 1
    assert named > 20


@pytest.mark.slow
def test_the_site_builds_strictly_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install 'anyadbench[docs]'")
    pytest.importorskip("mkdocstrings", reason="mkdocstrings is not installed: pip install 'anyadbench[docs]'")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for page in pages():
        text = (tmp_path / page).with_suffix(".html").read_text()
        assert not re.search(r"<(?:script|img|iframe)[^>]*src=\"(?:https?:)?//", text), page
        assert not re.search(r"<link[^>]*rel=\"(?:stylesheet|preconnect|icon)\"[^>]*href=\"(?:https?:)?//", text), page
    reference = (tmp_path / "reference" / "methods.html").read_text()
    assert "What a factory receives to build a method." in reference
