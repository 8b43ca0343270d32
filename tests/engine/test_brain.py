"""Rows count the brain beside the field, and thresholds come from the brain alone."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from anyadbench.data.store.store import SliceStore
from anyadbench.engine import scoring
from anyadbench.engine.map_sample import MapSample
from anyadbench.engine.numerics import Policy
from anyadbench.engine.protocol_data import ProtocolData
from anyadbench.engine.reporter import Reporter
from anyadbench.engine.scoring import Evaluator
from anyadbench.methods.contract import Batch, Scores
from anyadbench.metrics.rows.row_numbers import row_numbers
from anyadbench.metrics.rows.row_pixels import RowPixels
from anyadbench.protocols.model import Protocol

AIR = 0.9


def brightness(batch: Batch) -> Scores:
    """Score pixels by the mean of the shown sequences, and air above most of the brain."""
    mean = batch.inputs.sum(1) / batch.shown.sum(1)[:, None, None]
    return Scores(mean.where(mean > 0, mean.new_tensor(AIR)))


def evaluator(protocol: Protocol, store: SliceStore) -> Evaluator:
    method: Any = SimpleNamespace(score=brightness)
    data = ProtocolData(protocol, {"phantom": store})
    return Evaluator(method, data, Policy(), Reporter(), MapSample("none", protocol.sequences))


def row_of(protocol: Protocol, store: SliceStore, label: str = "F") -> tuple[RowPixels, dict[str, Any]]:
    found = evaluator(protocol, store)
    state = found.run_test(protocol.tests[0])[label]
    pixels = state.pixels("t", found.thresholds().get(label))
    assert pixels is not None
    return pixels, row_numbers(pixels, state.records, pixels.subjects)[0]


def plain(protocol: Protocol, store: SliceStore, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return maps of FLAIR, masks and brains of slices, each computed apart from the harness."""
    values, _ = ProtocolData(protocol, {"phantom": store}).reader("phantom").read(rows)
    flair = values[:, protocol.sequences.index("flair")]
    return np.where(flair > 0, flair, np.float32(AIR)), store.abnormal(rows), np.asarray((values > 0).any(axis=1))


def test_the_metrics_of_a_row_are_those_of_the_brains_pixels(protocol: Protocol, store: SliceStore) -> None:
    rows = np.sort(np.concatenate(ProtocolData(protocol, {"phantom": store}).test_indices(protocol.tests[0])))
    rows = rows[ProtocolData(protocol, {"phantom": store}).reader("phantom").present(rows)[:, 0]]
    maps, masks, brains = plain(protocol, store, rows)
    values = row_of(protocol, store)[1]["metrics"]
    assert not brains.all() and brains.any(axis=(1, 2)).all()
    assert values["brain_auroc"] == pytest.approx(roc_auc_score(masks[brains], maps[brains]), abs=1e-12)
    assert values["brain_ap"] == pytest.approx(average_precision_score(masks[brains], maps[brains]), abs=1e-12)
    assert values["pixel_ap"] == pytest.approx(average_precision_score(masks.ravel(), maps.ravel()), abs=1e-12)
    assert values["brain_ap"] > values["pixel_ap"] + 0.01  # air outranks part of the brain


def test_the_threshold_and_its_decisions_leave_out_the_air(protocol: Protocol, store: SliceStore) -> None:
    found = evaluator(protocol, store)
    maps, _, brains = plain(protocol, store, found.validation_slices())
    quantile = found.thresholds()["F"]
    assert quantile.total == brains.sum() < brains.size
    assert quantile.value == pytest.approx(np.quantile(maps[brains], 0.99, method="higher"), rel=2**-14)
    pixels, values = row_of(protocol, store)
    assert pixels.brain is not None and pixels.decision is not None
    counted = values["threshold"]
    assert counted["tp"] + counted["fn"] == pixels.brain.steps.lesion_pixels
    assert counted["fp"] + counted["tn"] == pixels.brain.steps.normal_pixels < pixels.steps.normal_pixels


def test_bins_give_the_same_within_their_bound(
    protocol: Protocol, store: SliceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = row_of(protocol, store)[1]
    monkeypatch.setattr(scoring, "EXACT_PIXELS", 0)
    binned = row_of(protocol, store)[1]
    assert binned["pixels"] == "streaming" and "pixels" not in exact
    assert {"brain_auroc", "brain_aupro_05", "aupro"} <= set(binned["error_bound"])
    for name, bound in binned["error_bound"].items():
        # AP depends most on the order within a bin, where lesions of this tiny phantom lie beside normal pixels.
        limit = 5e-2 if name in ("pixel_ap", "brain_ap") else 1e-2
        assert abs(binned["metrics"][name] - exact["metrics"][name]) <= bound < limit, name
    assert binned["threshold"]["tp"] == exact["threshold"]["tp"]


def test_every_subset_is_counted_on_the_same_pixels(protocol: Protocol, store: SliceStore) -> None:
    sizes = []
    for label in ("F", "F+T1+T2"):
        pixels = row_of(protocol, store, label)[0]
        assert pixels.brain is not None
        counts = pixels.brain.cohort
        totals = counts.gaps.sum(1) + counts.tied.sum(1) + counts.lesions.sum(1)
        sizes.append(dict(zip(pixels.subjects, totals.tolist(), strict=True)))
    assert sizes[1] and sizes[0].items() >= sizes[1].items()


def test_without_brain_in_the_validation_slices_there_is_no_threshold(
    protocol: Protocol, store: SliceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = evaluator(protocol, store)
    monkeypatch.setattr(found, "brains", lambda values: np.zeros((len(values), *values.shape[2:]), bool))
    assert found.thresholds() == {}
    pixels = found.run_test(protocol.tests[0])["F"].pixels("t", None)
    assert pixels is not None
    records = found.run_test(protocol.tests[0])["F"].records
    reasons = row_numbers(pixels, records, pixels.subjects)[0]["reasons"]
    assert reasons["brain_ap"] == "No pixel of these slices lies inside the brain: every sequence is 0 everywhere."


def test_the_brain_is_resampled_to_the_scoring_grid_as_masks_are(protocol: Protocol, store: SliceStore) -> None:
    small = evaluator(replace(protocol, scoring_grid=(20, 20)), store)
    values = np.random.default_rng(0).random((2, 3, 40, 40)).astype(np.float32)
    values[:, :, :, ::2] = 0
    np.testing.assert_array_equal(small.brains(values), np.any(values > 0, axis=1)[:, 1::2, 1::2])
