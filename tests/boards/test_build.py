from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest
from boards_fixture import DEFAULT_METHODS, SUBSETS, FakeMethod, write_cell, write_head, write_runs
from click.testing import CliRunner
from rich.console import Console

from anyadbench.boards import BuiltBoard, build_boards, load_boards, print_board
from anyadbench.boards.aggregate.model import Board
from anyadbench.boards.render.csvfile import leaderboard_csv, safe_text, summary_csv
from anyadbench.boards.render.markdown import board_markdown, escape
from anyadbench.boards.render.text import DASH, clean, decimal, six
from anyadbench.cli.leaderboard import leaderboard
from anyadbench.errors import UserError
from anyadbench.sequences import COMMON, all_subsets, format_subset

CONTROL = FakeMethod(
    "control:intensity", "Brightness (control)", 1.5, maps=False, budget="paper", replicates=True,
    changes={"kind": "control"},
)  # fmt: skip
METHODS = (*DEFAULT_METHODS, CONTROL)
HOSTILE = "=cmd|'/C calc'!A0 | <script>alert(1)</script> \x1b[31m\u202e[x](javascript:y)"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_runs(tmp_path_factory.mktemp("runs"), METHODS)


@pytest.fixture(scope="module")
def board(runs: Path) -> Board:
    return load_boards(runs)[0]


@pytest.fixture
def hostile(tmp_path: Path) -> Board:
    method = FakeMethod("evil", HOSTILE, departures=[HOSTILE], maps=False, changes={"weights.name": "@SUM(A1)"})
    write_cell(tmp_path / "cells", method, 0)
    write_cell(tmp_path / "cells", DEFAULT_METHODS[0], 0)
    write_head(tmp_path / "cells/bad", "failed", HOSTILE, 0, error=HOSTILE, log_tail=[HOSTILE])
    return load_boards(tmp_path)[0]


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def printed(board: Board | BuiltBoard, method: str | None = None) -> str:
    stream = io.StringIO()
    print_board(board, console=Console(file=stream, width=100, highlight=False), method=method)
    return stream.getvalue()


def test_long_csv_holds_every_number_and_interval(board: Board) -> None:
    rows = {(row["method"], row["subset"]): row for row in table(leaderboard_csv(board))}
    assert len(rows) == 4 * 7
    for line in board.lines:
        row = rows[board.variant(line.variant).method.name, line.subset]
        for metric, estimate in line.metrics.items():
            assert float(row[metric]) == pytest.approx(estimate.value, abs=5e-7)
            assert row[f"{metric}_low"] == six(estimate.low)
        assert row["seeds"].split() == [str(seed) for seed in line.seeds]
        assert (row["n_slices"], row["protocol_hash"]) == (str(line.n_slices), board.protocol.hash)
        assert row["cell_ids"].split() == list(line.cell_ids)


def test_csv_has_lf_endings_and_six_decimals(board: Board) -> None:
    text = leaderboard_csv(board)
    assert "\r" not in text and text.endswith("\n")
    assert all(re.fullmatch(r"\d\.\d{6}|", row["aupro"]) for row in table(text))


def test_csv_does_not_depend_on_the_order_of_folders(tmp_path: Path, board: Board) -> None:
    for index, method in enumerate(reversed(METHODS)):
        for seed in method.seeds:
            cell = write_cell(tmp_path / "cells", method, seed)
            cell.rename(cell.with_name(f"{index}-{seed}"))
    assert leaderboard_csv(load_boards(tmp_path)[0]) == leaderboard_csv(board)


def test_controls_are_in_the_csv_and_every_number_is_compared_with_the_best(board: Board) -> None:
    rows = table(leaderboard_csv(board))
    controls = {row["subset"]: row for row in rows if row["kind"] == "control"}
    assert list(controls) == list(SUBSETS)
    assert all(row["aupro"] and not row["aupro_control"] for row in controls.values())
    for row in rows:
        if row["kind"] == "measured":
            assert row["aupro_control"] == "control:intensity"
            difference = float(row["aupro"]) - float(controls[row["subset"]]["aupro"])
            assert float(row["aupro_above_control"]) == pytest.approx(difference, abs=2e-6)
            assert row["aupro_verdict"] in ("better", "not better", "below", "untested")
    means = {row["title"]: row for row in table(summary_csv(board)) if row["metric"] == "pixel_ap"}
    assert means["AnyAD"]["mean_verdict"] == "better" and means["Per-pixel normal"]["mean_verdict"] == "below"
    assert means["AnyAD"]["hardest_subset"] == board.hardest["phantom", "pixel_ap"]


def test_wide_csv_holds_ranks_and_drops(board: Board) -> None:
    rows = [row for row in table(summary_csv(board)) if row["metric"] == "aupro"]
    ranked = [(row["title"], row["rank"]) for row in rows]
    assert ranked == [("AnyAD", "1"), ("INPFormer", "2"), ("Per-pixel normal", "3"), ("Brightness (control)", "")]
    first = rows[0]
    assert float(first["drop T1"]) == pytest.approx(float(first["value F+T1+T2"]) - float(first["value T1"]), abs=2e-6)
    assert first["departures"] == DEFAULT_METHODS[0].departures[0]
    assert "drop F+T1+T2" not in first


@pytest.mark.parametrize("start", list("=+-@"))
def test_text_that_a_spreadsheet_would_run_is_neutralised(start: str) -> None:
    assert safe_text(f" {start}1+1") == f"'{start}1+1"
    assert safe_text(f"\t{start}1+1") == f"'{start}1+1"
    assert safe_text("a" + start) == "a" + start


def test_hostile_text_reaches_no_csv_cell_as_a_formula(hostile: Board) -> None:
    for text in (leaderboard_csv(hostile), summary_csv(hostile)):
        for row in table(text):
            assert not [value for value in row.values() if value.startswith(("=", "+", "@")) or "\x1b" in value]
    assert "'@SUM(A1)" in leaderboard_csv(hostile)


def test_negative_number_stays_a_number() -> None:
    assert (six(-0.25), six(-1e-9), six(None)) == ("-0.250000", "0.000000", "")


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.9734, ".973"), (1.0, "1.000"), (-0.1, "-.100"), (-0.0001, ".000"), (0.9999, "1.000"), (None, DASH)],
)
def test_decimals_look_as_in_papers(value: float | None, shown: str) -> None:
    assert decimal(value) == shown


def test_clean_drops_what_steers_a_terminal_or_hides_text() -> None:
    assert clean("a\x1b[31mb\u202ec\nd\x9be") == "a [31mb c d e"
    assert len(clean("x" * 900)) == 500


def test_markdown_is_inert_and_complete(hostile: Board) -> None:
    text = board_markdown(hostile)
    assert "<script" not in text and "\x1b" not in text
    assert "](javascript" not in text.replace("\\]", "")
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert len(tables) == 14
    for rows in tables:
        assert len({line.replace("\\|", "").count("|") for line in rows.splitlines()}) == 1
    for heading in ("## phantom: measured", "### AUPRO", "## Departures", "## Cells without a result", "## Costs"):
        assert heading in text


def test_markdown_escapes_links_and_mentions() -> None:
    assert escape("http://a.b @you #1 `x`") == "http:&#47;&#47;a.b \\@you \\#1 \\`x\\`"


def test_table_of_many_methods_fits_100_columns(board: Board) -> None:
    text = printed(board)
    assert max(len(line) for line in text.splitlines()) <= 100
    assert "Pixel AUROC on phantom" in text and "Image AUROC on phantom" in text
    assert "Brightness" in text and "(control)" in text
    assert "3 methods beat the better of brain mask and brightness on at least one of 7 subsets" in " ".join(
        text.split()
    )
    assert "2 methods depart from their publications in 2 points" in text
    assert "1 cell without a result" in text


def test_table_of_one_method_lists_subsets_with_counts(board: Board) -> None:
    text = printed(board, method="anyad")
    assert max(len(line) for line in text.splitlines()) <= 100
    (row,) = [line for line in text.splitlines() if line.split()[:1] == ["F+T2"]]
    assert row.split()[1:5] == ["8", "80", "52", "%"] and len(row.split()) == 12
    assert "INPFormer" not in text


def test_piped_table_is_plain(board: Board, capsys: pytest.CaptureFixture[str]) -> None:
    print_board(board)
    shown = capsys.readouterr().out
    assert "\x1b" not in shown and "AnyAD" in shown


def test_hostile_title_reaches_the_terminal_as_text(hostile: Board) -> None:
    stream = io.StringIO()
    print_board(hostile, console=Console(file=stream, width=100, force_terminal=True, color_system=None))
    assert "\x1b[31m" not in stream.getvalue() and "\u202e" not in stream.getvalue()


def test_markup_in_a_title_is_not_read(tmp_path: Path) -> None:
    write_cell(tmp_path / "cells", FakeMethod("m", "[red]Red[/red]", maps=False), 0)
    assert "[red]Red[/red]" in printed(load_boards(tmp_path)[0])


def test_missing_number_is_a_dash_with_its_reason(tmp_path: Path) -> None:
    def no_lesion(name: str) -> None:
        cell = write_cell(tmp_path / "cells", FakeMethod(name, name.title(), maps=False), 0)
        text = (cell / "result.json").read_text()
        text = re.sub(r'"aupro": 0\.\d+', '"aupro": null', text, count=1)
        text = text.replace('"n_slices"', '"reasons": {"aupro": "No lesion here."}, "n_slices"', 1)
        (cell / "result.json").write_text(text)

    no_lesion("one")
    text = printed(load_boards(tmp_path)[0])
    assert DASH in text and "F: No lesion here." in text and "nan" not in text.lower()
    assert "No lesion here." in board_markdown(load_boards(tmp_path)[0])


def test_fifteen_subsets_are_printed_as_rows(tmp_path: Path) -> None:
    changes = {"protocol.subsets": [format_subset(subset) for subset in all_subsets(COMMON)]}
    for method in DEFAULT_METHODS:
        write_cell(tmp_path / "cells", FakeMethod(method.name, method.title, maps=False, changes=changes), 0)
    text = printed(load_boards(tmp_path)[0])
    assert max(len(line) for line in text.splitlines()) <= 100
    assert any(line.split()[:1] == ["F+T1ce"] and line.count(DASH) == 3 for line in text.splitlines())


def test_build_writes_four_files_and_leaves_nothing_else(runs: Path, tmp_path: Path) -> None:
    (one,) = build_boards(runs, tmp_path / "new/out")
    assert sorted(path.name for path in one.folder.iterdir()) == [
        "leaderboard.csv", "leaderboard.md", "report.html", "summary.csv",
    ]  # fmt: skip
    assert one.folder == tmp_path / "new/out/phantom-7subsets"
    assert one.report.name == "report.html" and one.leaderboard.name == "leaderboard.csv"


def test_build_twice_gives_the_same_bytes(runs: Path, tmp_path: Path) -> None:
    (one,) = build_boards(runs, tmp_path)
    before = {path.name: path.read_bytes() for path in one.folder.iterdir()}
    build_boards(runs, tmp_path)
    assert {path.name: path.read_bytes() for path in one.folder.iterdir()} == before


def test_folder_that_cannot_be_written_is_a_user_error(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="give --out a folder that you may write to"):
        build_boards(runs, tmp_path / "file")


def test_no_result_is_a_user_error_with_the_first_problem(tmp_path: Path) -> None:
    write_head(tmp_path / "cells/x", "failed", "dae", 0, error="RuntimeError: no memory")
    with pytest.raises(UserError, match=r"has no finished result.*dae failed: RuntimeError: no memory"):
        load_boards(tmp_path)


def test_unknown_protocol_is_a_user_error_with_a_suggestion(runs: Path) -> None:
    with pytest.raises(UserError, match="Did you mean 'phantom-7subsets'"):
        load_boards(runs, "phantom-7subset")


def test_command_prints_tables_and_paths(runs: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(leaderboard, ["build", "--runs", str(runs), "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "Pixel AP on phantom" in result.output
    assert f"Report: {tmp_path}/phantom-7subsets/report.html" in result.output


def test_command_gives_json(runs: Path, tmp_path: Path) -> None:
    import json

    result = CliRunner().invoke(leaderboard, ["build", "--runs", str(runs), "--out", str(tmp_path), "--json"])
    (one,) = json.loads(result.output)
    assert one["protocol"] == "phantom-7subsets" and Path(one["summary"]).is_file()


def test_boards_need_no_torch(runs: Path, tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys, pathlib; from anyadbench.boards import build_boards; "
        f"build_boards(pathlib.Path({str(runs)!r}), pathlib.Path({str(tmp_path)!r})); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'pandas', 'matplotlib')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
