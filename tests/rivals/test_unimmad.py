"""UniMMAD: the authors' numbers, planted mistakes, and a method for any subset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from baseline_fixture import Loop, build, count, fitted
from inp_fixture import GRID, training_batch
from rivals_parity import FOLDER, SHARED, report_of
from safetensors.torch import save_file
from torch import Tensor, nn

from anyadbench.errors import UserError
from anyadbench.methods.contract import Batch
from anyadbench.testing.parity import compare, read_folder, read_numbers
from anyadbench.weights import resolve
from anyadbench_rivals.descriptors import UNIMMAD
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


@pytest.mark.slow
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


def whole_gradient(original: Callable[..., Any]) -> Callable[..., Any]:
    """The cube of the distance, differentiated as a cube: the same value, three times the gradient."""

    def loss(passed: Any) -> Tensor:
        distances = [network.cosine_distance(a, b) for a, b in zip(passed.prior, passed.rebuilt, strict=True)]
        return torch.stack([(distance**3).mean() for distance in distances]).sum()

    return loss


def unfaded(original: Callable[..., Any]) -> Callable[..., Any]:
    return lambda epoch: 1.0


TRAINING_MISTAKES = {
    "gradient through the weight of a position": ("reconstruction_loss", whole_gradient, "train/grad_norms"),
    "load balancing that does not fade": ("balance_weight", unfaded, "train/extra_losses"),
}


@pytest.mark.slow
@pytest.mark.parametrize("mistake", TRAINING_MISTAKES)
def test_a_mistake_in_training_is_noticed(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, change, entry = TRAINING_MISTAKES[mistake]
    monkeypatch.setattr(parity, name, change(getattr(parity, name)))
    found = parity._training(SMALL, parity._network(SMALL), parity._images(SMALL))
    expected = read_numbers(FOLDER, SMALL.name)[entry]
    assert abs(found[entry] - expected).max() > 1e-6


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


@pytest.mark.slow
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


@pytest.fixture(scope="module")
def untrained() -> Any:
    """UniMMAD as drawn."""
    return fitted(UNIMMAD, steps=0)


@pytest.mark.parametrize("layout", ["packed", "slots"])
def test_slices_of_a_batch_share_no_map(layout: str, untrained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The published function sums over everything it is given: three slices in a batch get one map."""
    method = with_parameters(untrained, monkeypatch, layout=layout)
    images = slices()
    mixed = torch.tensor([[True, False, False], [True, True, True], [False, True, True]])
    with torch.no_grad():
        together = method.score(Batch(images * mixed[:, :, None, None], mixed)).maps
    for row, shown in enumerate(mixed.tolist()):
        assert torch.allclose(score(method, images[row : row + 1], *shown), together[row], atol=1e-5)


def with_parameters(method: Any, monkeypatch: pytest.MonkeyPatch, **changed: str) -> Any:
    """Change parameters that no network depends on, for one test."""
    context = replace(method.context, params={**method.context.params, **changed})
    monkeypatch.setattr(method, "context", context)
    return method


@pytest.mark.parametrize(("rule", "low", "high"), [("sum", 1.4, 2.0), ("mean", 0.8, 1.2)])
def test_the_released_sum_grows_with_the_number_of_sequences_and_the_mean_does_not(
    rule: str, low: float, high: float, untrained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = with_parameters(untrained, monkeypatch, pictures=rule)
    images = slices(1)
    images[:] = images[:, :1]
    one, three = (score(method, images, True, more, more).mean() for more in (False, True))
    assert low < three / one < high


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
    Loop(method, 1).run(training_batch(size=2))
    assert all(torch.equal(value, method.network.prior.state_dict()[name]) for name, value in before.items())
    assert not any(name.startswith("network.prior.") for name in method.saved_state())
    assert any(name.startswith("network.encoder.") for name in method.saved_state())


def test_a_slice_without_tissue_is_a_grey_picture_like_any_other(untrained: Any) -> None:
    found = score(untrained, torch.cat([torch.zeros(1, 3, *GRID), slices(1)]), True, True, False)
    assert torch.isfinite(found).all() and found[0].std() > 0
    assert torch.allclose(score(untrained, slices(1), True, True, False)[0], found[1], atol=1e-5)


def joined(method: Any) -> dict[str, Tensor]:
    """The published file: every module under its name in the released code, the discarded stage included."""
    modules = method.network.published_modules()
    state = {
        f"{prefix}{name}": torch.full_like(value, 0.25)
        for prefix, module in modules.items()
        for name, value in module.state_dict().items()
    }
    return state | {f"piror_generator.model.{name}.weight": torch.ones(1) for name in ("layer4.0.conv1", "fc")}


def test_the_authors_modules_are_loaded_strictly_from_one_file(tmp_path: Path) -> None:
    method = build(UNIMMAD)
    state = joined(method)
    save_file(state, tmp_path / "joined.safetensors")
    weights = resolve(f"file:{tmp_path / 'joined.safetensors'}", UNIMMAD.weights, checkpoint=UNIMMAD.checkpoint)
    method.load_published(weights.published())
    assert all((value == 0.25).all() for value in method.network.state_dict().values() if value.is_floating_point())
    for module in ("general_multimodal_encoder.", "input_embedding.", "c_moes."):  # each alone is refused below
        assert any(f"{module}{entry}" in state for entry in UNIMMAD.checkpoint)
    trained = {name: value for name, value in state.items() if not name.startswith("piror_generator.")}
    with pytest.raises(
        UserError, match=r"has no entries piror_generator.model.\*; the authors keep each module in a f"
    ):
        method.load_published(trained)
    with pytest.raises(
        UserError, match=r"has 'optimizer.step', which belongs to no module of the network \(1 unused\)"
    ):
        method.load_published(state | {"optimizer.step": torch.ones(1)})
    del state["c_moes.0.conv_share.0.weight"]
    with pytest.raises(UserError, match=r"The published checkpoint lacks 'c_moes.0.conv_share.0.weight' \(1 missing\)"):
        method.load_published(state)


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
