"""Pixels of an ignored label (WMH 2017, other pathology) count neither as lesion nor as normal, in slices and scans."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cell_fixture import reseal
from inprocess import run
from sklearn.metrics import average_precision_score, roc_auc_score
from trees import make_tree

from anyadbench.boards.verify.cell import check_cell
from anyadbench.boards.verify.publish import publish_cells
from anyadbench.data.store.build import find_or_prepare
from anyadbench.data.store.store import SliceStore
from anyadbench.data.trees.layouts import REGIONS
from anyadbench.engine import scoring
from anyadbench.engine.map_sample import MapSample
from anyadbench.engine.numerics import Policy
from anyadbench.engine.protocol_data import ProtocolData
from anyadbench.engine.reporter import Reporter
from anyadbench.engine.scans.scoring import ScanScoring
from anyadbench.engine.scoring import Evaluator
from anyadbench.methods.contract import Batch, Scores
from anyadbench.metrics.lesions import score_scan
from anyadbench.metrics.rows.row_numbers import row_numbers
from anyadbench.metrics.rows.row_pixels import RowPixels
from anyadbench.metrics.rows.split_counts import slice_pixels
from anyadbench.protocols.model import Protocol
from anyadbench.protocols.reader import read_protocol
from anyadbench.results.cellfiles import read_slice_table

PROTOCOL = """
name = "tiny-wmh"
version = 1
title = "Tiny tree of WMH 2017"
sequences = ["flair", "t1"]
weights = "package"
budget = "tiny"
threads = 1

[train]
dataset = "wmh2017"

[slices]
normal_margin = 1
min_lesion_px = 4
match_height = false

[split]
train = 0.3
validation = 0.1
test = 0.6

[scoring]
volumes = true

[[test]]
name = "wmh2017"
dataset = "wmh2017"
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tree("wmh2017", tmp_path_factory.mktemp("wmh") / "tree", 9, (24, 24, 10))


@pytest.fixture(scope="module")
def wmh(tree: Path) -> SliceStore:
    return find_or_prepare(tree, "wmh2017")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("protocol") / "tiny-wmh.toml"
    path.write_text(PROTOCOL)
    return path


@pytest.fixture(scope="module")
def rules(file: Path) -> Protocol:
    return read_protocol(file)


def loud(batch: Batch) -> Scores:
    """Score pixels by the mean of the shown sequences, and those much more where ignored ones lie."""
    mean = batch.inputs.sum(1) / batch.shown.sum(1)[:, None, None]
    mean[:, 6:9, 9:12] *= 3
    return Scores(mean)


def evaluator(rules: Protocol, store: SliceStore) -> Evaluator:
    method: Any = SimpleNamespace(score=loud)
    data = ProtocolData(rules, {"wmh2017": store})
    return Evaluator(method, data, Policy(), Reporter(), MapSample("none", rules.sequences))


def row_of(rules: Protocol, store: SliceStore) -> tuple[RowPixels, dict[str, Any], list[dict[str, Any]]]:
    state = evaluator(rules, store).run_test(rules.tests[0])["F"]
    pixels = state.pixels("t", None)
    assert pixels is not None
    return pixels, row_numbers(pixels, state.records, pixels.subjects)[0], state.records


def plain(rules: Protocol, store: SliceStore) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return maps, lesions, brains and what counts of all test slices, each computed apart from the harness."""
    data = ProtocolData(rules, {"wmh2017": store})
    rows = np.sort(np.concatenate(data.test_indices(rules.tests[0])))
    values, _ = data.reader("wmh2017").read(rows)
    maps = values[:, 0].copy()
    maps[:, 6:9, 9:12] *= 3
    labels = np.asarray(store.masks)[rows]
    return maps, labels == REGIONS["lesion"], np.asarray((values > 0).any(axis=1)), labels != REGIONS["ignored"]


def test_pixel_metrics_are_those_of_the_pixels_that_count(rules: Protocol, wmh: SliceStore) -> None:
    maps, lesions, brains, counts = plain(rules, wmh)
    pixels, found, _ = row_of(rules, wmh)
    values = found["metrics"]
    assert pixels.steps.normal_pixels == (counts & ~lesions).sum() < (~lesions).sum()
    for name, where in (("pixel", counts), ("brain", counts & brains)):
        assert values[f"{name}_auroc"] == pytest.approx(roc_auc_score(lesions[where], maps[where]), abs=1e-12)
        assert values[f"{name}_ap"] == pytest.approx(average_precision_score(lesions[where], maps[where]), abs=1e-12)
    assert values["pixel_ap"] > average_precision_score(lesions.ravel(), maps.ravel())  # as if they were normal


def test_bins_leave_them_out_too(rules: Protocol, wmh: SliceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = row_of(rules, wmh)
    monkeypatch.setattr(scoring, "EXACT_PIXELS", 0)
    binned = row_of(rules, wmh)
    for name, bound in binned[1]["error_bound"].items():
        assert abs(binned[1]["metrics"][name] - exact[1]["metrics"][name]) <= bound < 1e-2, name
    ours, theirs = binned[0], exact[0]
    assert ours.brain is not None and theirs.brain is not None
    assert ours.steps.normal_pixels == theirs.steps.normal_pixels
    assert ours.brain.steps.normal_pixels == theirs.brain.steps.normal_pixels


def test_a_lesion_stays_and_pixels_are_counted_once() -> None:
    rng = np.random.default_rng(0)
    masks, brains, ignored = (rng.random((3, 9, 9)) < share for share in (0.2, 0.6, 0.3))
    for one, mask, brain, hole in zip(slice_pixels(masks, brains, ignored), masks, brains, ignored, strict=True):
        normal = ~hole & ~mask
        for found, expected in zip(one.normals, (brain & normal, ~brain & normal), strict=True):
            np.testing.assert_array_equal(found, expected.ravel())
        np.testing.assert_array_equal(one.brain_lesions.index, np.flatnonzero(mask & brain))
        np.testing.assert_array_equal(one.field_lesions.index, np.flatnonzero(mask))


def test_a_slice_of_ignored_pixels_alone_is_not_selected(rules: Protocol, wmh: SliceStore) -> None:
    labels = np.asarray(wmh.masks).reshape(len(wmh), -1)
    only = np.flatnonzero((labels == REGIONS["ignored"]).any(axis=1) & ~(labels == REGIONS["lesion"]).any(axis=1))
    data = ProtocolData(rules, {"wmh2017": wmh})
    chosen = np.concatenate([*data.test_indices(rules.tests[0]), data.train_indices(), data.validation_indices()])
    assert len(only) == 9 and not set(only) & set(chosen)


def test_scans_are_scored_without_them(rules: Protocol, wmh: SliceStore) -> None:
    found = evaluator(rules, wmh)
    thresholds = found.thresholds()
    states = [(test, found.run_test(test)) for test in rules.tests]
    row = ScanScoring(found, thresholds).run(states).rows["wmh2017", "F"]
    reader = found.data.reader("wmh2017")
    assert len(row.scans) >= 4
    left_out = 0
    for scan, stored in zip(row.scans, row.records, strict=True):
        rows = np.flatnonzero((wmh.slices["scan"] == scan).to_numpy())
        values, _ = reader.read(rows)
        labels, brain = np.asarray(wmh.masks)[rows], np.asarray((values > 0).any(axis=1))
        maps = values[:, 0].copy()
        maps[:, 6:9, 9:12] *= 3
        ignored = labels == REGIONS["ignored"]
        edges = (1.0, 1.0, 1.0)
        record, naive = (
            score_scan(maps, labels == REGIONS["lesion"], inside, edges, threshold=row.threshold, grid=row.grid)
            for inside in (brain & ~ignored, brain)
        )
        assert (stored.truth, stored.predicted, stored.hit) == (record.truth, record.predicted, record.hit)
        assert naive.predicted is not None and record.predicted is not None and row.threshold is not None
        assert naive.predicted - record.predicted == (ignored & brain & (maps > row.threshold)).sum()
        left_out += naive.predicted - record.predicted
    assert left_out > 0


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory, tree: Path, file: Path) -> Path:
    (done,) = run(file, {"wmh2017": tree}, tmp_path_factory.mktemp("runs"))
    return done.folder


def test_the_check_counts_as_the_run_did(cell: Path, wmh: SliceStore, tmp_path: Path) -> None:
    records = read_slice_table(cell)["wmh2017", "F"]
    places = zip(wmh.slices["scan"], wmh.slices["slice"], strict=True)
    numbers = {(str(scan), int(number)): row for row, (scan, number) in enumerate(places)}
    for record in records:
        labels = np.asarray(wmh.masks[numbers[record["scan"], record["slice"]]])
        assert record["ignored_px"] == (labels == REGIONS["ignored"]).sum()
    assert sum(record["ignored_px"] for record in records) > 0
    assert check_cell(cell).problems == []
    (copy,) = publish_cells(cell.parents[1], tmp_path / "results")
    assert check_cell(copy).problems == [] and read_slice_table(copy) == read_slice_table(cell)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (9, 8, "slices in the slice table have"),
        (9, -9, "cannot have -9 ignored pixels"),
    ],
)
def test_a_changed_count_is_named(cell: Path, tmp_path: Path, old: int, new: int, problem: str) -> None:
    copy = Path(shutil.copytree(cell, tmp_path / "cell"))
    table = copy / "scores" / "slices.csv"
    lines = table.read_text().splitlines()
    place = lines[0].split(",").index("ignored_px")
    for number, line in enumerate(lines[1:], 1):
        parts = line.split(",")
        if parts[place] == str(old):
            parts[place] = str(new)
            lines[number] = ",".join(parts)
            break
    table.write_text("\n".join(lines) + "\n")
    reseal(copy)
    assert any(problem in text for text in check_cell(copy).problems), check_cell(copy).problems
