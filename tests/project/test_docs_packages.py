"""The documents that describe a whole package, followed step by step: files are written, built, put on the path, used.

Only the installation differs from the reader's: the wheel is built here, without an index, and unpacked.
"""

from __future__ import annotations

import csv
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from documents import DOCUMENTS, ROOT, WORKED, make_place
from packages import environment, install
from tiny import TINY_PROTOCOL

from anyadbench.data.store.store import open_store

BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```', re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_place(tmp_path_factory)


class Follower:
    """Goes through one document and keeps the output of each command."""

    def __init__(self, name: str, folder: Path, place: Path, package: Path | None = None) -> None:
        self.blocks = BLOCK.findall((ROOT / "docs" / name).read_text())
        self.package, self.site, self.place = package or folder / "package", folder / "site", place
        self.printed: dict[str, str] = {}

    def write(self) -> None:
        for _, title, body in self.blocks:
            self._write(title, body)

    def follow(self) -> dict[str, str]:
        for language, title, body in self.blocks:
            self._write(title, body)
            for line in body.splitlines() if language == "sh" else ():
                self.step(line)
        return self.printed

    def _write(self, title: str, body: str) -> None:
        if title:
            path = self.package / title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(body)

    def step(self, line: str) -> None:
        words = shlex.split(line)
        if words[:2] == ["pip", "install"]:
            install(self.package, self.site)
            return
        assert words[0] == "anyadbench", line
        tiny = environment(self.site, ANYADBENCH_RUN_BUDGET="tiny", ANYADBENCH_RUN_WEIGHTS="random")
        if "phantom-7subsets" in words:
            tiny["ANYADBENCH_RUN_DATA"] = str(self.place / "phantom")  # smaller than the default
        command = [sys.executable, "-m", *words]
        done = subprocess.run(command, cwd=self.place, env=tiny, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        self.printed[line] = done.stdout + done.stderr


def board(place: Path, protocol: str, root: str = "boards") -> list[dict[str, str]]:
    with open(place / root / protocol / "leaderboard.csv", newline="") as handle:
        return list(csv.DictReader(handle))


def test_every_page_that_describes_a_package_is_followed() -> None:
    here = Path(__file__).read_text()
    pages = [document for document in DOCUMENTS if WORKED in document.read_text()]
    assert len(pages) >= 6
    assert [page.name for page in pages if f'"{page.relative_to(ROOT / "docs").as_posix()}"' not in here] == []


@pytest.mark.parametrize("page", [page for page in DOCUMENTS if WORKED in page.read_text()], ids=lambda page: page.stem)
def test_the_files_of_a_page_are_well_formed(page: Path, tmp_path: Path) -> None:
    follower = Follower(page.relative_to(ROOT / "docs").as_posix(), tmp_path, tmp_path)
    follower.write()
    for command in (["check", "--select", "E,F,W,I,UP,B,D1", "--ignore", "D107"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--isolated", "--line-length", "120", "."],
            cwd=follower.package, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_a_data_set_of_a_plugin_is_verified_and_prepared(tmp_path: Path, place: Path) -> None:
    follower = Follower("plugins/dataset.md", tmp_path, place)
    printed = follower.follow()
    assert "ward: 10 scans can be used" in printed["anyadbench data verify ward --source ward"]
    assert (place / "ward-store" / "store.json").is_file()
    assert "tree (at any depth, .npy):" in printed["anyadbench datasets show shelf"]
    assert "shelf: 10 scans can be used" in printed["anyadbench data verify shelf --source shelf"]
    shelf, ward = (open_store(place / f"{name}-store") for name in ("shelf", "ward"))
    np.testing.assert_array_equal(shelf.images, ward.images)
    np.testing.assert_array_equal(shelf.masks, ward.masks)


@pytest.mark.slow
def test_a_protocol_is_run_on_files_that_a_plugin_reads(tmp_path: Path, place: Path) -> None:
    follower = Follower("plugins/dataset.md", tmp_path, place)
    follower.write()
    follower.step("pip install --editable .")
    protocol = TINY_PROTOCOL.replace('name = "tiny"', 'name = "shelf-tiny"').replace('"phantom"', '"shelf"')
    (place / "shelf.toml").write_text(protocol)
    follower.step("anyadbench run --method pixelstats --protocol shelf.toml --data shelf --runs shelf-runs")
    follower.step("anyadbench leaderboard build --runs shelf-runs --out shelf-boards")
    rows = [row for row in board(place, "shelf-tiny", "shelf-boards") if row["method"] == "pixelstats"]
    assert len(rows) == 8 and all(0 < float(row["pixel_auroc"]) <= 1 for row in rows)


@pytest.mark.slow
def test_a_protocol_of_a_plugin_is_run_by_name(tmp_path: Path, place: Path) -> None:
    Follower("plugins/protocol.md", tmp_path, place).follow()
    rows = board(place, "brats-flair-t2", "runs/boards")
    assert {row["subset"] for row in rows if row["kind"] == "measured"} == {"F", "T2", "F+T2", "as available"}


@pytest.mark.slow
def test_a_metric_of_a_plugin_is_a_column(tmp_path: Path, place: Path) -> None:
    Follower("plugins/metric.md", tmp_path, place).follow()
    rows = [row for row in board(place, "brats-7subsets") if row["kind"] == "measured"]
    assert len(rows) == 8
    assert all(0 <= float(row["found_at_95"]) <= 1 for row in rows)
    assert all(0 <= float(row["worst_patient"]) <= 1 for row in rows)
    assert any(float(row["worst_patient"]) < float(row["pixel_auroc"]) for row in rows)
    page = (place / "boards" / "brats-7subsets" / "report.html").read_text()
    assert (
        "found_at_95: Sensitivity for slices at a specificity of 95 %. A plugin&#39;s metric, without an interval."
        in page
    )


@pytest.mark.slow
def test_a_report_section_of_a_plugin_is_on_the_page(tmp_path: Path, place: Path) -> None:
    Follower("plugins/report-section.md", tmp_path, place).follow()
    page = (place / "boards" / "brats-7subsets" / "report.html").read_text()
    assert '<h2 id="added-1-title">Weakest subset</h2>' in page
    assert "&lt;p&gt;Pixel statistics on brats2018: " in page


@pytest.mark.slow
def test_a_launcher_of_a_plugin_runs_cells(tmp_path: Path, place: Path) -> None:
    follower = Follower("plugins/launcher.md", tmp_path, place)
    last = next(body for language, _, body in follower.blocks if language == "sh").splitlines()[-1]
    printed = follower.follow()[last]
    assert "1 of 1: pixelstats · brats-7subsets · seed 0" in printed or "finished before, not run again" in printed
    follower.step(f"{last} --seed 3")
    assert "1 of 1: pixelstats · brats-7subsets · seed 3" in follower.printed[f"{last} --seed 3"]


@pytest.mark.slow
def test_the_tutorial_ends_with_a_row_on_the_board(tmp_path: Path, place: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "phantom").symlink_to(place / "phantom")
    printed = Follower("tutorial.md", tmp_path, own, own / "anyadbench-gaussmap").follow()
    assert "gaussmap keeps the contract." in printed["anyadbench plugin check gaussmap"]
    rows = [row for row in board(own, "phantom-7subsets") if row["method"] == "gaussmap"]
    assert len(rows) == 8
    assert all(0 < float(row["pixel_auroc"]) <= 1 for row in rows)
    assert rows[0]["distribution"] == "anyadbench-gaussmap"
    assert "publication has no such case" in (own / "boards" / "phantom-7subsets" / "summary.csv").read_text()
