"""Weights as training programs write them: in tables, under prefixes, twice, or broken by a training that diverged."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from anyadbench.errors import UserError
from anyadbench.methods.backbones import build_backbone
from anyadbench.weights.naming import architecture_shapes, to_timm_names
from anyadbench.weights.reading import _unprefixed, read_state, read_tensors
from anyadbench.weights.resolved import ResolvedWeights
from anyadbench.weights.wrappers import unwrapped

TINY = "test_resnet.r160_in1k"


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return timm.create_model(TINY).state_dict()


def under(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in state.items()}


def written(content: Any, path: Path) -> ResolvedWeights:
    save_file(content, path) if path.suffix == ".safetensors" else torch.save(content, path)
    return ResolvedWeights(name="tiny", profile="file", architecture=TINY, kind="file", path=str(path), sha256="x")


def refusal(content: Any, path: Path) -> str:
    with pytest.raises(UserError) as raised:
        read_state(written(content, path))
    return str(raised.value)


def same(found: dict[str, Tensor], state: dict[str, Tensor]) -> bool:
    wanted = {key: value for key, value in state.items() if not key.startswith("fc.")}
    return list(found) == list(wanted) and all(torch.equal(found[key], value) for key, value in wanted.items())


PREFIXES = (
    "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model.", "backbone.", "encoder.net.",
    "teacher.backbone.", "model.module.encoder.",
)  # fmt: skip


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_tensors_under_one_prefix_are_read(prefix: str, ending: str, state: dict[str, Tensor], tmp_path: Path) -> None:
    more = {"projector.weight": torch.zeros(2)} if prefix == "backbone." else {}
    assert same(read_state(written(under(prefix, state) | more, tmp_path / f"w.{ending}")), state)


WRAPPERS = ("state_dict", "model", "model_state_dict", "teacher", "student", "ema", "net", "target_encoder", "my_net")


@pytest.mark.parametrize("name", WRAPPERS)
def test_the_only_network_of_a_checkpoint_is_read(name: str, state: dict[str, Tensor], tmp_path: Path) -> None:
    moments = {0: {"exp_avg": torch.zeros(2), "step": torch.zeros(())}}
    extra = {"optimizer": {"state": moments, "param_groups": []}, "epoch": 3, "dino_loss": {"center": torch.zeros(2)}}
    assert same(read_state(written({name: under("backbone.", state), **extra}, tmp_path / "w.pth")), state)
    assert same(read_state(written({"state": {name: state}, **extra}, tmp_path / "w.pth")), state)


def test_values_beside_the_tensors_are_left_out(state: dict[str, Tensor], tmp_path: Path) -> None:
    assert same(read_state(written({**state, "epoch": 3, "best": 0.9}, tmp_path / "w.pth")), state)


def test_compiled_parts_are_read(state: dict[str, Tensor], tmp_path: Path) -> None:
    parts = {key.replace("layer1.0.", "layer1.0._orig_mod."): value for key, value in state.items()}
    assert same(read_state(written(parts, tmp_path / "w.pth")), state)


def test_a_file_of_the_users_under_a_prefix_is_loaded_into_the_model(state: dict[str, Tensor], tmp_path: Path) -> None:
    from anyadbench.weights.checksums import cached_sha256

    resolved = written({"teacher": under("module.backbone.", state)}, tmp_path / "w.pth")
    whole = ResolvedWeights(**{**vars(resolved), "sha256": cached_sha256(tmp_path / "w.pth")})
    model = build_backbone(whole)
    assert torch.equal(model.state_dict()["layer2.0.conv1.weight"], state["layer2.0.conv1.weight"])


def test_several_networks_are_refused_with_their_names(state: dict[str, Tensor], tmp_path: Path) -> None:
    said = refusal({"student": state, "teacher": state}, tmp_path / "w.pth")
    assert "w.pth holds several networks, 'student' and 'teacher'; save the state_dict of one of them" in said
    flat = under("student.backbone.", state) | under("teacher.backbone.", state)
    said = refusal(flat, tmp_path / "w.pth")
    assert f"holds {TINY} several times, under 'student.backbone.' and 'teacher.backbone.'; save the tensors" in said


def test_what_a_prefix_hides_is_named_with_the_prefix(state: dict[str, Tensor], tmp_path: Path) -> None:
    fewer = {key: value for key, value in state.items() if not key.startswith("layer4.0.bn1.")}
    said = refusal(under("net.", fewer), tmp_path / "w.pth")
    assert "w.pth (under the prefix 'net.') lacks the tensor 'layer4.0.bn1.weight'" in said


def test_a_prefix_around_another_convention_is_taken_off() -> None:
    architecture = "samvit_base_patch16.sa1b"
    names = [re.sub(r"\.mlp\.fc([12])\.", r".mlp.lin\1.", key) for key in architecture_shapes(architecture)]
    meta = {f"model.image_encoder.{name}": torch.zeros(()) for name in names}
    state, where = _unprefixed({**meta, "model.mask_decoder.w": torch.zeros(())}, architecture, "x.pth")
    assert where == "x.pth (under the prefix 'model.')"
    assert to_timm_names(state).keys() == architecture_shapes(architecture).keys()


def test_a_network_whose_own_part_is_called_module_keeps_its_name() -> None:
    own = {"module.weight": torch.zeros(2), "other.weight": torch.zeros(2)}
    assert unwrapped(own, "x.pth").keys() == own.keys()
    assert unwrapped({"module.": torch.zeros(2)}, "x.pth").keys() == {"module."}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("ending", ["pth", "safetensors"])
@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_values_that_are_not_finite_are_named(
    kind: torch.dtype, ending: str, value: float, state: dict[str, Tensor], tmp_path: Path
) -> None:
    damaged = {key: tensor.clone() for key, tensor in state.items()}
    damaged["layer1.0.conv1.weight"] = damaged["layer1.0.conv1.weight"].to(kind)
    damaged["layer1.0.conv1.weight"].view(-1)[:3] = value
    path = tmp_path / f"w.{ending}"
    said = refusal(under("module.", damaged), path)
    count = damaged["layer1.0.conv1.weight"].numel()
    name = "NaN" if value != value else "infinity"
    assert said == (
        f"{path}: the tensor 'layer1.0.conv1.weight' holds {name} in 3 of {count} values; the training that wrote the "
        "file diverged, or the file is damaged, so pass another one."
    )
    with pytest.raises(UserError, match=r"'layer1\.0\.conv1\.weight' holds"):  # a published network is read so
        read_tensors(path)


def test_values_too_large_for_float32_are_named(state: dict[str, Tensor], tmp_path: Path) -> None:
    said = refusal({**state, "conv1.0.weight": state["conv1.0.weight"].double() + 1e300}, tmp_path / "w.pth")
    assert "w.pth, as float32: the tensor 'conv1.0.weight' holds infinity in" in said


def test_a_mask_may_hold_infinity(tmp_path: Path) -> None:
    torch.save({"attn_mask": torch.full((2, 2), float("-inf")), "w": torch.zeros(2)}, tmp_path / "w.pth")
    assert set(read_tensors(tmp_path / "w.pth")) == {"attn_mask", "w"}
