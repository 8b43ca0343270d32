"""Transformer blocks compiled one by one, for captured steps and for scoring."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from captured_training import Listening, Prepared, Recalling, assert_same, can_compile, running
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException

from anyadbench.engine import numerics
from anyadbench.engine import trainer as trainer_module
from anyadbench.engine.numerics import Policy, numerics_record, resolve_policy
from anyadbench.engine.reporter import Reporter
from anyadbench.engine.stepping import blocks as blocks_module
from anyadbench.engine.stepping.blocks import CompiledBlocks, repeated_blocks
from anyadbench.engine.trainer import Trainer
from anyadbench.methods.contract import Batch, Scores
from anyadbench.methods.freezing import freeze


class Block(nn.Module):
    """A block of a transformer, without its attention."""

    def __init__(self, width: int = 16, drop: float = 0.0) -> None:
        super().__init__()
        self.norm, self.linear, self.drop = nn.LayerNorm(width), nn.Linear(width, width), nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop(self.linear(self.norm(x)))


class Layered(Prepared):
    """A toy with blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(3))

    def deep(self, batch: Batch) -> Tensor:
        x = batch.inputs.flatten(1)
        for block in self.blocks:
            x = block(x)
        return x

    def training_step(self, batch: Batch, step: int, total: int) -> dict[str, dict[str, Tensor]]:
        return {"main": {"loss": self.layer(self.deep(batch)).square().mean()}}

    def score(self, batch: Batch) -> Scores:
        return Scores(self.deep(batch).view(-1, 4, 4))


class Compiler:
    """Makes functions that count their calls.

    Args:
        error: What a call of them raises.
        shift: What they add to what the plain function returns.
    """

    def __init__(self, error: Exception | None = None, shift: float = 0.0) -> None:
        self.error, self.shift, self.calls = error, shift, 0

    def __call__(self, function: Callable[..., Tensor], *, dynamic: bool) -> Callable[..., Tensor]:
        assert not dynamic

        def compiled(*arguments: Tensor) -> Tensor:
            self.calls += 1
            if self.error is not None:
                raise self.error
            return function(*arguments) + self.shift

        return compiled


def training(
    folder: Path, compiler: Compiler | None, monkeypatch: pytest.MonkeyPatch, reporter: Reporter | None = None
) -> Trainer:
    """Return a training in which blocks are compiled if there is a compiler."""
    made = running(folder, Recalling(), Layered, reporter)
    made.policy = Policy(threads=1, blocks=compiler is not None)
    if compiler is not None:
        monkeypatch.setattr(trainer_module, "CompiledBlocks", partial(CompiledBlocks, compiler=compiler))
        monkeypatch.setattr(trainer_module, "COMPILED_FROM", 20)
    return made


def test_blocks_of_one_kind_are_found_and_others_are_left() -> None:
    few, other = nn.ModuleList([Block(), Block()]), nn.Sequential(Block(8), Block(8), Block(8))
    frozen = freeze(nn.ModuleList(Block(4, 0.5) for _ in range(3)))
    random, batched = nn.ModuleList(Block(4, 0.5) for _ in range(3)), nn.ModuleList(Block() for _ in range(3))
    for block in batched:
        block.add_module("extra", nn.BatchNorm1d(16))
    norms = nn.ModuleList(nn.LayerNorm(4) for _ in range(3))
    mixed = nn.ModuleList([Block(), Block(), Block(), Block(8)])
    whole = nn.ModuleList([few, other, frozen, random, batched, norms, mixed])
    assert repeated_blocks(whole) == [*other, *frozen, *mixed[:3]]


def test_only_the_captured_step_runs_compiled_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = training(tmp_path / "plain", None, monkeypatch)
    plain.run()
    compiler = Compiler()
    compiled = training(tmp_path / "blocks", compiler, monkeypatch)
    compiled.run()
    assert (plain.compile_state, compiled.compile_state, compiled.graph_state) == ("off", "blocks", "on")
    assert compiler.calls == 2 * 3  # two steps that are compared with; this recorder records a step without running it
    assert_same(plain, compiled)
    assert all("forward" not in vars(block) for block in compiled.method.blocks)  # type: ignore[union-attr]


def test_a_short_training_is_captured_without_compiled_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = Compiler()
    short = training(tmp_path, compiler, monkeypatch)
    monkeypatch.setattr(trainer_module, "COMPILED_FROM", 21)
    short.run()
    assert (short.compile_state, short.graph_state, compiler.calls) == ("off", "on", 0)


@pytest.mark.parametrize(
    ("compiler", "said"),
    [
        (Compiler(TorchDynamoException("no kernel")), "TorchDynamoException: no kernel"),
        (Compiler(shift=1.0), "with them, loss is "),
    ],
)
def test_blocks_that_cannot_be_compiled_or_differ_are_reported_and_change_no_number(
    compiler: Compiler, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, reporter = training(tmp_path / "plain", None, monkeypatch), Listening()
    plain.run()
    fallen = training(tmp_path / "blocks", compiler, monkeypatch, reporter)
    fallen.run()
    assert (fallen.compile_state, fallen.graph_state) == ("fell back", "on")
    assert_same(plain, fallen)
    sentence = f"The transformer blocks of the network are not compiled: {said}"
    assert [note.startswith(sentence) for note in reporter.notes] == [True]
    assert sentence in capsys.readouterr().err


def batch(count: int) -> Batch:
    return Batch.full(torch.rand(count, 1, 4, 4), torch.ones(count, 1, dtype=torch.bool))


def test_an_error_of_the_blocks_themselves_is_raised() -> None:
    method = Layered()
    blocks = CompiledBlocks(method, True, Reporter(), Compiler(ValueError("wrong")))
    with pytest.raises(ValueError, match="wrong"):
        blocks.attempt(lambda: method.deep(batch(1)))
    assert blocks.state == "blocks"
    method.deep(batch(1))  # outside, the blocks are as they were


def test_a_system_without_a_compiler_is_reported() -> None:
    def missing(*_: Any, **__: Any) -> Callable[..., Any]:
        raise RuntimeError("torch.compile is not supported here")

    reporter = Listening()
    assert CompiledBlocks(Layered(), True, reporter, missing).state == "fell back"
    said = "The transformer blocks of the network are not compiled: RuntimeError: torch.compile is not supported here"
    assert reporter.notes == [said]


def test_more_shapes_than_torch_compiles_by_itself_are_compiled_or_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    torch._dynamo.reset()
    graphs: list[Any] = []

    def backend(graph: Any, examples: list[Tensor]) -> Any:
        graphs.append(graph)
        return graph.forward

    widths = range(4, 14)
    parts = [nn.ModuleList(Block(width) for _ in range(3)) for width in widths]
    reporter = Listening()
    blocks = CompiledBlocks(nn.ModuleList(parts), True, reporter, partial(torch.compile, backend=backend))

    def every() -> list[Tensor]:
        return [block(torch.ones(2, width)) for part, width in zip(parts, widths, strict=True) for block in part]

    plain = every()
    assert all(map(torch.equal, plain, blocks.attempt(every)))
    assert (blocks.state, len(graphs)) == ("blocks", len(widths))
    torch._dynamo.reset()
    monkeypatch.setattr(blocks_module, "KINDS", 4)
    assert all(map(torch.equal, plain, blocks.attempt(every)))
    assert blocks.state == "fell back"
    assert "FailOnRecompileLimitHit" in reporter.notes[0]
    torch._dynamo.reset()


def test_blocks_are_compiled_on_a_gpu_unless_asked_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numerics, "_cuda_available", lambda: True)

    def resolved(device: str, *, deterministic: bool = False, compile: bool | None = None) -> tuple[bool, bool]:
        policy = resolve_policy(device, "float32", deterministic, 1, compile=compile)
        return policy.compile, policy.blocks

    assert resolved("cuda") == (False, True)
    assert resolved("cuda", deterministic=True) == resolved("cpu") == (False, False)
    assert resolved("cuda", compile=True) == resolved("cpu", compile=True) == (True, False)
    assert resolved("cuda", compile=False) == (False, False)


def test_a_policy_without_blocks_has_the_ids_of_before() -> None:
    assert "blocks" not in Policy().to_dict()
    policy = Policy("cuda", blocks=True)
    assert Policy(**policy.to_dict()) == policy
    assert "blocks" not in numerics_record(policy, "blocks")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_torch_compiles_blocks_to_the_same_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not can_compile():
        pytest.skip("torch.compile needs a C++ compiler and Python.h")
    torch._dynamo.reset()
    plain = training(tmp_path / "plain", None, monkeypatch)
    plain.run()
    blocks: list[CompiledBlocks] = []

    class Fast(Recalling):
        """Replays with compiled blocks, as a graph that was captured with them."""

        def replay(self) -> dict[str, Tensor]:
            with blocks[0].used():
                return super().replay()

    def kept(*arguments: Any, **options: Any) -> CompiledBlocks:
        blocks.append(CompiledBlocks(*arguments, **options))
        return blocks[0]

    compiled = running(tmp_path / "blocks", Fast(), Layered)
    compiled.policy = Policy(threads=1, blocks=True)
    monkeypatch.setattr(trainer_module, "CompiledBlocks", kept)
    monkeypatch.setattr(trainer_module, "COMPILED_FROM", 20)
    compiled.run()
    assert (compiled.compile_state, compiled.graph_state) == ("blocks", "on")
    for (name, value), other in zip(
        plain.method.saved_state().items(), compiled.method.saved_state().values(), strict=True
    ):
        assert torch.allclose(value, other, atol=1e-4), name
