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
    """Tensors that are copied to the host once the device has computed them.

    Args:
        tensors: Tensors by name. Those on a GPU are copied to pinned memory in the order of the stream, so what their
            memory holds later does not matter.
        own: Whether those on the host are copied as well, because a method may write to them at its next call.
    """

    def __init__(self, tensors: Mapping[str, Tensor], own: bool = False) -> None:
        self._held: dict[str, Tensor] = {}
        for name, tensor in tensors.items():
            if tensor.is_cuda:
                self._held[name] = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
                self._held[name].copy_(tensor, non_blocking=True)
            else:
                self._held[name] = tensor.clone() if own else tensor
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
