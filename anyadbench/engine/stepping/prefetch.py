"""Reading one training batch ahead, in a thread beside the step."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol, Self

import torch

if TYPE_CHECKING:
    from types import TracebackType

    from anyadbench.methods.contract import Batch


class Feed(Protocol):
    """What batches are read from: ``at`` depends on the step alone, so that reading ahead changes nothing."""

    def at(self, step: int) -> Batch:
        """Return the batch of a step."""


class Prefetcher:
    """Returns the batches of a feed, each read while the step before runs.

    At most one batch waits. On a GPU it is copied and scaled on a stream of its own, and the stream of the step waits
    for it. An error of the feed is raised by ``at`` of its step, in the thread that trains. A batch that was read and
    not asked for leaves no trace: a checkpoint holds the step, and the feed has no state.

    Args:
        feed: The training normals.
        total: Steps of the training; nothing beyond them is read.
        device: Device of the batches.
    """

    def __init__(self, feed: Feed, total: int, device: torch.device) -> None:
        self._feed, self._total = feed, total
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._pool = ThreadPoolExecutor(1, "anyadbench-batches")
        self._ahead: tuple[int, Future[tuple[Batch, torch.cuda.Event | None]]] | None = None

    def at(self, step: int) -> Batch:
        """Return the batch of a step, and start to read the next."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead[0] == step:
            batch, copied = ahead[1].result()
        else:
            batch, copied = self._read(step)
        if step + 1 < self._total:
            self._ahead = step + 1, self._pool.submit(self._read, step + 1)
        if copied is not None:
            current = torch.cuda.current_stream()
            current.wait_event(copied)
            for tensor in vars(batch).values():
                if tensor is not None:
                    tensor.record_stream(current)
        return batch

    def settle(self) -> None:
        """Wait until nothing is read; an error waits for its step."""
        if self._ahead is not None:
            self._ahead[1].exception()

    def _read(self, step: int) -> tuple[Batch, torch.cuda.Event | None]:
        if self._stream is None:
            return self._feed.at(step), None
        with torch.cuda.stream(self._stream):
            batch = self._feed.at(step)
            return batch, self._stream.record_event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
