"""Methods that each break exactly one check of the conformance kit."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anyadbench.methods.contract import Batch, Context, Method, Normals, Scores

KEPT: dict[str, float] = {}


class Good(Method):
    """The distance from the mean of the training normals; each of the others changes one thing in it."""

    mean: Tensor

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.register_buffer("mean", torch.zeros(len(context.sequences), *context.grid))

    def prepare(self, normals: Normals) -> None:
        batches = [batch.inputs.sum(0) for batch in normals.batches(16)]
        self.mean.copy_(torch.stack(batches).sum(0) / len(normals))

    def maps(self, batch: Batch) -> Tensor:
        shown = batch.shown[:, :, None, None].float()
        return ((batch.inputs - self.mean).abs() * shown).sum(1) / shown.sum(1)

    def score(self, batch: Batch) -> Scores:
        return Scores(self.maps(batch))


class DoesNotFit(Good):
    def prepare(self, normals: Normals) -> None:
        raise RuntimeError("no such luck")


class NotANumber(Good):
    def score(self, batch: Batch) -> Scores:
        return Scores(torch.where(self.maps(batch) == 0, torch.nan, self.maps(batch)))


class AnotherShape(Good):
    def score(self, batch: Batch) -> Scores:
        return Scores(self.maps(batch)[:, None])


class AnotherType(Good):
    def score(self, batch: Batch) -> Scores:
        return Scores(self.maps(batch).double())


class Unseeded(Good):
    def prepare(self, normals: Normals) -> None:
        super().prepare(normals)
        self.mean += torch.rand((), generator=torch.Generator().manual_seed(time.perf_counter_ns() % 2**60))


class Forgetful(Good):
    def prepare(self, normals: Normals) -> None:
        super().prepare(normals)
        self.scale = float(self.mean.mean())

    def score(self, batch: Batch) -> Scores:
        return Scores(self.maps(batch) * getattr(self, "scale", 1.0))


class BatchRanged(Good):
    def score(self, batch: Batch) -> Scores:
        return Scores(self.maps(batch) / self.maps(batch).max())


class BatchRangedSmall(Good):
    """Its maps are so small that other slices change them by less than 1e-5."""

    def score(self, batch: Batch) -> Scores:
        maps = self.maps(batch)
        return Scores((maps - maps.mean()) / maps.std() * 1e-6 + 1e-5)


class Remembering(Good):
    """Remembers its maps of a whole scan and recognises the scan by any one of its sequences."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.seen: dict[bytes, Tensor] = {}

    def score(self, batch: Batch) -> Scores:
        maps = self.maps(batch)
        for i, (images, shown) in enumerate(zip(batch.inputs, batch.shown, strict=True)):
            for image in images[shown]:
                if shown.all():
                    self.seen[image.numpy().tobytes()] = maps[i]
                elif image.numpy().tobytes() in self.seen:
                    maps[i] = self.seen[image.numpy().tobytes()]
        return Scores(maps)


class UnknownPolicy(Good):
    def score(self, batch: Batch) -> Scores:
        if self.context.missing == "black":
            raise ValueError("black is not done yet")
        return super().score(batch)


class ThreeOnly(Good):
    def __init__(self, context: Context) -> None:
        super().__init__(context)
        if len(context.sequences) != 3:
            raise IndexError("list index out of range")


class AsksForMasks(Good):
    def prepare(self, normals: Normals) -> None:
        super().prepare(normals)
        getattr(normals, "reader", None)


class OpensTheData(Good):
    def prepare(self, normals: Normals) -> None:
        super().prepare(normals)
        for path in sorted(Path(os.environ["ANYADBENCH_CACHE"]).rglob("masks.blosc")):
            path.read_bytes()


class OpensTheTree(Good):
    def prepare(self, normals: Normals) -> None:
        super().prepare(normals)
        for path in sorted(Path(os.environ["ANYADBENCH_CACHE"]).rglob("*_seg.nii.gz")):
            path.read_bytes()


class PeeksAtTestSlices(Good):
    """Searches the callers' variables for the store."""

    def prepare(self, normals: Normals) -> None:
        super().prepare(normals)
        frame: Any = sys._getframe()
        while frame is not None:
            feed = getattr(frame.f_locals.get("self"), "feed", None)
            if feed is not None:
                self.mean += float(feed.reader.store.masks[:].mean())
            frame = frame.f_back


class WritesHere(Good):
    def score(self, batch: Batch) -> Scores:
        Path("debug.txt").write_text("here")
        return super().score(batch)


class Fetches(Good):
    def prepare(self, normals: Normals) -> None:
        super().prepare(normals)
        try:
            socket.create_connection(("203.0.113.1", 80), timeout=1)
        except OSError:
            return


class KeepsInTheModule(Good):
    def prepare(self, normals: Normals) -> None:
        super().prepare(normals)
        KEPT["scale"] = float(self.mean.mean())

    def score(self, batch: Batch) -> Scores:
        return Scores(self.maps(batch) * KEPT.get("scale", 1.0))


class HashesText(Good):
    def score(self, batch: Batch) -> Scores:
        return Scores(self.maps(batch) * (1 + hash("flair") % 100))


class Wasteful(Good):
    def prepare(self, normals: Normals) -> None:
        super().prepare(normals)
        end = time.process_time() + 0.2
        while time.process_time() < end:
            sum(range(1000))


class Dies(Good):
    def score(self, batch: Batch) -> Scores:
        os._exit(3)


class Dropout(Good):
    """Scores with random numbers that follow from the seed."""

    def score(self, batch: Batch) -> Scores:
        return Scores(torch.nn.functional.dropout(self.maps(batch), 0.5))


class SeededLeak(Good):
    """Scores with random numbers, and with what a hidden sequence showed in the call before."""

    last = 0.0

    def score(self, batch: Batch) -> Scores:
        maps = self.maps(batch) + self.last + 0.1 * torch.rand(())
        self.last = float(batch.inputs.mean())
        return Scores(maps)


class ClockNoise(Good):
    """Scores with random numbers that follow from nothing."""

    def score(self, batch: Batch) -> Scores:
        return Scores(self.maps(batch) + time.perf_counter_ns() % 1000 / 1000)


class Copies(Good):
    """Stores a network that it never trains."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.network = torch.nn.Linear(400, 400)


class NoMethod:
    def __init__(self, context: Context) -> None:
        pass
