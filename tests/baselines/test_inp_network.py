"""The INP-Former network: sizes, frozen encoder, blocks, naming."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from inp_fixture import TinyWeights

from anyadbench.errors import UserError
from anyadbench_baselines.inp.blocks import ReluAttention, SharedQueryAttention
from anyadbench_baselines.inp.encoder import Encoder, ViTConfig
from anyadbench_baselines.inp.network import InpNetwork, build_network


def network(registers: int = 4, keep: bool = True) -> InpNetwork:
    torch.manual_seed(0)
    return build_network(TinyWeights(registers), prototypes=6, registers=keep)  # type: ignore[arg-type]


def test_sizes_of_the_published_network() -> None:
    with torch.device("meta"):
        net = InpNetwork(ViTConfig.of("vit_base_patch14_reg4_dinov2.lvd142m"), prototypes=6)
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in net.named_children()}
    assert sum(p.numel() for p in net.trained()) == 68_517_984
    assert count["bottleneck"] == 4_722_432
    assert count["aggregation"] == 7_087_872
    assert count["decoder"] == 56_703_072
    assert round(count["encoder"] / 1e6, 2) == 86.58


def test_initial_values_are_the_published_ones() -> None:
    net = network()
    for name, parameter in net.named_parameters():
        if name.startswith("encoder.") or name == "prototype_token":
            continue
        if "norm" in name:
            assert torch.equal(parameter, torch.full_like(parameter, float(name.endswith("weight"))))
        elif name.endswith("weight"):
            assert 0.005 < parameter.std() < 0.015
            assert parameter.abs().max() <= 0.03
        else:
            assert torch.equal(parameter, torch.full_like(parameter, float(name.endswith("learn_scale"))))


def test_the_encoder_never_trains() -> None:
    net = network().train()
    assert not any(module.training for module in net.encoder.modules())
    assert not any(parameter.requires_grad for parameter in net.encoder.parameters())
    assert not any(group.requires_grad for group in net.encode(torch.rand(2, 3, 56, 56)).groups)


def test_blocks_after_the_last_tap_are_not_run() -> None:
    net, pixels = network(), torch.rand(1, 3, 56, 56)
    before = net.encode(pixels).tokens
    for block in net.encoder.vit.blocks[10:]:
        for parameter in block.parameters():
            parameter.fill_(float("nan"))
    assert torch.equal(net.encode(pixels).tokens, before)


def test_groups_are_means_of_the_tapped_blocks() -> None:
    net, pixels = network(), torch.rand(2, 3, 70, 70)  # the native grid, so that timm's own forward can be compared
    vit = net.encoder.vit
    outputs = vit.get_intermediate_layers(pixels, n=list(range(2, 10)))
    torch.testing.assert_close(net.encode(pixels).groups[0], torch.stack(outputs[:4]).mean(0))
    torch.testing.assert_close(net.encode(pixels).groups[1], torch.stack(outputs[4:]).mean(0))


def test_positions_are_scaled_as_dinov2_scales_them() -> None:
    encoder = Encoder(ViTConfig(width=8, heads=1, grid=7, registers=0))
    table = encoder.vit.pos_embed.reshape(1, 7, 7, 8).permute(0, 3, 1, 2)
    wanted = F.interpolate(table, scale_factor=(4.1 / 7, 3.1 / 7), mode="bicubic")
    exact = F.interpolate(table, size=(4, 3), mode="bicubic")
    found = encoder.positions(4, 3)
    torch.testing.assert_close(found, wanted.flatten(2).transpose(1, 2))
    assert not torch.allclose(found, exact.flatten(2).transpose(1, 2), atol=1e-4)


def test_dropping_registers_changes_features_but_not_their_shape() -> None:
    pixels = torch.rand(1, 3, 56, 56)
    kept, dropped = network(keep=True).encode(pixels).tokens, network(keep=False).encode(pixels).tokens
    assert kept.shape == dropped.shape == (1, 16, 64)
    assert not torch.allclose(kept, dropped, atol=1e-3)


def test_weights_without_registers_give_a_network_without() -> None:
    assert network(registers=0).encoder.config.registers == 0


def test_folded_shared_query_attention_is_plain_attention() -> None:
    torch.manual_seed(3)
    attention = SharedQueryAttention(16, 4).double()
    queries, tokens = torch.randn(6, 16).double(), torch.randn(2, 10, 16).double()
    q = attention.q(queries).view(1, 6, 4, 4).transpose(1, 2).expand(2, -1, -1, -1)
    key, value = attention.kv(tokens).view(2, 10, 2, 4, 4).permute(2, 0, 3, 1, 4)
    plain = attention.proj(F.scaled_dot_product_attention(q, key, value).transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(queries, tokens), plain)


def test_folded_relu_attention_is_plain_relu_attention() -> None:
    torch.manual_seed(3)
    attention = ReluAttention(16, 4).double()
    torch.nn.init.normal_(attention.learn_scale)
    tokens, prototypes = torch.randn(2, 10, 16).double(), torch.randn(2, 6, 16).double()
    q = F.normalize(attention.q(tokens).view(2, 10, 4, 4).transpose(1, 2), dim=-1)
    key, value = attention.kv(prototypes).view(2, 6, 2, 4, 4).permute(2, 0, 3, 1, 4)
    weights = F.relu(q @ F.normalize(key, dim=-1).transpose(-2, -1) * attention.learn_scale)
    plain = attention.proj((weights @ value).transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(tokens, prototypes), plain)


def test_an_encoder_of_another_depth_is_refused() -> None:
    with pytest.raises(UserError, match=r"of an encoder of 12 blocks, but this one has 6; use weights of a DINOv2"):
        build_network(TinyWeights(depth=6), prototypes=6, registers=True)  # type: ignore[arg-type]


def test_random_weights_need_a_dinov2_architecture() -> None:
    weights = TinyWeights(kind="random", architecture="resnet18.tv_in1k")
    with pytest.raises(UserError, match=r"'resnet18.tv_in1k'; use e.g. vit_small_patch14_dinov2"):
        build_network(weights, prototypes=6, registers=True)  # type: ignore[arg-type]


def test_random_weights_take_the_architecture_of_their_name() -> None:
    weights = TinyWeights(kind="random", architecture="vit_tiny_patch14_reg4_dinov2")
    config = build_network(weights, prototypes=6, registers=True).encoder.config  # type: ignore[arg-type]
    assert (config.width, config.heads, config.registers) == (192, 3, 4)


def test_the_resized_position_table_is_kept_until_the_weights_or_the_size_change() -> None:
    encoder = Encoder(ViTConfig.of("vit_small_patch14_dinov2.lvd142m"))
    with torch.inference_mode():
        first = encoder.positions(4, 5)
    assert encoder.positions(4, 5) is first
    assert not first.is_inference()  # training may use what scoring has made
    assert encoder.positions(4, 6).shape[1] == 24
    state = encoder.vit.state_dict()
    encoder.vit.load_state_dict(state | {"pos_embed": state["pos_embed"] + 1})
    assert torch.allclose(encoder.positions(4, 5), first + 1, atol=1e-5)
    assert "_resized" not in encoder.state_dict()
