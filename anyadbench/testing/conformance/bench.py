"""Building, fitting and scoring a method as the harness does, watched by the guard."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from anyadbench.cells.fitting import save_weights
from anyadbench.engine.batches import TrainingFeed, evaluation_batch
from anyadbench.engine.numerics import Policy, derive_seed, seed_everything
from anyadbench.engine.protocol_data import ProtocolData
from anyadbench.engine.reporter import Reporter
from anyadbench.engine.settings import batch_size
from anyadbench.engine.trainer import Trainer
from anyadbench.methods.contract import Batch, Context, Losses, Method, Normals
from anyadbench.methods.descriptor import MethodDescriptor
from anyadbench.names import plain_path
from anyadbench.plugins.blame import blame, described
from anyadbench.testing.conformance.guard import Guard
from anyadbench.testing.conformance.samples import PROTOCOL
from anyadbench.weights import ResolvedWeights, resolve

if TYPE_CHECKING:
    from jaxtyping import Float, Float32

POLICY = Policy(threads=1)
SEED = 0


class Broken(Exception):
    """The method fails a check; the message says how."""


class Warned(Exception):
    """The method passes a check, but should be improved; the message says how."""


class Skipped(Exception):
    """A check is inconclusive; the message says why."""


@dataclass(frozen=True)
class Scored:
    """Maps of one call on their own grid, and image scores if the method has them."""

    maps: Float32[np.ndarray, "B h w"]
    images: Float[np.ndarray, " B"] | None

    def same(self, other: Scored) -> bool:
        """Whether both are equal to the bit."""
        both = (self.images is None) == (other.images is None)
        images = self.images is None or other.images is None or np.array_equal(self.images, other.images)
        return both and images and np.array_equal(self.maps, other.maps)


@dataclass
class Bench:
    """One method on the kit's data.

    Attributes:
        descriptor: Its descriptor.
        guard: Watches everything that the method does.
        cell: Folder that acts as the cell.
        asked: Requests of fitting to the harness that are not in the contract.
    """

    descriptor: MethodDescriptor
    guard: Guard
    cell: Path
    asked: list[str] = field(default_factory=list)

    @property
    def params(self) -> dict[str, Any]:
        """The parameters of the budget ``tiny``."""
        return dict(self.descriptor.resolve("tiny"))

    @property
    def weights(self) -> ResolvedWeights:
        """Random weights of the smallest network that the method lists: the kit checks behaviour, and works offline."""
        listed = self.descriptor.weights_for(self.params)
        profile = "package" if "package" in listed or not listed else next(iter(listed))
        return resolve("random", listed, profile=profile)

    def blame(self, error: BaseException) -> str:
        """Return an error as one line, with the place in the method's own code that it comes from."""
        return blame(error, self.descriptor.factory) or described(error)

    def import_code(self) -> None:
        """Import the factory's module and everything that it needs."""
        with self.guard.watch():
            importlib.import_module(self.descriptor.factory.partition(":")[0])

    def build(
        self, grid: tuple[int, int], missing: str = "native", sequences: tuple[str, ...] = PROTOCOL.sequences
    ) -> Method:
        """Seed every generator and build the method."""
        seed_everything(derive_seed(SEED, self.descriptor.name))
        context = Context(self.params, sequences, grid, self.weights, missing, POLICY.torch_device())
        with self.guard.watch():
            method = self.descriptor.build(context)
            if not isinstance(method, Method):
                raise Broken(f"The factory returned a {type(method).__name__}, not a Method.")
            return method

    def fit(self, data: ProtocolData) -> Method:
        """Build the method and train it to the end of its budget."""
        params = self.params
        method = self.build(data.stores["phantom"].shape)
        self._restrict(method)
        feed = TrainingFeed(
            reader=data.reader("phantom"),
            indices=data.train_indices(),
            training_mask=self.descriptor.training_mask,
            seed=derive_seed(SEED, self.descriptor.name),
            batch_size=batch_size(params),
            drop_last=bool(params.get("drop_last", False)),
            device=POLICY.torch_device(),
        )
        trainer = Trainer(method, feed, params, POLICY, self.cell / "checkpoints", Reporter(), float("inf"))
        with self.guard.watch():
            trainer.run()
        return method.eval()

    def save(self, method: Method, name: str) -> Path:
        """Store a method's state in the cell."""
        path = self.cell / f"{name}.safetensors"
        with self.guard.watch():
            save_weights(method, path)
        return path

    def load(self, path: Path, grid: tuple[int, int], missing: str = "native") -> Method:
        """Build the method again and load a stored state."""
        method = self.build(grid, missing)
        with self.guard.watch(), plain_path(path) as plain:
            method.load_saved_state(load_file(plain))
        return method.eval()

    def score(self, method: Method, values: Float[np.ndarray, "B S H W"], subset: tuple[str, ...]) -> Scored:
        """Score slices of which the method is shown ``subset``.

        Raises:
            Broken: If it returns a wrong type or shape.
        """
        batch = evaluation_batch(values, subset, PROTOCOL.sequences, POLICY.torch_device())
        with self.guard.watch(), torch.inference_mode():
            scores = method.score(batch)
            maps, images = scores.maps, scores.images
        if not isinstance(maps, torch.Tensor) or maps.ndim != 3 or len(maps) != len(values) or 0 in maps.shape:
            raise Broken(f"score returned maps of shape {_shape(maps)}; it must be ({len(values)}, h, w).")
        if maps.dtype != torch.float32:
            raise Broken(f"score returned maps of type {maps.dtype}; it must be torch.float32.")
        if images is not None and (not isinstance(images, torch.Tensor) or tuple(images.shape) != (len(values),)):
            raise Broken(f"score returned image scores of shape {_shape(images)}; it must be ({len(values)},).")
        found = None if images is None else images.detach().double().cpu().numpy()
        return Scored(maps.detach().cpu().numpy(), found)

    def _restrict(self, method: Method) -> None:
        """Give the method access to what the contract names, and to nothing else."""
        prepare, manual = method.prepare, method.manual_step
        method.prepare = lambda normals: prepare(_normals(normals, self.asked))  # type: ignore[method-assign]
        if manual is not None:
            method.manual_step = lambda batch, loop: manual(batch, _loop(loop, self.asked))


def on_grid(maps: Float32[np.ndarray, "B h w"], grid: tuple[int, int]) -> Float32[np.ndarray, "B H W"]:
    """Resample maps to the slices' grid as the harness does."""
    tensor = torch.from_numpy(maps)[:, None]
    return np.asarray(F.interpolate(tensor, grid, mode="bilinear", align_corners=False)[:, 0])


class _Asked:
    """Refuses and records every name that is not in the contract."""

    _what = ""

    def __init__(self, asked: list[str]) -> None:
        self._asked = asked

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("__"):
            text = f"asked {self._what} for {name!r}"
            if text not in self._asked:
                self._asked.append(text)
        raise AttributeError(f"{self._what}: {name!r} is not in the contract")


def _normals(normals: Any, asked: list[str]) -> Normals:
    class TrainingNormals(_Asked):
        _what = "the training normals"

        def __len__(self) -> int:
            return len(normals)

        def batches(self, batch_size: int, *, masked: bool = False, description: str = "preparing") -> Iterator[Batch]:
            return iter(normals.batches(batch_size, masked=masked, description=description))

    return TrainingNormals(asked)


def _loop(loop: Any, asked: list[str]) -> Any:
    class TrainingLoop(_Asked):
        _what = "the training loop"

        @property
        def step(self) -> int:
            return int(loop.step)

        @property
        def total(self) -> int:
            return int(loop.total)

        @property
        def normals(self) -> Normals:
            return _normals(loop.normals, self._asked)

        def update(self, optimizer: str, losses: Losses) -> None:
            loop.update(optimizer, losses)

    return TrainingLoop(asked)


def _shape(value: object) -> str:
    return str(tuple(value.shape)) if isinstance(value, torch.Tensor) else f"a {type(value).__name__}"


def same_state(first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]) -> bool:
    """Whether two states are equal to the bit (two NaN at the same position count as equal)."""
    return first.keys() == second.keys() and all(
        first[name].dtype == second[name].dtype
        and first[name].shape == second[name].shape
        and bool(torch.equal(first[name].nan_to_num(), second[name].nan_to_num()))
        for name in first
    )
