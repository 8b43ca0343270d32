"""The training loop that every method goes through."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from anyadbench.engine.batches import TrainingFeed
from anyadbench.engine.checkpoints import load_checkpoint, save_checkpoint
from anyadbench.engine.compiling import Compiled
from anyadbench.engine.numerics import NotFinite, Policy
from anyadbench.engine.reporter import TRAINING, Interrupted, Reporter
from anyadbench.engine.settings import training_steps
from anyadbench.engine.stepping.blocks import COMPILED_FROM, CompiledBlocks
from anyadbench.engine.stepping.frozen import hold_frozen
from anyadbench.engine.stepping.graph import FELL_BACK, OFF, ON, WATCHING, CudaRecorder, Recorder, StepGraph
from anyadbench.engine.stepping.modes import TrainingMode
from anyadbench.engine.stepping.optimisers import optimised_tensors, prepare_optimizers, set_rate, uncapturable
from anyadbench.engine.stepping.prefetch import Prefetcher
from anyadbench.errors import UserError
from anyadbench.files import make_folder, write_text
from anyadbench.methods.contract import Batch, Losses, Method, OptimizerSpec
from anyadbench.results.training import Step, csv_text, rows_apart, thinned

if TYPE_CHECKING:
    from anyadbench.engine.selection import Selector
    from anyadbench.methods.params import Value

CHECK_EVERY = 10
"""Steps between checks of the losses: each check makes a GPU wait."""

WRITE_SECONDS = 5.0
"""Time between writes of the losses' file; it is also written with every checkpoint and at the end."""

CHECKPOINT_SHARE = 0.02
"""Largest share of the time spent on writing checkpoints; a slow disk makes them rarer."""


@dataclass
class Trainer:
    """Trains one method on a fit's training normals.

    Attributes:
        method: The method, built after seeding and moved to its device.
        feed: Its training normals.
        params: Its parameters; ``steps`` or ``epochs`` sets how long to train.
        policy: Numeric policy.
        checkpoints: Folder of checkpoints.
        reporter: Receives progress, and passes on a request to stop.
        checkpoint_seconds: Time between checkpoints; longer where writing one takes more than 2 % of it.
        selector: Judges states during training; ``None`` to take the last one.
        losses_file: CSV file of the losses; ``None`` to write none.
        history: Losses so far, one entry per row of that file (see ``anyadbench.results.training.Step``).
        begun: Called before the first step with the number of steps that a checkpoint has kept.
        graph: Whether to run steps as a CUDA graph on a GPU.
        graph_refused: Why an earlier process found that they cannot, if one did.
        recorder: Captures steps where there is no GPU; ``None`` captures none.
    """

    method: Method
    feed: TrainingFeed
    params: Mapping[str, Value]
    policy: Policy
    checkpoints: Path
    reporter: Reporter
    checkpoint_seconds: float = 60.0
    selector: Selector | None = None
    losses_file: Path | None = None
    step: int = 0
    total: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    optimizers: dict[str, OptimizerSpec] = field(default_factory=dict)
    begun: Callable[[int], None] = lambda step: None
    graph: bool = True
    graph_refused: str = ""
    recorder: Recorder | None = None

    def run(self) -> None:
        """Prepare and train to the end, from the last checkpoint if there is one.

        Raises:
            Interrupted: If a stop was requested; a checkpoint has been written.
            NewProcess: If capturing a step failed; a checkpoint has been written.
            NotFinite: If a loss is NaN or infinite.
        """
        self.optimizers = dict(self.method.optimizers())
        self._base_rates = {
            name: [float(group["lr"]) for group in spec.optimizer.param_groups]
            for name, spec in self.optimizers.items()
        }
        self.compiled = Compiled(
            self.method.training_step,
            self.method,
            self.reporter,
            enabled=self.policy.compile and self.method.manual_step is None and bool(self.optimizers),
        )
        self._mode = TrainingMode(self.method)
        self._scaler = torch.amp.GradScaler(self.policy.device, enabled=self.policy.dtype == "float16")
        self.total = self._length()
        cuda = self.policy.device == "cuda"
        if cuda:
            prepare_optimizers(self.optimizers, self.policy.torch_device())
        restored = load_checkpoint(self.checkpoints, self.method, self.optimizers, self._scaler)
        if cuda and restored is not None:
            prepare_optimizers(self.optimizers, self.policy.torch_device())
        self.begun(0 if restored is None else restored[0])
        saved = time.monotonic()
        if restored is None:
            self._prepare()
        else:
            self.step, self.history = restored
            self.reporter.resumed(self.step, self.total)
        hold_frozen(self.method, self.policy)  # after prepare(), which may still load weights
        self._losses = _LossLog(self.losses_file, self.total, self.history)
        if self.selector is not None:
            self.selector.resume(self.step)
        with Prefetcher(self.feed, self.total, self.policy.torch_device()) as self._batches:
            self._step_graph = self._graphed(CudaRecorder() if cuda else self.recorder)
            self._steps(saved)
        self._losses.write()
        self.method.eval()

    def _steps(self, saved: float) -> None:
        """Train to the end, with checkpoints; ``saved`` is the time of the last one."""
        interval = self.checkpoint_seconds
        while self.step < self.total:
            if self.reporter.stopping:
                self._save()
                raise Interrupted
            self._train_step()
            better = self.selector is not None and self.selector.look(self.step, self.total)
            late = time.monotonic() - saved >= interval
            if (better or late) and self.step < self.total:
                began = time.monotonic()
                self._save()
                saved = time.monotonic()
                if self.checkpoint_seconds:
                    interval = max(self.checkpoint_seconds, (saved - began) / CHECKPOINT_SHARE)

    @property
    def normals(self) -> TrainingFeed:
        """The training normals (see :class:`anyadbench.methods.contract.Loop`)."""
        return self.feed

    @property
    def compile_state(self) -> str:
        """Outcome of compiling: ``off``, ``blocks``, ``on`` or ``fell back``."""
        if hasattr(self, "_blocks") and self._blocks.state != OFF:
            return self._blocks.state if self.graph_state == ON or self._blocks.state == FELL_BACK else OFF
        return self.compiled.state if hasattr(self, "compiled") else "off"

    @property
    def graph_state(self) -> str:
        """Whether steps ran as a CUDA graph: ``off``, ``on`` or ``fell back``."""
        state = self._step_graph.state if hasattr(self, "_step_graph") else OFF
        return OFF if state == WATCHING else state

    @property
    def graph_reason(self) -> str:
        """Why steps fell back from a CUDA graph; empty if they did not."""
        return (self._step_graph.reason if hasattr(self, "_step_graph") else "") or self.graph_refused

    def _length(self) -> int:
        if not self.optimizers:
            return 0
        total = training_steps(self.params, self.feed.batches_per_epoch)
        if total < 1:
            raise UserError(f"{type(self.method).__name__}: neither steps nor epochs sets how long to train; set one.")
        return total

    def _prepare(self) -> None:
        self.method.eval()
        with torch.no_grad(), self.policy.autocast():
            self.method.prepare(self.feed)

    def _save(self) -> None:
        self._losses.read()
        self._losses.write()
        save_checkpoint(self.checkpoints, self.step, self.method, self.optimizers, self.history, self._scaler)
        if self.selector is not None:
            self.selector.tidy()

    def _train_step(self) -> None:
        batch = self._batches.at(self.step)
        self._mode.enter()
        if self.method.manual_step is not None:
            with self.policy.autocast():
                values: Mapping[str, float | torch.Tensor] = self.method.manual_step(batch, self)
        else:
            values = self._automatic_step(batch)
        self.step += 1
        rates = {name: spec.optimizer.param_groups[0]["lr"] for name, spec in self.optimizers.items()}
        self._losses.add(self.step, self.step / self.feed.batches_per_epoch, rates, values)
        if self.step % CHECK_EVERY == 0 or self.step == self.total:
            self._look()
        self.reporter.progress(self.step, self.total, TRAINING)

    def _automatic_step(self, batch: Batch) -> dict[str, torch.Tensor]:
        for name in self.optimizers:
            self._schedule(name)
        return self._step_graph(batch, self.step, self.total)

    def _whole_step(self, batch: Batch, step: int, total: int) -> dict[str, torch.Tensor]:
        """Take a step with the present learning rates; return its losses."""
        with self.policy.autocast():
            losses: Mapping[str, Losses] = self.compiled(batch, step, total)
        for name, named in losses.items():
            self._descend(name, named)
        names = [name for named in losses.values() for name in named]
        return {
            f"{optimizer}.{name}" if names.count(name) > 1 else name: value.detach()
            for optimizer, named in losses.items()
            for name, value in named.items()
        }

    def _graphed(self, recorder: Recorder | None) -> StepGraph:
        """Return what runs the steps of this training, as a graph where that is wanted and possible."""
        automatic = self.method.manual_step is None and bool(self.optimizers) and not self.policy.compile
        compiled = self.policy.blocks and automatic and self.total >= COMPILED_FROM
        self._blocks = CompiledBlocks(self.method, compiled, self.reporter)
        step_graph = StepGraph(
            self.method,
            self._whole_step,
            lambda: optimised_tensors(self.optimizers),
            recorder if self.graph and automatic else None,
            self.reporter,
            full=self.feed.full_batch,
            exact=self.policy.deterministic,
            pause=self._batches.settle,
            save=self._save,
            blocks=self._blocks,
        )
        if self.graph_refused:
            step_graph.refuse(self.graph_refused)
        if reason := uncapturable(self.optimizers):
            step_graph.refuse(reason)
        if self._scaler.is_enabled():
            step_graph.refuse("the scaling of float16 reads gradients back from the device")
        return step_graph

    def update(self, optimizer: str, losses: Losses) -> None:
        """Take one step of a named optimiser (see ``anyadbench.methods.contract.Loop``)."""
        self._schedule(optimizer)
        self._descend(optimizer, losses)

    def _schedule(self, optimizer: str) -> None:
        spec = self.optimizers[optimizer]
        if spec.schedule is not None:
            factor = spec.schedule(self.step, self.total)
            for group, rate in zip(spec.optimizer.param_groups, self._base_rates[optimizer], strict=True):
                set_rate(group, rate * factor)

    def _descend(self, optimizer: str, losses: Losses) -> None:
        spec = self.optimizers[optimizer]
        spec.optimizer.zero_grad(set_to_none=True)
        loss = torch.stack([value.float().reshape(()) for value in losses.values()]).sum()
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        if spec.clip_norm is not None:
            self._scaler.unscale_(spec.optimizer)
            torch.nn.utils.clip_grad_norm_(list(spec.parameters), spec.clip_norm)
        self._scaler.step(spec.optimizer)
        self._scaler.update()

    def _look(self) -> None:
        last = self._losses.read()
        bad = [name for name, value in last.items() if not math.isfinite(value)]
        if bad:
            raise NotFinite(f"loss {bad[0]!r} is {last[bad[0]]} at step {self.step}")
        self.reporter.losses = last
        self._losses.write_if_due()


class _LossLog:
    """The losses of a training: kept on their device, read now and then, thinned, and written as CSV.

    Args:
        file: The CSV file; ``None`` to write none.
        total: Steps of the training.
        history: Rows so far, as plain values; added to in place.
    """

    def __init__(self, file: Path | None, total: int, history: list[dict[str, Any]]) -> None:
        self._file, self._total, self._history = file, total, history
        self._apart = rows_apart(total)
        self._waiting: list[tuple[Step, list[tuple[str, str]], torch.Tensor]] = []
        self._written = time.monotonic()
        self._began = self._written - (history[-1]["seconds"] if history else 0.0)

    def add(
        self,
        step: int,
        epoch: float,
        rates: Mapping[str, float | torch.Tensor],
        losses: Mapping[str, float | torch.Tensor],
    ) -> None:
        """Add a step; numbers on a GPU are copied there, since reading them would make it wait."""
        numbers = {("rates", name): value for name, value in rates.items()}
        numbers |= {("losses", name): value for name, value in losses.items()}
        away = {
            place: value.detach().reshape(()).float()
            for place, value in numbers.items()
            if isinstance(value, torch.Tensor) and value.device.type != "cpu"
        }
        known = {
            place: math.nan if place in away else float(value.detach() if isinstance(value, torch.Tensor) else value)
            for place, value in numbers.items()
        }
        parts = [{name: known[kind, name] for name in names} for kind, names in (("rates", rates), ("losses", losses))]
        vector = torch.stack(list(away.values())) if away else torch.empty(0)
        seconds = time.monotonic() - self._began
        self._waiting.append((Step(step, epoch, seconds, *parts), list(away), vector))

    def read(self) -> Mapping[str, float]:
        """Move the waiting steps into the history; return the losses of the last one."""
        if not self._waiting:
            return {}
        away = [vector for _, _, vector in self._waiting if len(vector)]
        numbers = iter(torch.cat(away).tolist() if away else ())
        unread = len(self._history)
        while unread and self._history[unread - 1]["step"] % self._apart:
            unread -= 1
        steps = [Step(**row) for row in self._history[unread:]]
        for step, places, _ in self._waiting:
            values: dict[str, dict[str, float]] = {"rates": dict(step.rates), "losses": dict(step.losses)}
            for kind, name in places:
                values[kind][name] = next(numbers)
            steps.append(Step(step.step, step.epoch, step.seconds, **values))
        self._waiting.clear()
        self._history[unread:] = [row.plain() for row in thinned(steps, self._total)]
        return steps[-1].losses

    def write(self) -> None:
        """Write the file.

        Raises:
            UserError: If the disk is full or the file cannot be written.
        """
        if self._file is not None and self._history:
            make_folder(self._file.parent)
            write_text(self._file, csv_text([Step(**row) for row in self._history]), fsync=False)
        self._written = time.monotonic()

    def write_if_due(self) -> None:
        """Write the file unless that was done lately; the next checkpoint reports what prevents it."""
        if time.monotonic() - self._written >= WRITE_SECONDS:
            with suppress(UserError):
                self.write()
