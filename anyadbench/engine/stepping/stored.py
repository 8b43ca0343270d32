"""Slices as the store holds them, scaled on the device: half the bytes to copy, and no float arithmetic on the host."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from anyadbench.data.slices.intensity import scan_factors, scan_tops
from anyadbench.data.slices.rules import PERCENTILE, GeometryRules

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Int, UInt16

    from anyadbench.engine.slice_reader import SliceReader


@dataclass(frozen=True)
class Stored:
    """Slices in stored units with the linear scale of each sequence: (value - zero) * scale * factor, cut to [0, 1].

    Attributes:
        values: As stored.
        present: Which sequences each slice has; of an absent one, all other entries are 0.
        scale: For each sequence of each slice: zero, scale, factor.
    """

    values: UInt16[np.ndarray, "B S H W"]
    present: Bool[np.ndarray, "B S"]
    scale: Float32[np.ndarray, "B S 3"]


def stored_slices(reader: SliceReader, indices: Int[np.ndarray, " B"]) -> Stored | None:
    """Return slices as stored, or ``None`` where the protocol's scale is not linear or resizes them."""
    rules, store = reader.intensity, reader.store
    if rules.harmonise != PERCENTILE or rules.mode != "volume" or reader.geometry != GeometryRules() or reader.feed:
        return None
    present = reader.present(indices)
    values = np.zeros((*present.shape, *store.shape), np.uint16)
    scale = np.zeros((*present.shape, 3), np.float32)
    owner = store.scan_of_row[indices]
    scale[..., 2] = scan_factors(present, scan_tops(store, indices, reader.sequences, rules.percentile))
    for place, name in enumerate(reader.sequences):
        if name not in store.sequences:
            continue
        has, channel = present[:, place], store.sequences.index(name)
        for column, kind in enumerate(("zero", "scale")):
            scale[has, place, column] = store.scans[f"{kind}_{name}"].to_numpy(np.float32)[owner[has]]
        for i in np.flatnonzero(has):
            values[i, place] = store.images[int(indices[i]), channel]
    return Stored(values, present, scale)


def scaled(values: Int[Tensor, "B S H W"], scale: Float32[Tensor, "B S 3"]) -> Float32[Tensor, "B S H W"]:
    """Scale stored values in single precision, one rounding per operation, as ``SliceReader.read`` does.

    Args:
        values: Stored values, their bits as ``int16``: few operations take ``uint16``.
        scale: As in ``Stored``.
    """
    zero, step, factor = (part[..., None, None] for part in scale.unbind(-1))
    out = (values.to(torch.int32) & 0xFFFF).to(torch.float32)
    return out.sub_(zero).mul_(step).mul_(factor).clamp_(0.0, 1.0)


@dataclass
class Staging:
    """Two reused buffers on the host, pinned for a GPU, from which stored slices are copied to a device in turn.

    Only one thread may use it. A buffer is written again once its last copy has ended.
    """

    device: torch.device
    _buffers: list[Tensor] = field(default_factory=list)
    _copied: list[torch.cuda.Event | None] = field(default_factory=lambda: [None, None])
    _turn: int = 0

    def scaled(self, stored: Stored) -> Float32[Tensor, "B S H W"]:
        """Return the slices on the device, scaled there."""
        values = torch.from_numpy(stored.values.view(np.int16))
        buffer = self._buffer(values)
        buffer.copy_(values)
        moved = buffer.to(self.device, non_blocking=True)
        if self.device.type == "cuda":
            self._copied[self._turn] = torch.cuda.current_stream().record_event()
        self._turn = 1 - self._turn
        return scaled(moved, torch.from_numpy(stored.scale).to(self.device))

    def _buffer(self, like: Tensor) -> Tensor:
        if not self._buffers or self._buffers[0].shape[1:] != like.shape[1:] or len(self._buffers[0]) < len(like):
            pinned = self.device.type == "cuda"
            self._copied = [None, None]
            self._buffers = [torch.empty(like.shape, dtype=torch.int16, pin_memory=pinned) for _ in range(2)]
        if (event := self._copied[self._turn]) is not None:
            event.synchronize()
        return self._buffers[self._turn][: len(like)]
