"""Foreign content is only data: names, paths, results and plans in a hostile folder have no effect."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
from job_fixture import planned
from places import ROOT

from anyadbench.cells.job import Job
from anyadbench.cells.work_folder import cell_folder, fit_folder
from anyadbench.errors import UserError
from anyadbench.protocols.reader import read_protocol

SOURCES = sorted(
    path
    for part in ("anyadbench", "baselines", "plugins")
    for path in (ROOT / part).rglob("*.py")
    if ".venv" not in path.parts
)
EVIL = "\x1b]0;owned\x07<script>alert(1)</script>"


def calls(path: Path) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]


def keywords(call: ast.Call) -> dict[str, str]:
    return {word.arg: ast.unparse(word.value) for word in call.keywords if word.arg}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_unpickles_evaluates_or_starts_a_shell(path: Path) -> None:
    for call in calls(path):
        name, given = ast.unparse(call.func), keywords(call)
        if name == "torch.load":
            assert given.get("weights_only") == "True", ast.unparse(call)
        assert given.get("allow_pickle", "False") == "False", ast.unparse(call)
        assert given.get("shell", "False") == "False", ast.unparse(call)
        assert name not in ("eval", "exec", "os.system", "os.popen"), ast.unparse(call)
        assert not name.startswith(("pickle.", "joblib.", "dill.", "marshal.", "shelve.")), ast.unparse(call)


def test_a_plan_works_in_the_folder_that_it_was_found_in(tmp_path: Path) -> None:
    """Its own entry for the runs folder may point anywhere."""
    work = planned(tmp_path / "runs").save()
    plan = json.loads((work / "plan.json").read_text())
    (work / "plan.json").write_text(json.dumps(plan | {"runs": "/etc"}))
    found = Job.load(work)
    assert found.cell.work == work
    assert found.fit.final.is_relative_to(tmp_path / "runs")


@pytest.mark.parametrize(
    "change",
    [
        {"method": "other"}, {"cell_id": "d" * 64}, {"seed": 1}, {"seed": "1; rm -rf ~"}, {"params": []}, {"policy": 3},
        {"policy": {"device": "evil"}}, {"policy": {"unknown": 1}}, {"time_limit": "x"}, {"budget": "huge"},
    ],
)  # fmt: skip
def test_a_plan_that_was_tampered_with_is_refused(change: dict[str, object], tmp_path: Path) -> None:
    work = planned(tmp_path).save()
    (work / "plan.json").write_text(json.dumps(json.loads((work / "plan.json").read_text()) | change))
    with pytest.raises(UserError, match=r"is (no plan of a cell|the plan of another cell); remove"):
        Job.load(work)


@pytest.mark.parametrize("name", ["../../up", "a/b", "..", ".hidden/../x", "\x00", EVIL])
def test_no_name_leads_out_of_the_runs_folder(name: str, tmp_path: Path) -> None:
    for folder in (cell_folder(tmp_path, "c" * 64, name, name, 0), fit_folder(tmp_path, "f" * 64, name)):
        assert folder.final.parent.parent == tmp_path
        assert folder.final.resolve().is_relative_to(tmp_path.resolve())
        assert folder.final.name.isprintable()


@pytest.mark.parametrize("name", ["../evil", "a b", EVIL.replace("\x1b", "\\u001b").replace("\x07", "\\u0007")])
def test_a_protocol_cannot_have_a_name_that_is_a_path_or_a_command(
    name: str, tiny_protocol: Path, tmp_path: Path
) -> None:
    path = tmp_path / "evil.toml"
    path.write_text(tiny_protocol.read_text().replace('name = "tiny"', f'name = "{name}"', 1))
    with pytest.raises(UserError, match=r"evil\.toml"):
        read_protocol(path)


def test_a_plugin_of_a_hostile_name_steers_nothing(tmp_path: Path) -> None:
    info = tmp_path / "evil-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[anyadbench.methods]\n../../{EVIL} = nowhere:X\n")
    import os

    for command in (["plugins"], ["methods"], ["runs", "--runs", str(tmp_path)]):
        done = subprocess.run(
            [sys.executable, "-m", "anyadbench", *command],
            capture_output=True,
            encoding="utf-8",
            check=False,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
        )
        assert not set(done.stdout + done.stderr) & set("\x1b\x07"), command
        assert "Traceback" not in done.stderr


def test_a_hostile_folder_of_runs_is_listed_as_text(tmp_path: Path) -> None:
    work = planned(tmp_path).save()
    head = json.loads((work / "cell.json").read_text())
    (work / "cell.json").write_text(json.dumps(head | {"state": "failed", "error": EVIL, "method": EVIL}))
    (tmp_path / "cells" / f"x{EVIL.replace('/', '')}.partial").mkdir()
    for command in (["runs"], ["runs", "show", "mine"], ["runs", "prune"]):
        done = subprocess.run(
            [sys.executable, "-m", "anyadbench", *command, "--runs", str(tmp_path)],
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert not set(done.stdout + done.stderr) & set("\x1b\x07"), command
