"""Diffusion models: noise, the process, the network, and the method for any subset."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from baseline_fixture import Loop, build, count, fitted
from inp_fixture import GRID, gradients, training_batch
from torch import Tensor

from anyadbench.errors import UserError
from anyadbench.methods.contract import Batch
from anyadbench.methods.descriptor import MethodDescriptor
from anyadbench_rivals.diffusion.descriptors import DDPM, DDPM_PATCHED
from anyadbench_rivals.diffusion.noise import NoiseKind, draw_noise, simplex
from anyadbench_rivals.diffusion.process import add_noise, kept_fractions, step_back
from anyadbench_rivals.diffusion.unet import UNet, UNetSize

BOTH = pytest.mark.parametrize("descriptor", [DDPM, DDPM_PATCHED], ids=lambda one: one.name)


def slices(size: int = 3) -> Tensor:
    return torch.rand(size, 3, *GRID, generator=torch.Generator().manual_seed(4))


@torch.no_grad()
def score(method: Any, images: Tensor, *shown: bool) -> Tensor:
    mask = torch.tensor(shown).expand(len(images), -1)
    return method.score(Batch(images * mask[:, :, None, None], mask)).maps


def test_simplex_noise_is_smooth_bounded_and_centred() -> None:
    tables = torch.rand(40, 256, generator=torch.Generator().manual_seed(0)).argsort(1)
    fields = simplex((64, 48), 16.0, tables)
    assert fields.shape == (40, 64, 48)
    assert 0.5 < fields.abs().max() <= 1 and abs(fields.mean()) < 0.05
    assert (fields[:, 1:] - fields[:, :-1]).abs().max() < 0.45  # the slope at a corner is PEAK / 16 per cell
    assert not torch.equal(fields[0], fields[1])
    assert (simplex((64, 48), 16.0, tables[:1])[0] == fields[0]).all()


def test_simplex_noise_is_zero_at_the_corners_of_its_triangles() -> None:
    tables = torch.rand(3, 256, generator=torch.Generator().manual_seed(0)).argsort(1)
    assert simplex((2, 2), 7.0, tables)[:, 0, 0].abs().max() < 1e-6
    assert simplex((5, 5), 1.0, tables).abs().max() > 0.01


def test_octaves_add_finer_sheets() -> None:
    def roughness(octaves: int) -> float:
        kind = NoiseKind("simplex", octaves, 0.8, 32.0)
        field = draw_noise(kind, 20, (64, 64), torch.Generator().manual_seed(1))
        return float((field[:, 1:] - field[:, :-1]).std() / field.std())

    assert roughness(1) < roughness(3) < roughness(6)


def test_noise_follows_its_generator() -> None:
    for kind in (NoiseKind("gauss"), NoiseKind("simplex", 2)):
        first, again, other = (draw_noise(kind, 2, (8, 8), torch.Generator().manual_seed(s)) for s in (1, 1, 2))
        assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("steps", [10, 100, 1000])
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_what_is_kept_falls_to_nearly_nothing(schedule: str, steps: int) -> None:
    kept = kept_fractions(steps, schedule)
    assert (kept[1:] < kept[:-1]).all() and kept[0] > 0.7 and kept[-1] < 1e-3
    with pytest.raises(ValueError, match="the schedule 'square' is neither linear nor cosine"):
        kept_fractions(steps, "square")


def test_the_published_schedule() -> None:
    kept = kept_fractions(1000, "linear")
    assert kept[0] == pytest.approx(1 - 1e-4) and kept[249] == pytest.approx(0.524, abs=1e-3)


def test_a_perfect_prediction_leads_back_to_the_slice() -> None:
    torch.manual_seed(0)
    clean, noise = torch.rand(2, 1, 8, 8) - 0.5, 0.1 * torch.randn(2, 1, 8, 8)
    kept = kept_fractions(50, "linear")
    noisy = add_noise(clean, noise, kept, torch.tensor([0, 0]))
    back = step_back(noisy, noise, torch.full_like(noise, 9.0), kept, 0)  # no noise is added in the last step
    assert torch.allclose(back, clean, atol=1e-5)
    middle = add_noise(clean, noise, kept, torch.tensor([20, 20]))
    mean = step_back(middle, noise, torch.zeros_like(noise), kept, 20)
    lost = 1 - float(kept[20] / kept[19])
    wanted = (middle - lost / math.sqrt(1 - float(kept[20])) * noise) / math.sqrt(1 - lost)
    assert torch.allclose(mean, wanted, atol=1e-5)  # Ho et al. 2020, algorithm 2


def test_the_published_network_is_built() -> None:
    with torch.device("meta"):
        network = UNet(1, UNetSize())
    assert len(network.down) == 6 * 2 + 5 and len(network.up) == 6 * 3
    assert count(network) == 130_332_417


def test_the_network_sees_the_step_and_which_sequences_are_shown() -> None:
    torch.manual_seed(0)
    network = UNet(2, UNetSize(8, (1, 2), 1, 1, 2))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    x, step, shown = torch.rand(1, 2, 8, 8), torch.tensor([3]), torch.tensor([[True, True]])
    base = network(x, step, shown)
    assert base.shape == x.shape
    assert not torch.allclose(base, network(x, step + 5, shown))
    assert not torch.allclose(base, network(x, step, torch.tensor([[True, False]])))


@BOTH
def test_it_trains_and_scores_any_subset(descriptor: MethodDescriptor) -> None:
    method = build(descriptor)
    losses = Loop(method, 3).run(training_batch((0, 1), (1, 0), (1, 2))).losses
    assert all(math.isfinite(value) for value in losses["denoising"])
    images = slices()
    mixed = torch.tensor([[True, False, False], [True, True, True], [False, True, True]])
    with torch.no_grad():
        together = method.score(Batch(images * mixed[:, :, None, None], mixed)).maps
    for row, shown in enumerate(mixed.tolist()):
        assert torch.allclose(score(method, images[row : row + 1], *shown), together[row], atol=1e-5)
    assert together.shape == (3, 32, 32) and (together >= 0).all() and together.std() > 0


@BOTH
def test_a_hidden_sequence_has_no_loss(descriptor: MethodDescriptor) -> None:
    method = build(descriptor)
    found = gradients(method, training_batch((0, 2), (1, 2), (2, 2), (3, 2)))
    assert found["last.weight" if "last.weight" in found else "network.last.weight"][2].abs().max() == 0
    assert found["network.last.weight"][0].abs().max() > 0


def test_the_average_follows_and_scores_and_is_stored() -> None:
    method = build(DDPM, ema=0.5)
    before = method.average.last.bias.clone()
    Loop(method, 4).run(training_batch())
    assert not torch.equal(method.average.last.bias, before)
    assert method.scoring is method.average and build(DDPM_PATCHED, ema=0.0).scoring is not method.average
    again = build(DDPM, ema=0.5)
    again.load_saved_state(method.saved_state())
    images = slices()
    assert torch.equal(score(again.eval(), images, True, True, False), score(method, images, True, True, False))


def test_patches_cover_the_slice_once_and_train_one_at_a_time() -> None:
    method = build(DDPM_PATCHED)
    covered = torch.zeros(32, 32)
    for rows, columns in method.boxes():
        covered[rows, columns] += 1
    assert (covered == 1).all()
    assert method.random_patches(5).sum((1, 2, 3)).tolist() == [256] * 5
    assert build(DDPM).random_patches(2).all()


def test_the_surroundings_of_a_patch_are_not_noised() -> None:
    method = build(DDPM_PATCHED)
    seen = []
    method.predict = lambda network, noisy, step, shown: seen.append(noisy) or noisy  # type: ignore[func-returns-value]
    images = slices(1)
    clean = method.slices(Batch(images, torch.ones(1, 3, dtype=torch.bool)))
    rebuilt = method.inpaint(clean, torch.ones(1, 3, dtype=torch.bool))
    assert [(noisy != clean).any(1).sum().item() for noisy in seen] == [256] * 4
    assert (rebuilt != clean).any(1).all()


@BOTH
def test_a_slice_without_tissue_is_scored_like_any_other(descriptor: MethodDescriptor) -> None:
    method = fitted(descriptor)
    images = torch.cat([torch.zeros(1, 3, *GRID), slices(1)])
    maps = score(method, images, True, True, False)
    assert torch.isfinite(maps).all() and (maps[0] >= 0).all()
    assert torch.allclose(score(method, images[1:], True, True, False)[0], maps[1], atol=1e-5)


def test_a_patch_or_a_step_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UserError, match="The patch of 20 pixels does not divide the input of 32; set patch to"):
        build(DDPM_PATCHED, patch=20)
    with pytest.raises(UserError, match="start and train_steps must not exceed the 20 timesteps; lower them"):
        build(DDPM, start=21)


def test_scores_do_not_depend_on_the_state_of_the_generator() -> None:
    method = fitted(DDPM)
    torch.manual_seed(1)
    first = score(method, slices(), True, True, True)
    torch.manual_seed(2)
    assert torch.equal(first, score(method, slices(), True, True, True))
