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

from anyadbench.predict.card import card_markdown
from anyadbench.predict.cell import read_cell


@pytest.fixture(scope="module")
def card(trained_cells: dict[str, Path]) -> str:
    return card_markdown(read_cell(trained_cells["anyad"]))


def test_a_card_has_every_section(card: str) -> None:
    assert re.findall(r"^#+ (.*)$", card, re.MULTILINE) == [
        "AnyAD + teacher (this project) on Tiny phantom", "Data", "Protocol", "Training", "Metrics", "Reference ranges",
        "Limits", "Use", "Provenance",
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
        "Below chance",
        "No threshold, hence no mask, for:",
        "The pretrained network was replaced by random numbers",
        "Trained with the budget tiny",
        "No interval: 2 test subjects",
        "Departs from its publication:",
    ):
        assert sentence in card


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


def test_a_card_draws_the_losses(card: str) -> None:
    section = card.partition("## Training\n")[2].partition("\n## ")[0]
    assert "Losses over 3 steps" in section
    assert re.search(r"^\* \S.* [▁█]+ [\d.e-]+ to [\d.e-]+$", section, re.MULTILINE)


def test_a_card_has_the_reference_range_of_every_subset(card: str, trained_cells: dict[str, Path]) -> None:
    section = card.partition("## Reference ranges\n")[2].partition("\n## ")[0]
    normals = read_cell(trained_cells["anyad"]).normals
    assert normals is not None and normals.subsets
    for label, own in normals.subsets.items():
        pattern = rf"^\| {re.escape(label)} \| 12 slices of 1 subjects \| {own.threshold:.4g} \| [\d.]+% to [\d.]+% \|"
        assert re.search(pattern, section, re.MULTILINE)
    assert "Normals are the lesion-free validation subjects of the cell's data set" in section


def test_a_card_of_an_older_cell_says_that_it_has_no_reference(cell_copy: Path) -> None:
    (cell_copy / "scores" / "normals.npz").unlink()
    text = card_markdown(read_cell(cell_copy))
    assert "The cell was run before thresholds were taken inside the brain: prediction writes no mask" in text
    assert "No threshold, hence no mask" not in text
