"""Methods on features: parity with the authors' numbers, formulas, and sizes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from baseline_fixture import build, count
from inp_fixture import training_batch
from places import FIXTURES

from anyadbench.errors import UserError
from anyadbench.methods.pyramid import Pyramid
from anyadbench.testing.parity import read_folder, run_parity
from anyadbench.weights import ResolvedWeights
from anyadbench_baselines.catalogue.distillation import RD4AD, RECONTRAST, SKIPTS, STFPM
from anyadbench_baselines.parts.reverse import MIRRORED, OneClassBottleneck, Residual, ReverseDecoder, residual_for
from anyadbench_baselines.recontrast import TwoHeadDecoder, mining_threshold
from anyadbench_baselines.skipts import consistency
from anyadbench_baselines.stfpm import map_product, squared_distances

FOLDER = FIXTURES / "parity"
WIDE = (256, 512, 1024)
PLAN = residual_for("wide_resnet50_2.tv_in1k")


def pyramid_of(architecture: str, levels: int = 3) -> Pyramid:
    return Pyramid(ResolvedWeights(name="r", profile="random", architecture=architecture, kind="random"), levels)


def parity_of(tmp_path: Path, *names: str):  # type: ignore[no-untyped-def]
    import json
    import shutil

    manifest = json.loads((FOLDER / "manifest.json").read_text())
    manifest["fixtures"] = {name: manifest["fixtures"][name] for name in names}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    for name in names:
        for suffix in (".names.json", ".safetensors"):
            shutil.copyfile(FOLDER / f"{name}{suffix}", tmp_path / f"{name}{suffix}")
    return run_parity(tmp_path, [RD4AD, RECONTRAST])


@pytest.mark.slow
def test_the_authors_numbers_with_resnet18(tmp_path: Path) -> None:
    report = parity_of(tmp_path, "rd4ad_resnet18", "recontrast_resnet18")
    assert report.ok and report.worst < 1e-9
    assert {name: len(entries) for name, entries in report.results.items()} == {
        "rd4ad_resnet18": 9,
        "recontrast_resnet18": 3,
    }


@pytest.mark.parametrize("name", sorted(MIRRORED))
def test_decoders_have_the_blocks_of_their_resnet(name: str) -> None:
    import timm
    from timm.models.resnet import BasicBlock

    with torch.device("meta"):
        net = timm.create_model(name)
    blocks = [len(getattr(net, f"layer{level}")) for level in (1, 2, 3, 4)]
    first = net.layer1[0]
    basic = isinstance(first, BasicBlock)
    inner = 1.0 if basic else first.conv2.out_channels / first.conv3.out_channels
    assert residual_for(f"{name}.tv_in1k") == Residual(basic, inner, blocks[3], tuple(blocks[:3]))


@pytest.mark.slow
def test_the_authors_numbers_with_wide_resnet(tmp_path: Path) -> None:
    report = parity_of(tmp_path, "rd4ad_wide_resnet50_2", "recontrast_wide_resnet50_2")
    assert report.ok and len(report.results) == 2


def test_the_fixtures_are_claimed() -> None:
    claimed = {method for _, method in read_folder(FOLDER)}
    assert {"rd4ad", "recontrast"} <= claimed


def test_sizes_are_the_published_ones() -> None:
    with torch.device("meta"):
        bottleneck = OneClassBottleneck(WIDE, PLAN)
        assert count(bottleneck) == 67_277_824
        assert sum(p.numel() for p in bottleneck.used()) == 58_885_120
        assert count(ReverseDecoder(WIDE, PLAN)) == 24_917_504
        assert count(TwoHeadDecoder(WIDE, PLAN)) == 27_673_600


def test_the_wide_encoder_has_the_published_size() -> None:
    assert count(pyramid_of("wide_resnet50_2.tv_in1k")) == 24_862_528


def test_the_student_has_the_published_size() -> None:
    student = build(STFPM, profile="published").student
    assert count(student) == 2_782_784  # type: ignore[arg-type]


def test_stfpm_follows_the_published_formula() -> None:
    """L = sum over levels of the mean over positions of |t/|t| - s/|s||^2."""
    torch.manual_seed(0)
    teacher = [torch.randn(4, c, s, s, dtype=torch.float64) for c, s in ((6, 8), (8, 4), (10, 2))]
    student = [torch.randn_like(level) for level in teacher]
    expected, product = 0.0, torch.ones(4, 8, 8, dtype=torch.float64)
    for t, s in zip(teacher, student, strict=True):
        cosine = (t * s).sum(1) / t.norm(dim=1) / s.norm(dim=1)
        expected += (2 - 2 * cosine).mean()
        product = product * F.interpolate((2 - 2 * cosine)[:, None], (8, 8), mode="bilinear")[:, 0]
    distances = squared_distances(teacher, student)
    loss = sum(d.mean() for d in distances)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(map_product(distances, 8), product)


def test_stfpm_scores_the_product_on_a_quarter_of_the_grid() -> None:
    method, batch = build(STFPM).eval(), training_batch()
    pixels = method.inputs(batch)  # type: ignore[operator]
    quarter = map_product(squared_distances(method.teacher(pixels), method.student(pixels)), 16)  # type: ignore[operator]
    scores = method.score(batch)
    torch.testing.assert_close(scores.maps, F.interpolate(quarter[:, None], (64, 64), mode="bilinear")[:, 0])
    assert torch.equal(scores.images, scores.maps.amax((1, 2)))  # type: ignore[arg-type]


def test_mining_hardens_in_a_tenth_of_the_steps() -> None:
    assert [mining_threshold(step, 1000, 0.1) for step in (0, 50, 100, 900)] == [-3, -1, 1, 1]


def test_recontrast_trains_an_encoder_that_starts_as_the_frozen_one() -> None:
    method = build(RECONTRAST).train()
    pixels = torch.rand(2, 3, 64, 64)
    for mine, theirs in zip(method.encoder(pixels), method.teacher(pixels), strict=True):  # type: ignore[operator]
        assert torch.equal(mine, theirs)
    assert not method.encoder.training  # type: ignore[union-attr]
    assert build(RECONTRAST, encoder_norm="train").train().encoder.training  # type: ignore[union-attr]


@pytest.mark.parametrize("res", [1, 2, 3])
def test_skips_enter_where_the_published_switch_puts_them(res: int) -> None:
    method = build(SKIPTS, res=res).eval()
    pixels = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        _, second, third, deepest = method.encoder(pixels)  # type: ignore[operator]
        decoder = method.decoder
        d3 = decoder.layer1(deepest)  # type: ignore[union-attr, operator]
        d2 = decoder.layer2(torch.relu(d3 + third) if res > 1 else d3)  # type: ignore[union-attr, operator]
        d1 = decoder.layer3(torch.relu(d2 + second) if res > 2 else d2)  # type: ignore[union-attr, operator]
        _, decoded = method.pyramids(pixels)  # type: ignore[operator]
    for found, expected in zip(decoded, (d1, d2, d3), strict=True):
        assert torch.equal(found, expected)


def test_skipts_has_the_published_size() -> None:
    assert sum(p.numel() for p in build(SKIPTS, profile="published").decoder.parameters()) == 24_917_504


def test_consistency_is_zero_for_equal_errors_and_counts_their_differences() -> None:
    zeros = [torch.zeros(2, c, s, s) for c, s in ((2, 16), (3, 8), (4, 4))]
    assert consistency(zeros, [x + 1 for x in zeros], 16) == 0
    errors = [1.0, 2.0, 4.0]
    found = consistency(zeros, [x + e**0.5 for x, e in zip(zeros, errors, strict=True)], 16)
    assert float(found) == pytest.approx(abs(4 - 2) + abs(2 - 1) + abs(4 - 1), rel=1e-5)


def test_a_published_checkpoint_is_loaded_strictly() -> None:
    method = build(RD4AD)
    states = {
        name: {k: v + 1 for k, v in module.state_dict().items()}
        for name, module in (("bn", method.bottleneck), ("decoder", method.decoder))
    }
    method.load_published(states)
    assert torch.equal(method.bottleneck.conv4.weight, states["bn"]["conv4.weight"])  # type: ignore[union-attr]
    del states["bn"]["conv4.weight"]
    with pytest.raises(UserError, match=r"checkpoint's 'bn' lacks 'conv4.weight' \(1 missing\); give a complete"):
        method.load_published(states)
    states["bn"]["conv4.weight"] = torch.zeros(1)
    with pytest.raises(UserError, match=r"'bn' has 'conv4.weight' of shape \(1,\), but \(224, 448, 1, 1\) is need"):
        method.load_published(states)
    with pytest.raises(UserError, match=r"'bn' has 'more', which this network does not have"):
        method.load_published({**states, "bn": {**states["bn"], "more": torch.zeros(1)}})
