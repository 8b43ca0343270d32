"""How a protocol processes a method's maps on the scoring grid."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from anyadbench.data.store.store import SliceStore
from anyadbench.engine.map_sample import MapSample
from anyadbench.engine.numerics import Policy
from anyadbench.engine.reporter import Reporter
from anyadbench.engine.scoring import Evaluator
from anyadbench.methods.contract import Scores
from anyadbench.protocols.model import Protocol, ScoringRules


@pytest.fixture(scope="module")
def protocol(protocol: Protocol) -> Protocol:
    return replace(protocol, scoring_grid=(32, 32))


def scored(protocol: Protocol, maps: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    method: Any = SimpleNamespace(score=lambda batch: Scores(maps, torch.full((len(maps),), 7.0)))
    data: Any = SimpleNamespace(protocol=protocol)
    evaluator = Evaluator(method, data, Policy(), Reporter(), MapSample("none", protocol.sequences))
    values = np.ones((len(maps), 3, 40, 40), np.float32)
    return evaluator.score(values, ("flair",), ["a"] * len(maps))


def test_by_default_maps_and_scores_are_the_methods_own(protocol: Protocol) -> None:
    maps = torch.rand(2, 32, 32)
    own, images = scored(protocol, maps)
    np.testing.assert_array_equal(own, maps.numpy())
    assert (images == 7).all()


def test_maps_are_filtered_as_the_release_does(protocol: Protocol) -> None:
    maps = torch.rand(2, 32, 32)
    out, _ = scored(replace(protocol, scoring=ScoringRules(5, 4.0)), maps)
    x = torch.arange(5) - 2.0
    kernel = torch.exp(-(x[:, None] ** 2 + x[None] ** 2) / 32)
    expected = torch.nn.functional.conv2d(maps[:, None], (kernel / kernel.sum())[None, None], padding=2)[:, 0]
    np.testing.assert_allclose(out, expected.numpy(), atol=1e-6)


@pytest.mark.parametrize(("method", "off"), [("inpformer", "smoothing_size"), ("rd4ad", "smoothing_sigma")])
def test_a_methods_own_filter_is_off_where_the_protocol_filters(protocol: Protocol, method: str, off: str) -> None:
    from anyadbench.launch.plan import method_params
    from anyadbench.plugins import find_method

    descriptor, _ = find_method(method)
    filtered = replace(protocol, scoring=ScoringRules(5, 4.0))
    assert method_params(descriptor, filtered, "tiny")[off] == {"smoothing_size": 1, "smoothing_sigma": 0.0}[off]
    own = method_params(descriptor, protocol, "tiny")
    assert own != method_params(descriptor, filtered, "tiny")
    assert method_params(descriptor, filtered, "tiny", {off: own[off]}) == own  # both apply if both are requested


def test_the_image_score_is_the_mean_of_the_highest_part(protocol: Protocol) -> None:
    maps = torch.rand(2, 32, 32)
    _, images = scored(replace(protocol, scoring=ScoringRules(top_fraction=0.01)), maps)
    expected = maps.flatten(1).topk(10).values.mean(1)
    np.testing.assert_allclose(images, expected.numpy(), rtol=1e-6)


def test_masks_can_be_chosen_by_corner_or_centre(protocol: Protocol, store: SliceStore) -> None:
    from anyadbench.engine.protocol_data import ProtocolData

    found = {}
    for masks in ("nearest", "nearest-exact"):
        rules = replace(protocol, scoring_grid=(20, 20), scoring=ScoringRules(masks=masks))
        data = ProtocolData(rules, {"phantom": store})
        rows = data.test_rows(rules.tests[0])[1]
        method: Any = None
        evaluator = Evaluator(method, data, Policy(), Reporter(), MapSample("none", rules.sequences))
        found[masks] = evaluator._masks(data.reader("phantom"), rows, np.ones(len(rows), bool))
        own = store.abnormal(rows)
        pick = np.floor((np.arange(20) + (0.5 if masks == "nearest-exact" else 0)) * own.shape[1] / 20).astype(int)
        np.testing.assert_array_equal(found[masks], own[:, pick][:, :, pick])
    assert (found["nearest"] != found["nearest-exact"]).any()
