"""Timing a few real steps of a method, to estimate what a whole cell would cost."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from anyadbench.cells.identity import weights_of
from anyadbench.engine.assembly import build_method, training_feed
from anyadbench.engine.map_sample import MapSample
from anyadbench.engine.numerics import Policy, apply_policy
from anyadbench.engine.protocol_data import ProtocolData
from anyadbench.engine.reporter import Reporter
from anyadbench.engine.scoring import Evaluator, Scorer
from anyadbench.engine.settings import SCORING_BATCH, Training, batch_size
from anyadbench.engine.trainer import Trainer
from anyadbench.launch.forecast import Cost
from anyadbench.methods.descriptor import MethodDescriptor
from anyadbench.methods.params import Value

STEPS = 3
"""Steps that are run; the first one warms up and is not counted."""

PREPARED = 64
"""Training slices on which the passes before the first step are timed."""


class _Clock(Reporter):
    """Records the time of every training step."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def progress(self, done: int, total: int, label: str) -> None:
        if label == "training":
            self.times.append(time.perf_counter())


def time_here(
    cost: Cost, descriptor: MethodDescriptor, params: dict[str, Value], data: ProtocolData, policy: Policy
) -> Cost:
    """Add seconds measured on this machine: some steps and one batch of scores, with random weights.

    Weights do not affect the time, so none need to be installed.
    """
    apply_policy(policy)
    short = params | ({"steps": STEPS} if "steps" in params else {})
    clock = _Clock()
    with tempfile.TemporaryDirectory() as folder:
        training = Training(short, "tiny", "native", 0, policy)
        method = build_method(descriptor, training, data, weights_of(descriptor, short, "random", data.protocol))
        rows = data.train_indices()
        size = batch_size(params)
        feed = replace(
            training_feed(descriptor, training, data),
            indices=rows[:PREPARED],
            batch_size=min(size, len(rows)),
            drop_last=False,
        )
        # A batch of the real size needs that many slices, even if the preparation is timed on fewer.
        trainer = Trainer(method, feed, short, policy, Path(folder) / "checkpoints", clock)
        if len(feed) < min(size, len(rows)):
            trainer.feed = replace(feed, indices=rows[: min(size, len(rows))])
        started = time.perf_counter()
        trainer.run()
    _wait(policy)
    ended = time.perf_counter()
    per_step = (clock.times[-1] - clock.times[0]) / (len(clock.times) - 1) if len(clock.times) > 1 else 0.0
    before = (clock.times[0] - per_step if clock.times else ended) - started
    fit = max(0.0, before) * len(rows) / len(trainer.feed) + per_step * cost.steps
    per_map = _score_seconds(method, data, policy)
    passed = f"{STEPS - 1} steps" if cost.steps else f"{len(trainer.feed)} slices"
    basis = f"{passed} and {SCORING_BATCH} maps"
    basis += f" timed now on {policy.device}, {policy.threads} CPU thread{'s' if policy.threads > 1 else ''}"
    return replace(cost, fit_seconds=fit, score_seconds=per_map * cost.maps, basis=basis)


def _score_seconds(method: Scorer, data: ProtocolData, policy: Policy) -> float:
    """Return seconds per map, with everything shown; the first batch warms up."""
    evaluator = Evaluator(method, data, policy, Reporter(), MapSample("none", data.protocol.sequences))
    rows = data.train_indices()[:SCORING_BATCH]
    values, _ = data.reader(data.protocol.train).read(rows)
    seconds = 0.0
    for _ in range(2):
        started = time.perf_counter()
        evaluator.score(values, data.protocol.sequences, [str(row) for row in np.asarray(rows)])
        _wait(policy)
        seconds = (time.perf_counter() - started) / len(rows)
    return seconds


def _wait(policy: Policy) -> None:
    if policy.device == "cuda":
        torch.cuda.synchronize()
