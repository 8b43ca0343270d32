"""What the source of normals changes, as a paired comparison across two protocols."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from boards_fixture import SUBSETS, FakeMethod, write_cell

from anyadbench.boards.aggregate.compare import MEAN
from anyadbench.boards.aggregate.load import load_boards
from anyadbench.boards.aggregate.paired.normals import Gap, compare_normals
from anyadbench.boards.render.verdicts import verdicts
from anyadbench.cli import main
from anyadbench.errors import UserError

HEALTHY = {"protocol.normals": "healthy"}
GOOD = FakeMethod("good", "Good", 2.6, maps=False, budget="paper", replicates=True)


def write(runs: Path, method: FakeMethod, protocol: str, **more: int) -> None:
    for seed in (0, 1):
        write_cell(runs / "cells", method, seed, protocol=protocol, **more)


def call(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    return int(caught.value.code or 0)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("normals")
    write(folder, GOOD, "phantom-7subsets", subjects=12)
    # The fake scores depend on the name alone: what differs here is the skill.
    write(folder, replace(GOOD, skill=1.8, changes=HEALTHY), "phantom-healthy", subjects=12)
    write(folder, replace(GOOD, name="lone", title="Lone"), "phantom-7subsets", subjects=12)
    return folder


@pytest.fixture(scope="module")
def gap(runs: Path) -> Gap:
    (found,) = compare_normals(runs, "good", metrics=["pixel_ap"])
    return found


def test_both_rows_of_a_method_stand_side_by_side(runs: Path, gap: Gap) -> None:
    assert (gap.method, gap.healthy, gap.lesion_free) == ("Good", "phantom-healthy", "phantom-7subsets")
    assert [row.subset for row in gap.rows] == [*SUBSETS, MEAN]
    boards = {board.slug: board for board in load_boards(runs)}
    for row in gap.rows[:-1]:
        for slug, value in ((gap.healthy, row.first), (gap.lesion_free, row.second)):
            (variant,) = [v for v in boards[slug].variants if v.method.name == "good"]
            line = boards[slug].line(variant.key, row.test, row.subset)
            assert line is not None and line.value("pixel_ap") == value
        assert row.effect == row.first - row.second < 0


def test_the_interval_is_paired_and_has_the_noise_of_seeds(gap: Gap) -> None:
    whole = [row for row in gap.rows if row.n == 12]
    assert len(whole) == 4  # F, T2, F+T2 and the mean
    for row in whole:
        assert row.low is not None and row.high is not None and row.low < row.effect < row.high
        assert row.claim == "methods" and row.p_holm is not None
    assert not gap.remarks


def test_a_board_says_that_it_was_trained_on_healthy_subjects(runs: Path) -> None:
    said = {board.slug: verdicts(board) for board in load_boards(runs)}
    # What a board decides on the controls comes first.
    assert "control" in said["phantom-healthy"][0]
    assert said["phantom-healthy"][1].startswith("Every method trained here was trained on healthy subjects")
    assert not any("healthy" in text for text in said["phantom-7subsets"])
    flags = {board.slug: {flag for variant in board.variants for flag in variant.flags} for board in load_boards(runs)}
    assert "healthy normals" in flags["phantom-healthy"] and "healthy normals" not in flags["phantom-7subsets"]


def test_rows_of_other_slices_or_other_parameters_are_not_compared(tmp_path: Path) -> None:
    write(tmp_path, replace(GOOD, changes=HEALTHY), "phantom-healthy", subjects=12)
    write(tmp_path, GOOD, "elsewhere", subjects=9)
    with pytest.raises(
        UserError, match=r"\(phantom-healthy, elsewhere\) have no row with the same test slices; run it"
    ):
        compare_normals(tmp_path, "good")
    write(tmp_path, replace(GOOD, changes={"method.params.steps": 7}), "phantom-7subsets", subjects=12)
    with pytest.raises(UserError, match="with the same parameters"):
        compare_normals(tmp_path, "good")
    write(tmp_path, replace(GOOD, changes={"numerics.tf32": True}), "phantom-15subsets", subjects=12)
    with pytest.raises(UserError, match="with the same parameters"):
        compare_normals(tmp_path, "good")


def test_other_sequences_or_another_scale_in_training_are_remarks(tmp_path: Path) -> None:
    fewer = {**HEALTHY, "protocol.sequences": ["flair", "t1"], "protocol.subsets": ["F", "T1", "F+T1"]}
    write(tmp_path, replace(GOOD, changes=fewer), "two-healthy", subjects=12)
    write(tmp_path, GOOD, "phantom-7subsets", subjects=12)
    for folder in (tmp_path / "cells").iterdir():
        rules = {"mode": "volume"} | ({"harmonise": "zscore"} if "healthy" in folder.name else {})
        (folder / "manifest.json").write_text(json.dumps({"protocol": {"intensity": rules}}))
    (found,) = compare_normals(tmp_path, "good", metrics=["aupro"])
    assert found.remarks == (
        "The training differs in its sequences as well: F+T1 in two-healthy, F+T1+T2 in phantom-7subsets.",
        "The intensity scale differs as well: volume, zscore with healthy normals, volume with patients.",
    )


@pytest.mark.parametrize(
    ("name", "protocol", "metrics", "message"),
    [
        ("goood", None, [], "There is no result of 'goood'. Did you mean 'good'"),
        ("lone", None, [], "has no result of 'lone' on a protocol with healthy normals; run it on two protocols"),
        ("good", "phantom-7subsets", [], "on a protocol 'phantom-7subsets' with healthy normals"),
        ("good", None, ["pixel"], "Unknown metric 'pixel'"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(
    runs: Path, name: str, protocol: str | None, metrics: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        compare_normals(runs, name, protocol, metrics)


def test_the_command_prints_a_table_and_json(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["compare", "good", "--normals", "--runs", str(runs), "--metric", "pixel_ap"]) == 0
    said = capsys.readouterr().out
    assert "Good: healthy subjects (phantom-healthy) minus patients (phantom-7subsets)" in said
    assert "Pixel AP on phantom" in said and "mean of the subsets" in said
    assert call(["compare", "good", "--normals", "--runs", str(runs), "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert entry["lesion_free"] == "phantom-7subsets" and len(entry["rows"]) > 8


@pytest.mark.parametrize("arguments", [["good"], ["good", "lone", "--normals"]])
def test_one_method_needs_the_option_and_two_exclude_it(
    arguments: list[str], runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["compare", *arguments, "--runs", str(runs)]) == 2
    assert "Give two methods to compare, or one method with --normals." in capsys.readouterr().err
