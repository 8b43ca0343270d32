"""Copies between host and device that neither side waits for, and scores that are still on their way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float32, Float64

Scored = tuple["Float32[np.ndarray, 'M h w']", "Float64[np.ndarray, ' M']"]
"""Maps on the scoring grid, and image scores."""

Pending = Callable[[], Scored]
"""Waits for the scores of a call that was launched, and returns them; any thread may call it."""


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device.

    To a GPU it is copied from pinned memory: from other memory, the host would wait until the device has ended all that
    was launched before.
    """
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


class HostCopy:
    """Copies on the host of tensors that a device may still compute; what the tensors hold later does not matter.

    Those on a GPU are copied to pinned memory in the order of the stream. Those on the host are copied at once, because
    a method may return the same memory from its next call.

    Args:
        tensors: Tensors by name.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._held: dict[str, Tensor] = {}
        for name, tensor in tensors.items():
            if tensor.is_cuda:
                self._held[name] = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
                self._held[name].copy_(tensor, non_blocking=True)
            else:
                self._held[name] = tensor.clone()
        self._copied: torch.cuda.Event | None = None
        if any(tensor.is_cuda for tensor in tensors.values()):
            # The thread that waits sleeps, and leaves its core to others.
            self._copied = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            self._copied.record()

    def arrays(self) -> dict[str, np.ndarray]:
        """Wait for the copies, and return them by name."""
        if self._copied is not None:
            self._copied.synchronize()
        return {name: np.ascontiguousarray(tensor.numpy()) for name, tensor in self._held.items()}
