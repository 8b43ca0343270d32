"""Comparing two methods on the same subjects."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from boards_fixture import SUBSETS, FakeMethod, write_cell
from cell_fixture import change_json

from anyadbench.boards.aggregate.compare import MEAN, compare
from anyadbench.errors import UserError
from anyadbench.metrics.rows.replicates import from_arrays, to_arrays
from anyadbench.results.arrays import load_arrays, save_arrays


def method(name: str, skill: float, seeds: tuple[int, ...] = (0,), replicates: bool = True) -> FakeMethod:
    return FakeMethod(name, name.title(), skill, seeds, maps=False, budget="paper", replicates=replicates)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compare")
    for one in (method("good", 2.6, (0, 1)), method("poor", 1.0), method("old", 2.0, replicates=False)):
        for seed in one.seeds:
            write_cell(folder / "cells", one, seed)
    return folder


def test_each_subset_and_their_mean_are_compared_with_holm(runs: Path) -> None:
    _, (first, second), rows = compare(runs, ("good", "poor"), metrics=["pixel_ap"])
    assert (first.label, second.label) == ("Good", "Poor")
    assert [row.subset for row in rows] == [*SUBSETS, MEAN]
    for row in rows:
        assert row.effect == pytest.approx(row.first - row.second)
        if row.n < 8:
            assert row.p_value is row.low is row.needed is None
            assert row.reason == f"No p-value: {row.n} test subjects, and a test needs 8."
            continue
        assert row.low is not None and row.high is not None and row.low < row.effect < row.high
        assert row.p_value is not None and row.p_holm is not None and row.needed is not None
        assert row.p_value <= row.p_holm <= 1 and row.claim == "models"
    tested = [row for row in rows if row.p_value is not None]
    smallest = min(tested, key=lambda row: row.p_value or 1)
    assert smallest.p_holm == pytest.approx(len(tested) * (smallest.p_value or 0))
    assert rows[-1].effect == pytest.approx(sum(row.effect for row in rows[:-1]) / 7)


def test_the_mean_leaves_out_a_subset_that_no_scan_can_serve(tmp_path: Path) -> None:
    """The mean of a comparison is over the subsets of the board's mean."""
    for one in (method("good", 2.6), method("poor", 1.0)):
        cell = write_cell(tmp_path / "cells", one, 0)

        def edit(data: dict[str, Any]) -> None:
            row = next(row for row in data["rows"] if row["subset"] == "T1")
            row |= {name: 0 for name in row if name.startswith("n_")}
            row |= {"metrics": dict.fromkeys(row["metrics"]), "reasons": {"row": "No scan has T1."}, "intervals": {}}

        change_json(cell / "result.json", edit)
        path = cell / "scores/jackknife.npz"
        kept = {place: row for place, row in from_arrays(load_arrays(path, path.name)).items() if place[1] != "T1"}
        save_arrays(path, to_arrays(kept))
    board, (first, second), rows = compare(tmp_path, ("good", "poor"), metrics=["pixel_ap"])
    assert [row.subset for row in rows] == [*(subset for subset in SUBSETS if subset != "T1"), MEAN]
    means = [board.summary(one.key, "phantom", "pixel_ap") for one in (first, second)]
    assert [rows[-1].first, rows[-1].second] == pytest.approx([item.mean for item in means if item is not None])


def test_the_other_way_round_is_the_negative(runs: Path) -> None:
    there, back = (compare(runs, names)[2] for names in (("good", "poor"), ("poor", "good")))
    assert [row.effect for row in there] == [-row.effect for row in back]


def test_pairing_is_sharper_than_two_intervals(runs: Path) -> None:
    board, (first, _), rows = compare(runs, ("good", "poor"), metrics=["pixel_ap"])
    line = board.line(first.key, "phantom", "F")
    assert line is not None
    alone = line.metrics["pixel_ap"]
    assert alone.high is not None and alone.low is not None
    assert rows[0].high is not None and rows[0].low is not None
    assert rows[0].high - rows[0].low < alone.high - alone.low


def test_cells_without_values_by_subject_give_the_effect_alone(runs: Path) -> None:
    rows = compare(runs, ("good", "old"), metrics=["aupro"])[2]
    assert [row.subset for row in rows] == list(SUBSETS)
    assert all(row.low is None and row.p_value is None and row.p_holm is None for row in rows)
    assert {row.reason for row in rows} == {"No test: there are no values without each subject."}


def test_mistakes_are_sentences(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no result of 'god'. Did you mean 'good'"):
        compare(runs, ("god", "poor"))
    with pytest.raises(UserError, match="are the same variant, Good"):
        compare(runs, ("good", "Good"))
    with pytest.raises(UserError, match="Unknown metric 'auproo'. Did you mean 'aupro'"):
        compare(runs, ("good", "poor"), metrics=["auproo"])
    for name, protocol in (("a", "one"), ("a", "two"), ("b", "one"), ("b", "two"), ("c", "three")):
        write_cell(tmp_path / "cells", method(name, 2), 0, protocol=protocol)
    with pytest.raises(UserError, match="have results of one, two; choose one with --protocol"):
        compare(tmp_path, ("a", "b"))
    with pytest.raises(UserError, match="No protocol has results of both 'a' and 'c'"):
        compare(tmp_path, ("a", "c"))


def test_a_method_that_was_run_in_two_ways_needs_its_key(tmp_path: Path) -> None:
    write_cell(tmp_path / "cells", method("a", 2), 0)
    write_cell(
        tmp_path / "cells", FakeMethod("a", "A", maps=False, replicates=True, changes={"method.missing": "black"}), 1
    )
    write_cell(tmp_path / "cells", method("b", 2), 0)
    with pytest.raises(UserError, match="'a' was run in several ways: .*Give the beginning of a key") as caught:
        compare(tmp_path, ("a", "b"))
    key = str(caught.value).split("several ways: ")[1][:6]
    assert compare(tmp_path, (key, "b"))[1][0].key.startswith(key)


def test_other_slices_are_refused(tmp_path: Path) -> None:
    write_cell(tmp_path / "cells", method("a", 2), 0)
    cell = write_cell(tmp_path / "cells", method("b", 2), 0)
    table = cell / "scores/slices.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], *lines[2:]]) + "\n")
    with pytest.raises(UserError, match="were scored on different slices of phantom, F"):
        compare(tmp_path, ("a", "b"))


def test_the_command_prints_tables_or_json(runs: Path) -> None:
    command = [sys.executable, "-m", "anyadbench", "compare", "good", "poor", "--runs", str(runs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Good minus Poor, phantom-7subsets" in done.stdout and "\x1b" not in done.stdout
    assert "mean of the subsets" in done.stdout and "subj. needed" in done.stdout
    assert "A method has one seed: the test is about these trained models" in done.stdout
    assert "-: No p-value: 6 test subjects, and a test needs 8." in done.stdout
    rows = json.loads(subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout)["rows"]
    assert len(rows) == 8 * 9
