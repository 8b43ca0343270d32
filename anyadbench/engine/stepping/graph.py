"""A whole training step as one CUDA graph: forward, losses, backward, clipping and optimiser in one launch.

Starting some 1,800 kernels one by one takes the host longer than a GPU needs to run them. A graph starts them at once,
on fixed addresses: each batch is copied into the graph's own input, and learning rates are tensors. The first steps run
eagerly and are watched (``inspection``), the last of them where waiting for the device is an error; then a step is
captured, and compared with eager steps before it is trusted. For it, transformer blocks may be compiled, if the losses
are then those of the blocks as they are. Whatever speaks against a graph is reported, and the training goes on without
one. A capture that fails can leave torch's allocator and generators in a capture for good, so the training then resumes
from a checkpoint in a new process.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from anyadbench.engine.compiling import BLOCKS
from anyadbench.engine.reporter import NewProcess
from anyadbench.engine.stepping.blocks import CompiledBlocks
from anyadbench.engine.stepping.inspection import Inspection
from anyadbench.engine.stepping.moments import Groups, Moment, groups_of
from anyadbench.methods.contract import Batch

if TYPE_CHECKING:
    from anyadbench.engine.reporter import Reporter
    from anyadbench.methods.contract import Method

Step = Callable[[Batch, int, int], dict[str, Tensor]]
"""A whole training step: (batch, step, total steps) to its losses by name."""

OFF, WATCHING, ON, FELL_BACK = "off", "watching", "on", "fell back"

WATCHED = 3
"""Eager steps before one is captured: lazy parts are set up, and the allocator has seen the sizes."""

WORTHWHILE = 12
"""Fewest steps left for which capturing and checking pay."""

TOLERANCE = 1e-2
"""Largest relative difference of losses between captured and eager steps; under ``--deterministic`` they are equal."""


class Recorder(Protocol):
    """Captures a function without arguments and replays it."""

    def warm(self, function: Callable[[], dict[str, Tensor]], *, strict: bool = False) -> dict[str, Tensor]:
        """Run the function eagerly, as it has to be before it is captured; ``strict`` makes waiting an error."""

    def record(self, function: Callable[[], dict[str, Tensor]]) -> None:
        """Capture the function; nothing is computed."""

    def replay(self) -> dict[str, Tensor]:
        """Compute what was captured; the results are overwritten by the next replay."""


class CudaRecorder:
    """Captures with ``torch.cuda.CUDAGraph``."""

    def __init__(self) -> None:
        self._side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._graph: torch.cuda.CUDAGraph | None = None
        self._results: dict[str, Tensor] = {}

    def warm(self, function: Callable[[], dict[str, Tensor]], *, strict: bool = False) -> dict[str, Tensor]:
        """Run the function on a side stream."""
        current = torch.cuda.current_stream()
        self._side.wait_stream(current)
        try:
            with torch.cuda.stream(self._side), _waiting_is_an_error() if strict else nullcontext():
                return function()
        finally:
            current.wait_stream(self._side)

    def record(self, function: Callable[[], dict[str, Tensor]]) -> None:
        """Capture the function; other threads may use the device meanwhile."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self._results = function()
        self._graph = graph

    def replay(self) -> dict[str, Tensor]:
        """Launch the graph."""
        assert self._graph is not None
        self._graph.replay()
        return self._results


@contextmanager
def _waiting_is_an_error() -> Iterator[None]:
    """Let every operation that waits for the device raise ``RuntimeError``, in all threads of this process."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():  # torch calls the mode a prototype, at its first use in a process
        warnings.simplefilter("ignore", UserWarning)
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


class StepGraph:
    """Runs training steps, as a graph once one is trusted.

    Args:
        method: The method.
        step: A whole eager step.
        kept: Returns the optimisers' tensors, in groups.
        recorder: Captures steps; ``None`` runs all steps eagerly.
        reporter: Where a fall-back is reported.
        full: Slices of a full batch; smaller ones run eagerly.
        exact: Whether captured and eager steps must agree to the bit.
        pause: Lets other threads finish what they do with the device.
        save: Writes a checkpoint, before a step is captured.
        blocks: The method's transformer blocks, compiled for the captured step; ``None`` to leave them as they are.

    Attributes:
        state: ``off``, ``watching``, ``on`` or ``fell back``.
        reason: Why it fell back.
    """

    def __init__(
        self,
        method: Method,
        step: Step,
        kept: Callable[[], Groups],
        recorder: Recorder | None,
        reporter: Reporter,
        *,
        full: int,
        exact: bool = False,
        pause: Callable[[], None] = lambda: None,
        save: Callable[[], None] = lambda: None,
        blocks: CompiledBlocks | None = None,
    ) -> None:
        self._method, self._step, self._kept, self._full, self._exact = method, step, kept, full, exact
        self._recorder, self._reporter, self._pause, self._save = recorder, reporter, pause, save
        self._blocks = blocks or CompiledBlocks(method, False, reporter)
        self._inspection = Inspection(method, apart=isinstance(recorder, CudaRecorder))
        self._watched = 0
        self._input: Batch | None = None
        self.state, self.reason = OFF if recorder is None else WATCHING, ""

    def refuse(self, reason: str) -> None:
        """Run all steps eagerly, for a reason that follows "because"."""
        if self.state in (WATCHING, ON):
            self.state, self.reason, self._input, self._recorder = FELL_BACK, reason, None, None
            said = f"The training step is not captured in a CUDA graph, because {reason}; it runs kernel by kernel."
            print(said, file=sys.stderr, flush=True)
            self._reporter.send(note=said)

    def __call__(self, batch: Batch, step: int, total: int) -> dict[str, Tensor]:
        """Train on a batch and return the losses, which the next call may overwrite.

        Raises:
            NewProcess: If capturing failed; a checkpoint has been written.
        """
        if self.state not in (WATCHING, ON) or len(batch) < self._full:
            return self._step(batch, step, total)
        if self._input is None:
            own: dict[str, Any] = {name: _copy(value) for name, value in vars(batch).items()}
            self._input = Batch(**own)
        if not self._fits(batch):
            return self._step(batch, step, total)
        if self.state == ON:
            return self._replayed(batch)
        if self._watched < WATCHED:
            return self._watch(batch, step, total)
        if total - step < WORTHWHILE:
            return self._step(batch, step, total)
        return self._capture(batch, step, total)

    def _watch(self, batch: Batch, step: int, total: int) -> dict[str, Tensor]:
        assert self._recorder is not None
        self._watched += 1

        def watched() -> dict[str, Tensor]:
            return self._inspection.watch(lambda number, last: self._step(batch, number, last), step, total)

        if self._watched < WATCHED:
            losses = self._recorder.warm(watched)
        else:
            before = self._moment()
            self._pause()  # a thread that copies from the host waits, which is its right
            try:
                losses = self._recorder.warm(watched, strict=True)
            except RuntimeError as error:
                before.restore()
                self.refuse(f"it failed where waiting for the device is an error ({_said(error)})")
                return self._step(batch, step, total)
        if self._inspection.reasons:
            self.refuse(self._inspection.reasons[0])
        return losses

    def _capture(self, batch: Batch, step: int, total: int) -> dict[str, Tensor]:
        assert self._recorder is not None and self._input is not None
        fixed, before = self._input, self._moment()
        _fill(fixed, batch)
        try:
            eager = self._eager(lambda: self._step(fixed, step, total), before)
            after = self._moment()
        except RuntimeError as error:  # most likely memory, of which the copies need more
            before.restore()
            self.refuse(f"comparing it failed ({_said(error)})")
            return self._step(batch, step, total)
        before.restore()
        self._pause()
        self._save()
        try:
            with self._blocks.used():
                self._recorder.record(lambda: self._step(fixed, step, total))
            captured = [_copies(self._recorder.replay()) for _ in range(2)]
        except Exception as error:
            self.refuse(f"capturing it failed ({_said(error)})")
            raise NewProcess(f"Capturing a training step failed at step {step}.") from error
        gap = self._gap(eager, captured) or after.difference(before, exact=self._exact)
        before.restore()
        if gap:
            self.refuse(f"the captured step differs from the eager one ({gap})")
            return self._step(batch, step, total)
        self.state = ON
        return self._replayed(batch)

    def _eager(self, once: Callable[[], dict[str, Tensor]], before: Moment) -> list[dict[str, Tensor]]:
        """Take two eager steps, with compiled blocks unless they do not compute what the blocks do."""
        recorder = self._recorder
        assert recorder is not None

        def twice() -> list[dict[str, Tensor]]:
            return [recorder.warm(lambda: _copies(once())) for _ in range(2)]

        plain = twice()
        if self._blocks.state != BLOCKS:
            return plain
        before.restore()
        compiled = self._blocks.attempt(twice, before.restore)
        if gap := self._gap(plain, compiled):
            self._blocks.give_up(f"with them, {gap}")
            before.restore()
            return twice()
        return compiled

    def _moment(self) -> Moment:
        return Moment(groups_of(self._method, self._kept()))

    def _replayed(self, batch: Batch) -> dict[str, Tensor]:
        assert self._recorder is not None and self._input is not None
        _fill(self._input, batch)
        return self._recorder.replay()

    def _gap(self, eager: list[dict[str, Tensor]], captured: list[dict[str, Tensor]]) -> str:
        """Return the first loss that differs, in words; an empty text if all agree."""
        for one, other in zip(eager, captured, strict=True):
            for name, value in one.items():
                pair = value.float(), other[name].float()
                same = torch.equal(*pair) if self._exact else torch.allclose(*pair, rtol=TOLERANCE, atol=1e-6)
                if not same and not (pair[0].isnan().any() and pair[1].isnan().any()):
                    return f"{name} is {float(pair[1]):.6g}, not {float(pair[0]):.6g}"
        return ""

    def _fits(self, batch: Batch) -> bool:
        """Whether a batch has the shapes of the graph's input."""
        assert self._input is not None
        pairs = zip(vars(self._input).values(), vars(batch).values(), strict=True)
        return all(
            (a is None) == (b is None) and (a is None or (a.shape == b.shape and a.dtype == b.dtype)) for a, b in pairs
        )


def _copy(value: Tensor | None) -> Tensor | None:
    return None if value is None else value.detach().clone()


def _copies(losses: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in losses.items()}


def _fill(fixed: Batch, batch: Batch) -> None:
    for own, new in zip(vars(fixed).values(), vars(batch).values(), strict=True):
        if own is not None:
            own.copy_(new, non_blocking=True)


def _said(error: BaseException) -> str:
    """Return the first of the errors that led to one: a capture that has failed raises another as it ends."""
    while error.__context__ is not None:
        error = error.__context__
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
