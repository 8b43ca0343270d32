"""Requirements of every published method: build, train, score from shown sequences alone, and be saved."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from authors_size import two_steps
from baseline_fixture import Loop, build, fitted
from deterministic_fixture import only_deterministic_on_a_gpu
from inp_fixture import training_batch

from anyadbench.errors import UserError
from anyadbench.methods.contract import Batch, Method
from anyadbench.methods.freezing import excluded_names
from anyadbench.plugins import load_methods

BASELINES = {
    name: descriptor
    for name, descriptor in load_methods().items()
    if descriptor.factory.startswith("anyadbench_baselines.") and ".inpformer:" not in descriptor.factory
}
TRAINED = [name for name, descriptor in BASELINES.items() if any(p.name == "steps" for p in descriptor.params)]
CONVOLUTIONAL = [name for name, descriptor in BASELINES.items() if descriptor.backbones]


@torch.no_grad()
def maps_and_images(method: Method, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(5)
    scores = method.score(batch)
    return scores.maps, scores.maps.amax((1, 2)) if scores.images is None else scores.images


def test_the_comparison_table_is_there() -> None:
    table = "stfpm rd4ad aeflow dae recontrast gatingano skipts esckdrkd mmrad dpmm anypatchcore"
    assert set(table.split()) <= {name for name, descriptor in BASELINES.items() if "table" in descriptor.families}


@pytest.mark.parametrize("name", BASELINES)
def test_a_descriptor_says_what_a_board_must_print(name: str) -> None:
    descriptor = BASELINES[name]
    assert descriptor.citation and descriptor.code_licence and descriptor.summary.endswith(".")
    assert {"tiny"} <= set(descriptor.budgets)
    assert descriptor.missing_policies[0] == "native"
    assert all(param.doc.rstrip(".") for param in descriptor.params)
    assert all(text.endswith(".") for text in descriptor.departures)


def test_descriptors_load_without_torch() -> None:
    code = "import sys, anyadbench.plugins as p; p.load_methods(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", TRAINED)
def test_training_moves_what_the_optimisers_hold_and_nothing_else(name: str) -> None:
    method = build(BASELINES[name])
    before = {key: value.clone() for key, value in method.state_dict().items()}
    held = {id(p) for spec in method.optimizers().values() for p in spec.parameters}
    Loop(method, 2).run(training_batch())
    moved = {key for key, value in method.state_dict().items() if not torch.equal(value, before[key])}
    parameters = dict(method.named_parameters())
    assert {key for key in moved if key in parameters} <= {key for key, p in parameters.items() if id(p) in held}
    assert len([key for key in moved if key in parameters]) > 0.5 * len(held)
    assert not moved & excluded_names(method)


@pytest.mark.parametrize("name", TRAINED)
def test_losses_are_finite_and_named(name: str) -> None:
    losses = Loop(build(BASELINES[name]), 2).run(training_batch((0, 1))).losses
    assert losses and all(math.isfinite(value) for values in losses.values() for value in values)


@pytest.mark.parametrize("name", BASELINES)
def test_scores_are_a_map_and_a_number_per_slice(name: str) -> None:
    with only_deterministic_on_a_gpu():
        scores = fitted(BASELINES[name]).score(training_batch())
    assert scores.maps.ndim == 3 and len(scores.maps) == 4 and torch.isfinite(scores.maps).all()
    assert scores.images is None or scores.images.shape == (4,)


@pytest.mark.parametrize(
    ("name", "missing"), [(n, policy) for n, d in BASELINES.items() for policy in d.missing_policies]
)
def test_hidden_sequences_never_reach_the_score(name: str, missing: str) -> None:
    method, batch = fitted(BASELINES[name], missing=missing), training_batch((0, 0), (1, 1), (1, 2), (2, 2))
    assert batch.targets is not None
    clean, leaking = (maps_and_images(method, b) for b in (batch, Batch(batch.targets, batch.shown)))
    assert torch.equal(clean[0], leaking[0]) and torch.equal(clean[1], leaking[1])


@pytest.mark.parametrize("name", BASELINES)
def test_a_cell_restores_the_score_without_the_frozen_network(name: str) -> None:
    method, batch = fitted(BASELINES[name]), training_batch((0, 0))
    other = build(BASELINES[name])
    state = {key: value.clone() for key, value in method.saved_state().items()}
    assert not state.keys() & excluded_names(method)
    other.load_saved_state(state)
    first, second = maps_and_images(method, batch), maps_and_images(other.eval(), batch)
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("sequences", [("t1",), ("flair", "t1", "t1ce", "t2")])
def test_one_sequence_and_four_sequences_are_enough(name: str, sequences: tuple[str, ...]) -> None:
    method = fitted(BASELINES[name], steps=0, sequences=sequences)
    shown = torch.ones(2, len(sequences), dtype=torch.bool)
    assert torch.isfinite(maps_and_images(method, Batch(torch.rand(2, len(sequences), 40, 40), shown))[0]).all()


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_the_backbone_is_a_parameter(name: str) -> None:
    method = fitted(BASELINES[name], backbone="resnet18")
    assert method.context.weights.architecture == "resnet18.tv_in1k"
    assert torch.isfinite(method.score(training_batch()).maps).all()


def test_a_backbone_without_a_pyramid_is_refused() -> None:
    with pytest.raises(UserError, match=r"backbone vit_small_patch14_dinov2.lvd142m has no features at strides 4, 8"):
        build(BASELINES["rd4ad"], backbone="vit_small_patch14_dinov2.lvd142m")


PAPER = [name for name, descriptor in load_methods().items() if "table" in descriptor.families]


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", PAPER)
def test_the_papers_budget_takes_two_steps_at_the_authors_size(name: str) -> None:
    """Slices of the authors' size, at most two at a time: a step of GatingAno's 32 takes minutes on two cores."""
    two_steps(name, 2, score=True)
