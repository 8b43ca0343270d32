"""Selection among the states of a training."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from inprocess import Done, run
from safetensors.torch import load_file
from tiny import TINY_PROTOCOL
from torch import nn
from toy_trainer import StopAt, trainer

from anyadbench.cells.fitting import save_weights
from anyadbench.engine.numerics import Policy
from anyadbench.engine.reporter import Interrupted, Reporter
from anyadbench.engine.selection import Selector, undisturbed, validation_score
from anyadbench.errors import UserError
from anyadbench.methods.contract import Method


class Toy(nn.Module):
    """The part of a method that a selector needs."""

    validate = manual_step = None

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.register_buffer("seen", torch.zeros(1))

    saved_state, load_saved_state = Method.saved_state, Method.load_saved_state

    def training_step(self, batch: Any, step: int, total: int) -> dict[str, dict[str, torch.Tensor]]:
        self.seen += 1
        torch.rand(1)
        return {"main": {"a": self.weight.sum() + batch.inputs.mean(), "b": torch.tensor(1.0)}}


def selector(folder: Path, scores: list[float], wanted: int = 0) -> Selector:
    method: Any = Toy()
    left = list(scores)
    return Selector(method, lambda: left.pop(0), folder, save_weights, wanted, per_epoch=2)


def train(chooser: Selector, total: int, start: int = 0) -> list[bool]:
    looked = []
    for step in range(start + 1, total + 1):
        with torch.no_grad():
            chooser.method.weight.fill_(step)  # type: ignore[operator, union-attr]
        looked.append(chooser.look(step, total))
    return looked


def test_one_candidate_per_epoch_and_the_last_state(tmp_path: Path) -> None:
    chooser = selector(tmp_path, [0.1, 0.9, 0.5])
    train(chooser, 5)
    assert [record["step"] for record in chooser.records] == [2, 4, 5]


def test_candidates_are_spread_evenly(tmp_path: Path) -> None:
    chooser = selector(tmp_path, [0.1, 0.9, 0.5], wanted=3)
    train(chooser, 9)
    assert [record["step"] for record in chooser.records] == [3, 6, 9]


def test_the_best_state_is_put_back_and_the_earliest_of_equals(tmp_path: Path) -> None:
    chooser = selector(tmp_path, [0.1, 0.9, 0.9])
    assert train(chooser, 6) == [False, True, False, True, False, False]
    assert chooser.take_best() == {"step": 4, "score": 0.9}
    assert float(chooser.method.weight.detach()) == 4  # type: ignore[operator, union-attr]


def test_a_training_that_is_resumed_judges_again_what_came_after_its_checkpoint(tmp_path: Path) -> None:
    train(selector(tmp_path, [0.5, 0.9]), 4)
    again = selector(tmp_path, [0.6, 0.7])
    again.resume(2)
    train(again, 6, start=2)
    assert again.records == [{"step": step, "score": score} for step, score in ((2, 0.5), (4, 0.6), (6, 0.7))]
    assert again.take_best()["step"] == 6


def test_states_that_no_checkpoint_can_come_back_to_are_removed(tmp_path: Path) -> None:
    chooser = selector(tmp_path, [0.1, 0.2, 0.3, 0.0])
    train(chooser, 8)
    chooser.tidy()
    assert sorted(path.name for path in tmp_path.glob("*.safetensors")) == [
        "step-00000004.safetensors", "step-00000006.safetensors",
    ]  # fmt: skip
    assert float(load_file(tmp_path / "step-00000006.safetensors")["weight"]) == 6


def test_judging_leaves_method_and_random_streams_alone() -> None:
    method: Any = Toy().train()
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    with undisturbed(method):
        assert not method.training
        torch.rand(5), np.random.rand(5)
        method.seen += 3
    assert method.training and float(method.seen) == 0 and torch.rand(1) == expected


@pytest.mark.parametrize("stop", [1, 7, 12])
def test_a_stopped_training_ends_with_the_same_choice(tmp_path: Path, stop: int) -> None:
    def judged(folder: Path, reporter: Reporter | None = None) -> Any:
        running = trainer(folder / "checkpoints", reporter)
        method = running.method
        running.selector = Selector(
            method, lambda: -abs(float(method.layer.bias.detach()) - 0.3), folder / "selected", save_weights, 10, 5
        )
        return running

    whole = judged(tmp_path / "whole")
    whole.run()
    with pytest.raises(Interrupted):
        judged(tmp_path / "cut", StopAt(stop)).run()
    again = judged(tmp_path / "cut")
    again.run()
    assert len(whole.selector.records) == 10 and again.selector.records == whole.selector.records
    assert again.selector.take_best() == whole.selector.take_best()
    assert again.selector.best["step"] < 20
    for name, value in whole.method.saved_state().items():
        assert torch.equal(value, again.method.saved_state()[name])


class Picture:
    """One slice with one value."""

    def __init__(self, value: float) -> None:
        self.inputs = torch.full((1, 1), value)

    def __len__(self) -> int:
        return 1


class Feed(list[Picture]):
    """Validation normals."""

    batch_size = 1

    def batches(self, batch_size: int, *, masked: bool, description: str) -> list[Picture]:
        assert masked
        return self


def normals(values: list[float]) -> Any:
    return Feed(Picture(value) for value in values)


def test_validation_compares_the_mean_of_the_losses() -> None:
    method: Any = Toy()
    assert validation_score(method, normals([1.0, 3.0]), Policy(), 0, 1) == -3.0


def test_a_method_may_judge_itself() -> None:
    method: Any = Toy()
    method.validate = lambda feed: 0.25
    assert validation_score(method, normals([1.0]), Policy(), 0, 1) == -0.25


def test_a_method_with_steps_of_its_own_must_judge_itself() -> None:
    method: Any = Toy()
    method.manual_step = lambda batch, loop: {}
    with pytest.raises(UserError, match="has no validate\\(\\), so no state can be chosen"):
        validation_score(method, normals([1.0]), Policy(), 0, 1)


@pytest.fixture(scope="module")
def protocols(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("protocols")
    head = {"last": "", "validation": 'selection = "validation"\ncandidates = 3\n',
            "test-image-ap": 'selection = "test-image-ap"\ncandidates = 3\noracle = true\n'}  # fmt: skip
    files = {}
    for name, lines in head.items():
        files[name] = folder / f"{name}.toml"
        files[name].write_text(TINY_PROTOCOL.replace('name = "tiny"', f'name = "{name}"', 1).replace(
            "threads = 1", 'threads = 1\nsubsets = ["F"]\n' + lines))  # fmt: skip
    return files


@pytest.fixture(scope="module")
def finished(
    protocols: dict[str, Path], tiny_phantom: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Done]:
    runs = tmp_path_factory.mktemp("runs")
    return {
        rule: run(file, {"phantom": tiny_phantom}, runs, ["inpformer"], ["inpformer.image_size=28"])[0]
        for rule, file in protocols.items()
    }


@pytest.mark.parametrize("rule", ["validation", "test-image-ap"])
@pytest.mark.slow
def test_the_runner_does_what_the_protocol_says(rule: str, finished: dict[str, Done]) -> None:
    done = finished[rule]
    record, manifest = (json.loads((done.job.fit.final / f"{name}.json").read_text()) for name in ("fit", "manifest"))
    candidates = manifest["candidates"]
    assert [item["step"] for item in candidates] == [1, 2, 3]
    best = max(candidates, key=lambda item: item["score"])
    assert record["selected"] == best and done.result.train["selected_step"] == best["step"]
    assert done.result.kind == ("oracle" if rule == "test-image-ap" else "measured")
    assert not (done.job.fit.final / "selected").exists()


@pytest.mark.slow
def test_the_oracle_scores_the_very_state_it_chose(finished: dict[str, Done]) -> None:
    done = finished["test-image-ap"]
    best = json.loads((done.job.fit.final / "fit.json").read_text())["selected"]
    assert done.rows("phantom")["as available"].metrics["image_ap"] == best["score"]


@pytest.mark.slow
def test_being_judged_changes_nothing_in_a_training(finished: dict[str, Done]) -> None:
    manifests = [json.loads((done.job.fit.final / "manifest.json").read_text()) for done in finished.values()]
    histories = [manifest["history"] for manifest in manifests]
    assert histories[0] and histories[0] == histories[1] == histories[2]


def test_a_fit_that_was_chosen_on_test_data_depends_on_them(
    protocols: dict[str, Path], tiny_phantom: Path, tmp_path: Path
) -> None:
    from anyadbench.data.store.build import find_or_prepare
    from anyadbench.engine.protocol_data import ProtocolData
    from anyadbench.protocols.reader import read_protocol

    protocol = read_protocol(protocols["test-image-ap"])
    other = replace(protocol, tests=(replace(protocol.tests[0], feed={"t1": "t2"}),))
    assert protocol.training_part() != other.training_part()
    plain = replace(protocol, selection="last")
    assert plain.training_part() == replace(other, selection="last").training_part()
    data = ProtocolData(protocol, {"phantom": find_or_prepare(tiny_phantom, "phantom")})
    assert data.test_hash()
