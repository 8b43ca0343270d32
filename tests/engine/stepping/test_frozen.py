"""Frozen weights held in half precision change no number."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from toy_trainer import Toy, trainer

from anyadbench.engine.numerics import Policy
from anyadbench.engine.stepping.frozen import CastLinear, hold_frozen
from anyadbench.engine.stepping.modes import TrainingMode
from anyadbench.methods.contract import Batch
from anyadbench.methods.freezing import freeze

HALF = Policy(dtype="bfloat16", threads=1)


def network(*, frozen: bool) -> nn.Sequential:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.GELU(), nn.Flatten(), nn.Linear(16, 8), nn.LayerNorm(8))
    return freeze(made) if frozen else made


def losses_and_gradient(held: bool) -> tuple[Tensor, Tensor]:
    frozen, head = network(frozen=True), nn.Linear(16, 16)
    torch.manual_seed(1)
    nn.init.normal_(head.weight)
    if held:
        assert hold_frozen(frozen, HALF) == 2
    with HALF.autocast():
        loss = frozen(head(torch.rand(5, 16)).view(5, 1, 4, 4)).square().sum()
    loss.backward()
    assert head.weight.grad is not None
    return loss.detach(), head.weight.grad


def test_losses_and_gradients_through_held_layers_are_equal_to_the_bit() -> None:
    torch.manual_seed(2)
    plain = losses_and_gradient(held=False)
    torch.manual_seed(2)
    held = losses_and_gradient(held=True)
    assert all(torch.equal(a, b) for a, b in zip(plain, held, strict=True))


def test_without_autocast_the_weights_themselves_are_used() -> None:
    x, plain, held = torch.rand(2, 1, 4, 4), network(frozen=True), network(frozen=True)
    hold_frozen(held, HALF)
    assert held(x).dtype == torch.float32
    assert torch.equal(plain(x), held(x))


def test_what_trains_and_what_is_no_plain_layer_is_left_alone() -> None:
    assert hold_frozen(network(frozen=False), HALF) == 0
    assert hold_frozen(network(frozen=True), Policy()) == 0

    class Own(nn.Linear):
        pass

    assert hold_frozen(freeze(nn.Sequential(Own(2, 2))), HALF) == 0


def test_copies_are_stored_nowhere_and_a_second_call_renews_them() -> None:
    frozen = network(frozen=True)
    names = frozen.state_dict().keys()
    hold_frozen(frozen, HALF)
    assert frozen.state_dict().keys() == names
    linear = frozen[3]
    assert isinstance(linear, CastLinear)
    linear.weight.fill_(3)
    assert hold_frozen(frozen, HALF) == 2
    assert (linear.get_buffer("_cast_weight") == 3).all()


def test_a_compiled_network_with_held_layers_is_one_graph() -> None:
    frozen = network(frozen=True)
    hold_frozen(frozen, HALF)
    traced = torch.compile(frozen, backend="eager", fullgraph=True)
    x = torch.rand(2, 1, 4, 4)
    with HALF.autocast():
        assert torch.equal(traced(x), frozen(x))


class Encoding(Toy):
    """A toy behind a frozen layer."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = freeze(nn.Linear(16, 16))

    def optimizers(self):  # type: ignore[no-untyped-def]
        return {"main": super().optimizers()["main"]}

    def training_step(self, batch: Batch, step: int, total: int) -> dict[str, dict[str, Tensor]]:
        return super().training_step(Batch(self.encoder(batch.inputs.flatten(1)), batch.shown), step, total)


def test_the_trainer_holds_frozen_weights_and_trains_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for held in (True, False):
        if not held:
            monkeypatch.setattr("anyadbench.engine.trainer.hold_frozen", lambda method, policy: 0)
        running = trainer(tmp_path / str(held))
        torch.manual_seed(3)
        running.method, running.policy = Encoding(), HALF
        running.run()
        assert isinstance(running.method.encoder, CastLinear) is held
        found.append((running.method.layer.weight, [row["losses"] for row in running.history]))
    assert torch.equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


def test_training_mode_is_entered_again_only_after_a_part_has_left_it() -> None:
    method, calls = Encoding().eval(), []
    plain = method.train
    method.train = lambda mode=True: calls.append(mode) or plain(mode)  # type: ignore[method-assign, func-returns-value]
    mode = TrainingMode(method)
    mode.enter()
    mode.enter()
    assert calls == [True]
    assert (method.layer.training, method.encoder.training) == (True, False)
    method.layer.eval()
    mode.enter()
    assert method.layer.training
    method.encoder.training = True
    mode.enter()
    assert (calls, method.encoder.training) == ([True] * 3, False)


def test_a_table_of_channels_is_made_once_per_device_and_serves_training_after_scoring() -> None:
    from anyadbench.methods import inputs

    shown = torch.ones(2, 3, dtype=torch.bool)
    inputs._CONSTANTS.clear()
    with torch.inference_mode():
        inputs.as_rgb(torch.rand(2, 3, 4, 4), shown, "zero-norm")
    made = dict(inputs._CONSTANTS)
    x = torch.rand(2, 3, 4, 4, requires_grad=True)
    inputs.as_rgb(x, shown, "zero-norm").square().sum().backward()
    assert x.grad is not None
    assert len(made) == 3  # one table, the mean and the deviation
    assert all(inputs._CONSTANTS[key] is value for key, value in made.items())


def test_a_traced_function_keeps_no_constant_of_its_own() -> None:
    from anyadbench.methods import inputs

    inputs._CONSTANTS.clear()
    shown, x = torch.ones(2, 3, dtype=torch.bool), torch.rand(2, 3, 4, 4)
    traced = torch.compile(inputs.as_rgb, backend="eager", fullgraph=True)
    first = traced(x, shown, "black")
    assert not inputs._CONSTANTS
    assert torch.equal(first, inputs.as_rgb(x, shown, "black"))
    assert torch.equal(first, torch.compile(inputs.as_rgb, backend="eager", fullgraph=True)(x, shown, "black"))
