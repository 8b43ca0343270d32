"""One network call for several subsets of the same slices.

Scored subset by subset, a batch is copied and masked once per subset, and a GPU gets small batches. Slices do not
influence each other (``anyadbench plugin check`` tests that), so all subsets may share calls, provided the method looks
at the availability of each slice. Whether it does is tried on the first batch, scored both ways.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from anyadbench.engine.calls.pending import Pending, Scored, to_device
from anyadbench.engine.settings import SCORING_BATCH
from anyadbench.engine.stepping.generators import Generators
from anyadbench.methods.contract import Batch
from anyadbench.sequences import Subset

if TYPE_CHECKING:
    from jaxtyping import Float, Int

Wanted = tuple[Subset, "Int[np.ndarray, ' M']"]
"""A subset, and which slices of a batch to score with it."""

CALL = {"cpu": SCORING_BATCH, "cuda": 8 * SCORING_BATCH}
"""Slices per call by device; fixed, so that results do not depend on memory."""

TOLERANCE = 1e-2
"""Largest difference between both ways on a GPU, over the largest score: kernels round differently by batch size. On a
CPU both ways must be equal to the bit."""


@dataclass
class JointCalls:
    """Scores several subsets of the same slices in shared calls, or one by one where a method does not allow that.

    Attributes:
        one: Launches slices with one subset: (values B×S×H×W, subset, names).
        call: Launches a batch of any subsets: (batch, names).
        sequences: The protocol's sequences.
        device: Where the network is.
        padded: Whether every call has the full number of slices, as a compiled network needs.
        allowed: Whether the method may be asked for several subsets at once; ``None`` until that has been tried.
        note: Called with the reason if it may not.
    """

    one: Callable[[Float[np.ndarray, "B S H W"], Subset, list[str]], Pending]
    call: Callable[[Batch, list[str]], Pending]
    sequences: tuple[str, ...]
    device: torch.device
    padded: bool = False
    allowed: bool | None = field(default=None)
    note: Callable[[str], None] = lambda said: None

    def score(
        self, values: Float[np.ndarray, "B S H W"], wanted: Sequence[Wanted], names: Sequence[str]
    ) -> Iterator[Pending]:
        """Yield the scores of each wanted subset of the slices, which may still be on their way.

        With one call for each subset, a call is launched once the scores before it have been asked for.
        """
        if not wanted:
            return
        if self.allowed is None and len(wanted) > 1:
            start = Generators()
            alone = [pending() for pending in self._alone(values, wanted, names)]
            end = Generators()
            start.restore()
            try:
                self.allowed = self._agree(alone, [found() for found in self._together(values, wanted, names)])
                reason = "" if self.allowed else "its scores differ"
            except Exception as error:  # whatever a method raises that does not expect several subsets in one batch
                self.allowed, reason = False, " ".join(f"{type(error).__name__}: {error}".split())[:200]
            end.restore()
            if reason:
                self.note(f"Each subset is scored in calls of its own, because in shared ones {reason}.")
            yield from (partial(_known, scored) for scored in alone)
        elif self.allowed:
            yield from self._together(values, wanted, names)
        else:
            yield from self._alone(values, wanted, names)

    def _alone(
        self, values: Float[np.ndarray, "B S H W"], wanted: Sequence[Wanted], names: Sequence[str]
    ) -> Iterator[Pending]:
        for subset, members in wanted:
            own = values if len(members) == len(values) else values[members]
            yield self.one(own, subset, [names[i] for i in members])

    def _together(
        self, values: Float[np.ndarray, "B S H W"], wanted: Sequence[Wanted], names: Sequence[str]
    ) -> list[Pending]:
        """Launch all calls; the scores of a subset are put together when they are asked for."""
        counts = [len(members) for _, members in wanted]
        rows = np.concatenate([members for _, members in wanted])
        # By slice, so that every call holds several subsets, in the trial as later.
        order = np.argsort(rows, kind="stable")
        flags = np.array([[name in subset for name in self.sequences] for subset, _ in wanted])
        rows, shown = rows[order], np.repeat(flags, counts, axis=0)[order]
        there = to_device(torch.from_numpy(values), self.device)  # once for all subsets; they are masked on the device
        size = CALL.get(self.device.type, SCORING_BATCH)
        launched: list[tuple[Pending, int]] = []
        for start in range(0, len(rows), size):
            chosen, own = rows[start : start + size], shown[start : start + size]
            called = [names[i] for i in chosen]
            if self.padded and (lack := size - len(chosen)):
                chosen, own = np.pad(chosen, (0, lack), mode="edge"), np.pad(own, ((0, lack), (0, 0)), mode="edge")
            mask = to_device(torch.from_numpy(own), self.device)
            batch = Batch(there[to_device(torch.from_numpy(chosen), self.device)] * mask[:, :, None, None], mask)
            padded = called + called[-1:] * (len(chosen) - len(called))
            launched.append((self.call(batch, padded), len(called)))
        collected = cache(partial(_collected, launched))
        return [partial(_part, collected, places) for places in np.split(np.argsort(order), np.cumsum(counts)[:-1])]

    def _agree(self, alone: Sequence[Scored], together: Sequence[Scored]) -> bool:
        pairs = [pair for one, other in zip(alone, together, strict=True) for pair in zip(one, other, strict=True)]
        if self.device.type == "cpu":
            return all(np.array_equal(one, other) for one, other in pairs)
        return all(float(np.abs(one - other).max()) <= TOLERANCE * float(np.abs(one).max()) for one, other in pairs)


def _known(scored: Scored) -> Scored:
    return scored


def _collected(launched: list[tuple[Pending, int]]) -> Scored:
    """Return the scores of several calls, without the padding after the first slices of each."""
    parts = [tuple(side[:count] for side in pending()) for pending, count in launched]
    maps, images = parts[0] if len(parts) == 1 else (np.concatenate(side) for side in zip(*parts, strict=True))
    return maps, images


def _part(collected: Callable[[], Scored], places: Int[np.ndarray, " M"]) -> Scored:
    maps, images = collected()
    return maps[places], images[places]
