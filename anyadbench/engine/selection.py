"""Choosing among the states of a training: on validation normals, or, for oracles, on the test set.

Candidates are judged while the training runs, so that only the best one so far needs a place on the disk. Judging
changes neither the method nor any random stream: a training goes the same way whether it is watched or not.
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

_RECORDS = "candidates.json"


@dataclass
class Selector:
    """Judges the candidates of one training and keeps the best.

    Attributes:
        method: The method in training.
        judge: Returns a number for the method as it is; higher is better.
        folder: Where the best state so far lies.
        save: Writes a method's own state to a file.
        wanted: Candidates, evenly spread; 0 for one per epoch.
        per_epoch: Steps of an epoch.
        records: Step and number of every candidate so far.
    """

    method: Method
    judge: Callable[[], float]
    folder: Path
    save: Callable[[Method, Path], None]
    wanted: int
    per_epoch: int
    records: list[dict[str, Any]] = field(default_factory=list)

    def resume(self, step: int) -> None:
        """Take up the records of the steps up to a checkpoint; later ones will be made again."""
        path = self.folder / _RECORDS
        found = read_json(path)["candidates"] if path.is_file() else []
        self.records = [record for record in found if record["step"] <= step]

    def look(self, step: int, total: int) -> bool:
        """Judge the method if it is a candidate after this step; say whether a checkpoint is due."""
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
        """Remove states that cannot become the chosen one; called after a checkpoint.

        Two checkpoints are kept and each better candidate is followed by one, so the best state of the older
        checkpoint is the best or the one before it.
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
        """Put the best state into the method and return its record, the earliest of equals."""
        self.method.load_saved_state(load_file(self._file(self.best["step"])))
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
    """Put a method's state and every random stream back to what they were."""
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
    """Return the negative mean loss on validation normals, or of what the method's own ``validate`` returns.

    The sequences hidden from each slice are those of the training draw of epoch 0, the same for every candidate.

    Raises:
        UserError: If the method has neither ``validate`` nor losses that the harness can compute.
    """
    if method.validate is not None:
        with torch.no_grad(), policy.autocast():
            return -float(method.validate(feed))
    if method.manual_step is not None:
        raise UserError(
            f"{type(method).__name__} trains by steps of its own and has no validate(), so no state can be chosen on "
            'validation normals; use a protocol with selection = "last".'
        )
    total_loss = 0.0
    for batch in feed.batches(feed.batch_size, masked=True, description="validating"):
        # Losses may hook into gradients, so the graph is built; it is never used.
        with policy.autocast():
            named = method.training_step(batch, step, total)
        losses = [value.detach().double() for group in named.values() for value in group.values()]
        total_loss += len(batch) * float(torch.stack([loss.reshape(()) for loss in losses]).sum())
    return -total_loss / len(feed)


def test_image_ap(evaluator: Evaluator) -> float:
    """Return the image AP on the first test set, every slice shown all that its scan has."""
    scores, abnormal = evaluator.image_scores(evaluator.protocol.tests[0])
    return float(image_metrics(scores, abnormal)["image_ap"])
