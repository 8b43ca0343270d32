"""UniMMAD: the authors' numbers, planted mistakes, and a method for any subset."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from baseline_fixture import Loop, build, count, fitted
from inp_fixture import GRID, training_batch
from rivals_parity import FOLDER, SHARED, report_of
from torch import Tensor, nn

from anyadbench.errors import UserError
from anyadbench.methods.contract import Batch
from anyadbench.testing.parity import compare, read_folder, read_numbers
from anyadbench_rivals.descriptors import UNIMMAD, UNIMMAD_MODDROP
from anyadbench_rivals.unimmad import experts, layers, network, parity
from anyadbench_rivals.unimmad.compression import Compression, Stem
from anyadbench_rivals.unimmad.experts import CrossExperts, ExpertSizes
from anyadbench_rivals.unimmad.network import balance_weight, blurred, image_scores, stack_pictures
from anyadbench_rivals.unimmad.schedule import cosine_by_epoch

SMALL = next(fixture for fixture, _ in read_folder(FOLDER) if fixture.name == "unimmad_small")


@pytest.mark.slow
def test_the_authors_numbers(tmp_path: Path) -> None:
    report = report_of(tmp_path, [UNIMMAD], "unimmad_small")
    assert report.ok and report.worst < 1e-8 and len(report.results["unimmad_small"]) == 28


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not SHARED.is_dir(), reason="ANYADBENCH_SHARED has no folder parity-rivals on this machine")
def test_every_entry_at_the_published_widths(tmp_path: Path) -> None:
    report = report_of(tmp_path, [UNIMMAD], "unimmad_small", "unimmad_official", source=SHARED)
    assert report.ok and sum(map(len, report.results.values())) == 41 + 18


@pytest.fixture(scope="module")
def small() -> network.UniMmadNetwork:
    """The network of the small fixture."""
    return parity._network(SMALL).eval().requires_grad_(False)


def evaluated(model: network.UniMmadNetwork) -> dict[str, float]:
    """Return the error of every evaluation entry."""
    found = parity._evaluation(SMALL, model, parity._images(SMALL)[0])
    expected = read_numbers(FOLDER, SMALL.name)
    return {row.entry: row.error for row in compare({k: v for k, v in expected.items() if k in found}, found)}


def test_evaluation_agrees_with_the_authors(small: network.UniMmadNetwork) -> None:
    errors = evaluated(small)
    assert len(errors) == 16 and max(errors.values()) < 1e-9


def per_leader(original: Callable[..., Any]) -> Callable[..., Any]:
    """A softmax over all bases and channels of a leader together."""
    return lambda self, dim: original(self.flatten(1), 1).view(self.shape) if self.dim() == 3 else original(self, dim)


def shared_slot(original: Callable[..., Any]) -> Callable[..., Any]:
    """Missing pictures black instead of 0.0 after normalisation."""

    def stack(images: Tensor, shown: Tensor, layout: str) -> Tensor:
        found = original(images, shown, layout)
        empty = (found.abs().amax((2, 3)) == 0)[:, :, None, None]
        return torch.where(empty, -2.0, found)

    return stack


def unsmoothed(original: Callable[..., Any]) -> Callable[..., Any]:
    """A blur whose border is reflected."""

    def blur(maps: Tensor) -> Tensor:
        padded = nn.functional.pad(maps[:, None], (7, 7, 7, 7), mode="reflect")[:, 0]
        return original(padded)[:, 7:-7, 7:-7]

    return blur


def mean_of_pictures(original: Callable[..., Any]) -> Callable[..., Any]:
    def maps(passed: Any, slices: int, size: Any) -> Tensor:
        return original(passed, slices, size) / (3 * len(passed.owner)) ** 0.5

    return maps


def many_groups(original: Callable[..., Any]) -> Callable[..., Any]:
    """Ten groups for 170 channels instead of two."""
    return lambda channels: 10 if channels == 170 else original(channels)


MISTAKES = {
    "softmax over a whole leader": (Tensor, "softmax", per_leader, "eval/image_score"),
    "black for a missing picture": (parity, "stack_pictures", shared_slot, "eval/encoded0_mean"),
    "reflected border": (parity, "blurred", unsmoothed, "eval/map_smoothed"),
    "mean over pictures": (parity, "anomaly_maps", mean_of_pictures, "eval/map_smoothed"),
}


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_is_noticed(
    mistake: str, small: network.UniMmadNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, name, change, entry = MISTAKES[mistake]
    monkeypatch.setattr(owner, name, change(getattr(owner, name)))
    assert evaluated(small)[entry] > 1e-6


@pytest.mark.slow
def test_another_group_norm_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "group_count", many_groups(layers.group_count))
    assert evaluated(parity._network(SMALL).eval().requires_grad_(False))["eval/general0_mean"] > 1e-6


def test_the_published_network_has_the_published_parameters() -> None:
    with torch.device("meta"):
        compression = Compression((256, 512, 1024))
        mixtures = [CrossExperts(channels, ExpertSizes()) for channels in (256, 512, 1024)]
        stem = Stem(256)
    assert count(compression) == 56_760_308 and count(compression.decoder) == 24_917_504
    assert [count(mixture) for mixture in mixtures] == [23_034_466, 23_362_658, 24_019_042]
    assert count(stem) == 800_946


def test_groups_of_norms() -> None:
    assert [layers.group_count(channels) for channels in (2048, 512, 170, 24, 7)] == [32, 32, 2, 8, 1]


def test_one_kernel_for_each_picture_is_the_sum_over_its_leaders() -> None:
    torch.manual_seed(1)
    x, bank = torch.randn(3, 4, 6, 6), torch.randn(2, 4, 4, 3, 3)
    weights, tables = torch.rand(3, 2), torch.randn(3, 2, 2, 4).softmax(2)
    mixture = (weights[..., None, None] * tables).sum(1)
    wanted = torch.zeros(3, 4, 6, 6)
    for picture in range(3):
        for leader in range(2):
            kernel = (tables[picture, leader][:, :, None, None, None] * bank).sum(0)
            one = nn.functional.conv2d(x[picture : picture + 1], kernel, padding=1)[0]
            wanted[picture] += weights[picture, leader] * one
    assert torch.allclose(experts.mixed_convolution(x, mixture, bank), wanted, atol=1e-5)


def test_computing_kernels_again_changes_no_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    gradients = []
    for chunk in (1, 100):
        monkeypatch.setattr(experts, "CHUNK", chunk)
        method = build(UNIMMAD)
        method.train()
        sum(method.training_step(training_batch(), 0, 2)["main"].values()).backward()  # type: ignore[union-attr]
        gradients.append([p.grad for p in method.network.experts.parameters() if p.grad is not None])
    assert all(torch.allclose(a, b, rtol=1e-3, atol=1e-6) for a, b in zip(*gradients, strict=True))


def slices(size: int = 3) -> Tensor:
    return torch.rand(size, 3, *GRID, generator=torch.Generator().manual_seed(4))


@torch.no_grad()
def score(method: Any, images: Tensor, *shown: bool) -> Tensor:
    mask = torch.tensor(shown).expand(len(images), -1)
    return method.score(Batch(images * mask[:, :, None, None], mask)).maps


@pytest.mark.parametrize("descriptor", [UNIMMAD, UNIMMAD_MODDROP], ids=lambda one: one.name)
def test_slices_of_a_batch_share_no_map(descriptor: Any) -> None:
    """The published function sums over everything it is given: three slices in a batch get one map."""
    method = fitted(descriptor)
    images = slices()
    mixed = torch.tensor([[True, False, False], [True, True, True], [False, True, True]])
    with torch.no_grad():
        together = method.score(Batch(images * mixed[:, :, None, None], mixed)).maps
    for row, shown in enumerate(mixed.tolist()):
        assert torch.allclose(score(method, images[row : row + 1], *shown), together[row], atol=1e-5)


def test_the_released_sum_grows_with_the_number_of_sequences_and_the_mean_does_not() -> None:
    images = slices()
    images[:] = images[:, :1]
    summed, mean = (fitted(UNIMMAD, layout="packed", pictures=rule) for rule in ("sum", "mean"))
    one, three = (score(summed, images, True, more, more).mean() for more in (False, True))
    assert three > 1.4 * one
    one, three = (score(mean, images, True, more, more).mean() for more in (False, True))
    assert 0.8 < three / one < 1.2


def test_packed_sequences_have_no_slot_and_slots_do() -> None:
    images = torch.arange(1.0, 4.0).view(1, 3, 1, 1, 1).expand(2, 3, 3, 2, 2)
    shown = torch.tensor([[False, True, True], [True, False, True]])
    packed, slots = (stack_pictures(images, shown, layout)[:, ::3, 0, 0].tolist() for layout in ("packed", "slots"))
    assert packed == [[2, 3, 0, 0], [1, 3, 0, 0]]
    assert slots == [[0, 2, 3, 0], [1, 0, 3, 0]]


def test_hidden_values_do_not_reach_the_stack() -> None:
    images = torch.full((1, 3, 3, 2, 2), float("nan"))
    images[:, 0] = 1
    stack = stack_pictures(images, torch.tensor([[True, False, False]]), "packed")
    assert stack.shape == (1, 12, 2, 2) and torch.isfinite(stack).all()


def test_the_frozen_encoder_stays_and_is_not_stored() -> None:
    method = build(UNIMMAD)
    before = {name: value.clone() for name, value in method.network.prior.state_dict().items()}
    Loop(method, 2).run(training_batch())
    assert all(torch.equal(value, method.network.prior.state_dict()[name]) for name, value in before.items())
    assert not any(name.startswith("network.prior.") for name in method.saved_state())
    assert any(name.startswith("network.encoder.") for name in method.saved_state())


def test_a_slice_without_tissue_has_a_finite_map() -> None:
    method = fitted(UNIMMAD)
    assert torch.isfinite(score(method, torch.zeros(2, 3, *GRID), True, True, False)).all()


def test_five_sequences_are_refused() -> None:
    with pytest.raises(UserError, match="UniMMAD takes at most 4 sequences, but the protocol has 5; use a protocol wi"):
        build(UNIMMAD, sequences=("flair", "t1", "t1ce", "t2", "pd"))


def test_weights_and_rate_by_published_epoch() -> None:
    assert [balance_weight(epoch) for epoch in (0, 100, 200)] == [1, 0.5, 0.001]
    factor = cosine_by_epoch(200)
    assert factor(0, 50) == 1 and factor(25, 50) == pytest.approx(0.5) and factor(49, 50) > 0


def test_the_zero_border_darkens_and_the_score_is_the_top_thousandth() -> None:
    maps = torch.ones(1, 64, 64)
    smooth = blurred(maps)
    assert smooth[0, 0, 0] < 0.34 and smooth[0, 32, 32] == pytest.approx(1)
    values = torch.arange(4096.0).view(1, 64, 64)
    assert image_scores(values) == pytest.approx(4093.5)
