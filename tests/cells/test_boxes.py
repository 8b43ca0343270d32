"""NOVA as a protocol's test set: trained on healthy people, tested on pictures whose lesions are marked by boxes."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cell_fixture import change_json, reseal
from inprocess import run
from trees import make_tree, save_png

from anyadbench.boards import build_boards
from anyadbench.boards.verify.cell import check_cell
from anyadbench.boards.verify.publish import publish_cells
from anyadbench.data.store.build import find_or_prepare
from anyadbench.data.trees.png import read_png
from anyadbench.engine.boxes.collect import boxes_on_grid
from anyadbench.engine.map_sample import MapSample
from anyadbench.engine.numerics import Policy
from anyadbench.engine.protocol_data import ProtocolData
from anyadbench.engine.reporter import Reporter
from anyadbench.engine.scoring import Evaluator
from anyadbench.external.scored_maps import ScoreRequest, score_maps
from anyadbench.methods.contract import Batch, Scores
from anyadbench.metrics.boxes.numbers import box_image, box_metrics
from anyadbench.protocols.reader import read_protocol
from anyadbench.protocols.registry import find_protocol
from anyadbench.results.box_file import FILE, read_boxes_of
from anyadbench.results.read import read_json

SIDE = 24


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("trees")
    nova = make_tree("nova", folder / "nova", range(11, 18), (2 * SIDE, 2 * SIDE, 10))
    for number, path in enumerate(sorted((nova / "images").iterdir())):
        picture = read_png(path).copy()
        picture[20:24, 20 + number : 26] = 255  # bright, near the first box of the table or far from it
        picture[5:9, 4 + number % 3 : 10] = 255 if number % 2 else 0
        save_png(path, picture)
    return {"ixi": make_tree("ixi", folder / "ixi", range(1, 7), (SIDE, SIDE, 10)), "nova": nova}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ixi-nova with slices of 24 x 24."""
    text = find_protocol("ixi-nova").file.read_text()
    text = text.replace("[256, 256]", f"[{SIDE}, {SIDE}]").replace('"published"', '"package"')
    path = tmp_path_factory.mktemp("protocol") / "ixi-nova.toml"
    path.write_text(text.replace('budget = "paper"', 'budget = "tiny"'))
    return path


def bright(batch: Batch) -> Scores:
    return Scores(batch.inputs.sum(1) / batch.shown.sum(1)[:, None, None])


@pytest.mark.parametrize("overlapped", [False, True])
def test_rows_have_the_numbers_of_plain_boxes(trees: dict[str, Path], file: Path, overlapped: bool) -> None:
    protocol = read_protocol(file)
    data = ProtocolData(protocol, {name: find_or_prepare(tree, name) for name, tree in trees.items()})
    data.check_apart()
    method: Any = SimpleNamespace(score=bright)
    evaluator = Evaluator(method, data, Policy(), Reporter(), MapSample("sample", protocol.sequences, ["T1", "T2"]))
    evaluator.overlapped = overlapped
    threshold = evaluator.thresholds()["T2"].value
    state = evaluator.run_test(protocol.tests[0])["T2"]
    store = data.stores["nova"]
    values, _ = data.reader("nova").read(np.arange(len(store)))
    assert store.boxes is not None and values.shape[2:] == (SIDE, SIDE) and state.emptied == 0
    expected = [
        box_image(values[row, 1], np.array(store.boxes[row]) / 2, threshold) for row in range(len(store))
    ]  # pictures of 48 x 48 shrink to 24 x 24
    found = [image for *_, image in state.boxes]
    assert sum(len(image.detections) for image in found) >= 7 and 0 < box_metrics(found)["ap30"] < 1
    assert [place[1] for place in state.boxes] == list(store.slices["scan"])
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours.boxes, theirs.boxes)
        assert ours.detections == theirs.detections and ours.hit == theirs.hit
    assert box_metrics(found) == box_metrics(expected)


@pytest.mark.parametrize(
    ("geometry", "grid", "box"),
    [
        ("", "", (4.0, 10.0, 8.0, 6.0)),
        ("resize = [20, 80]", "", (8.0, 5.0, 16.0, 3.0)),
        ("crop = [20, 30]", "", (-1.0, 0.0, 8.0, 6.0)),
        ("resize = [80, 80]\ncrop = [40, 60]", "", (-2.0, 0.0, 16.0, 12.0)),
        ("", "grid = [10, 20]", (2.0, 2.5, 4.0, 1.5)),
    ],
)
def test_boxes_move_with_their_slice(
    tmp_path: Path, file: Path, geometry: str, grid: str, box: tuple[float, ...]
) -> None:
    text = file.read_text().replace(f'resize = [{SIDE}, {SIDE}]\ncrop = "none"', geometry)
    path = tmp_path / "ixi-nova.toml"
    path.write_text(text.replace('grid = "native"', grid))
    given = np.array([[4.0, 10.0, 8.0, 6.0]])
    np.testing.assert_allclose(boxes_on_grid(given, (40, 40), read_protocol(path)), [box])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, trees: dict[str, Path], file: Path) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    run(file, trees, folder)
    return folder


@pytest.fixture
def cell(runs: Path, tmp_path: Path) -> Path:
    (found,) = (path for path in (runs / "cells").iterdir() if path.is_dir())
    return Path(shutil.copytree(found, tmp_path / "cells" / found.name))


def test_a_cell_holds_its_boxes_and_passes_the_check(cell: Path, tmp_path: Path) -> None:
    rows = read_json(cell, "result.json")["rows"]
    assert [row["subset"] for row in rows] == ["T1", "T2"]
    for row in rows:
        boxes = row["boxes"]
        assert (boxes["n_subjects"], boxes["n_images"], boxes["n_boxes"]) == (7, 7, 8)
        assert boxes["threshold"] == row["threshold"]["value"] and row["n_emptied"] == 0
        stored = read_boxes_of(cell)["nova", row["subset"]]
        assert boxes["metrics"] == pytest.approx(box_metrics(stored.images))
        assert row["threshold"]["dice"] is None and row["threshold"]["fp"] == 0
        assert row["metrics"]["pixel_ap"] is None and row["metrics"]["image_auroc"] is None
        assert row["reasons"]["pixel_ap"] == "No pixel is lesion, so there is nothing to localise."
    assert check_cell(cell).problems == []
    (copy,) = publish_cells(cell.parents[1], tmp_path / "results")
    assert check_cell(copy).problems == [] and (copy / FILE).read_bytes() == (cell / FILE).read_bytes()


def forge(cell: Path, edit: Any) -> str:
    change_json(cell / FILE, edit)
    reseal(cell)
    return " ".join(check_cell(cell).problems)


def test_the_check_recomputes_the_numbers(cell: Path) -> None:
    def edit(head: dict[str, Any]) -> None:
        for image in head["rows"][0]["images"]:
            image["detections"], image["hit"] = [[*image["boxes"][0], 9.0]], True

    problems = forge(cell, edit)
    assert "nova, T1: boxes.metrics.ap50 is" in problems and "boxes.metrics.hit_rate is" in problems


def test_pictures_left_out_and_other_boxes_are_named(cell: Path) -> None:
    problems = forge(cell, lambda head: head["rows"][1]["images"].pop())
    assert "nova, T2: slice 1 of case0017_001 is only in one of it and the slice table" in problems
    problems = forge(cell, lambda head: head["rows"][1]["images"][0].update(boxes=[[1, 1, 2, 2]]))
    assert "nova, T2: slice 1 of case0011_001 has other boxes than in another row" in problems
    problems = forge(cell, lambda head: head["rows"][1]["images"][1].update(boxes=[]))
    assert "nova, T2: slice 1 of case0012_001 has boxes against its label, or none" in problems


def test_maps_of_another_program_are_scored_on_boxes(trees: dict[str, Path], file: Path, tmp_path: Path) -> None:
    protocol = read_protocol(file)
    data = ProtocolData(protocol, {name: find_or_prepare(tree, name) for name, tree in trees.items()})
    for name, folder, rows in (
        ("nova", tmp_path / "maps", np.arange(len(data.stores["nova"]))),
        ("ixi", tmp_path / "maps" / "validation", data.validation_indices()),
    ):
        table = data.stores[name].slices.iloc[rows]
        values = data.reader(name).read(rows)[0][:, 1]
        for scan, number, scores in zip(table["scan"], table["slice"], values, strict=True):
            target = folder / "T2" / str(scan) / f"{number}.npy"
            target.parent.mkdir(parents=True, exist_ok=True)
            np.save(target, scores)
    given = tuple(f"{name}={tree}" for name, tree in trees.items())
    request = ScoreRequest(tmp_path / "maps", protocol, tmp_path / "runs", "brightness", given)
    cell = score_maps(request, lambda finished, total, label: None).final
    rows = {row["subset"]: row for row in read_json(cell, "result.json")["rows"]}
    stored = read_boxes_of(cell)["nova", "T2"]
    assert rows["T2"]["boxes"]["metrics"] == pytest.approx(box_metrics(stored.images)) and rows["T1"]["boxes"] is None
    assert stored.threshold is not None and any(image.detections for image in stored.images)
    assert check_cell(cell).problems == []


def test_the_board_and_its_table_show_boxes(runs: Path, tmp_path: Path) -> None:
    build_boards(runs, tmp_path / "boards")
    board = tmp_path / "boards" / "ixi-nova"
    with (board / "leaderboard.csv").open(newline="") as handle:
        lines = {line["subset"]: line for line in csv.DictReader(handle) if line["subset"] in ("T1", "T2")}
    (cell,) = (path for path in (runs / "cells").iterdir() if path.is_dir())
    for row in json.loads((cell / "result.json").read_text())["rows"]:
        line = lines[row["subset"]]
        assert (line["boxes_images"], line["boxes_n"]) == ("7", "8")
        for name, value in row["boxes"]["metrics"].items():
            assert float(line[f"boxes_{name}"]) == pytest.approx(value, abs=1e-6)
        low, high = row["boxes"]["intervals"]["alarms_per_image"]
        assert float(line["boxes_alarms_per_image_low"]) == pytest.approx(low, abs=1e-6)
        assert float(line["boxes_alarms_per_image_high"]) == pytest.approx(high, abs=1e-6)
    page, text = ((board / name).read_text() for name in ("report.html", "leaderboard.md"))
    assert "Peak in a box" in page and "Peak in a box" in text and "Lesions are marked by boxes" in page
    assert "Lesions of nova are marked by boxes: its numbers are in the section on boxes" in text
    assert "At the threshold from validation normals" not in text
    assert "Pixel AP" in text and "Image AUROC" not in text  # which would be a column of dashes
