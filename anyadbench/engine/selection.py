"""Choosing among the states of one training: on validation normals, or, for oracles, on the test set.

Candidates are judged while training runs, so that only the best one so far is kept on disk. Judging changes neither
the method nor any random stream: training gives the same result with or without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from anyadbench.engine.batches import TrainingFeed
from anyadbench.engine.checkpoints import generator_states, restore_generators
from anyadbench.engine.numerics import Policy
from anyadbench.engine.scoring import Evaluator
from anyadbench.errors import UserError
from anyadbench.files import make_folder, read_json, write_json
from anyadbench.methods.contract import Method
from anyadbench.metrics import image_metrics
from anyadbench.names import plain_path

_RECORDS = "candidates.json"


@dataclass
class Selector:
    """Judges the candidates of one training and keeps the best.

    Attributes:
        method: The method in training.
        judge: Returns a score of the method in its current state; higher is better.
        folder: Folder of the best state so far.
        save: Writes a method's own state to a file.
        wanted: Number of candidates, evenly spaced; 0 for one per epoch.
        per_epoch: Steps of an epoch.
        records: Step and score of every candidate so far.
    """

    method: Method
    judge: Callable[[], float]
    folder: Path
    save: Callable[[Method, Path], None]
    wanted: int
    per_epoch: int
    records: list[dict[str, Any]] = field(default_factory=list)

    def resume(self, step: int) -> None:
        """Load the records of the steps up to a checkpoint; later candidates will be judged again."""
        path = self.folder / _RECORDS
        found = read_json(path)["candidates"] if path.is_file() else []
        self.records = [record for record in found if record["step"] <= step]

    def look(self, step: int, total: int) -> bool:
        """Judge the method if it is a candidate after this step; return whether a checkpoint is due."""
        if not self._due(step, total):
            return False
        with undisturbed(self.method):
            score = self.judge()
        better = not self.records or score > self.best["score"]
        make_folder(self.folder)
        if better:
            self.save(self.method, self._file(step))
        self.records.append({"step": step, "score": score})
        write_json(self.folder / _RECORDS, {"candidates": self.records})
        return better

    def tidy(self) -> None:
        """Remove states that can no longer be chosen; called after a checkpoint.

        Two checkpoints are kept and each new best candidate is followed by one, so the best state at the older
        checkpoint is the current best or the one before it.
        """
        bests: list[Path] = []
        highest = float("-inf")
        for record in self.records:
            if record["score"] > highest:
                highest = record["score"]
                bests.append(self._file(record["step"]))
        for path in self.folder.glob("step-*.safetensors"):
            if path not in bests[-2:]:
                path.unlink()

    def take_best(self) -> dict[str, Any]:
        """Load the best state into the method and return its record; the earliest wins a tie."""
        with plain_path(self._file(self.best["step"])) as plain:
            self.method.load_saved_state(load_file(plain))
        return self.best

    @property
    def best(self) -> dict[str, Any]:
        """The record of the best candidate."""
        return max(self.records, key=lambda record: record["score"])

    def _due(self, step: int, total: int) -> bool:
        if not self.wanted:
            return step % self.per_epoch == 0 or step == total
        return step in {max(1, round(total * part / self.wanted)) for part in range(1, self.wanted + 1)}

    def _file(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}.safetensors"


@contextmanager
def undisturbed(method: Method) -> Iterator[None]:
    """Restore a method's state and every random stream on exit."""
    streams, training = generator_states(), method.training
    state = {name: tensor.clone() for name, tensor in method.saved_state().items()}
    method.eval()
    try:
        yield
    finally:
        method.load_saved_state(state)
        method.train(training)
        restore_generators(streams)


def validation_score(method: Method, feed: TrainingFeed, policy: Policy, step: int, total: int) -> float:
    """Return the negative mean loss on validation normals, or the negative of the method's own ``validate``.

    The slices show the sequences of epoch 0's training mask, the same for every candidate.

    Raises:
        UserError: If the method has neither ``validate`` nor losses that the harness can compute.
    """
    if method.validate is not None:
        with torch.no_grad(), policy.autocast():
            return -float(method.validate(feed))
    if method.manual_step is not None:
        raise UserError(
            f"{type(method).__name__} runs its own training steps and has no validate(), so no state can be chosen on "
            'validation normals; use a protocol with selection = "last".'
        )
    total_loss = 0.0
    for batch in feed.batches(feed.batch_size, masked=True, description="validating"):
        # Losses may register gradient hooks, so the graph is built, although it is never used.
        with policy.autocast():
            named = method.training_step(batch, step, total)
        losses = [value.detach().double() for group in named.values() for value in group.values()]
        total_loss += len(batch) * float(torch.stack([loss.reshape(()) for loss in losses]).sum())
    return -total_loss / len(feed)


def test_image_ap(evaluator: Evaluator) -> float:
    """Return the image AP on the first test set, with all sequences of every slice shown."""
    scores, abnormal = evaluator.image_scores(evaluator.protocol.tests[0])
    return float(image_metrics(scores, abnormal)["image_ap"])
