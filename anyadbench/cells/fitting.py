"""One fit: a method built, trained and stored."""

from __future__ import annotations

import math
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file, save

from anyadbench.cells.identity import weights_of
from anyadbench.cells.job import Job
from anyadbench.cells.manifest import differences, environment, peak_memory, plugin, with_environment
from anyadbench.cells.work_folder import now
from anyadbench.engine.assembly import build_method, training_feed
from anyadbench.engine.compiling import OFF, combined
from anyadbench.engine.map_sample import MapSample
from anyadbench.engine.numerics import derive_seed
from anyadbench.engine.protocol_data import ProtocolData
from anyadbench.engine.reporter import Interrupted, NewProcess, Reporter, wait_for
from anyadbench.engine.scoring import Evaluator
from anyadbench.engine.selection import Selector, test_image_ap, validation_score
from anyadbench.engine.trainer import Trainer
from anyadbench.errors import UserError
from anyadbench.files import remove_leftovers, write_bytes, write_json
from anyadbench.hashing import sha256_file
from anyadbench.methods.contract import Method
from anyadbench.methods.descriptor import MethodDescriptor
from anyadbench.names import plain_path
from anyadbench.plugins import MethodEntry, find_method
from anyadbench.results import training
from anyadbench.sequences import Subset
from anyadbench.weights import ResolvedWeights

if TYPE_CHECKING:
    from collections.abc import Mapping

WEIGHTS, SELECTED = "weights.safetensors", "selected"


@dataclass(frozen=True)
class Fitting:
    """One fit and its inputs.

    Attributes:
        job: The cell that needs it.
        data: Slices of the protocol.
        reporter: Where progress goes.
        subset: With one model per subset: the model's subset.
    """

    job: Job
    data: ProtocolData
    reporter: Reporter
    subset: Subset | None = None

    @property
    def found(self) -> tuple[MethodDescriptor, MethodEntry]:
        """The method's descriptor and entry point."""
        return find_method(self.job.method)

    @property
    def weights(self) -> ResolvedWeights:
        """The pretrained weights."""
        return weights_of(self.found[0], self.job.params, self.job.weights, self.data.protocol)

    def build(self) -> Method:
        """Seed every generator and return the untrained method on its device."""
        return build_method(self.found[0], self.job.training, self.data, self.weights, self.subset)

    def ensure(self) -> dict[str, Any]:
        """Train unless the fit is finished; return its record. A second process waits for the first."""
        folder = self.job.fit
        if not folder.done:
            with folder.lock(waiting=lambda: wait_for("another process on this fit", self.reporter)):
                if not folder.done:
                    self._train()
        return folder.state()

    def load(self) -> Method:
        """Return the trained method of a finished fit, in eval mode.

        Raises:
            UserError: If its weights are missing or have changed.
        """
        path, said = self.job.fit.final / WEIGHTS, self.job.fit.state().get("weights_sha256")
        if not path.is_file() or sha256_file(path) != said:
            raise UserError(f"{path} is damaged; remove {path.parent} and run the same command again.")
        method = self.build()
        with plain_path(path) as plain:
            method.load_saved_state(load_file(plain, device=str(self.job.policy["device"])))
        method.eval()
        return method

    def _train(self) -> None:
        job, folder = self.job, self.job.fit
        descriptor, _ = self.found
        started = time.monotonic()
        spent = float(folder.state().get("seconds", 0.0))
        for place in (folder.work, folder.work / SELECTED):
            remove_leftovers(place)
        folder.update(state="running", fit_id=job.fit_id, method=job.method, seed=job.seed, started=now())
        method = self.build()
        feed = training_feed(descriptor, job.training, self.data, self.subset, self._tick)
        trainer = Trainer(
            method, feed, job.params, job.numerics, folder.work / "checkpoints", self.reporter, job.checkpoint_seconds
        )
        trainer.selector = self._selector(trainer)
        trainer.losses_file = folder.work / training.FILE
        trainer.begun, trainer.graph = self._record_environment, job.graph
        trainer.graph_refused = str(folder.state().get("graph_reason", ""))
        state = "failed"
        published = method.context.weights.kind == "checkpoint"
        try:
            if not published:  # the authors' network is scored as they published it
                trainer.run()
            state = "running"
        except (Interrupted, NewProcess):
            state = "interrupted"
            raise
        finally:
            # A process that was killed did not add its time, but its checkpoint holds that of its steps.
            kept = trainer.history[-1]["seconds"] if trainer.history else 0.0
            seconds = max(spent + time.monotonic() - started, kept)
            before = folder.state()
            folder.update(
                state=state,
                seconds=seconds,
                steps=trainer.step,
                compile=combined([before.get("compile"), trainer.compile_state]),
                graph=combined([before.get("graph"), trainer.graph_state]),
                graph_reason=trainer.graph_reason,
            )
        self.reporter.log(_said(trainer, seconds))
        chosen = {}
        if trainer.selector is not None and trainer.selector.records:
            chosen = {"selected": trainer.selector.take_best()}
        save_weights(method, folder.work / WEIGHTS)
        self._write_manifest(trainer)
        folder.update(
            state="done",
            finished=now(),
            parameters=sum(p.numel() for p in method.parameters()),
            train_slices=0 if published else len(feed),
            seen_slices=0 if published else feed.seen(trainer.step) or len(feed),
            validation=self.data.selections[self.data.protocol.train].validation,
            weights_sha256=sha256_file(folder.work / WEIGHTS),
            **chosen,
        )
        # In this order: a process killed in between leaves a finished fit, not one to train again.
        folder.complete()
        for leftover in ("checkpoints", SELECTED):
            shutil.rmtree(folder.final / leftover, ignore_errors=True)

    def _record_environment(self, step: int) -> None:
        """Record at once under what the training goes on, since another process may finish it under something else."""
        earlier = self.job.fit.state().get("environments", [])
        found = with_environment(earlier, environment(self.job.numerics.device), step)
        # What earlier processes compiled and captured counts as long as a checkpoint keeps their steps.
        self.job.fit.update(environments=found, **({} if step else {"compile": OFF, "graph": OFF}))
        if changed := differences(found):
            self.reporter.send(note=f"the training goes on in another environment, which is recorded: {changed}")

    def _write_manifest(self, trainer: Trainer) -> None:
        job, (descriptor, entry) = self.job, self.found
        selection = self.data.selections[self.data.protocol.train]
        write_json(
            job.fit.work / "manifest.json",
            {
                "environment": environment(job.numerics.device),
                "environments": job.fit.state().get("environments", []),
                "plugin": plugin(entry, descriptor.factory),
                "weights": self.weights.manifest(),
                "params": job.params,
                "budget": job.budget,
                "policy": job.policy,
                "seed": job.seed,
                "derived_seed": derive_seed(job.seed, job.method),
                "protocol": self.data.protocol.training_part(),
                "sequences": list(self.subset or self.data.protocol.sequences),
                "data": {
                    "dataset": self.data.protocol.train,
                    "store": self.data.stores[self.data.protocol.train].content_hash,
                    "training_hash": self.data.training_hash(),
                    "selection": selection.manifest(),
                    **({"standard_scale": self.data.standard} if self.data.standard else {}),
                },
                "memory": peak_memory(job.numerics.device),
                "history": [{"step": row["step"], "losses": _plain(row["losses"])} for row in trainer.history],
                "candidates": trainer.selector.records if trainer.selector else [],
            },
        )

    def _selector(self, trainer: Trainer) -> Selector | None:
        """Return the judge of training states that the protocol's rule needs, or ``None`` to take the last state."""
        protocol, method, feed = self.data.protocol, trainer.method, trainer.feed
        if protocol.selection == "last":
            return None
        if protocol.selects_on_test:
            kept = MapSample("none", protocol.sequences)
            evaluator = Evaluator(method, self.data, self.job.numerics, self.reporter, kept)

            def judge() -> float:
                return test_image_ap(evaluator)
        else:
            normals = replace(feed, indices=self.data.validation_indices())

            def judge() -> float:
                return validation_score(method, normals, self.job.numerics, trainer.step, trainer.total)

        folder = self.job.fit.work / SELECTED
        return Selector(method, judge, folder, save_weights, protocol.candidates, feed.batches_per_epoch)

    def _tick(self, done: int, total: int, label: str) -> None:
        self.reporter.check()
        self.reporter.progress(done, total, label)


def _plain(losses: Mapping[str, float]) -> dict[str, float | None]:
    """Return losses as JSON can hold them: between two checks one may have been NaN or infinite."""
    return {name: value if math.isfinite(value) else None for name, value in losses.items()}


def _said(trainer: Trainer, seconds: float) -> str:
    losses = ", ".join(f"{name} {value:.4g}" for name, value in trainer.reporter.losses.items())
    return f"fitted in {seconds:.1f} s and {trainer.step} steps{'; last losses: ' + losses if losses else ''}"


def save_weights(method: Method, path: Path) -> None:
    """Write a method's own state as safetensors.

    Raises:
        UserError: If the disk is full or the file cannot be written.
    """
    state = {}
    taken: set[int] = set()
    for name, tensor in method.saved_state().items():
        own = tensor.detach().cpu().contiguous()
        place = own.untyped_storage().data_ptr()
        state[name] = own.clone() if place in taken else own  # safetensors refuses tensors that share memory
        taken.add(place)
    write_bytes(path, save(state))  # its own writer hides a full disk in an error of its own
