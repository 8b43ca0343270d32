"""The training loop that every method goes through."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from anyadbench.engine.batches import TrainingFeed
from anyadbench.engine.checkpoints import load_checkpoint, save_checkpoint
from anyadbench.engine.compiling import Compiled
from anyadbench.engine.numerics import NotFinite, Policy
from anyadbench.engine.reporter import Interrupted, Reporter
from anyadbench.engine.settings import training_steps
from anyadbench.errors import UserError
from anyadbench.methods.contract import Batch, Losses, Method, OptimizerSpec

if TYPE_CHECKING:
    from anyadbench.engine.selection import Selector
    from anyadbench.methods.params import Value

CHECK_EVERY = 10
"""Steps between checks of the losses: each check makes a GPU wait."""


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
        begun: Called before the first step with the number of steps that a checkpoint has kept.
    """

    method: Method
    feed: TrainingFeed
    params: Mapping[str, Value]
    policy: Policy
    checkpoints: Path
    reporter: Reporter
    checkpoint_seconds: float = 60.0
    selector: Selector | None = None
    step: int = 0
    total: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    optimizers: dict[str, OptimizerSpec] = field(default_factory=dict)
    begun: Callable[[int], None] = lambda step: None

    def run(self) -> None:
        """Prepare and train to the end, from the last checkpoint if there is one.

        Raises:
            Interrupted: If a stop was requested; a checkpoint has been written.
            NotFinite: If a loss is NaN or infinite.
        """
        self.optimizers = dict(self.method.optimizers())
        self._base_rates = {
            name: [group["lr"] for group in spec.optimizer.param_groups] for name, spec in self.optimizers.items()
        }
        self.compiled = Compiled(
            self.method.training_step,
            self.method,
            self.reporter,
            enabled=self.policy.compile and self.method.manual_step is None and bool(self.optimizers),
        )
        self._scaler = torch.amp.GradScaler(self.policy.device, enabled=self.policy.dtype == "float16")
        self.total = self._length()
        restored = load_checkpoint(self.checkpoints, self.method, self.optimizers, self._scaler)
        self.begun(0 if restored is None else restored[0])
        saved, interval = time.monotonic(), self.checkpoint_seconds
        if restored is None:
            self._prepare()
        else:
            self.step, self.history = restored
        if self.selector is not None:
            self.selector.resume(self.step)
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
        self.method.eval()

    @property
    def normals(self) -> TrainingFeed:
        """The training normals (see :class:`anyadbench.methods.contract.Loop`)."""
        return self.feed

    @property
    def compile_state(self) -> str:
        """Outcome of ``compile``: ``off``, ``on`` or ``fell back``."""
        return self.compiled.state if hasattr(self, "compiled") else "off"

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
        save_checkpoint(self.checkpoints, self.step, self.method, self.optimizers, self.history, self._scaler)
        if self.selector is not None:
            self.selector.tidy()

    def _train_step(self) -> None:
        batch = self.feed.at(self.step)
        self.method.train()
        if self.method.manual_step is not None:
            with self.policy.autocast():
                values: Mapping[str, float | torch.Tensor] = self.method.manual_step(batch, self)
        else:
            values = self._automatic_step(batch)
        self.step += 1
        if self.step % CHECK_EVERY == 0 or self.step == self.total:
            self._look(values)
        self.reporter.progress(self.step, self.total, "training")

    def _automatic_step(self, batch: Batch) -> dict[str, torch.Tensor]:
        with self.policy.autocast():
            losses: Mapping[str, Losses] = self.compiled(batch, self.step, self.total)
        for name, named in losses.items():
            self.update(name, named)
        return {key: value.detach() for named in losses.values() for key, value in named.items()}

    def update(self, optimizer: str, losses: Losses) -> None:
        """Take one step of a named optimiser (see ``anyadbench.methods.contract.Loop``)."""
        spec = self.optimizers[optimizer]
        if spec.schedule is not None:
            factor = spec.schedule(self.step, self.total)
            for group, rate in zip(spec.optimizer.param_groups, self._base_rates[optimizer], strict=True):
                group["lr"] = rate * factor
        spec.optimizer.zero_grad(set_to_none=True)
        loss = torch.stack([value.float().reshape(()) for value in losses.values()]).sum()
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        if spec.clip_norm is not None:
            self._scaler.unscale_(spec.optimizer)
            torch.nn.utils.clip_grad_norm_(list(spec.parameters), spec.clip_norm)
        self._scaler.step(spec.optimizer)
        self._scaler.update()

    def _look(self, values: Mapping[str, float | torch.Tensor]) -> None:
        record = {name: float(value) for name, value in values.items()}
        bad = [name for name, value in record.items() if not math.isfinite(value)]
        if bad:
            raise NotFinite(f"loss {bad[0]!r} is {record[bad[0]]} at step {self.step}")
        self.history.append({"step": self.step, "losses": record})
