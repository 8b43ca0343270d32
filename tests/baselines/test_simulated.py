"""Methods that learn from simulated anomalies: ESC-DRKD and the MMRAD-style one."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from baseline_fixture import build, count, maps_of
from inp_fixture import training_batch

from anyadbench.errors import UserError
from anyadbench.methods.backbones import build_backbone
from anyadbench.methods.distances import mean_cosine_loss
from anyadbench.weights import ResolvedWeights
from anyadbench_baselines.catalogue.distillation import ESCKDRKD
from anyadbench_baselines.catalogue.simulated import MMRAD
from anyadbench_baselines.esckdrkd import CentreMaskedConv, Projection, cut_paste
from anyadbench_baselines.mmrad import simulate
from anyadbench_baselines.mmrad_net import Prompts, encode, high_frequencies


def test_projections_have_the_published_sizes() -> None:
    with torch.device("meta"):
        assert [count(Projection(width)) for width in (256, 512, 1024)] == [1_328_064, 5_310_336, 21_237_504]


def test_a_masked_filter_does_not_see_its_own_place_and_keeps_its_weights() -> None:
    layer = CentreMaskedConv(2, 3)
    before = layer.weight.clone()
    x = torch.rand(1, 2, 5, 5)
    changed = x.clone()
    changed[:, :, 2, 2] += 1
    here, there = layer(x), layer(changed)
    assert torch.equal(here[:, :, 2, 2], there[:, :, 2, 2]) and not torch.equal(here, there)
    assert torch.equal(layer.weight, before)


def test_pasting_changes_one_square_and_leaves_missing_channels_alone() -> None:
    torch.manual_seed(0)
    channels = torch.rand(4, 3, 64, 64) + 0.1
    channels[:, 1] = 0
    for _ in range(6):
        damaged = cut_paste(channels)
        assert not damaged[:, 1].any()
        for before, after in zip(channels, damaged, strict=True):
            rows, columns = (before != after).any(0).nonzero(as_tuple=True)
            assert len(rows) == (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1) < 64 * 64


def test_a_pasted_patch_lies_over_a_fifth_of_what_was_there() -> None:
    torch.manual_seed(1)
    channels = torch.full((1, 3, 32, 32), 0.5)
    damaged = cut_paste(channels)
    assert {round(float(v), 5) for v in damaged.unique()} == {0.5, 0.6}


def test_esckdrkd_decodes_the_clean_deepest_level_with_projected_skips() -> None:
    method, batch = build(ESCKDRKD).train(), training_batch()
    seen = {}
    method.decoder.register_forward_hook(lambda m, args, out: seen.update(code=args[0], skips=args[1], out=out))
    torch.manual_seed(3)
    losses = method.training_step(batch, 0, 1)["main"]
    clean = method.encoder(method.inputs(batch))
    assert torch.equal(seen["code"], clean[3])
    assert [skip.shape[1] for skip in seen["skips"]] == [clean[2].shape[1], clean[1].shape[1]]
    torch.testing.assert_close(losses["distillation"], mean_cosine_loss(clean[:3], seen["out"]))


def test_esckdrkd_skips_go_in_without_a_rectifier() -> None:
    decoder = build(ESCKDRKD).eval().decoder
    third, second = torch.randn(1, 112, 4, 4), torch.randn(1, 40, 8, 8)
    code = torch.rand(1, 320, 2, 2)
    d3 = decoder.layer1(code)
    d2 = decoder.layer2(d3 + third)
    d1 = decoder.layer3(d2 + second)
    for found, expected in zip(decoder(code, (third, second)), (d1, d2, d3), strict=True):
        assert torch.equal(found, expected)


def test_rates_of_decoder_and_projections_differ() -> None:
    groups = build(ESCKDRKD).optimizers()["main"].optimizer.param_groups
    assert [group["lr"] for group in groups] == [0.005, 0.001]


def test_a_constant_picture_has_no_high_frequencies() -> None:
    assert float(high_frequencies(torch.full((1, 3, 16, 16), 0.4), 0.25).abs().max()) < 1e-5
    noise = torch.rand(1, 3, 16, 16)
    torch.testing.assert_close(high_frequencies(noise, 0.0), noise)


@pytest.mark.parametrize("architecture", ["vit_small_patch14_dinov2.lvd142m", "samvit_base_patch16.sa1b"])
@torch.no_grad()
def test_silent_prompts_leave_the_encoder_as_it_is(architecture: str) -> None:
    weights = ResolvedWeights(name="r", profile="random", architecture=architecture, kind="random")
    size = 56 if "14" in architecture else 64
    vit = build_backbone(weights, img_size=size).eval()
    prompts = Prompts(vit.embed_dim, len(vit.blocks), vit.patch_embed.patch_size[0], 32, 0.25)
    pixels = torch.rand(2, 3, size, size)
    loud = encode(vit, prompts, pixels)
    torch.nn.init.zeros_(prompts.shared.weight)
    torch.nn.init.zeros_(prompts.shared.bias)
    expected = vit.forward_features(pixels)
    if expected.ndim == 3:
        expected = expected[:, 1:].transpose(1, 2).reshape(2, -1, 4, 4)
    torch.testing.assert_close(encode(vit, prompts, pixels), expected)
    assert not torch.allclose(loud, expected)


def test_simulated_regions_are_the_same_in_all_shown_sequences_and_in_no_other() -> None:
    torch.manual_seed(0)
    pictures = torch.zeros(16, 3, 48, 48)
    pictures[..., 8:40, 8:40] = torch.rand(16, 3, 32, 32) + 0.1
    shown = torch.ones(16, 3, dtype=torch.bool)
    shown[::2, 1] = False
    pictures = pictures * shown[:, :, None, None]
    changed, region = simulate(pictures, shown, 0.5)
    differs = changed != pictures
    assert not differs[~shown].any()
    assert not (differs & ~region[:, None].bool()).any()
    assert not region[..., :8, :].any()
    touched = region.flatten(1).any(1)
    assert 2 <= int(touched.sum()) <= 14
    assert simulate(pictures, shown, 1.0)[1].sum() == 0


@torch.no_grad()
def test_mmrad_averages_masks_of_shown_sequences_alone() -> None:
    method = build(MMRAD).eval()
    images = torch.rand(1, 3, 40, 40)

    of = partial(maps_of, method, images)
    alone = torch.stack([of(True, False, False), of(False, False, True)]).mean(0)
    torch.testing.assert_close(of(True, False, True), alone, rtol=1e-4, atol=1e-5)


def test_mmrad_trains_prompts_and_decoder_only() -> None:
    method = build(MMRAD)
    losses = method.train().training_step(training_batch(), 0, 1)["main"]
    sum(losses.values()).backward()
    with_gradient = {name.split(".")[0] for name, p in method.named_parameters() if p.grad is not None}
    assert with_gradient == {"prompts", "decoder"}
    assert set(losses) == {"mask", "dice", "case"}


def test_an_input_size_that_does_not_fit_the_encoder_is_refused() -> None:
    with pytest.raises(
        UserError, match="image_size is 100, not a multiple of the encoder's patch of 14 pixels; use 98"
    ):
        build(MMRAD, image_size=100)


def test_mmrad_is_marked() -> None:
    assert "style of" in MMRAD.title and "Low confidence" in MMRAD.departures[0]
