"""A cell whose protocol matches histograms: its standard scale is stored, and prediction uses it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cell_fixture import change_json
from inprocess import Done, run
from tiny import TINY_PROTOCOL

from anyadbench import load
from anyadbench.engine.protocol_data import ProtocolData
from anyadbench.errors import UserError
from anyadbench.files import read_json
from anyadbench.predict.card import card_markdown
from anyadbench.predict.cell import read_cell
from anyadbench.results.cellfiles import read_slice_table


@pytest.fixture(scope="module")
def done(tiny_phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder = tmp_path_factory.mktemp("harmonised")
    protocol = folder / "matched.toml"
    protocol.write_text(TINY_PROTOCOL.replace("[slices]", '[intensity]\nharmonise = "histogram"\n[slices]'))
    return run(protocol, {"phantom": tiny_phantom}, folder / "runs")[0]


def test_fit_and_cell_store_the_standard_scale(done: Done) -> None:
    cell = read_cell(done.folder)
    own = ProtocolData.from_paths(cell.protocol, done.job.stores, done.job.seed).standard
    assert set(own) == {"flair", "t1", "t2"} and cell.standard == own
    stored = read_json(done.job.fit.final / "manifest.json")["data"]["standard_scale"]
    assert {name: tuple(heights) for name, heights in stored.items()} == own
    assert "Intensity: volume, histogram." in card_markdown(cell)


def test_prediction_gives_the_scores_of_the_benchmark(done: Done, tiny_phantom: Path) -> None:
    table = read_slice_table(done.folder)[("phantom", "T2")]
    scan = str(table[0]["scan"])
    found = load(done.folder).predict({"t2": next(tiny_phantom.rglob(f"{scan}_t2.nii.gz"))})
    scores = {item.slice: item.score for item in found.slices}
    rows = [row for row in table if row["scan"] == scan]
    assert rows and [scores[int(row["slice"])] for row in rows] == pytest.approx(
        [float(row["image_score"]) for row in rows], rel=1e-5
    )


def test_a_cell_without_its_scale_is_one_sentence(done: Done, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(done.folder, tmp_path / done.folder.name))
    shutil.copy(done.job.fit.final / "weights.safetensors", copy)
    change_json(copy / "manifest.json", lambda data: data["input"].pop("standard_scale"))
    with pytest.raises(
        UserError, match=r"matches histograms, but its manifest.json has no standard scale .*; copy the"
    ):
        read_cell(copy)
