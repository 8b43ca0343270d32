"""Model cards."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cell_fixture import change_json

from anyadbench.metrics.scans.alarm_numbers import alarm_numbers
from anyadbench.metrics.scans.whole_scans import SubjectScore
from anyadbench.predict.card import card_markdown
from anyadbench.predict.cell import read_cell
from anyadbench.results import Alarms


@pytest.fixture(scope="module")
def card(trained_cells: dict[str, Path]) -> str:
    return card_markdown(read_cell(trained_cells["anyad"]))


def test_a_card_has_every_section(card: str) -> None:
    assert re.findall(r"^#+ (.*)$", card, re.MULTILINE) == [
        "AnyAD + teacher (this project) on Tiny phantom", "Data", "Protocol", "Training", "Metrics",
        "Inside the brain", "By lesion area", "Reference ranges", "Limits", "Use", "Provenance",
    ]  # fmt: skip
    assert "**Research use; not a medical device.**" in card


@pytest.mark.parametrize(
    ("selection", "kind", "said"),
    [
        ("last", "random", "The state after the last step is tested; nothing is selected on test data."),
        ("validation", "random", "The state that scores validation normals lowest is tested; nothing is selected on"),
        ("last", "checkpoint", "The authors' published network is tested, and nothing was trained; nothing is"),
    ],
)
def test_a_card_says_which_state_is_tested(
    selection: str, kind: str, said: str, trained_cells: dict[str, Path]
) -> None:
    cell = read_cell(trained_cells["anyad"])
    weights = cell.result.weights.model_copy(update={"kind": kind})
    result = cell.result.model_copy(update={"weights": weights})
    changed = replace(cell, protocol=replace(cell.protocol, selection=selection), result=result)
    assert said in card_markdown(changed)


def test_a_card_has_a_line_per_row_with_its_numbers(card: str, trained_cells: dict[str, Path]) -> None:
    result = read_cell(trained_cells["anyad"]).result
    for row in result.rows:
        assert (
            f"| phantom | {row.subset} | {row.n_subjects} | {row.n_slices} | {row.metrics['image_auroc']:.3f}" in card
        )
    assert result.cell_id in card


def test_a_card_lists_the_limits_of_its_numbers(card: str) -> None:
    for sentence in (
        "Some rows rest on 2 test subjects.",
        "The pretrained network was replaced by random numbers",
        "Trained with the budget tiny",
        "No interval: 2 test subjects",
        "Departs from its publication:",
    ):
        assert sentence in card


def test_a_card_names_the_subsets_without_a_threshold(trained_cells: dict[str, Path], monkeypatch: Any) -> None:
    cell = read_cell(trained_cells["anyad"])
    assert cell.normals is not None and "No threshold" not in card_markdown(cell)
    monkeypatch.delitem(cell.normals.subsets, "F+T1")
    assert "No threshold, hence no mask, for: F+T1." in card_markdown(cell)


def test_a_card_names_the_rows_below_chance(cell_copy: Path) -> None:
    change_json(cell_copy / "result.json", lambda result: result["rows"][0]["metrics"].update(pixel_auroc=0.4))
    row = read_cell(cell_copy).rows[0]
    (line,) = (line for line in card_markdown(read_cell(cell_copy)).splitlines() if "Below chance" in line)
    assert row.subset in line


def test_intervals_follow_numbers_and_texts_cannot_become_markup(cell_copy: Path) -> None:
    def edit(result: dict[str, Any]) -> None:
        result["rows"][0]["intervals"] = {"pixel_auroc": [0.1234, 0.5678]}
        result["method"]["citation"] = "<script>|# *x*"

    change_json(cell_copy / "result.json", edit)
    text = card_markdown(read_cell(cell_copy))
    assert "[0.123, 0.568]" in text
    assert r"\<script\>\|\# \*x\*" in text


def test_the_command_writes_a_file_and_needs_no_torch(trained_cells: dict[str, Path], tmp_path: Path) -> None:
    code = (
        "import sys\nfrom anyadbench.cli import cli\n"
        "cli.main(sys.argv[1:], standalone_mode=False)\nassert 'torch' not in sys.modules"
    )
    out = tmp_path / "new" / "CARD.md"
    command = [sys.executable, "-c", code, "card", "--cell", str(trained_cells["pixelstats"]), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert out.read_text() == card_markdown(read_cell(trained_cells["pixelstats"]))


def test_a_card_has_the_metrics_inside_the_brain_and_by_lesion_area(card: str, trained_cells: dict[str, Path]) -> None:
    row = read_cell(trained_cells["anyad"]).rows[0]
    inside, areas = (
        card.partition(f"## {name}\n")[2].partition("\n## ")[0] for name in ("Inside the brain", "By lesion area")
    )
    assert f"| {row.test} | {row.subset} | {row.metrics['brain_auroc']:.3f}" in inside
    first = row.sizes[0]
    assert f"| {row.test} | {row.subset} | {first.low} to {(first.high or 0) - 1} | {first.n} |" in areas


def test_a_card_draws_the_losses(card: str) -> None:
    section = card.partition("## Training\n")[2].partition("\n## ")[0]
    assert "Losses over 3 steps" in section
    assert re.search(r"^\* \S.* [▁█]+ [\d.e-]+ to [\d.e-]+$", section, re.MULTILINE)


def test_a_card_has_the_reference_range_of_every_subset(card: str, trained_cells: dict[str, Path]) -> None:
    section = card.partition("## Reference ranges\n")[2].partition("\n## ")[0]
    normals = read_cell(trained_cells["anyad"]).normals
    assert normals is not None and normals.subsets
    for label, own in normals.subsets.items():
        pattern = rf"^\| {re.escape(label)} \| \d+ slices of 1 subject \| {own.threshold:.4g} \| [\d.]+% to [\d.]+% \|"
        assert re.search(pattern, section, re.MULTILINE)
    assert "Normals are the validation normals of the cell's data set" in section


def test_a_card_of_an_older_cell_says_that_it_has_no_reference(cell_copy: Path) -> None:
    (cell_copy / "scores" / "normals.npz").unlink()
    text = card_markdown(read_cell(cell_copy))
    assert "The cell was run before thresholds were taken inside the brain: prediction writes no mask" in text
    assert "No threshold, hence no mask" not in text


def test_whole_scans_and_alarms_have_their_sections(volume_cell: Path) -> None:
    cell = read_cell(volume_cell)
    text = card_markdown(cell)
    row = next(row for row in cell.rows if row.subset == "F")
    assert row.scans is not None and row.scans.metrics["dice_best"] is not None
    assert "## Whole scans" in text and row.scans.rule in text and f"{row.scans.metrics['dice_best']:.3f}" in text
    assert "## Alarms of healthy subjects" not in text
    people = [SubjectScore("", "F", "val", f"v{i}", True, float(i)) for i in range(20)]
    people += [SubjectScore("phantom", "F", "test", f"t{i}", True, 90.0 + i) for i in range(8)]
    alarms = [Alarms(**one) for one in alarm_numbers(people, "phantom", "F")]
    rows = [row.model_copy(update={"alarms": alarms}) if row.subset == "F" else row for row in cell.rows]
    changed = replace(cell, result=cell.result.model_copy(update={"rows": rows}))
    said = card_markdown(changed)
    assert "phantom, F: at most 5 % of healthy subjects alarm: 8 of 8 did, 1.000 [0.631, 1.000]; the promise is" in said
    assert "at most 1 % of healthy subjects alarm: no promise. At most 1 % alarms can be promised from 99" in said
