"""Encoders by name: the table, how each is found and loaded, and the sentence for each mistake."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from anyadbench.cli import main
from anyadbench.errors import UserError
from anyadbench.methods.descriptor import MethodDescriptor
from anyadbench.methods.encoders import check_encoder
from anyadbench.plugins import find_method
from anyadbench.weights import resolve
from anyadbench.weights.encoders import ENCODERS, encoder_label, patch_of
from anyadbench.weights.naming import architecture_shapes, to_timm_names
from anyadbench_anyad.descriptors import ANYAD
from anyadbench_baselines.catalogue.distillation import RD4AD
from anyadbench_baselines.catalogue.references import ANYPATCHCORE, DPMM

TINY = "vit_tiny_patch16_224.augreg_in21k"


def both(name: str) -> dict[str, str | None]:
    return {"published": name, "package": name}


def test_the_table_is_complete_and_agrees_with_timm() -> None:
    timm = pytest.importorskip("timm")
    for name, source in ENCODERS.items():
        config = timm.get_pretrained_cfg(source.architecture)
        assert config is not None and source.licence and source.provenance.endswith("."), name
        assert (
            patch_of(source.architecture)
            == architecture_shapes(source.architecture).get("patch_embed.proj.weight", (0,))[-1]
        )
        if source.kind == "file":
            assert source.repository and source.repository_file and source.unverified, name
        elif source.kind == "hub":
            assert (source.input_size, source.mean, source.std) == (config.input_size, config.mean, config.std), name
            assert source.licence.lower() == config.license, name
        else:
            assert len(str(source.sha256)) == 64 and (source.mean, source.std) == (config.mean, config.std), name


def test_listing_imports_no_torch(capsys: pytest.CaptureFixture[str]) -> None:
    code = (
        "import sys, anyadbench.cli as c\ntry: c.main(['encoders'])\nexcept SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in ENCODERS)
    with pytest.raises(SystemExit):
        main(["encoders", "--json"])
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["rad-dino"]["patch"] == 14 and rows["rad-dino"]["licence"] == "MIT" and rows["rad-dino"]["unverified"]
    assert rows["efficientnet-lite1"]["patch"] == 0 and rows["efficientnet-lite1"]["mean"] == [0.5, 0.5, 0.5]


def test_a_named_encoder_is_one_source_in_every_profile() -> None:
    params = DPMM.resolve("demo", {"encoder": "dinov2-s-saliency"})
    assert DPMM.weights_for(params) == both("dinov2-s-saliency")
    found = resolve("random", DPMM.weights_for(params), profile="package")
    assert found.architecture == "vit_small_patch14_dinov2.lvd142m"
    assert DPMM.weights_for(DPMM.resolve("demo")) == DPMM.weights


def test_encoder_and_backbone_name_the_same_parameter() -> None:
    for descriptor in (RD4AD, ANYAD):
        assert descriptor.resolve("demo", {"backbone": "resnet18"}) == descriptor.resolve(
            "demo", {"encoder": "resnet18"}
        )
    pytest.importorskip("anyadbench_anomalib")
    padim, _ = find_method("anomalib:padim")
    assert padim.resolve("demo", {"encoder": "resnet18"})["backbone"] == "resnet18"


@pytest.mark.parametrize("name", ["rad-dino", "biomedclip", "medsiglip"])
def test_an_encoder_that_only_a_hub_has_names_its_file(name: str) -> None:
    source = ENCODERS[name]
    for spec in ("package", "published"):
        with pytest.raises(UserError) as caught:
            resolve(spec, both(name))
        said = str(caught.value)
        assert f"{source.repository_file} of the hub repository {source.repository}" in said
        assert "pass --weights file:PATH" in said and source.licence in said and ". " not in said.replace(".safe", "")
    with pytest.raises(UserError, match=f"no such file; .* {source.repository_file} of the hub repository"):
        resolve("file:/nowhere.bin", both(name))


def test_a_file_of_such_an_encoder_keeps_its_name_statistics_and_licence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANYADBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(ENCODERS, "biomedclip", replace(ENCODERS["biomedclip"], architecture=TINY))
    torch.manual_seed(0)
    trunk = {name: torch.randn(shape) for name, shape in architecture_shapes(TINY).items()}
    state = {f"visual.trunk.{name}": value for name, value in trunk.items()}
    state |= {"visual.head.proj.weight": torch.zeros(4, 192), "text.transformer.norm.weight": torch.zeros(3)}
    torch.save(state, tmp_path / "open_clip_pytorch_model.bin")
    found = resolve(f"file:{tmp_path / 'open_clip_pytorch_model.bin'}", both("biomedclip"))
    assert (found.name, found.licence, found.mean) == ("file:biomedclip", "MIT", ENCODERS["biomedclip"].mean)
    assert encoder_label(found.name, found.architecture) == "biomedclip (file)"
    read = found.state_dict()
    assert all(torch.equal(read[name], value) for name, value in trunk.items())
    del state["visual.trunk.norm.weight"]
    torch.save(state, tmp_path / "short.bin")
    with pytest.raises(UserError, match=r"lacks the tensor 'norm.weight' of vit_tiny_patch16_224"):
        resolve(f"file:{tmp_path / 'short.bin'}", both("biomedclip")).state_dict()


def siglip_state(named: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return tensors in the naming of ``transformers``, written out by hand."""
    state = {
        "embeddings.patch_embedding.weight": named["patch_embed.proj.weight"],
        "embeddings.patch_embedding.bias": named["patch_embed.proj.bias"],
        "embeddings.position_embedding.weight": named["pos_embed"][0],
        "post_layernorm.weight": named["norm.weight"],
        "post_layernorm.bias": named["norm.bias"],
        "head.probe": torch.zeros(1, 1, 8),
    }
    for end in ("weight", "bias"):
        for part, value in zip("qkv", named[f"blocks.0.attn.qkv.{end}"].chunk(3), strict=True):
            state[f"encoder.layers.0.self_attn.{part}_proj.{end}"] = value.clone()
        state[f"encoder.layers.0.self_attn.out_proj.{end}"] = named[f"blocks.0.attn.proj.{end}"]
        for block in ("mlp.fc1", "mlp.fc2"):
            state[f"encoder.layers.0.{block}.{end}"] = named[f"blocks.0.{block}.{end}"]
        for number in (1, 2):
            state[f"encoder.layers.0.layer_norm{number}.{end}"] = named[f"blocks.0.norm{number}.{end}"]
    return {f"vision_model.{key}": value for key, value in state.items()} | {"text_model.x": torch.zeros(1)}


def test_siglip_files_are_read_under_timms_names(tmp_path: Path) -> None:
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(1)
    network = VisionTransformer(
        img_size=28, patch_size=14, embed_dim=8, depth=1, num_heads=2, class_token=False, global_pool="avg",
        fc_norm=False, num_classes=0,
    )  # fmt: skip
    own = network.state_dict()
    found = to_timm_names(siglip_state(own))
    assert found.pop("head.probe").shape == (1, 1, 8)
    assert found.keys() == own.keys() and all(torch.equal(found[name], own[name]) for name in own)


def check(descriptor: MethodDescriptor, budget: str = "demo", **overrides: Any) -> None:
    check_encoder(descriptor, descriptor.resolve(budget, overrides))


def test_an_unknown_encoder_names_the_command_that_lists_them() -> None:
    with pytest.raises(UserError, match=r"'dinov2-x' are not a known source; 'anyadbench encoders' lists"):
        check(DPMM, encoder="dinov2-x")


def test_a_patch_that_does_not_divide_the_image_is_refused_with_a_size_that_fits() -> None:
    with pytest.raises(UserError) as caught:
        check(DPMM, encoder="dinov3-s")
    said = str(caught.value)
    assert "patches of 16 pixels, which do not divide image_size 140" in said and "dpmm.image_size=112" in said
    check(DPMM, encoder="dinov3-s", image_size=112)


def test_networks_of_the_other_kind_are_refused() -> None:
    with pytest.raises(
        UserError, match="encoder=resnet18 is a convolutional network, but anyad needs the patch tokens"
    ):
        check(ANYAD, encoder="resnet18")
    with pytest.raises(UserError, match="encoder=dinov2-s is a transformer, but rd4ad needs the feature maps"):
        check(RD4AD, encoder="dinov2-s")
    check(RD4AD, encoder="efficientnet_lite0")
    check(ANYPATCHCORE, encoder="efficientnet-lite2")
    check(ANYAD, encoder="dinov2-b-reg")


def test_a_file_as_the_encoder_is_refused() -> None:
    with pytest.raises(UserError, match="names a file; name the network here, and pass the file as --weights file:/a"):
        check(ANYAD, encoder="file:/a")


def test_every_frozen_network_can_be_chosen() -> None:
    from anyadbench.plugins import load_methods

    lacking = [d.name for d in load_methods().values() if "table" in d.families and d.weights and not d.encoder_param]
    assert lacking == []


@pytest.mark.parametrize("level", [1, 2])
def test_carried_networks_load_by_order(level: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from anyadbench.weights import resolution

    architecture = f"tf_efficientnet_lite{level}.in1k"
    names = [*architecture_shapes(architecture), "classifier.weight", "classifier.bias"]
    shapes = {**architecture_shapes(architecture), "classifier.weight": (1000, 1280), "classifier.bias": (1000,)}
    torch.manual_seed(level)
    state = {name: torch.rand(shapes[name]).to(torch.int64 if "tracked" in name else torch.float32) for name in names}
    path = tmp_path / "lite.pth"
    torch.save({f"_{k}.{name.rpartition('.')[2]}": state[name] for k, name in enumerate(names)}, path)
    source = replace(ENCODERS[f"efficientnet-lite{level}"], sha256=None)
    monkeypatch.setitem(ENCODERS, f"efficientnet-lite{level}", source)
    monkeypatch.setattr(resolution, "package_path", lambda source: path)
    read = resolve("package", both(f"efficientnet-lite{level}")).state_dict()
    assert all(torch.equal(read[name], state[name]) for name in architecture_shapes(architecture))


def test_wrong_keys_are_one_sentence(tmp_path: Path) -> None:
    save_file({"something.weight": torch.zeros(2)}, tmp_path / "wrong.safetensors")
    found = resolve(f"file:{tmp_path / 'wrong.safetensors'}", both("rad-dino"))
    with pytest.raises(
        UserError, match=r"wrong.safetensors lacks the tensor 'cls_token' and \d+ more of vit_base_patch14"
    ):
        found.state_dict()


def test_the_page_lists_every_encoder_with_its_facts() -> None:
    from places import ROOT

    rows = [line for line in (ROOT / "docs" / "encoders.md").read_text().splitlines() if line.startswith("| `")]
    assert len(rows) == len(ENCODERS)
    for row, (name, source) in zip(rows, ENCODERS.items(), strict=True):
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        means, stds = ([float(number) for number in part.split(",")] for part in cells[4].split(";"))
        assert cells[0] == f"`{name}`" + "*" * bool(source.unverified) and cells[1] == source.title
        assert cells[2] == (str(patch_of(source.architecture)) if patch_of(source.architecture) else "–")
        assert cells[3] == str(source.input_size[1]) and cells[5] == source.licence
        assert means == pytest.approx(list(dict.fromkeys(source.mean)), abs=1e-4)
        assert stds == pytest.approx(list(dict.fromkeys(source.std)), abs=1e-4)
        assert str(source.repository_file or source.package or source.architecture) in cells[6]
