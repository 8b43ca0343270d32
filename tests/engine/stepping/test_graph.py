"""Steps run as a graph: the same numbers, and a sentence wherever a graph would go wrong.

There need be no GPU: a recorder that calls the captured function again stands for one. What it repeats is fixed as in a
CUDA graph: the input's addresses and the numbers of the step.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from captured_training import CPU, Listening, Partial, Plain, Prepared, Recalling, assert_same, running
from torch import Tensor
from toy_trainer import StopAt, Toy

from anyadbench.engine.numerics import Policy
from anyadbench.engine.reporter import Interrupted, NewProcess, Reporter
from anyadbench.engine.stepping.graph import WATCHED, CudaRecorder, StepGraph
from anyadbench.engine.stepping.optimisers import prepare_optimizers, uncapturable
from anyadbench.engine.trainer import Trainer
from anyadbench.methods.contract import Batch, OptimizerSpec

Losses = dict[str, dict[str, Tensor]]


def test_a_captured_training_ends_with_the_same_bits(tmp_path: Path) -> None:
    eager, recorder = running(tmp_path / "eager", None, steps=40), Recalling()
    captured = running(tmp_path / "graph", recorder, steps=40)
    eager.run()
    captured.run()
    assert (eager.graph_state, captured.graph_state) == ("off", "on")
    assert recorder.records == 1
    # Two replays check the graph; of 40 steps 8 are partial, 3 are watched.
    assert recorder.replays == 2 + 40 - 8 - WATCHED
    assert_same(eager, captured)


@pytest.mark.parametrize("stop", [2, 9, 30])
def test_a_captured_training_resumes_to_the_same_bits(tmp_path: Path, stop: int) -> None:
    whole = running(tmp_path / "whole", Recalling(), steps=40)
    whole.run()
    first = running(tmp_path / "cut", Recalling(), reporter=StopAt(stop), steps=40)
    with pytest.raises(Interrupted):
        first.run()
    second = running(tmp_path / "cut", Recalling(), steps=40)
    second.run()
    assert_same(whole, second)


def test_a_short_training_is_not_captured(tmp_path: Path) -> None:
    recorder = Recalling()
    made = running(tmp_path, recorder, steps=10)
    made.run()
    assert (made.graph_state, recorder.records) == ("off", 0)


def test_the_switch_and_compile_leave_steps_eager(tmp_path: Path) -> None:
    recorder = Recalling()
    made = running(tmp_path, recorder, steps=20)
    made.graph = False
    made.run()
    assert (made.graph_state, recorder.records) == ("off", 0)


@pytest.mark.parametrize(
    ("recorder", "said"),
    [
        (
            Recalling(waits=True),
            "it failed where waiting for the device is an error (RuntimeError: called a synchronizing CUDA operation)",
        ),
        (Recalling(shift=1.0), "the captured step differs from the eager one (loss is"),
    ],
)
def test_a_step_that_waits_or_a_capture_that_differs_is_reported_and_changes_no_number(
    recorder: Recalling, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    eager, reporter = running(tmp_path / "eager", None), Listening()
    fallen = running(tmp_path / "fallen", recorder, reporter=reporter)
    eager.run()
    fallen.run()
    assert (fallen.graph_state, recorder.records) == ("fell back", 0 if recorder.waits else 1)
    assert said in fallen.graph_reason
    assert said in capsys.readouterr().err
    assert [said in note for note in reporter.notes] == [True]
    assert_same(eager, fallen)


def test_a_failed_capture_ends_the_process_with_a_checkpoint_and_the_next_does_not_try_again(tmp_path: Path) -> None:
    eager, error = running(tmp_path / "eager", None, steps=40), RuntimeError("previous error during capture")
    error.__context__ = RuntimeError("operation not permitted")
    broken = Recalling(error)
    eager.run()
    first = running(tmp_path / "cut", broken, steps=40)
    with pytest.raises(NewProcess, match=r"Capturing a training step failed at step 3\."):
        first.run()
    assert [path.name for path in (tmp_path / "cut").glob("*.pt")] == ["step-00000003.pt"]
    said = "capturing it failed (RuntimeError: operation not permitted)"
    assert (first.graph_state, first.graph_reason, broken.records) == ("fell back", said, 1)
    listening, recorder = Listening(), Recalling()
    second = running(tmp_path / "cut", recorder, reporter=listening, steps=40)
    second.graph_refused = said
    second.run()
    assert (second.graph_state, second.graph_reason, recorder.records) == ("fell back", said, 0)
    assert any(said in note for note in listening.notes)
    assert_same(eager, second)


def test_a_graph_without_the_optimisers_update_is_not_trusted(tmp_path: Path) -> None:
    """At a rate so small that the losses show nothing."""

    class Forgetting(Recalling):
        def replay(self) -> dict[str, Tensor]:
            kept = [x.detach().clone() for x in made.method.parameters()]
            results = super().replay()
            with torch.no_grad():
                for parameter, value in zip(made.method.parameters(), kept, strict=True):
                    parameter.copy_(value)
            return results

    class Slow(Prepared):
        def optimizers(self) -> dict[str, OptimizerSpec]:
            found = super().optimizers()
            found["main"].optimizer.param_groups[0]["lr"].fill_(1e-5)
            return found

    made = running(tmp_path, Forgetting(), Slow)
    made.policy = Policy(threads=1)
    made.run()
    said = "the captured step differs from the eager one (weights of optimiser main by 100% of their change)"
    assert made.graph_reason == said


def test_a_resume_at_a_partial_batch_captures_full_ones(tmp_path: Path) -> None:
    whole = running(tmp_path / "whole", Recalling(), steps=40)
    whole.run()
    with pytest.raises(Interrupted):
        running(tmp_path / "cut", Recalling(), reporter=StopAt(9), steps=40).run()
    recorder = Recalling()
    second = running(tmp_path / "cut", recorder, steps=40)
    second.run()
    assert (second.graph_state, recorder.replays) == ("on", 2 + 31 - 7 - WATCHED)
    assert_same(whole, second)


def test_waiting_for_the_device_is_an_error_only_inside_a_strict_step(monkeypatch: pytest.MonkeyPatch) -> None:
    modes = ["default"]
    stream = SimpleNamespace(wait_stream=lambda other: None)
    for name, value in (
        ("Stream", lambda: stream), ("current_stream", lambda: stream), ("stream", lambda one: nullcontext()),
        ("get_sync_debug_mode", lambda: modes[-1]), ("set_sync_debug_mode", modes.append),
    ):  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, value)
    recorder, seen = CudaRecorder(), list[str]()

    def step() -> dict[str, Tensor]:
        seen.append(modes[-1])
        if len(seen) == 3:
            raise RuntimeError("called a synchronizing CUDA operation")
        return {}

    recorder.warm(step)
    recorder.warm(step, strict=True)
    with pytest.raises(RuntimeError, match="synchronizing"):
        recorder.warm(step, strict=True)
    assert (seen, modes) == (["default", "error", "error"], ["default", "error", "default", "error", "default"])


class ByStep(Prepared):
    def training_step(self, batch: Batch, step: int, total: int) -> Losses:
        return {"main": {"loss": super().training_step(batch, 0, 1)["main"]["loss"] * (1 - step / total)}}


class ReadingBack(Prepared):
    def training_step(self, batch: Batch, step: int, total: int) -> Losses:
        loss = super().training_step(batch, 0, 1)["main"]["loss"]
        return {"main": {"loss": loss / loss.detach().item()}}


class Replacing(Prepared):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))

    def training_step(self, batch: Batch, step: int, total: int) -> Losses:
        self.mean = 0.9 * self.mean + 0.1 * batch.inputs.mean()
        return super().training_step(batch, 0, 1)


class Counting(Prepared):
    calls = 0

    def training_step(self, batch: Batch, step: int, total: int) -> Losses:
        self.calls += 1
        return super().training_step(batch, 0, 1)


class Remembering(Prepared):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def training_step(self, batch: Batch, step: int, total: int) -> Losses:
        self.seen.append(len(batch))
        return super().training_step(batch, 0, 1)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (ByStep, "it depends on the number of the step"),
        (ReadingBack, "it reads a value back from the device (_local_scalar_dense)"),
        (Replacing, "it changes mean of the method"),
        (Counting, "it changes calls of the method"),
        (Remembering, "it changes seen of the method"),
        (Plain, "Adam takes its learning rate from the host"),
    ],
)
def test_what_a_graph_would_repeat_wrongly_is_noticed(
    kind: type[Toy], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorder = Recalling()
    eager, watching = running(tmp_path / "eager", None, kind), running(tmp_path / "watched", recorder, kind)
    eager.run()
    watching.run()
    assert (watching.graph_state, recorder.records) == ("fell back", 0)
    assert f"not captured in a CUDA graph, because {reason}; it runs kernel by kernel." in capsys.readouterr().err
    assert_same(eager, watching)


def test_a_batch_without_targets_does_not_fit_one_with_them() -> None:
    step: Callable[[Batch, int, int], dict[str, Tensor]] = lambda batch, step, total: {}  # noqa: E731
    graph = StepGraph(Toy(), step, dict, Recalling(), Reporter(), full=3)
    full = Partial().at(0)
    graph(full, 0, 100)
    assert graph._fits(full)
    assert not graph._fits(Batch(full.inputs, full.shown))


def test_optimisers_that_cannot_are_left_alone_and_named() -> None:
    layer = torch.nn.Linear(2, 2)
    specs = {
        "a": OptimizerSpec(torch.optim.SGD(layer.parameters(), lr=0.5, momentum=0.9)),
        "b": OptimizerSpec(torch.optim.Rprop(layer.parameters(), lr=0.5)),
    }
    prepare_optimizers(specs, CPU)
    assert isinstance(specs["a"].optimizer.param_groups[0]["lr"], Tensor)
    assert specs["b"].optimizer.param_groups[0]["lr"] == 0.5
    assert uncapturable(specs) == "Rprop takes its learning rate from the host"
    assert uncapturable({"a": specs["a"]}) == ""


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("stop", [2, 30])
def test_a_training_on_a_gpu_resumes_to_the_same_bits(tmp_path: Path, stop: int) -> None:
    class OnGpu(Partial):
        def at(self, step: int) -> Batch:
            return super().at(step).to(torch.device("cuda"))

    class GpuToy(Toy):
        def training_step(self, batch: Batch, step: int, total: int) -> Losses:
            noise = torch.rand(len(batch), 1, device=batch.inputs.device)
            return {"main": {"loss": (self.layer(batch.inputs.flatten(1)) - noise).square().mean()}}

    def on_gpu(folder: Path, reporter: Reporter | None = None) -> Trainer:
        made = trainer(folder, reporter, steps=40)
        torch.manual_seed(5)
        made.method, made.feed = GpuToy().cuda(), OnGpu()  # type: ignore[assignment]
        made.policy = Policy("cuda", threads=1, deterministic=True)
        return made

    whole = on_gpu(tmp_path / "whole")
    whole.run()
    assert whole.graph_state == "on"
    with pytest.raises(Interrupted):
        on_gpu(tmp_path / "cut", StopAt(stop)).run()
    second = on_gpu(tmp_path / "cut")
    second.run()
    assert_same(whole, second)
