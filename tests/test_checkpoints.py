from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from anyadbench.methods.base import Batch, Context, Method, OptimizerSpec, Scores
from anyadbench.run.checkpoints import load_checkpoint, save_checkpoint
from anyadbench.run.events import Interrupted, Reporter
from anyadbench.run.numerics import Policy, derive_seed, seed_everything
from anyadbench.run.trainer import NotFinite, Trainer

SCALER = torch.amp.GradScaler("cpu", enabled=False)


class Toy(Method):
    """A regression that also draws random numbers, so that generator states matter."""

    def __init__(self) -> None:
        super().__init__(Context({}, ("flair",), (4, 4), SimpleNamespace(kind="none")))  # type: ignore[arg-type]
        self.layer = nn.Linear(16, 1)
        self.prepared = 0

    def prepare(self, normals: Any) -> None:
        self.prepared += 1

    def optimizers(self) -> dict[str, OptimizerSpec]:
        adam = torch.optim.Adam(self.parameters(), lr=0.1)
        return {"main": OptimizerSpec(adam, schedule=lambda step, total: 1 - step / total, clip_norm=0.5)}

    def training_step(self, batch: Batch, step: int, total: int) -> dict[str, dict[str, torch.Tensor]]:
        noise = torch.rand(len(batch), 1)
        return {"main": {"loss": (self.layer(batch.inputs.flatten(1)) - noise).square().mean()}}

    def score(self, batch: Batch) -> Scores:
        return Scores(batch.inputs[:, 0])


class Feed:
    batches_per_epoch = 5

    def at(self, step: int) -> Batch:
        generator = torch.Generator().manual_seed(step)
        return Batch.full(torch.rand(3, 1, 4, 4, generator=generator), torch.ones(3, 1, dtype=torch.bool))


def trainer(folder: Path, reporter: Reporter | None = None, **options: Any) -> Trainer:
    seed_everything(derive_seed(0, "toy"))
    params = {"steps": 20, **options}
    return Trainer(Toy(), Feed(), params, Policy(threads=1), folder, reporter or Reporter(), checkpoint_seconds=1e9)  # type: ignore[arg-type]


class StopAt(Reporter):
    def __init__(self, step: int) -> None:
        super().__init__()
        self.at = step

    def progress(self, done: int, total: int, label: str) -> None:
        self._stop = done >= self.at


@pytest.mark.parametrize("stop", [1, 7, 19])
def test_a_stopped_training_ends_with_the_same_bits(tmp_path: Path, stop: int) -> None:
    whole = trainer(tmp_path / "whole")
    whole.run()
    first = trainer(tmp_path / "cut", StopAt(stop))
    with pytest.raises(Interrupted):
        first.run()
    second = trainer(tmp_path / "cut")
    torch.rand(100)  # whatever the generators did meanwhile
    second.run()
    assert second.step == whole.step == 20
    assert second.method.prepared == 0
    for name, value in whole.method.saved_state().items():
        assert torch.equal(value, second.method.saved_state()[name])
    assert second.history == whole.history


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

    with pytest.raises(UserError, match="neither steps nor epochs says how long to train"):
        trainer(tmp_path, steps=0).run()


def test_state_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="missing \\['layer.bias'\\]"):
        Toy().load_saved_state({"layer.weight": torch.zeros(1, 16)})


def test_seeds_derive_from_run_seed_and_method_name_only() -> None:
    assert derive_seed(0, "a") == derive_seed(0, "a")
    assert len({derive_seed(0, "a"), derive_seed(1, "a"), derive_seed(0, "b")}) == 3


def test_a_method_without_state_is_saved_and_loaded(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    from anyadbench.run.fit import save_weights

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
