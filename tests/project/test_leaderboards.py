"""The published boards follow from their stored results."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cell_fixture import change_json, reseal
from places import ROOT

from anyadbench.boards import build_boards
from anyadbench.boards.aggregate.load import reported_of
from anyadbench.boards.verify.publish import publish_cells
from anyadbench.boards.verify.submission import check
from anyadbench.errors import UserError
from anyadbench.plugins import load_methods

HOME = ROOT / "leaderboards"
RESULTS = HOME / "results"


def test_every_published_file_is_built_again_from_the_results(tmp_path: Path) -> None:
    build_boards(RESULTS, tmp_path, reported=reported_of(RESULTS))
    ours = {path.relative_to(HOME / "boards"): path.read_text() for path in (HOME / "boards").rglob("*.*")}
    again = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*.*")}
    assert ours.keys() == again.keys()
    assert [str(name) for name in ours if ours[name] != again[name]] == []


NOT_MEASURED = {
    f"anomalib:{name}" for name in ("cfa", "mh_patchcore", "reverse_distillation", "super_add", "uflow", "uninet")
}
"""Methods without a row on version 3 of the protocol yet (``docs/phantom.md``)."""


def test_every_other_method_that_can_run_has_a_row_on_the_phantoms_board() -> None:
    methods = load_methods()
    compared = {name for name, one in methods.items() if set(one.families) & {"table", "anomalib"}}
    cannot = {name for name in compared if methods[name].unavailable or methods[name].files}
    with open(HOME / "boards/phantom-7subsets/summary.csv", newline="") as table:
        on_board = {row["method"] for row in csv.DictReader(table)}
    assert compared - cannot - on_board == NOT_MEASURED


@pytest.mark.slow
def test_published_cells_pass_their_check() -> None:
    report = check(RESULTS)
    assert report.problems == []
    assert len(report.cells) >= 1


@pytest.mark.slow
@pytest.mark.parametrize(("many", "most"), [(False, 250_000), (True, 400_000)])
def test_the_largest_published_cell_stays_within_its_limit(many: bool, most: int, tmp_path: Path) -> None:
    cells = [path for path in (RESULTS / "cells").iterdir() if ("15subsets" in path.name) == many]
    cell = max(cells, key=size_of)
    shutil.copytree(cell, tmp_path / "runs/cells" / cell.name)
    (copy,) = publish_cells(tmp_path / "runs", tmp_path / "out")
    assert size_of(copy) <= most


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_nothing_published_names_a_machine() -> None:
    records = list(RESULTS.rglob("*.json"))
    assert len(records) > 2
    for path in records:
        assert not re.search(r'"/|[A-Z]:\\\\|"pid"|"hostname"', path.read_text()), path


def test_every_protocol_with_reported_rows_has_a_board() -> None:
    names = {path.stem for path in (HOME / "reported").glob("*.toml")}
    assert names <= {path.name for path in (HOME / "boards").iterdir()}
    index = (HOME / "boards/index.html").read_text()
    assert all(f'href="{name}/report.html"' in index for name in names)


@pytest.mark.slow
def test_publishing_again_gives_the_same_files(tmp_path: Path) -> None:
    once = publish_cells(RESULTS, tmp_path / "once")
    assert {path.name for path in once} == {path.name for path in (RESULTS / "cells").iterdir()}
    for folder in publish_cells(tmp_path / "once", tmp_path / "twice"):
        for path in folder.rglob("*.*"):
            assert path.read_bytes() == (tmp_path / "once" / path.relative_to(tmp_path / "twice")).read_bytes()


@pytest.mark.slow
def test_the_commands_of_the_readme_run(tmp_path: Path) -> None:
    shutil.copytree(HOME, tmp_path / "leaderboards")
    (block,) = re.findall(r"```sh\n(.*?)```", (HOME / "README.md").read_text(), re.DOTALL)
    for line in block.splitlines():
        command = [sys.executable, "-m", *line.split()]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "boards-again/index.html").read_text() == (HOME / "boards/index.html").read_text()


def one_cell(runs: Path) -> Path:
    """Copy the smallest published cell into a folder of runs."""
    cell = min((RESULTS / "cells").iterdir(), key=lambda path: (path / "scores/pixels.npz").stat().st_size)
    return Path(shutil.copytree(cell, runs / "cells" / cell.name))


def test_a_cell_that_fails_its_check_is_not_published(tmp_path: Path) -> None:
    cell = one_cell(tmp_path / "runs")
    (cell / "manifest.json").write_text((cell / "manifest.json").read_text() + "\n")
    with pytest.raises(UserError, match="cannot be published: .*manifest.json: its hash is not the one in result.json"):
        publish_cells(tmp_path / "runs", tmp_path / "out")
    with pytest.raises(UserError, match="has no finished cell that matches"):
        publish_cells(tmp_path / "runs", tmp_path / "out", methods=["none"])


def test_the_path_of_the_weights_is_not_published(tmp_path: Path) -> None:
    cell = one_cell(tmp_path / "runs")
    path = "/home/somebody/weights.bin"
    change_json(cell / "manifest.json", lambda manifest: manifest["weights"].update(path=path))
    reseal(cell)
    (copy,) = publish_cells(tmp_path / "runs", tmp_path / "out")
    assert "somebody" not in (copy / "manifest.json").read_text()
    assert check(copy).problems == []
