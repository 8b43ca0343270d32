"""Columns and sections that plugins add to a board."""

from __future__ import annotations

import csv
import html
import io
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from boards_fixture import FakeMethod, write_cell, write_runs

from anyadbench.boards import load_boards
from anyadbench.boards.aggregate import plugin_metrics as added
from anyadbench.boards.aggregate.plugin_metrics import with_added_metrics
from anyadbench.boards.aggregate.report_section import ReportSection
from anyadbench.boards.render import plugin_sections as sections
from anyadbench.boards.render.csvfile import leaderboard_csv
from anyadbench.boards.render.html import board_html
from anyadbench.metrics.rows.plugin_metrics import AddedMetric, RowScores
from anyadbench.plugins import BrokenPlugin
from anyadbench.results.cellfiles import read_slice_table
from anyadbench.results.read import read_cells


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_runs(tmp_path_factory.mktemp("added") / "runs", size=32)


@pytest.fixture
def offer(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make a hook return something."""

    def put(*items: Any, broken: tuple[BrokenPlugin, ...] = ()) -> None:
        for module in (added, sections):
            monkeypatch.setattr(module, "collect", lambda hook: ([list(items)], list(broken)))

    return put


def abnormal_share(row: RowScores) -> float:
    return float(row.slices["label"].mean())


def rows_of(runs: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(leaderboard_csv(load_boards(runs)[0]))))


def test_a_metric_is_computed_from_the_slices_of_each_row(runs: Path, offer: Callable[..., None]) -> None:
    offer(AddedMetric("abnormal_share", "Share of slices with a lesion.", abnormal_share))
    rows = [row for row in rows_of(runs) if row["kind"] == "measured"]
    for row in rows:
        assert float(row["abnormal_share"]) == pytest.approx(int(row["n_abnormal"]) / int(row["n_slices"]), abs=1e-6)
        assert row["abnormal_share_low"] == ""
    assert "abnormal_share: Share of slices with a lesion. A plugin's metric" in load_boards(runs)[0].notices[-1]


def test_a_metric_gets_the_columns_of_the_slice_table_as_numbers(runs: Path, offer: Callable[..., None]) -> None:
    seen: list[RowScores] = []
    offer(AddedMetric("kept", "Kept.", lambda row: seen.append(row) or 1.0))
    load_boards(runs)
    texts, numbers = ["subject", "scan"], {"slice": "i", "height_mm": "f", "label": "i", "lesion_px": "i"}
    for row in seen:
        assert list(row.slices) == [*texts, *numbers, "brain", "image_score"]
        assert {name: row.slices[name].dtype.kind for name in numbers} == numbers
        assert isinstance(row.slices["scan"].iloc[0], str)
        assert list(row.slices.index) == list(range(len(row.slices)))
    assert {len(row.slices) for row in seen} == {int(row["n_slices"]) for row in rows_of(runs)}


def test_controls_have_added_metrics_too(runs: Path, offer: Callable[..., None]) -> None:
    write_cell(runs / "cells", FakeMethod("control:brain", "Brain", maps=False, changes={"kind": "control"}), 0)
    offer(AddedMetric("abnormal_share", "Share.", abnormal_share))
    found = {row["abnormal_share"] for row in rows_of(runs) if row["kind"] == "control"}
    assert found and "" not in found


@pytest.mark.parametrize(
    ("compute", "reason"),
    [
        (lambda row: float("nan"), "The plugin's metric is undefined here."),
        (lambda row: float("inf"), "The plugin's metric is undefined here."),
        (lambda row: 1 / 0, "in <lambda>: ZeroDivisionError: division by zero"),
        (lambda row: dict(row.pixels) and 0.0, "pixels.npz is missing or a link"),
    ],
)
def test_a_metric_without_a_value_says_why(
    compute: Callable[[RowScores], float], reason: str, runs: Path, offer: Callable[..., None]
) -> None:
    offer(AddedMetric("odd", "Odd.", compute))
    row = next(row for row in rows_of(runs) if row["kind"] == "measured")
    assert row["odd"] == ""
    assert reason in row["reasons"]


def test_a_damaged_slice_table_costs_the_column_and_not_the_board(
    runs: Path, tmp_path: Path, offer: Callable[..., None]
) -> None:
    copy = Path(shutil.copytree(runs, tmp_path / "runs"))
    for path in copy.rglob("slices.csv"):
        path.write_text("a,b\n1,2\n")
    offer(AddedMetric("abnormal_share", "Share.", abnormal_share))
    row = next(row for row in rows_of(copy) if row["kind"] == "measured")
    assert row["abnormal_share"] == ""
    assert row["pixel_ap"] != ""


@pytest.mark.parametrize(
    ("items", "sentence"),
    [
        ([3], "A plugin's metric is a int, not an AddedMetric"),
        ([AddedMetric("aupro", "D.", abnormal_share)], "has the name of a built-in metric, 'aupro'; it was left out"),
        ([AddedMetric("a", "A.", abnormal_share)] * 2, "Two plugins add a metric 'a'; the second was left out"),
    ],
)
def test_a_metric_that_cannot_be_used_is_named_on_the_board(
    items: list[Any], sentence: str, runs: Path, offer: Callable[..., None]
) -> None:
    offer(*items)
    assert any(sentence in notice for notice in load_boards(runs)[0].notices)


def test_a_metric_name_that_is_no_column_is_refused() -> None:
    with pytest.raises(ValueError, match="must consist of lower-case letters, digits and underscores"):
        AddedMetric("Pixel AP", "", abnormal_share)


def test_a_plugin_whose_hook_fails_is_named_on_the_board(runs: Path, offer: Callable[..., None]) -> None:
    offer(broken=(BrokenPlugin("theirs", "dist", "anyadbench_metrics raised ValueError: no"),))
    board = load_boards(runs)[0]
    assert any("'theirs' of dist cannot be used" in notice for notice in board.notices)
    assert "raised ValueError: no" in board_html(board)


HOSTILE = "\"'><script>document.title='taken'</script><img src=x onerror=alert(1)></iframe><h1>out</h1>"


def page_with(runs: Path, offer: Callable[..., None], *items: Any) -> str:
    offer()
    board = load_boards(runs)[0]
    offer(*items)
    return board_html(board)


def test_the_html_of_a_section_stays_in_its_frame(runs: Path, offer: Callable[..., None]) -> None:
    page = page_with(runs, offer, ReportSection("Ours <b>", lambda board: HOSTILE))
    assert HOSTILE not in page
    assert "<h1>out" not in page
    assert str(html.escape(HOSTILE)).replace("&quot;", "&#34;").replace("&#x27;", "&#39;") in page
    assert 'sandbox title="Ours &lt;b&gt;"' in page


@pytest.mark.parametrize(
    ("item", "sentence"),
    [
        (ReportSection("Ours", lambda board: str(1 / 0)), "The section cannot be shown: ZeroDivisionError"),
        (3, "A plugin&#39;s report section is a int, not a ReportSection."),
    ],
)
def test_a_section_that_fails_says_so_in_its_place(
    item: Any, sentence: str, runs: Path, offer: Callable[..., None]
) -> None:
    assert sentence in page_with(runs, offer, item)


def test_a_page_without_plugins_has_no_frame(runs: Path, offer: Callable[..., None]) -> None:
    assert "<iframe" not in page_with(runs, offer)


@pytest.mark.browser
def test_a_section_is_shown_and_its_scripts_are_not_run(runs: Path, tmp_path: Path, offer: Callable[..., None]) -> None:
    from browser import CHROMIUM
    from devtools import chromium

    if CHROMIUM is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    body = "<script>top.document.title='taken'</script><div style='background:#f00;height:300px'></div>"
    shown = {}
    with chromium(tmp_path / "profile") as tab:
        for name, section in (("plain", lambda board: ""), ("report", lambda board: body)):
            path = tmp_path / f"{name}.html"
            path.write_text(page_with(runs, offer, ReportSection("Ours", section)))
            tab.open(path.as_uri(), 900, 700)
            tab.value("document.querySelector('iframe.added').scrollIntoView({ block: 'center' })")
            end = time.monotonic() + (
                60 if name == "report" else 2
            )  # another process draws the frame, when it gets to it
            while True:
                red, green, _ = np.moveaxis(tab.screenshot(), -1, 0)
                shown[name] = float(((red > 200) & (green < 60)).mean())
                if shown[name] > 0.1 or time.monotonic() > end:
                    break
            assert tab.value("document.title") != "taken"
    assert shown["plain"] < 0.01 and shown["report"] > 0.1


def test_the_metric_of_the_house_is_the_mean_of_its_column(trained_cells: dict[str, Path]) -> None:
    runs = trained_cells["pixelstats"].parents[1]
    records, notices = with_added_metrics(read_cells(runs))
    assert any(text.startswith("aupimo: Mean covered fraction") for text in notices)
    for record in records:
        assert record.result is not None
        tables = read_slice_table(record.folder)
        for row in record.result.rows:
            values = [one["aupimo"] for one in tables[row.test, row.subset] if one["aupimo"] is not None]
            assert row.metrics["aupimo"] == pytest.approx(np.mean(values)) and 0 <= min(values) <= max(values) <= 1


def test_a_board_without_the_column_has_no_such_metric(cell_copy: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(cell_copy, runs / "cells" / cell_copy.name)
    path = runs / "cells" / cell_copy.name / "scores/slices.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False).drop(columns="aupimo")
    table.to_csv(path, index=False)
    records, notices = with_added_metrics(read_cells(runs))
    assert records[0].result is not None and "aupimo" not in records[0].result.rows[0].metrics
    assert not any("aupimo" in text for text in notices)
