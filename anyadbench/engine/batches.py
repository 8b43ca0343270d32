"""Batches for training and scoring, reduced to what a method may see."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from anyadbench.engine.calls.pending import to_device
from anyadbench.engine.masking import draw_shown, epoch_order
from anyadbench.engine.settings import batches_per_epoch, slices_seen
from anyadbench.engine.stepping.stored import Staging, Stored, stored_slices
from anyadbench.methods.contract import Batch

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from anyadbench.engine.slice_reader import SliceReader

KEY_BITS = 2**62 - 1
"""Bit mask of the part of a slice's key that random draws use, see ``masking``."""


@dataclass(frozen=True)
class TrainingFeed:
    """The training normals of a fit in batches; each batch can be computed from its step alone.

    Attributes:
        reader: Reader of the training store.
        indices: Slice indices of the training normals.
        training_mask: The method's training mask.
        seed: Seed of the cell.
        batch_size: Slices per step.
        drop_last: Whether an incomplete last batch of an epoch is left out.
        device: Device of the batches.
        tick: Called with (done, total, label) while a pass runs.
        scale_on_device: Whether the batches of steps are copied as stored and scaled on the device, with equal bits;
            by default on a GPU.
    """

    reader: SliceReader
    indices: Int[np.ndarray, " N"]
    training_mask: str
    seed: int
    batch_size: int
    drop_last: bool
    device: torch.device
    tick: Callable[[int, int, str], None] = lambda done, total, label: None
    scale_on_device: bool | None = None
    _staging: Staging = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_staging", Staging(self.device))

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def batches_per_epoch(self) -> int:
        """Steps per epoch, at least one."""
        return batches_per_epoch(len(self.indices), self.batch_size, self.drop_last)

    @property
    def full_batch(self) -> int:
        """Slices of every batch but the last of an epoch."""
        return min(self.batch_size, len(self))

    def seen(self, steps: int) -> int:
        """Return how many slices the first steps hold, those of earlier epochs counted again."""
        return slices_seen(len(self), self.batch_size, self.drop_last, steps)

    def at(self, step: int) -> Batch:
        """Return the batch of a step; it depends on the seed and the step alone."""
        epoch, position = divmod(step, self.batches_per_epoch)
        order = epoch_order(self.seed, epoch, len(self.indices))
        indices = self.indices[order[position * self.batch_size : (position + 1) * self.batch_size]]
        on_device = self.device.type == "cuda" if self.scale_on_device is None else self.scale_on_device
        return self._batch(
            indices, self.training_mask, epoch, stored_slices(self.reader, indices) if on_device else None
        )

    def batches(self, batch_size: int, *, masked: bool = False, description: str = "preparing") -> Iterator[Batch]:
        """Yield every training normal once, in store order (see ``anyadbench.methods.contract.Normals``)."""
        for start in range(0, len(self.indices), batch_size):
            indices = self.indices[start : start + batch_size]
            yield self._batch(indices, self.training_mask if masked else "none", 0)
            self.tick(min(start + batch_size, len(self.indices)), len(self.indices), description)

    def _batch(
        self, indices: Int[np.ndarray, " B"], training_mask: str, epoch: int, stored: Stored | None = None
    ) -> Batch:
        if stored is None:
            values, present = self.reader.read(indices)
            targets = to_device(torch.from_numpy(values), self.device)
        else:
            targets, present = self._staging.scaled(stored), stored.present
        keys = self.reader.store.slices["key"].to_numpy()[indices] & KEY_BITS
        shown = draw_shown(training_mask, self.seed, epoch, keys, present)
        moved = [to_device(torch.from_numpy(array), self.device) for array in (shown, present, keys)]
        return Batch(targets * moved[0][:, :, None, None], moved[0], targets, *moved[1:])


def evaluation_batch(
    values: Float[np.ndarray, "B S H W"], subset: tuple[str, ...], sequences: tuple[str, ...], device: torch.device
) -> Batch:
    """Return a batch that shows exactly ``subset``; every other sequence is zero before the method sees it."""
    shown = np.array([name in subset for name in sequences])
    inputs = np.zeros(values.shape, dtype=np.float32)  # faster than a selection over all pixels
    for slot in np.flatnonzero(shown):
        inputs[:, slot] = values[:, slot]
    flags = torch.from_numpy(np.tile(shown, (len(values), 1)))
    return Batch(to_device(torch.from_numpy(inputs), device), to_device(flags, device))
