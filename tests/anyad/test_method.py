"""AnyAD and its two other versions."""

from __future__ import annotations

import pytest
import torch
from inp_fixture import SEQUENCES, Normals, build, gradients, training_batch

from anyadbench.errors import UserError
from anyadbench.methods.contract import Batch
from anyadbench.sequences import all_subsets
from anyadbench_anyad.descriptors import ANYAD, ANYAD_INTENDED, ANYAD_RELEASED
from anyadbench_anyad.method import blank_rows
from anyadbench_baselines.descriptors import INPFORMER_MODDROP

FORMS = ("none", "encoder", "bottleneck", "adapter", "teacher", "recalibration")
TRAINED_FORMS = tuple(form for form in FORMS if form not in ("none", "encoder"))
HIDDEN = ((0, 0), (1, 1), (1, 2), (2, 2))


def prepared(descriptor=ANYAD, **overrides):  # type: ignore[no-untyped-def]
    method = build(descriptor, **overrides)
    targets = torch.rand(5, 3, 40, 40, generator=torch.Generator().manual_seed(9))
    method.prepare(Normals(targets, torch.ones(5, 3, dtype=torch.bool)))
    return method, targets


def test_settings_of_the_release() -> None:
    values = ANYAD_RELEASED.resolve("paper")
    assert [values[key] for key in ("epochs", "batch_size", "align_weight", "prototypes")] == [300, 16, 0.4, 6]
    assert (values["registers"], values["align"], ANYAD_RELEASED.training_mask) == (False, "encoder", "per-epoch")


def test_the_described_method_keeps_registers_and_hides_sequences() -> None:
    values = ANYAD_INTENDED.resolve("paper")
    assert (values["registers"], values["align"], ANYAD_INTENDED.training_mask) == (True, "encoder", "per-sample")
    with pytest.raises(UserError, match=r"anyad-intended.align cannot be 'teacher'; choose one of encoder"):
        ANYAD_INTENDED.resolve("paper", {"align": "teacher"})


def test_the_published_alignment_has_no_gradient() -> None:
    method, _ = prepared(ANYAD_INTENDED)
    control = build(INPFORMER_MODDROP)
    batch = training_batch(*HIDDEN)
    losses = method.training_step(batch, 0, 10)["main"]
    assert losses["align"] > 0 and not losses["align"].requires_grad
    ours, theirs = gradients(method, batch), gradients(control, batch)
    assert ours and set(ours) == set(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("form", TRAINED_FORMS)
def test_other_forms_of_alignment_train(form: str) -> None:
    batch = training_batch(*HIDDEN)
    weak, _ = prepared(align=form, align_weight=0.0)
    strong, _ = prepared(align=form, align_weight=0.4)
    without, with_ = gradients(weak, batch), gradients(strong, batch)
    changed = {name for name in with_ if not torch.equal(with_[name], without[name])}
    expected = "alignment." if form in ("adapter", "recalibration") else "network."
    assert changed and all(name.startswith(expected) for name in changed)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_trains_and_scores(form: str) -> None:
    method, _ = prepared(align=form)
    optimizer = method.optimizers()["main"].optimizer
    batch = training_batch(*HIDDEN)
    for step in range(2):
        losses = method.training_step(batch, step, 2)["main"]
        assert ("align" in losses) == (form != "none")
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    assert torch.isfinite(method.eval().score(batch).maps).all()


@pytest.mark.parametrize("form", FORMS)
def test_state_survives_saving(form: str) -> None:
    method, _ = prepared(align=form)
    torch.manual_seed(5)
    for parameter in method.trained():
        parameter.data.add_(0.01 * torch.randn_like(parameter))
    other = build(ANYAD, align=form)
    other.load_saved_state(method.saved_state())
    batch = training_batch(*HIDDEN)
    assert torch.equal(method.score(batch).maps, other.score(batch).maps)
    one, two = (m.training_step(batch, 0, 2)["main"] for m in (method, other))
    assert one and one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_nothing_to_align_when_everything_is_shown() -> None:
    batch = training_batch()
    for form in ("bottleneck", "recalibration"):
        method, _ = prepared(align=form)
        assert method.training_step(batch, 0, 2)["main"]["align"].item() == pytest.approx(0.0, abs=1e-10)


@pytest.mark.parametrize("descriptor", [ANYAD, ANYAD_INTENDED, ANYAD_RELEASED], ids=lambda d: d.name)
def test_hidden_sequences_never_reach_the_score(descriptor) -> None:  # type: ignore[no-untyped-def]
    method, _ = prepared(descriptor)
    batch = training_batch(*HIDDEN)
    method.eval()
    with torch.no_grad():
        clean = method.score(Batch(batch.inputs, batch.shown)).maps
        assert torch.equal(clean, method.score(Batch(batch.targets, batch.shown)).maps)


@pytest.mark.parametrize("form", ["adapter", "recalibration"])
def test_hidden_sequences_never_reach_the_score_of_adapted_features(form: str) -> None:
    method, _ = prepared(align=form)
    batch = training_batch(*HIDDEN)
    for parameter in method.alignment.parameters():
        parameter.data.normal_()
    clean = method.score(Batch(batch.inputs, batch.shown)).maps
    assert torch.equal(clean, method.score(Batch(batch.targets, batch.shown)).maps)


@pytest.mark.parametrize(
    ("descriptor", "form"), [(ANYAD, "teacher"), (ANYAD, "bottleneck"), (ANYAD_RELEASED, "encoder")]
)
def test_one_call_of_the_encoder_gives_the_features_of_two(descriptor, form: str) -> None:  # type: ignore[no-untyped-def]
    method, _ = prepared(descriptor, align=form)
    batch = training_batch(*HIDDEN)
    shown, full = method.encode_training(batch)
    alone = method.network.encode(method.training_pixels(batch)).groups
    torch.testing.assert_close(shown.groups, alone, rtol=1e-5, atol=1e-6)
    assert (full is not None) == method.alignment.needs_full
    if full is not None:
        torch.testing.assert_close(full.groups, method.encode_full(batch).groups, rtol=1e-5, atol=1e-6)


def test_target_statistics_are_those_of_all_full_features() -> None:
    method, targets = prepared(ANYAD_INTENDED)
    full = Batch.full(targets, torch.ones(5, 3, dtype=torch.bool))
    features = method.encode_full(full).groups[1].flatten(0, 1)
    torch.testing.assert_close(method.alignment.target_mean[1], features.mean(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(method.alignment.target_std[1], features.std(0), rtol=1e-4, atol=1e-5)


def test_the_release_blanks_rows_not_sequences() -> None:
    counts = []
    # Subsets by number: F, T1, T2, F+T1, F+T2, T1+T2, all.
    for subset in all_subsets(SEQUENCES):
        hidden = torch.tensor([[name not in subset for name in SEQUENCES]])
        blank = blank_rows(torch.ones(1, 3, 392, 392), hidden) == 0
        counts.append(blank.sum((0, 2, 3)).tolist())
        assert not blank[:, :, 3:].any()
    assert counts == [[784] * 3] * 3 + [[392] * 3] * 3 + [[0] * 3]


def test_the_release_trains_on_full_input() -> None:
    method, _ = prepared(ANYAD_RELEASED)
    batch = training_batch((0, 1), (1, 1), (2, 1), (3, 1))
    pixels = []
    method.network.encode, encode = lambda x: pixels.append(x) or encode(x), method.network.encode
    method.training_step(batch, 0, 2)
    full = method.pixels(batch.targets, batch.present)
    assert torch.equal(pixels[0][:, :, 2:], full[:, :, 2:])
    assert torch.equal(pixels[0][:, :, 0], full[:, :, 0])
    assert not pixels[0][:, :, 1].any()
