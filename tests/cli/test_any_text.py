"""Names and texts that are not plain: bytes that are not UTF-8, ``~``, formulas, and terminals of any encoding."""

from __future__ import annotations

import csv
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from trees import make_tree

from anyadbench.cli import COMMANDS, cli, main
from anyadbench.cli.options import UserPath
from anyadbench.data.store.build import prepare
from anyadbench.data.store.store import open_store
from anyadbench.data.trees.layouts import Layout, get_layout
from anyadbench.predict.batch import from_table
from anyadbench.protocols.reader import read_protocol
from anyadbench.results.cellfiles import read_slice_table

ODD = os.fsdecode(b"caf\xe9 =1")
ENCODINGS = ({"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}, {"LC_ALL": "C", "PYTHONUTF8": "0"})


def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "anyadbench", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, env={**os.environ, **environment}, timeout=300)
    assert b"Traceback" not in done.stderr, done.stderr
    return done


@pytest.mark.parametrize("environment", ENCODINGS, ids=["ascii", "latin-1", "C"])
def test_problems_of_files_with_odd_names_are_shown_in_any_encoding(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    tree = make_tree("brats2018", tmp_path / ODD / "tree", 2)
    for path in sorted(tree.rglob("*A001*"), reverse=True):
        path.rename(path.with_name(path.name.replace("A001", os.fsdecode(b"A\xe9=1"))))
    next(tree.rglob("*=1_1_flair*")).write_bytes(b"")
    for more in ((), ("--json",)):
        done = run("data", "verify", "brats2018", "--source", tree, *more, **environment)
        assert done.returncode == 1 and b"is empty (0 bytes)" in done.stdout
    assert run("data", "prepare", "brats2018", "--source", tree, "--out", tmp_path / "s", **environment).returncode == 0


@pytest.mark.slow
def test_a_cell_is_trained_used_and_checked_in_a_folder_with_an_odd_name(
    tmp_path: Path, tiny_protocol: Path, tiny_phantom: Path
) -> None:
    place = tmp_path / ODD
    tree = Path(shutil.copytree(tiny_phantom, place / "tree"))
    protocol = Path(shutil.copy(tiny_protocol, place / f"{ODD}.toml"))
    runs = place / "runs"
    data = ("--protocol", protocol, "--data", tree)
    assert run("run", "--method", "pixelstats", *data, "--runs", runs, PYTHONIOENCODING="latin-1").returncode == 0
    assert run("leaderboard", "check", runs).returncode == 0
    (cell,) = (path for path in (runs / "cells").iterdir() if path.is_dir())
    flair = os.fsencode(next(tree.rglob("Phantom_001_1_flair*")).relative_to(place))
    (place / "t.csv").write_bytes(b"\xef\xbb\xbfPatient;FLAIR;\r\n=A1;" + flair + b";\r\n;;\r\n")
    done = run("predict", "--cell", cell, "--table", place / "t.csv", "--out", place / "out", LC_ALL="C")
    assert done.returncode == 0, done.stderr
    assert (place / "out/predictions.csv").read_text().splitlines()[1].startswith("'=A1,F,")
    assert run("card", "--cell", cell, "--out", place / "card.md").returncode == 0


def test_a_name_that_the_system_cannot_write_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**options: object) -> None:
        "caf\u00e9".encode("ascii")

    monkeypatch.setattr(cli, "main", fail)
    with pytest.raises(SystemExit, match="2"):
        main([])
    assert "encoding, ascii, has no 'é', which a name contains; set PYTHONUTF8=1" in capsys.readouterr().err


def test_subjects_that_look_like_formulas_are_guarded_in_tables_and_come_back(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    make_tree("brats2018", tree, 2)
    for path in sorted(tree.rglob("*.nii.gz")):
        path.rename(path.with_name(f"={path.name}"))
    pattern = r"(?P<scan>(?P<subject>=[^/]+?))~(?P<kind>flair|t1ce|t1|t2|seg)"
    known = get_layout("brats2018")
    layout = Layout("formula", "Formulas", (pattern,), known.kinds, labels=known.labels)
    store = prepare(tree, layout, tmp_path / "store")
    assert all(str(name).startswith("=Brats18") for name in store.scans["subject"])
    for name in ("scans.csv", "slices.csv"):
        with (tmp_path / "store" / name).open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert all(row["scan"].startswith("'=Brats18") for row in rows)
    assert open_store(tmp_path / "store").scans.equals(store.scans)


def test_slice_tables_of_cells_are_guarded_and_come_back(tmp_path: Path) -> None:
    from anyadbench.cells.scored_cell import write_slices
    from anyadbench.metrics.rows.row_state import RowState
    from anyadbench.results.cellfiles import SLICE_COLUMNS

    record = {name: "=x" if kind is str else kind(1) for name, kind in SLICE_COLUMNS.items()}
    (tmp_path / "scores").mkdir()
    state = RowState.__new__(RowState)
    object.__setattr__(state, "records", [record])
    write_slices(tmp_path / "scores/slices.csv", [state])
    text = (tmp_path / "scores/slices.csv").read_text()
    assert next(csv.DictReader(io.StringIO(text)))["scan"] == "'=x"
    assert read_slice_table(tmp_path) == {("=x", "=x"): [record]}


def _paths(command: click.Command) -> list[click.Option | click.Argument]:
    found = [param for param in command.params if isinstance(param, (click.Option, click.Argument))]
    if isinstance(command, click.Group):
        for other in command.commands.values():
            found += _paths(other)
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_every_path_option_expands_the_home_folder(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert [param.name for param in _paths(command) if type(param.type) is click.Path] == []


def test_the_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_protocol: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert UserPath().convert("~/a", None, None) == tmp_path / "a"
    assert UserPath().convert("~nobody-here/a", None, None) == Path("~nobody-here/a")
    shutil.copy(tiny_protocol, tmp_path / "mine.toml")
    from anyadbench.protocols import find_protocol

    assert find_protocol("~/mine.toml").hash == read_protocol(tiny_protocol).hash
    (tmp_path / "scan.nii").touch()
    (tmp_path / "t.csv").write_text("patient,flair\nA,~/scan.nii\n")
    assert from_table(tmp_path / "t.csv")[0].scans["flair"] == tmp_path / "scan.nii"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_a_protocol_in_any_encoding_is_the_same_protocol(tmp_path: Path, tiny_protocol: Path, encoding: str) -> None:
    text = tiny_protocol.read_text(encoding="utf-8").replace('title = "', 'title = "Größe ')
    for name, how in (("plain", "utf-8"), ("other", encoding)):
        (tmp_path / f"{name}.toml").write_bytes(text.replace("\n", "\r\n").encode(how))
    plain, other = (read_protocol(tmp_path / f"{name}.toml") for name in ("plain", "other"))
    assert "Größe" in plain.title and (other.title, other.hash) == (plain.title, plain.hash)
