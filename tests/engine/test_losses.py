"""``training.csv``: every step once, whatever interrupts a training, and read from the device only now and then."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_trainer import StopAt, Toy, trainer

from anyadbench.engine import reporter as reporter_module
from anyadbench.engine import trainer as training_loop
from anyadbench.engine.reporter import Interrupted, Reporter
from anyadbench.methods.contract import Batch, OptimizerSpec
from anyadbench.results import training


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_each_step_has_a_row_with_epoch_rate_and_loss(tmp_path: Path) -> None:
    running = trainer(tmp_path / "checkpoints")
    running.losses_file = tmp_path / "training.csv"
    running.run()
    rows = table(tmp_path / "training.csv")
    assert list(rows[0]) == ["step", "epoch", "seconds", "lr.main", "loss.loss"]
    assert [int(row["step"]) for row in rows] == list(range(1, 21))
    assert [float(row["epoch"]) for row in rows] == [step / 5 for step in range(1, 21)]
    assert [float(row["lr.main"]) for row in rows] == pytest.approx([0.1 * (1 - step / 20) for step in range(20)])
    assert all(math.isfinite(float(row["loss.loss"])) for row in rows)
    seconds = [float(row["seconds"]) for row in rows]
    assert seconds == sorted(seconds)


@pytest.mark.parametrize("most", [2000, 6])
@pytest.mark.parametrize("stops", [(1,), (7, 8, 13), (19,)])
def test_interruptions_neither_lose_nor_repeat_a_step(
    tmp_path: Path, stops: tuple[int, ...], most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "MOST_ROWS", most)
    whole = trainer(tmp_path / "whole")
    whole.losses_file = tmp_path / "whole.csv"
    whole.run()
    for stop in stops:
        cut = trainer(tmp_path / "cut", StopAt(stop))
        cut.losses_file = tmp_path / "cut.csv"
        with pytest.raises(Interrupted):
            cut.run()
        assert int(table(tmp_path / "cut.csv")[-1]["step"]) == stop
        with (tmp_path / "cut.csv").open("a") as file:  # rows that a killed process wrote after its last checkpoint
            file.write("99,1,1,1,1\n")
    last = trainer(tmp_path / "cut")
    last.losses_file = tmp_path / "cut.csv"
    last.run()
    expected, found = table(tmp_path / "whole.csv"), table(tmp_path / "cut.csv")
    assert len(expected) == (20 if most == 2000 else 5)
    assert [{**row, "seconds": ""} for row in found] == [{**row, "seconds": ""} for row in expected]
    seconds = [float(row["seconds"]) for row in found]
    assert seconds == sorted(seconds)


class Two(Toy):
    """Two optimisers with a loss of the same name."""

    def __init__(self) -> None:
        super().__init__()
        self.other = torch.nn.Linear(16, 1)

    def optimizers(self) -> dict[str, OptimizerSpec]:
        return {
            "first": OptimizerSpec(torch.optim.Adam(self.layer.parameters(), lr=0.1)),
            "second": OptimizerSpec(torch.optim.SGD(self.other.parameters(), lr=0.5)),
        }

    def training_step(self, batch: Batch, step: int, total: int) -> dict[str, dict[str, torch.Tensor]]:
        inputs = batch.inputs.flatten(1)
        return {
            "first": {"loss": self.layer(inputs).square().mean(), "only": self.layer.weight.square().sum()},
            "second": {"loss": self.other(inputs).square().mean()},
        }


def test_losses_of_one_name_are_told_apart_by_their_optimiser(tmp_path: Path) -> None:
    running = trainer(tmp_path / "checkpoints")
    running.method, running.losses_file = Two(), tmp_path / "training.csv"
    running.run()
    assert list(table(tmp_path / "training.csv")[0])[3:] == [
        "lr.first", "lr.second", "loss.first.loss", "loss.only", "loss.second.loss",
    ]  # fmt: skip


def test_numbers_on_a_device_are_read_at_the_checks_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []

    class Log(training_loop._LossLog):
        def read(self) -> Any:
            reads.append(len(self._waiting))
            return super().read()

    monkeypatch.setattr(training_loop, "_LossLog", Log)
    running = trainer(tmp_path, steps=25)
    running.run()
    assert reads == [10, 10, 5]


def test_a_number_on_a_device_comes_back_in_its_place() -> None:
    log = training_loop._LossLog(None, 2, history := [])
    place = torch.device("meta")  # has no numbers: reading one at once would fail
    log.add(1, 0.5, {"main": 0.1}, {"a": 1.0, "b": torch.zeros((), device=place), "c": torch.tensor(3.0)})
    (step, places, vector), *_ = log._waiting
    assert places == [("losses", "b")] and vector.device == place
    log._waiting[0] = (step, places, torch.tensor([2.0]))
    assert log.read() == {"a": 1.0, "b": 2.0, "c": 3.0}
    assert list(history[0]["losses"]) == ["a", "b", "c"]


def test_resuming_is_reported(tmp_path: Path) -> None:
    sent: list[dict[str, Any]] = []

    class Listening(Reporter):
        def send(self, **event: Any) -> None:
            sent.append(event)

    with pytest.raises(Interrupted):
        trainer(tmp_path, StopAt(7)).run()
    trainer(tmp_path, Listening()).run()
    assert sent[0] == {"note": "resumed at step 7 of 20"}
    assert sent[1]["phase"] == "training" and sent[1]["done"] == 8
    assert set(sent[-1]["losses"]) == {"loss"}


def test_a_worker_keeps_its_progress_for_others_and_logs_each_phase(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reporter = Reporter()
    reporter.record_in(tmp_path / "progress.json")
    trainer(tmp_path / "checkpoints", reporter).run()
    found = json.loads((tmp_path / "progress.json").read_text())
    assert (found["phase"], found["first"], found["total"]) == ("training", 1, 20)
    assert found["began"] <= found["time"]
    assert "Z training: 1 of 20\n" in capsys.readouterr().out


def test_the_next_model_of_a_cell_begins_a_record_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reporter_module, "RECORD_INTERVAL", 0.0)
    reporter = Reporter()
    reporter.record_in(tmp_path / "progress.json")
    for done in (1, 9, 2):
        reporter.progress(done, 9, "training")
    found = json.loads((tmp_path / "progress.json").read_text())
    assert (found["first"], found["done"]) == (2, 2)
    assert found["began"] == found["time"]
    assert capsys.readouterr().out.count("Z training: ") == 1
