from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from boards_fixture import FakeMethod, write_cell, write_head
from cell_fixture import change_json

from anyadbench.errors import UserError
from anyadbench.results import read
from anyadbench.results.read import read_cells
from anyadbench.results.schema import SCHEMA_VERSION


@pytest.fixture
def cell(tmp_path: Path) -> Path:
    return write_cell(tmp_path / "cells", FakeMethod("anyad", "AnyAD", maps=False), 0)


def only(folder: Path) -> read.CellRecord:
    (record,) = read_cells(folder.parent.parent)
    return record


def test_finished_cell_is_read_with_its_result(cell: Path) -> None:
    record = only(cell)
    assert (record.state, record.method, record.seed, record.problem) == ("done", "anyad", 0, None)
    assert record.result is not None and len(record.result.rows) == 7


def test_folder_without_cells_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no folder 'cells'"):
        read_cells(tmp_path)


def test_failed_cell_keeps_error_and_log(tmp_path: Path) -> None:
    write_head(tmp_path / "cells/x", "failed", "dae", 3, error="ValueError: no", log_tail=["one", 2, "three"])
    (record,) = read_cells(tmp_path)
    assert (record.state, record.seed, record.error) == ("failed", 3, "ValueError: no")
    assert record.log_tail == ("one", "", "three")
    assert record.problem is None


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is not JSON, or is cut short"),
        (b'{"schema_version": 1, "rows": [', "is not JSON, or is cut short"),
        (b"\xff\xfe\x00", "is not JSON, or is cut short"),
        (b"[" * 100_000, "is not JSON, or is cut short"),
        (b"[]", "does not hold a JSON object"),
        (b"{}", "does not fit the schema"),
        (b'{"schema_version": true}', "has no valid schema_version"),
    ],
)
def test_damaged_result_becomes_a_problem(cell: Path, content: bytes, sentence: str) -> None:
    (cell / "result.json").write_bytes(content)
    record = only(cell)
    assert record.result is None
    assert sentence in str(record.problem)


def test_nan_in_a_result_is_refused(cell: Path) -> None:
    change_json(cell / "result.json", lambda data: data["rows"][0]["metrics"].update(aupro=float("nan")))
    assert "rows.0.metrics.aupro" in str(only(cell).problem)


def test_problem_does_not_repeat_the_content_of_the_file(cell: Path) -> None:
    change_json(cell / "result.json", lambda data: data.update(seed="secret words"))
    assert "secret words" not in str(only(cell).problem)


def test_missing_result_of_a_finished_cell_is_a_problem(cell: Path) -> None:
    (cell / "result.json").unlink()
    assert "result.json is missing" in str(only(cell).problem)


def test_newer_schema_version_asks_for_an_update(cell: Path) -> None:
    change_json(cell / "result.json", lambda data: data.update(schema_version=SCHEMA_VERSION + 1))
    assert "update anyadbench" in str(only(cell).problem)


def test_earlier_versions_go_through_every_migration(cell: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rename(data: dict[str, object]) -> dict[str, object]:
        return {("seed" if name == "run_seed" else name): value for name, value in data.items()}

    monkeypatch.setattr(read, "SCHEMA_VERSION", 2)
    monkeypatch.setattr(read, "MIGRATIONS", {1: rename})
    data = json.loads((cell / "result.json").read_text())
    data["schema_version"], data["run_seed"] = 1, data.pop("seed")
    assert read.load_result(data, "old").seed == 0


def test_version_2_held_one_number_under_two_names(cell: Path) -> None:
    data = json.loads((cell / "result.json").read_text())
    data["schema_version"] = 2
    for row in data["rows"]:
        row["metrics"]["dice"], row["intervals"]["dice"] = row["metrics"]["pixel_f1"], row["intervals"]["pixel_f1"]
    assert all("dice" not in row.metrics and "dice" not in row.intervals for row in read.load_result(data, "old").rows)
    data["rows"][0]["metrics"]["dice"] = 0.123
    assert read.load_result(data, "old").rows[0].metrics["dice"] == 0.123  # the check of a submission names it


@pytest.mark.parametrize("rows", ["text", [1], {"a": 1}, None])
def test_version_2_with_damaged_rows_is_refused(cell: Path, rows: object) -> None:
    data = json.loads((cell / "result.json").read_text()) | {"schema_version": 2, "rows": rows}
    with pytest.raises(UserError, match="does not fit the schema at rows"):
        read.load_result(data, "old")


def test_disagreement_between_the_two_files_is_a_problem(cell: Path) -> None:
    change_json(cell / "cell.json", lambda head: head.update(seed=5))
    assert "disagree about seed" in str(only(cell).problem)


@pytest.mark.parametrize("content", [b"", b"{}", b'{"state": "dancing"}', b"[]", b'{"state": ["done"]}'])
def test_damaged_cell_file_is_unreadable(cell: Path, content: bytes) -> None:
    (cell / "cell.json").write_bytes(content)
    record = only(cell)
    assert record.state == "unreadable" and record.problem is not None


def test_link_out_of_the_cell_is_not_followed(cell: Path, tmp_path: Path) -> None:
    outside = tmp_path / "elsewhere.json"
    os.replace(cell / "result.json", outside)
    (cell / "result.json").symlink_to(outside)
    assert "is missing or a link" in str(only(cell).problem)


def test_linked_folder_is_not_followed(cell: Path, tmp_path: Path) -> None:
    away = tmp_path / "away"
    os.replace(cell, away)
    cell.symlink_to(away, target_is_directory=True)
    assert "is a link out of cells" in str(only(cell).problem)


def test_huge_file_is_refused(cell: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "MAX_JSON_BYTES", 1000)
    (cell / "result.json").write_bytes(b" " * 1001)
    assert "is larger than" in str(only(cell).problem)


def test_unfinished_writes_and_stray_files_are_left_out(cell: Path) -> None:
    (cell.parent / ".tmp-cell").mkdir()
    (cell.parent / "other.partial").mkdir()
    (cell.parent / "notes.txt").write_text("x")
    assert len(read_cells(cell.parent.parent)) == 1


def test_cell_that_was_not_renamed_is_not_done(cell: Path) -> None:
    os.replace(cell, cell.with_name("x.partial"))
    record = only(cell)
    assert (record.state, record.result, record.problem) == ("interrupted", None, None)


def test_plan_names_a_cell_that_its_state_does_not(tmp_path: Path) -> None:
    folder = tmp_path / "cells/x.partial"
    folder.mkdir(parents=True)
    (folder / "cell.json").write_text('{"state": "interrupted"}')
    (folder / "plan.json").write_text('{"method": "dae", "protocol": "p", "seed": 4}')
    (record,) = read_cells(tmp_path)
    assert (record.method, record.protocol, record.seed) == ("dae", "p", 4)
