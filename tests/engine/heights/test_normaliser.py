"""Relative heights and areas of a protocol's slices, and scores that no hidden sequence can change."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from anyadbench.data.store.pixels import rewrite
from anyadbench.data.store.store import SliceStore, open_store
from anyadbench.engine.heights.normaliser import HeightNormaliser, described
from anyadbench.engine.map_sample import MapSample
from anyadbench.engine.numerics import Policy
from anyadbench.engine.protocol_data import ProtocolData
from anyadbench.engine.reporter import Reporter
from anyadbench.engine.scoring import Evaluator
from anyadbench.methods.contract import Batch, Scores
from anyadbench.metrics.rows import height
from anyadbench.protocols.model import Protocol, ScoringRules


@pytest.fixture
def protocol(protocol: Protocol, monkeypatch: pytest.MonkeyPatch) -> Protocol:
    monkeypatch.setattr(height, "LEAST_SLICES", 5)
    return replace(protocol, scoring=ScoringRules(normalise_height=True), as_available=False)


def mean_brightness(batch: Batch) -> Scores:
    """Score a slice by its mean brightness, which follows the brain's size."""
    maps = batch.inputs.sum(1) / batch.shown.sum(1)[:, None, None]
    return Scores(maps, maps.mean((1, 2)))


def scored(protocol: Protocol, store: SliceStore) -> tuple[Evaluator, dict[str, list[dict[str, Any]]]]:
    method: Any = SimpleNamespace(score=mean_brightness)
    data = ProtocolData(protocol, {"phantom": store})
    found = Evaluator(method, data, Policy(), Reporter(), MapSample("none", protocol.sequences))
    found.fit_heights()
    return found, {label: state.records for label, state in found.run_test(protocol.tests[0]).items()}


def test_normalised_scores_no_longer_follow_the_brains_size(protocol: Protocol, store: SliceStore) -> None:
    found, tables = scored(protocol, store)
    assert found.heights is not None
    fits = described(found.heights.fits)
    assert set(fits) == set(tables) and all(0 <= one["low"] < one["high"] <= 1 for one in fits.values())
    normals = [record for record in tables["F"] if not record["label"]]
    area = [record["brain"] for record in normals]
    before, after = (
        abs(np.corrcoef(area, [record[name] for record in normals])[0, 1])
        for name in ("image_score", "image_score_height")
    )
    assert after < before - 0.2


def test_a_protocol_without_the_option_has_no_such_scores(protocol: Protocol, store: SliceStore) -> None:
    found, tables = scored(replace(protocol, scoring=ScoringRules()), store)
    assert found.heights is None and "image_score_height" not in tables["F"][0]


def test_heights_run_from_the_first_to_the_last_slice_with_brain(protocol: Protocol, store: SliceStore) -> None:
    reader = ProtocolData(protocol, {"phantom": store}).reader("phantom")
    rows = np.flatnonzero((store.slices["scan"] == store.slices["scan"].iloc[0]).to_numpy())
    values, present = reader.read(rows)
    normaliser = HeightNormaliser(protocol.sequences)
    shown = protocol.sequences[int(np.flatnonzero(present[0])[0])]
    heights, areas = normaliser.places(reader, rows, values, (shown,))
    brain = (values[:, protocol.sequences.index(shown)] > 0).mean((1, 2))
    inside = np.flatnonzero(brain >= 0.01)
    order = inside[np.argsort(store.slices["height_mm"].to_numpy()[rows[inside]])]
    assert heights[order[0]] == 0 and heights[order[-1]] == 1
    assert (np.diff(heights[order]) > 0).all()
    side = store.spacing[0] * store.spacing[1] * store.shape[0] * store.shape[1] / 100
    np.testing.assert_allclose(areas, brain * side)


def test_no_normalised_score_depends_on_a_hidden_sequence(
    protocol: Protocol, store: SliceStore, tmp_path: Path
) -> None:
    alone = replace(protocol, subsets=(("flair",),))
    original = scored(alone, store)[1]["F"]
    shutil.copytree(store.path, tmp_path / "copy")
    images = np.array(store.images)
    for name in ("t1", "t2"):
        place = store.sequences.index(name)
        images[:, place] = np.random.default_rng(0).integers(0, 2**16, images[:, place].shape, dtype=np.uint16)
    rewrite(tmp_path / "copy", images, np.array(store.masks))
    changed = scored(alone, open_store(tmp_path / "copy"))[1]["F"]
    assert [one["image_score_height"] for one in changed] == [one["image_score_height"] for one in original]
