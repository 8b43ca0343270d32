from __future__ import annotations

from pathlib import Path

import pytest
import torch
from toy_trainer import StopAt, Toy, trainer

from anyadbench.engine.checkpoints import load_checkpoint, save_checkpoint
from anyadbench.engine.numerics import NotFinite, derive_seed
from anyadbench.engine.reporter import Interrupted
from anyadbench.methods.contract import Batch

SCALER = torch.amp.GradScaler("cpu", enabled=False)


@pytest.mark.parametrize("stop", [1, 7, 19])
def test_a_stopped_training_ends_with_the_same_bits(tmp_path: Path, stop: int) -> None:
    whole = trainer(tmp_path / "whole")
    whole.run()
    first = trainer(tmp_path / "cut", StopAt(stop))
    with pytest.raises(Interrupted):
        first.run()
    second = trainer(tmp_path / "cut")
    torch.rand(100)  # the generators have moved on meanwhile
    second.run()
    assert second.step == whole.step == 20
    assert second.method.prepared == 0
    for name, value in whole.method.saved_state().items():
        assert torch.equal(value, second.method.saved_state()[name])
    histories = [[{**row, "seconds": 0.0} for row in run.history] for run in (second, whole)]
    assert histories[0] == histories[1]


def test_two_checkpoints_are_kept_and_a_damaged_one_falls_back(tmp_path: Path) -> None:
    method = Toy()
    optimizers = method.optimizers()
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, step, method, optimizers, [], SCALER)
    kept = sorted(path.name for path in tmp_path.glob("*.pt"))
    assert kept == ["step-00000002.pt", "step-00000003.pt"]
    newest = tmp_path / "step-00000003.pt"
    newest.write_bytes(newest.read_bytes()[:-10] + b"0123456789")
    restored = load_checkpoint(tmp_path, method, optimizers, SCALER)
    assert restored is not None
    assert restored[0] == 2


def test_without_a_checkpoint_training_starts_from_the_beginning(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "none", Toy(), {}, SCALER) is None


def test_a_loss_that_is_not_finite_stops_the_training(tmp_path: Path) -> None:
    running = trainer(tmp_path)
    with torch.no_grad():
        running.method.layer.bias.fill_(float("nan"))
    with pytest.raises(NotFinite, match="loss 'loss' is nan at step 10"):
        running.run()


def test_a_method_without_length_is_refused(tmp_path: Path) -> None:
    from anyadbench.errors import UserError

    with pytest.raises(UserError, match="neither steps nor epochs sets how long to train"):
        trainer(tmp_path, steps=0).run()


def test_state_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="missing \\['layer.bias'\\]"):
        Toy().load_saved_state({"layer.weight": torch.zeros(1, 16)})


def test_seeds_derive_from_run_seed_and_method_name_only() -> None:
    assert derive_seed(0, "a") == derive_seed(0, "a")
    assert len({derive_seed(0, "a"), derive_seed(1, "a"), derive_seed(0, "b")}) == 3


def test_a_method_without_state_is_saved_and_loaded(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    from anyadbench.cells.fitting import save_weights

    class Stateless(Toy):
        def __init__(self) -> None:
            super().__init__()
            del self.layer

    save_weights(Stateless(), tmp_path / "weights.safetensors")
    Stateless().load_saved_state(load_file(tmp_path / "weights.safetensors"))


def test_a_loss_may_have_any_name(tmp_path: Path) -> None:
    class Named(Toy):
        def training_step(self, batch: Batch, step: int, total: int) -> dict[str, dict[str, torch.Tensor]]:
            (loss,) = super().training_step(batch, step, total)["main"].values()
            return {"main": {"total": loss, "step": loss, "phase": loss}}

    running = trainer(tmp_path)
    running.method = Named()
    running.run()
    assert running.history[-1]["step"] == 20
    assert set(running.history[-1]["losses"]) == {"total", "step", "phase"}
