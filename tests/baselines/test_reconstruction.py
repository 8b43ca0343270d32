"""Methods that reconstruct the slice: DAE, GatingAno, AE-Flow."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from baseline_fixture import Loop, build, count, maps_of
from deterministic_fixture import only_deterministic_on_a_gpu
from inp_fixture import training_batch

from anyadbench.methods.contract import Batch
from anyadbench.methods.descriptor import MethodDescriptor
from anyadbench_baselines.aeflow import decoder, ssim
from anyadbench_baselines.catalogue.reconstruction import AEFLOW, DAE, GATINGANO
from anyadbench_baselines.dae import MirroredBorder, UNet, coarse_noise, groups, mean_shown, oscillation
from anyadbench_baselines.flow import Flow, ResidualSubnet, conv_subnet, log_normal
from anyadbench_baselines.gatingano import Discriminator, GatingAno, Generator, blur
from anyadbench_baselines.parts.hog import hog_picture


def test_dae_has_the_published_size() -> None:
    with torch.device("meta"):
        assert count(UNet(4)) == 7_703_748
        assert count(UNet(3)) == 7_703_107


def test_dae_groups_by_the_median_divisor() -> None:
    assert [groups(width) for width in (64, 128, 256, 512)] == [8, 16, 16, 32]  # as in the published network
    assert [groups(width) for width in (8, 16, 32, 1024)] == [4, 4, 8, 32]


def test_dae_names_its_entries_as_published() -> None:
    keys = set(UNet(3).state_dict())
    assert {"down_path.0.block.1.weight", "up_path.0.up.weight", "up_path.2.conv_block.block.5.bias"} <= keys
    assert {"last.weight", "last.bias"} <= keys


def test_dae_standardises_its_filters() -> None:
    block = UNet(3, 8, 2).down_path[0].block[1]
    x = torch.rand(1, 3, 6, 6)
    before = block(x)
    block.weight.data.mul_(3).add_(0.5)
    torch.testing.assert_close(block(x), before, atol=1e-3, rtol=1e-3)


def test_dae_mirrors_borders_with_the_same_values_and_gradients_under_deterministic() -> None:
    x, weight = torch.rand(2, 3, 5, 4, dtype=torch.float64, requires_grad=True), torch.rand(2, 3, 7, 6)
    plain, border = torch.nn.ReflectionPad2d(1)(x), MirroredBorder()
    assert torch.equal(border(x), plain)
    with only_deterministic_on_a_gpu():
        mirrored = border(x)
        (gradient,) = torch.autograd.grad((mirrored * weight).sum(), x)
    assert torch.equal(mirrored, plain)
    torch.testing.assert_close(gradient, torch.autograd.grad((plain * weight).sum(), x)[0])


def test_dae_noise_is_coarse_rolled_and_of_the_published_strength() -> None:
    torch.manual_seed(0)
    fine = coarse_noise((64, 3, 16, 16), 16, 0.2)
    assert float(fine.std()) == pytest.approx(0.2, rel=0.02)
    torch.manual_seed(3)
    noise = coarse_noise((2, 3, 64, 64), 16, 0.2)
    torch.manual_seed(3)
    grid = torch.randn(2, 3, 16, 16) * 0.2
    still = F.interpolate(grid, (64, 64), mode="bilinear", align_corners=True)
    rolls = (int(torch.randint(0, 64, ())), int(torch.randint(0, 64, ())))
    assert torch.equal(torch.roll(noise, (-rolls[0], -rolls[1]), (-2, -1)), still)


def test_dae_adds_noise_and_counts_errors_inside_the_brain_only() -> None:
    method = build(DAE).train()
    targets = torch.zeros(2, 3, 32, 32)
    targets[:, :, 8:24, 8:24] = 0.5
    seen = []
    method.network.register_forward_hook(lambda m, x, y: seen.append((x[0], y)))
    shown = torch.ones(2, 3, dtype=torch.bool)
    loss = method.training_step(Batch.full(targets, shown), 0, 10)["main"]["denoising"]
    noisy, cleaned = seen[0]
    inside = targets.sum(1, keepdim=True) > 0.01
    assert torch.equal(noisy[~inside.expand_as(noisy)], targets[~inside.expand_as(noisy)])
    assert not torch.equal(noisy, targets)
    torch.testing.assert_close(loss, (inside * (cleaned - targets)).square().mean())


def test_dae_oscillates_without_restart() -> None:
    schedule = oscillation(100, 32)
    assert [round(schedule(step * 32, 67200), 6) for step in (0, 50, 100, 150, 200)] == [1.0, 0.5, 0.0, 0.5, 1.0]
    assert schedule(31, 67200) == schedule(0, 67200)


def test_dae_averages_errors_over_shown_sequences() -> None:
    error = torch.tensor([[1.0, 5.0, 3.0]])
    assert mean_shown(error, torch.tensor([[True, False, True]])) == 2.0
    assert mean_shown(error, torch.tensor([[True, True, True]])) == 3.0


def test_dae_learns_to_denoise() -> None:
    losses = Loop(build(DAE, lr=1e-2), 25).run(training_batch()).losses["denoising"]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:3])


def test_gatingano_has_the_published_size() -> None:
    with torch.device("meta"):
        assert count(Generator(1, 2)) == 17_261_890
    assert count(Discriminator()) == 2_761_728
    assert Discriminator(4)(torch.rand(1, 1, 256, 256)).shape[-2:] == (30, 30)


def gradients_at(gates: list[float]) -> dict[str, float]:
    torch.manual_seed(0)
    generator = Generator(1, 2, 4)
    _, output = generator(torch.rand(2, 1, 32, 32), torch.tensor(gates))
    output.square().mean().backward()
    return {name: float(p.grad.abs().sum()) for name, p in generator.named_parameters() if p.grad is not None}


def test_open_gates_leave_all_but_the_outermost_layers_without_gradient() -> None:
    found = gradients_at([1.0, 1.0, 1.0, 1.0])
    trained = {".".join(name.split(".")[:2]) for name, size in found.items() if size > 0}
    assert {name.split(".")[0] for name in trained} == {"inc", "up", "outc"}
    assert {name for name in trained if name.startswith("up.")} == {"up.3"}


def test_closed_gates_send_gradient_through_the_bottleneck() -> None:
    found = gradients_at([0.0, 0.0, 0.0, 0.0])
    assert all(found[f"down.{level}.0.weight"] > 0 for level in range(4))


def test_gates_close_at_their_rates() -> None:
    method = build(GATINGANO, epochs=600, steps=0)  # three equal one of the publication's
    total = 200 * 10
    method.close_gates(0, total)
    np.testing.assert_allclose(method.gates, [1 - rate / 10 for rate in (0.05, 0.04, 0.03, 0.02)], rtol=1e-6)
    for epoch, closed in ((20, 1), (25, 2), (34, 3), (50, 4)):
        method.close_gates(epoch * 10 - 1, total)
        assert int((method.gates < 1e-6).sum()) == closed


def test_gates_are_saved() -> None:
    method = build(GATINGANO)
    Loop(method, 2).run(training_batch())
    assert float(method.saved_state()["gates"].max()) < 1


def test_gatingano_blurs_the_slice_and_not_its_gradient_picture() -> None:
    method = build(GATINGANO)
    assert isinstance(method, GatingAno)
    sharp = training_batch().inputs
    torch.manual_seed(3)
    targets = method.targets(sharp)
    count = sharp.shape[1]
    torch.manual_seed(3)
    cells = [(4, 8, 16)[int(i)] for i in torch.randint(0, 3, (len(sharp),))]
    for picture, found, cell in zip(sharp, targets, cells, strict=True):
        expected = hog_picture(picture[None], cell)[0]
        expected = expected / expected.amax((1, 2), keepdim=True)
        turned = [expected.flip(axes) for axes in ((), (1,), (2,), (1, 2))]
        assert min(float((found[count:] - one).abs().max()) for one in turned) < 1e-6
        sharper = [picture.flip(axes) for axes in ((), (1,), (2,), (1, 2))]
        assert min(float((found[:count] - one).abs().max()) for one in sharper) > 1e-3


def test_both_networks_of_gatingano_train() -> None:
    method = build(GATINGANO)
    before = {key: value.clone() for key, value in method.state_dict().items()}
    Loop(method, 1).run(training_batch())
    for part in ("generator.outc.weight", "discriminator.0.weight_orig"):
        assert not torch.equal(before[part], method.state_dict()[part])


def test_blurring_keeps_a_constant_and_mirrors_borders() -> None:
    torch.testing.assert_close(
        blur(torch.full((1, 2, 12, 10), 0.7), torch.tensor([2.0])), torch.full((1, 2, 12, 10), 0.7)
    )
    assert float(blur(torch.eye(12)[None, None], torch.tensor([1.0])).std()) < float(torch.eye(12).std())


@pytest.mark.parametrize("cell", [4, 8, 16])
def test_gradient_pictures_are_those_of_skimage(cell: int) -> None:
    feature = pytest.importorskip("skimage.feature", reason="scikit-image is not installed")
    images = torch.rand(2, 1, 52, 48, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    options = {"orientations": 9, "pixels_per_cell": (cell, cell), "cells_per_block": (1, 1), "visualize": True}
    for image, found in zip(images[:, 0], hog_picture(images, cell)[:, 0], strict=True):
        _, expected = feature.hog(image.numpy(), **options)
        np.testing.assert_allclose(found, expected, atol=1e-6)  # the library sums in single precision


def test_aeflow_has_the_published_size() -> None:
    with torch.device("meta"):
        assert count(Flow(1024, 8, ResidualSubnet)) == 41_984_000
        assert count(Flow(1024, 8, conv_subnet)) == 11_560_960
        assert count(decoder(1024)) == 5_675_395


@pytest.mark.parametrize("kind", [ResidualSubnet, conv_subnet])
def test_the_flow_is_freias(kind) -> None:  # type: ignore[no-untyped-def]
    framework = pytest.importorskip("FrEIA.framework", reason="FrEIA is not installed")
    modules = pytest.importorskip("FrEIA.modules", reason="FrEIA is not installed")
    torch.manual_seed(0)
    theirs = framework.SequenceINN(7, 4, 4)
    for _ in range(3):
        theirs.append(modules.AllInOneBlock, subnet_constructor=kind, permute_soft=False)
    flow = Flow(7, 3, kind)
    for mine, block in zip(flow, theirs.module_list, strict=True):
        mine.permutation.copy_(block.w_perm[:, :, 0, 0].argmax(1))
        block.global_offset.data.normal_()
        block.global_scale.data.add_(torch.randn_like(block.global_scale))
        mine.global_offset.data.copy_(block.global_offset)
        mine.global_scale.data.copy_(block.global_scale)
        mine.subnet.load_state_dict(block.subnet.state_dict())
    x = torch.randn(2, 7, 4, 4)
    z, log_det = flow.eval()(x)
    expected, expected_det = theirs.eval()(x)
    torch.testing.assert_close(z, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(log_det, expected_det, rtol=1e-5, atol=1e-4)


def test_the_flow_can_be_undone_and_knows_its_determinant() -> None:
    torch.manual_seed(0)
    flow = Flow(4, 3, conv_subnet).double()
    x = torch.randn(1, 4, 2, 2, dtype=torch.float64)
    z, log_det = flow(x)
    torch.testing.assert_close(flow.inverse(z), x)
    jacobian = torch.autograd.functional.jacobian(lambda v: flow(v.view(1, 4, 2, 2))[0].flatten(), x.flatten())
    torch.testing.assert_close(log_det[0], torch.linalg.slogdet(jacobian).logabsdet, rtol=1e-5, atol=1e-5)


def test_the_likelihood_is_in_bits_per_dimension() -> None:
    z = torch.randn(2, 3, 4, 4)
    expected = torch.distributions.Normal(0, 1).log_prob(z).sum((1, 2, 3))
    torch.testing.assert_close(log_normal(z), expected)
    method, batch = build(AEFLOW), training_batch()
    losses = method.train().training_step(batch, 0, 1)["main"]
    _, _, _, moved, log_det = method.rebuild(batch)
    bits = -(log_normal(moved) + log_det).mean() / (moved[0].numel() * math.log(2))
    torch.testing.assert_close(losses["flow"], 0.5 * bits, rtol=1e-3, atol=1e-3)


def test_similarity_is_one_for_equal_pictures_and_skimages_elsewhere() -> None:
    torch.manual_seed(0)
    first, second = torch.rand(1, 1, 24, 24), torch.rand(1, 1, 24, 24)
    torch.testing.assert_close(ssim(first, first), torch.ones(1, 1))
    metrics = pytest.importorskip("skimage.metrics", reason="scikit-image is not installed")
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    expected = metrics.structural_similarity(first[0, 0].numpy(), second[0, 0].numpy(), **options)
    assert float(ssim(first, second)) == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize(
    ("descriptor", "part", "value"), [(DAE, "network", 0.6), (AEFLOW, "decoder", 0.2), (GATINGANO, "generator", 0.6)]
)
def test_the_map_of_a_shown_sequence_is_not_diluted_by_hidden_ones(
    descriptor: MethodDescriptor, part: str, value: float
) -> None:
    """An error in FLAIR alone is three times as large in the map when FLAIR alone is shown."""
    method = build(descriptor).eval()

    def rebuilt(module: object, arguments: object, output: Any) -> Any:
        """Rebuild every sequence of slices of 0.6 well except FLAIR; AE-Flow's images range from -1 to 1."""
        found = output[1] if isinstance(output, tuple) else output
        found = torch.full_like(found, value)
        found[:, 0] += 0.5
        return (output[0], found) if isinstance(output, tuple) else found

    getattr(method, part).register_forward_hook(rebuilt)
    slices = torch.full((1, 3, 40, 40), 0.6)
    with torch.no_grad():
        alone, together = maps_of(method, slices, True, False, False), maps_of(method, slices, True, True, True)
    assert together.max() > 0.1
    torch.testing.assert_close(alone, 3 * together, atol=1e-4, rtol=1e-4)
    assert "shown sequences" in " ".join(descriptor.departures)
