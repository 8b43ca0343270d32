"""INP-Former as a method: input, training step, score, saving, published checkpoints."""

from __future__ import annotations

import pytest
import torch
from inp_fixture import TinyWeights, build, gradients, training_batch

from anyadbench.errors import UserError
from anyadbench.methods.contract import Batch
from anyadbench.methods.freezing import excluded_names
from anyadbench_baselines.descriptors import INPFORMER, INPFORMER_MODDROP
from anyadbench_baselines.inp.maps import smooth, smoothing_kernel

MAP = 56


def published_state(method: torch.nn.Module, registers: int = 4) -> dict[str, torch.Tensor]:
    """Return the method's network in the authors' naming, with other values."""
    state = {}
    for name, value in method.network.state_dict().items():  # type: ignore[union-attr, operator]
        name = name.replace("encoder.vit.", "encoder.").replace("reg_token", "register_tokens")
        state[name] = value + 1
    table = state["encoder.pos_embed"]
    state["encoder.pos_embed"] = torch.cat([torch.full_like(table[:, :1], 2.0), table], dim=1)
    state["encoder.mask_token"] = torch.zeros(1, table.shape[2])
    return state


def test_the_two_descriptors_differ_in_how_training_hides_sequences() -> None:
    assert (INPFORMER.training_mask, INPFORMER_MODDROP.training_mask) == ("none", "per-sample")
    assert INPFORMER.params == INPFORMER_MODDROP.params


def test_paper_values_are_the_published_ones() -> None:
    values = INPFORMER.resolve("paper")
    assert [values[key] for key in ("image_size", "batch_size", "epochs", "prototypes")] == [392, 16, 200, 6]
    assert values["warmup"] == 100
    assert [values[key] for key in ("lr", "lr_final", "weight_decay", "clip_norm")] == [1e-3, 1e-4, 1e-4, 0.1]


def test_training_lowers_the_loss() -> None:
    method, batch = build(INPFORMER), training_batch()
    optimizer = method.optimizers()["main"].optimizer
    values = []
    for step in range(8):
        optimizer.zero_grad()
        losses = method.training_step(batch, step, 8)["main"]
        loss = losses["reconstruction"] + losses["gather"]
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < 0.7 * values[0]


def test_only_the_trained_parts_get_gradients() -> None:
    names = set(gradients(build(INPFORMER), training_batch()))
    assert {name.split(".")[1] for name in names} == {"bottleneck", "aggregation", "decoder", "prototype_token"}


def test_the_optimiser_holds_every_trained_parameter() -> None:
    method = build(INPFORMER)
    held = {id(parameter) for parameter in method.optimizers()["main"].parameters}
    assert held == {id(p) for name, p in method.named_parameters() if name not in excluded_names(method)}


def test_score_returns_a_map_no_larger_than_the_input_and_its_top_mean() -> None:
    method, batch = build(INPFORMER).eval(), training_batch()
    with torch.no_grad():
        scores = method.score(batch)
    assert scores.maps.shape == (4, MAP, MAP)
    top = scores.maps.flatten(1).sort(descending=True).values[:, : int(MAP * MAP * 0.01)].mean(1)
    torch.testing.assert_close(scores.images, top)


def test_map_size_is_a_parameter() -> None:
    assert build(INPFORMER, map_size=32).eval().score(training_batch()).maps.shape == (4, 32, 32)


@pytest.mark.parametrize("missing", ["native", "zero-norm", "black", "replicate"])
def test_hidden_sequences_never_reach_the_score(missing: str) -> None:
    method, batch = build(INPFORMER, missing=missing).eval(), training_batch((0, 0), (1, 1), (1, 2))
    assert batch.targets is not None
    with torch.no_grad():
        clean, leaking = method.score(batch), method.score(Batch(batch.targets, batch.shown))
    assert torch.equal(clean.maps, leaking.maps)


def test_one_sequence_is_enough() -> None:
    method = build(INPFORMER, sequences=("flair",)).eval()
    scores = method.score(Batch(torch.rand(2, 1, 40, 40), torch.ones(2, 1, dtype=torch.bool)))
    assert torch.isfinite(scores.maps).all()


def test_smoothing_has_zeros_outside_the_map() -> None:
    smoothed = smooth(torch.ones(1, 9, 9), smoothing_kernel())
    assert smoothed[0, 4, 4] == pytest.approx(1.0)
    assert smoothed[0, 0, 0] < 0.5
    assert float(smoothing_kernel()[2, 2]) == pytest.approx(0.0452, abs=5e-5)
    assert float(smoothing_kernel()[0, 0]) == pytest.approx(0.0352, abs=5e-5)


def test_an_input_size_that_does_not_fit_the_patches_is_refused() -> None:
    with pytest.raises(UserError, match=r"image_size is 60; it must be a multiple of 14, e.g. 56"):
        build(INPFORMER, image_size=60)


def test_a_cell_holds_no_encoder_and_restores_the_score() -> None:
    method, other, batch = build(INPFORMER), build(INPFORMER), training_batch()
    for parameter in method.trained():  # type: ignore[operator]
        parameter.data.add_(0.01 * torch.randn_like(parameter))
    state = method.saved_state()
    assert not any(".encoder." in name for name in state)
    assert not torch.equal(method.score(batch).maps, other.score(batch).maps)
    other.load_saved_state(state)
    assert torch.equal(method.score(batch).maps, other.score(batch).maps)


def test_a_published_checkpoint_replaces_every_value() -> None:
    method = build(INPFORMER)
    state = published_state(method)
    before = method.network.encoder.vit.cls_token.clone()  # type: ignore[union-attr]
    method.load_published({"model": state})
    assert torch.equal(method.network.prototype_token, state["prototype_token"])  # type: ignore[union-attr]
    assert torch.equal(method.network.encoder.vit.reg_token, state["encoder.register_tokens"])  # type: ignore[union-attr]
    torch.testing.assert_close(method.network.encoder.vit.cls_token, before + 1 + 2)  # type: ignore[union-attr]


def test_a_published_checkpoint_may_be_the_state_dict_itself() -> None:
    wrapped, bare = build(INPFORMER), build(INPFORMER)
    state = published_state(wrapped)
    wrapped.load_published({"model": state})
    bare.load_published(state)
    mine, theirs = bare.state_dict(), wrapped.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert torch.equal(bare.network.prototype_token, state["prototype_token"])  # type: ignore[union-attr]


def test_a_published_checkpoint_without_registers_needs_the_switch() -> None:
    state = published_state(build(INPFORMER, registers=False))
    build(INPFORMER, registers=False).load_published(state)
    with pytest.raises(
        UserError, match=r"lacks 'encoder.register_tokens' \(1 missing\); give .* set the method's parameters"
    ):
        build(INPFORMER).load_published(state)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda s: s.pop("decoder.3.attn.learn_scale"), r"lacks 'decoder.3.attn.learn_scale' \(1 missing\)"),
        (lambda s: s.update(extra=torch.zeros(1)), r"has 'extra', which this network does not have \(1 unused\)"),
        (lambda s: s.update(prototype_token=torch.zeros(4, 64)), r"'prototype_token' of shape \(4, 64\), but"),
        (lambda s: s.update(epoch=3), r"contains 'epoch', which is not a tensor; give the state dict"),
        (lambda s: s.clear(), r"contains '\(nothing\)'"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(change, sentence) -> None:  # type: ignore[no-untyped-def]
    method = build(INPFORMER)
    state = published_state(method)
    change(state)
    with pytest.raises(UserError, match=sentence):
        method.load_published(state)


def test_weights_of_another_shape_are_refused() -> None:
    class Broken(TinyWeights):
        def state_dict(self) -> dict[str, torch.Tensor]:
            return super().state_dict() | {"norm.weight": torch.ones(3)}

    with pytest.raises(UserError, match=r"Weights file 'tiny' has 'norm.weight' of shape \(3,\)"):
        build(INPFORMER, Broken())
