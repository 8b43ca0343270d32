"""Reading weight files: formats, the authors' names, and every error sentence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import vision_transformer_sam
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import Tensor

from anyadbench.errors import UserError
from anyadbench.weights import SOURCES, build_backbone, resolve, sources
from anyadbench.weights.naming import architecture_shapes, check_state, to_timm_names
from anyadbench.weights.reading import _rename_by_order, read_tensors
from anyadbench.weights.resolved import ResolvedWeights

State = dict[str, Tensor]
TINY = "test_resnet.r160_in1k"


@pytest.fixture(autouse=True)
def _tiny_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYADBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(sources.SOURCES, "tiny", replace(SOURCES["resnet18.tv_in1k"], name="tiny", architecture=TINY))


def tiny_state() -> State:
    torch.manual_seed(0)
    return timm.create_model(TINY).state_dict()


def resolve_file(path: Path) -> ResolvedWeights:
    return resolve(f"file:{path}", {"published": "tiny"})


def filled(shapes: dict[str, tuple[int, ...]]) -> State:
    generator = torch.Generator().manual_seed(0)
    return {key: torch.randn(shape, generator=generator) for key, shape in shapes.items()}


@pytest.mark.parametrize("ending", ["safetensors", "pth", "wrapped", "legacy"])
def test_every_format_gives_the_same_backbone(tmp_path: Path, ending: str) -> None:
    state = tiny_state()
    path = tmp_path / "weights.bin"
    if ending == "safetensors":
        save_file(state, path)
    elif ending == "legacy":
        torch.save(state, path, _use_new_zipfile_serialization=False)
    else:
        torch.save({"state_dict": state, "epoch": 3} if ending == "wrapped" else state, path)
    read = resolve_file(path).state_dict()
    assert list(read) == [key for key in state if not key.startswith("fc.")]
    assert all(torch.equal(value, state[key]) for key, value in read.items())


def test_a_file_of_the_users_is_loaded_into_the_model(tmp_path: Path) -> None:
    save_file(tiny_state(), tmp_path / "w.safetensors")
    model = build_backbone(resolve_file(tmp_path / "w.safetensors"))
    assert torch.equal(model.state_dict()["layer2.0.conv1.weight"], tiny_state()["layer2.0.conv1.weight"])


def test_half_precision_files_become_float32(tmp_path: Path) -> None:
    state = {key: value.half() if value.is_floating_point() else value for key, value in tiny_state().items()}
    save_file(state, tmp_path / "w.safetensors")
    read = resolve_file(tmp_path / "w.safetensors").state_dict()
    assert {value.dtype for value in read.values()} == {torch.float32, torch.int64}
    assert torch.equal(read["layer1.0.conv1.weight"], state["layer1.0.conv1.weight"].float())


def test_torchvision_files_without_batch_counters_load() -> None:
    models = pytest.importorskip("torchvision.models")
    with torch.device("meta"):
        state = models.resnet18().state_dict()
    old = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    checked = check_state(to_timm_names(old), "resnet18.tv_in1k", "resnet18-f37072fd.pth")
    assert int(checked["bn1.num_batches_tracked"]) == 0
    assert "fc.weight" not in checked


def test_metas_dinov2_with_registers_converts_as_in_timm() -> None:
    architecture = "vit_small_patch14_reg4_dinov2.lvd142m"
    meta = filled(architecture_shapes(architecture))
    meta["register_tokens"] = meta.pop("reg_token")
    meta["pos_embed"] = torch.randn(1, 1370, 384)
    meta["mask_token"] = torch.zeros(1, 384)
    ours = check_state(to_timm_names(meta), architecture, "dinov2_vits14_reg4_pretrain.pth")
    model = timm.create_model(architecture, num_classes=0)
    assert isinstance(model, VisionTransformer)
    theirs = checkpoint_filter_fn(dict(meta), model)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_metas_dinov2_without_registers_only_loses_the_mask_token() -> None:
    architecture = "vit_small_patch14_dinov2.lvd142m"
    meta = filled(architecture_shapes(architecture)) | {"mask_token": torch.zeros(1, 384)}
    checked = check_state(to_timm_names(meta), architecture, "dinov2_vits14_pretrain.pth")
    assert checked.keys() == meta.keys() - {"mask_token"}
    assert torch.equal(checked["pos_embed"], meta["pos_embed"])


def test_a_register_checkpoint_does_not_pass_for_one_without() -> None:
    meta = filled(architecture_shapes("vit_small_patch14_dinov2.lvd142m"))
    meta["register_tokens"] = torch.zeros(1, 4, 384)
    with pytest.raises(UserError, match=r"x\.pth has the tensor 'reg_token' that vit_small_patch14_dinov2"):
        check_state(to_timm_names(meta), "vit_small_patch14_dinov2.lvd142m", "x.pth")


def test_metas_segment_anything_converts_as_in_timm() -> None:
    keys = [
        "patch_embed.proj.weight",
        "pos_embed",
        "blocks.0.mlp.lin1.weight",
        "blocks.11.mlp.lin2.bias",
        "neck.0.weight",
    ]
    meta = {f"image_encoder.{key}": torch.full((1,), float(index)) for index, key in enumerate(keys)}
    meta["mask_decoder.iou_token.weight"] = torch.zeros(1)
    theirs: State = vision_transformer_sam.checkpoint_filter_fn(dict(meta), None)  # type: ignore[no-untyped-call]
    assert to_timm_names(meta) == theirs


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    state = tiny_state()
    del state["layer4.0.bn1.weight"], state["layer4.0.bn1.bias"]
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(
        UserError, match=r"w\.safetensors lacks the tensor 'layer4\.0\.bn1\.weight' and 1 more of test_res"
    ):
        resolve_file(tmp_path / "w.safetensors").state_dict()


def test_an_unused_tensor_is_named(tmp_path: Path) -> None:
    save_file(tiny_state() | {"layer5.weight": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"has the tensor 'layer5\.weight' that test_resnet\S* does not know; give the"):
        resolve_file(tmp_path / "w.safetensors").state_dict()


def test_a_wrong_shape_is_named(tmp_path: Path) -> None:
    save_file(tiny_state() | {"bn1.bias": torch.zeros(3)}, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"'bn1\.bias' has shape \(3,\), but test_resnet\S* needs \(\d+,\); give"):
        resolve_file(tmp_path / "w.safetensors").state_dict()


class Danger:
    """Runs code if it is unpickled carelessly."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return Path.mkdir, (Path("unpickled"),)  # type: ignore[return-value]


def test_a_pickle_with_objects_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Danger()}, tmp_path / "w.pth")
    with pytest.raises(
        UserError, match="holds Python objects, not only tensors, or is cut short; reading on could run any"
    ):
        read_tensors(tmp_path / "w.pth")
    assert not Path("unpickled").exists()


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("kept", [30, 300, 2_000, 20_000, 0.999])
def test_a_truncated_torch_file_is_a_sentence(tmp_path: Path, legacy: bool, kept: float) -> None:
    path = tmp_path / "w.pth"
    torch.save(tiny_state(), path, _use_new_zipfile_serialization=not legacy)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept if kept < 1 else kept)])
    with pytest.raises(UserError, match="is cut short"):
        read_tensors(path)


@pytest.mark.parametrize("kept", [20, 20_000])
def test_a_truncated_safetensors_file_is_a_sentence(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "w.safetensors"
    save_file(tiny_state(), path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"is a damaged safetensors file \(.*\); copy or download it again"):
        read_tensors(path)


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1", b"<html>"])
def test_a_file_of_another_kind_is_a_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(UserError, match="is neither a safetensors nor a torch file"):
        read_tensors(tmp_path / "w.pth")


@pytest.mark.parametrize("content", [{}, {"lr": 0.1}, [torch.zeros(1)], torch.zeros(1)])
def test_a_torch_file_without_a_table_of_tensors_is_a_sentence(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(UserError, match="is a torch file but no table of tensors"):
        read_tensors(tmp_path / "w.pth")


def test_renaming_by_order_needs_the_same_kinds_in_the_same_order() -> None:
    shapes = architecture_shapes("tf_efficientnet_lite0.in1k")
    state = {f"old.{key}": torch.zeros(()) for key in [*shapes, "_fc.weight", "_fc.bias"]}
    renamed = _rename_by_order(state, "tf_efficientnet_lite0.in1k", "x.pth")
    assert list(renamed) == [*shapes, "classifier.weight", "classifier.bias"]
    with pytest.raises(UserError, match=r"x\.pth has 295 tensors, but tf_efficientnet_lite0\.in1k has 296"):
        _rename_by_order(dict(list(state.items())[1:]), "tf_efficientnet_lite0.in1k", "x.pth")
    swapped = dict([*list(state.items())[:1], *reversed(list(state.items())[1:])])
    with pytest.raises(UserError, match=r"x\.pth has 'old\._fc\.bias' where \S+ has 'bn1\.weight'"):
        _rename_by_order(swapped, "tf_efficientnet_lite0.in1k", "x.pth")
