"""The numeric policy: recorded and applied, and the handling of ``torch.compile``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from captured_training import Listening, can_compile
from grid_fixture import cells, run
from toy_trainer import Toy, trainer

from anyadbench.engine import compiling, numerics
from anyadbench.engine.compiling import Compiled, combined, is_compiler_error
from anyadbench.engine.numerics import Policy, apply_policy, numerics_record, resolve_policy
from anyadbench.results.schema import Numerics


def failing(function: Callable[..., Any]) -> Callable[..., Any]:
    """A compiler that draws random numbers and then fails."""

    def compiled(*arguments: Any) -> Any:
        torch.rand(10)
        raise torch._dynamo.exc.TorchDynamoException("no kernel")

    return compiled


def test_a_failing_compiler_is_reported_and_changes_no_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = trainer(tmp_path / "plain")
    plain.run()
    monkeypatch.setattr(torch, "compile", failing)
    reporter = Listening()
    fallen = trainer(tmp_path / "fallen", reporter)
    fallen.policy = Policy(threads=1, compile=True)
    fallen.run()
    assert fallen.compile_state == "fell back"
    assert "torch.compile failed and is not used: TorchDynamoException: no kernel" in capsys.readouterr().err
    assert any("no kernel" in note for note in reporter.notes)
    for name, value in plain.method.saved_state().items():
        assert torch.equal(value, fallen.method.saved_state()[name])


@pytest.mark.parametrize(("native", "precision"), [(True, "bfloat16"), (False, "float32")])
def test_a_gpu_that_only_emulates_bfloat16_gets_float32(
    native: bool, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numerics, "_cuda_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or native)
    assert resolve_policy("cuda", "auto", False, 2).dtype == precision


class Counting(Toy):
    """A toy with a running mean, which a step that runs twice would update twice."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))

    def step(self, x: torch.Tensor) -> torch.Tensor:
        self.mean.lerp_(x.mean(), 0.5)
        return self.layer(x + torch.rand(x.shape)) + self.mean


def refusing_later(calls: int) -> Callable[..., Any]:
    """A compiler that handles the first calls, then runs the function and fails."""

    def compiler(function: Callable[..., Any]) -> Callable[..., Any]:
        left = [calls]

        def compiled(*arguments: Any) -> Any:
            value = function(*arguments)
            left[0] -= 1
            if left[0] < 0:
                raise torch._dynamo.exc.TorchDynamoException("no kernel for this batch")
            return value

        return compiled

    return compiler


@pytest.mark.parametrize("calls", [0, 1, 3])
def test_a_compiler_that_fails_at_a_later_call_is_reported_once_and_changes_no_number(
    calls: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch, "compile", refusing_later(calls))
    found = []
    for enabled in (False, True):
        torch.manual_seed(0)
        method, reporter = Counting(), Listening()
        compiled = Compiled(method.step, method, reporter, enabled=enabled)
        values = [compiled(torch.ones(size, 16)) for size in (4, 4, 4, 3, 2)]
        found.append([*values, method.mean.clone(), torch.rand(3)])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert compiled.state == "fell back"
    assert reporter.notes == ["torch.compile failed and is not used: TorchDynamoException: no kernel for this batch"]
    assert capsys.readouterr().err.count("torch.compile failed") == 1


def test_scoring_copies_no_state_once_it_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", refusing_later(2))
    copies: list[torch.Tensor | None] = []
    monkeypatch.setattr(compiling, "_copied", lambda value: copies.append(value) or value)
    method = Counting().eval()
    compiled = Compiled(lambda: torch.rand(3), method, Listening(), enabled=True)
    torch.manual_seed(0)
    values = [compiled() for _ in range(3)]
    torch.manual_seed(0)
    assert torch.equal(torch.cat(values), torch.rand(9))
    assert (compiled.state, len(copies)) == ("fell back", 3)  # at the first call: weight, bias and the mean


def test_training_copies_what_a_step_may_change_and_never_the_trained_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", refusing_later(9))
    copies: list[torch.Tensor | None] = []
    monkeypatch.setattr(compiling, "_copied", lambda value: copies.append(value) or value)
    method = Counting().train()
    compiled = Compiled(method.step, method, Listening(), enabled=True)
    for _ in range(3):
        compiled(torch.ones(4, 16))
    assert [tuple(copy.shape) for copy in copies if copy is not None] == [(), (1, 16), (1,), (), ()]


def test_a_compiler_that_refuses_at_once_is_reported_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(function: Callable[..., Any]) -> Callable[..., Any]:
        raise RuntimeError("not on this interpreter")

    monkeypatch.setattr(torch, "compile", refusing)
    compiled = Compiled(lambda x: x + 1, Toy(), Listening(), enabled=True)
    assert (compiled(1), compiled.state) == (2, "fell back")


def test_an_error_of_the_method_itself_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda function: function)

    def wrong() -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        Compiled(wrong, Toy(), Listening(), enabled=True)()
    assert not is_compiler_error(ValueError("mine"))


def test_without_compile_the_function_is_called_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", failing)
    assert Compiled(lambda x: x, Toy(), Listening(), enabled=False)(3) == 3


@pytest.mark.parametrize(
    ("precision", "dtype", "tf32"),
    [
        ("float32", "float32", False),
        ("tf32", "float32", True),
        ("bfloat16", "bfloat16", False),
        ("float16", "float16", False),
    ],
)
def test_a_precision_becomes_a_policy_that_results_can_hold(precision: str, dtype: str, tf32: bool) -> None:
    policy = resolve_policy("cuda", precision, True, 3, elsewhere=True)
    recorded = Numerics(**numerics_record(policy, "off"))
    assert (recorded.device, recorded.dtype, recorded.tf32, recorded.deterministic) == ("cuda", dtype, tf32, True)
    assert recorded.threads == 3
    assert recorded.products == ""


def test_the_library_of_products_is_recorded_on_the_cpu_and_no_part_of_the_policy() -> None:
    recorded = Numerics(**numerics_record(Policy(), "fell back"))
    assert recorded.products in ("default", "oneDNN")
    assert recorded.compile == "fell back"
    assert "products" not in Policy().to_dict()


@pytest.fixture
def restored() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


def test_a_deterministic_policy_forbids_other_algorithms(restored: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    apply_policy(Policy(deterministic=True, threads=1))
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.benchmark


def test_a_cell_planned_for_a_gpu_is_refused_where_there_is_none() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    from anyadbench.errors import UserError

    with pytest.raises(UserError, match="planned for a GPU, but torch finds none"):
        apply_policy(Policy(device="cuda"))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("state", ["on", "fell back"])
def test_the_result_records_the_request_and_the_outcome(
    state: str, toys: Path, tiny_protocol: Path, tiny_phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if state == "fell back":
        monkeypatch.setenv("CXX", str(tmp_path / "no-compiler"))
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    elif not can_compile():
        pytest.skip("torch.compile needs a C++ compiler and Python.h")
    options = ["--protocol", tiny_protocol, "--data", tiny_phantom, "--runs", tmp_path / "runs", "--compile"]
    done = run("run", "--method", "toy", *options, "--deterministic", "--precision", "bfloat16")
    assert done.returncode == 0, done.stderr
    (cell,) = cells(tmp_path / "runs")
    numerics = json.loads((cell / "result.json").read_text())["numerics"]
    assert numerics["compile"] == state, done.stderr
    assert ("torch.compile failed and is not used" in done.stderr) == (state == "fell back")
    assert (numerics["dtype"], numerics["deterministic"]) == ("bfloat16", True)


@pytest.mark.parametrize(
    ("outcomes", "outcome"),
    [
        ((), "off"),
        ((None, "off"), "off"),
        (("off", "blocks"), "blocks"),
        (("blocks", "on"), "on"),
        (("on", "fell back", "blocks"), "fell back"),
    ],
)
def test_parts_of_a_cell_have_one_outcome(outcomes: tuple[str | None, ...], outcome: str) -> None:
    assert combined(outcomes) == outcome
