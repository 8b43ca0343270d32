"""The surface for authors: whole, light, documented, and the only one that is used outside the harness."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from documents import DOCUMENTS
from inp_fixture import training_batch
from places import ROOT

import anyadbench.api as api
from anyadbench.methods.contract import Context
from anyadbench.weights import resolve

PAGE = ROOT / "docs" / "reference" / "api.md"
HEAVY_SECTIONS = ("Writing a method", "Input", "Pretrained networks", "From features to maps", "From files to slices")
HEAVY_NAMES = ("evaluate", "ParityFixture", "cohort_numbers", "score_scan")
OUTSIDE = (
    *(path for part in ("baselines", "plugins") for path in (ROOT / part).rglob("*.py")),
    *(ROOT / "anyadbench/testing/template").glob("*.j2"),
    *DOCUMENTS,
)
DEEP = re.compile(r"^\s*(?:from (anyadbench[\w.]*) import|import (anyadbench[\w.]*))", re.MULTILINE)
HARNESS = re.compile(r"anyadbench(?:\.|$)")
PYTHON = re.compile(r"^```python[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


def rows() -> list[tuple[str, str, str]]:
    """Return section, name and description of every row of the page."""
    found = []
    for section in re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]:
        title = section.partition("\n")[0]
        found += [(title, *row) for row in re.findall(r"^\| `(\w+)` \| (.+) \|$", section, re.MULTILINE)]
    return found


def modules_after(code: str) -> set[str]:
    """Return which heavy libraries a new process has imported after running a program."""
    code += "\nimport sys; print(*(name for name in ('torch', 'numpy', 'pandas') if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("name", api.__all__)
def test_every_name_is_there_and_is_what_its_module_has(name: str) -> None:
    value = getattr(api, name)
    assert value is not None
    if hasattr(value, "__module__") and isinstance(value, type):
        assert value.__module__ == f"anyadbench.{api._HOMES[name]}"


def test_no_name_is_listed_twice_or_missing_from_a_list() -> None:
    assert sorted(set(api.__all__)) == sorted(api.__all__) == sorted(api._HOMES) == dir(api)
    assert set(api._CALLED) <= set(api.__all__)


def test_a_type_checker_sees_each_name_in_the_module_it_is_loaded_from() -> None:
    (block,) = (node for node in ast.parse(Path(api.__file__).read_text()).body if ast.unparse(node).startswith("if T"))
    assert isinstance(block, ast.If)
    seen = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.module != "typing"
        for alias in node.names
    }
    assert seen == {name: (f"anyadbench.{home}", api._CALLED.get(name, name)) for name, home in api._HOMES.items()}


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'anyadbench.api' has no attribute 'Trainer'"):
        api.Trainer  # type: ignore[attr-defined]  # noqa: B018


def test_importing_it_loads_nothing_heavy() -> None:
    assert modules_after("import anyadbench.api") == set()


def test_names_for_descriptors_and_hooks_load_nothing_heavy() -> None:
    light = [name for section, name, _ in rows() if section not in HEAVY_SECTIONS and name not in HEAVY_NAMES]
    assert {"MethodDescriptor", "hookimpl", "Layout", "Board", "AddedMetric", "Job", "check_method"} <= set(light)
    assert modules_after(f"from anyadbench.api import {', '.join(light)}") == set()
    assert modules_after("from anyadbench.api import freeze") >= {"torch"}  # the check can fail


def test_the_page_has_a_line_for_each_name_and_no_other() -> None:
    names = [name for _, name, _ in rows()]
    assert sorted(names) == sorted(api.__all__)
    assert all(text.endswith(".") for _, _, text in rows())


def test_the_page_states_the_version() -> None:
    assert f"This page describes interface version {api.API_VERSION} (`API_VERSION`)." in PAGE.read_text()


def test_the_pages_method_works_and_stores_nothing_of_its_frozen_network() -> None:
    block = next(body for body in PYTHON.findall(PAGE.read_text()) if "class Norms" in body)
    names: dict[str, Any] = {}
    exec(compile(block, PAGE.name, "exec"), names)
    weights = resolve("random", {"published": "vit_small_patch14_dinov2.lvd142m"})
    method = names["Norms"](Context({}, ("flair", "t1", "t2"), (40, 40), weights)).eval()
    with torch.no_grad():
        maps = method.score(training_batch()).maps
    assert maps.shape == (4, 56, 56) and torch.isfinite(maps).all() and maps.std() > 0
    assert method.saved_state() == {}


def imported(path: Path) -> set[str]:
    """Return the modules of the harness that a file imports; of a document, those of its Python blocks."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        text = "\n".join(PYTHON.findall(text))
    return {one or other for one, other in DEEP.findall(text) if HARNESS.match(one or other)}


def test_whatever_is_outside_imports_the_harness_through_it_alone() -> None:
    found = {str(path.relative_to(ROOT)): imported(path) - {"anyadbench", "anyadbench.api"} for path in OUTSIDE}
    assert {name: modules for name, modules in found.items() if modules} == {}
    users = {path.relative_to(ROOT).parts[0] for path in OUTSIDE if "anyadbench.api" in imported(path)}
    assert users == {"anyadbench", "baselines", "docs", "plugins"}


def test_a_deep_import_is_found(tmp_path: Path) -> None:
    program, page = tmp_path / "a.py", tmp_path / "a.md"
    program.write_text("def f():\n    from anyadbench.methods.contract import Batch\nimport anyadbench.metrics as m\n")
    page.write_text("import anyadbench.a\n```python title='x.py'\nfrom anyadbench.errors import UserError\n```\n")
    assert imported(program) == {"anyadbench.methods.contract", "anyadbench.metrics"}
    assert imported(page) == {"anyadbench.errors"}
