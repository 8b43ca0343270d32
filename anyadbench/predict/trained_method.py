"""The method of a finished cell, built as for training and loaded with its trained state."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from anyadbench.cells.identity import weights_of
from anyadbench.engine.numerics import Policy, derive_seed, resolve_policy, seed_everything
from anyadbench.errors import UserError
from anyadbench.methods.contract import Context, Method
from anyadbench.names import plain_path
from anyadbench.plugins import code_hash, find_method
from anyadbench.weights import ResolvedWeights
from anyadbench.weights.checksums import cached_sha256
from anyadbench.weights.resolved import NO_WEIGHTS

if TYPE_CHECKING:
    from anyadbench.methods.descriptor import MethodDescriptor
    from anyadbench.predict.cell import TrainedCell


def prediction_policy(cell: TrainedCell, device: str, threads: int | None = None) -> tuple[Policy, list[str]]:
    """Return the numeric policy to predict with, and a sentence for each departure from the cell's own.

    ``auto`` uses the cell's type of device if available. On the CPU, a cell from a GPU is read in float32.
    """
    own = cell.job.numerics
    place = "cpu" if (device, own.device) == ("auto", "cpu") else device
    wanted = resolve_policy(place, "float32", own.deterministic, threads or own.threads)
    if wanted.device == own.device:
        return Policy(own.device, own.dtype, own.tf32, own.deterministic, wanted.threads), []
    note = (
        f"The cell was run on {own.device} in {own.dtype} and is applied on {wanted.device} in float32, so scores can "
        "differ from the benchmark's in the last digits."
    )
    return wanted, [note]


@dataclass(frozen=True)
class BuiltMethod:
    """A method ready to score.

    Attributes:
        method: In eval mode, on its device.
        notes: What the reader should know, one sentence each.
        own: Whether it has the cell's own trained state, so that the cell's thresholds apply.
    """

    method: Method
    notes: list[str]
    own: bool


def build_method(cell: TrainedCell, policy: Policy, weights: str | None = None) -> BuiltMethod:
    """Build the cell's method and load its trained state.

    Args:
        cell: The cell.
        policy: Device and precision.
        weights: ``file:PATH`` of the pretrained weights, if they have moved, or of a whole published network of the
            method, which then replaces the cell's trained state.

    Raises:
        UserError: If its plugin or its pretrained weights are missing, or differ from the cell's.
    """
    descriptor, entry = find_method(cell.job.method)
    pretrained = _pretrained(cell, descriptor, weights)
    own = pretrained.kind != "checkpoint" or pretrained.sha256 == cell.manifest["weights"]["sha256"]
    context = Context(
        params=cell.job.params,
        sequences=cell.protocol.sequences,
        grid=cell.grid,
        weights=pretrained,
        missing=cell.job.missing,
        device=policy.torch_device(),
    )
    with _seeded(derive_seed(cell.job.seed, cell.job.method)):
        method = descriptor.build(context)
    if pretrained.kind == "checkpoint":
        method.load_published(pretrained.published())
    method.to(policy.torch_device())
    try:
        if own:
            with plain_path(cell.weights) as plain:
                method.load_saved_state(load_file(plain, device=policy.device))
    except (SafetensorError, ValueError, RuntimeError, OSError) as error:
        raise UserError(
            f"{cell.weights} does not fit the installed {descriptor.name} ({' '.join(str(error).split())[:200]}); "
            f"copy the cell again, or install {cell.result.method.distribution} {cell.result.method.version}."
        ) from None
    method.eval()
    notes = []
    if code_hash(entry, descriptor.factory) != cell.result.method.code_hash:
        notes.append(f"The installed code of {descriptor.name} differs from the code that this cell was run with.")
    if not own:
        notes.append(
            f"{pretrained.provenance.removesuffix('; nothing was trained.')}, replaces the cell's trained state, so "
            "the cell's numbers and thresholds do not apply."
        )
    return BuiltMethod(method, notes, own)


def _pretrained(cell: TrainedCell, descriptor: MethodDescriptor, given: str | None) -> ResolvedWeights:
    """Return the pretrained weights that the cell started from, found by their hash."""
    recorded: dict[str, Any] = dict(cell.manifest["weights"])
    kind, sha, name = recorded["kind"], str(recorded["sha256"]), recorded["name"]
    if given is not None and (other := _other_network(cell, descriptor, given)) is not None:
        return other
    if kind in ("none", "random"):
        if given is not None:
            raise UserError(f"--weights {given}: the cell used no weights file ({kind}); leave the option out.")
        return NO_WEIGHTS if kind == "none" else weights_of(descriptor, cell.job.params, kind, cell.protocol)
    if given is not None:
        place = Path(os.path.expanduser(given.removeprefix("file:")))
        if not given.startswith("file:") or not place.is_file():
            raise UserError(f"--weights {given}: this file does not exist; give file:PATH of the weights {name}.")
        if cached_sha256(place) != sha:
            raise UserError(
                f"--weights {given} is not the file that the cell started from ({name}, SHA-256 {sha[:12]}...); give "
                "that file, or leave the option out."
            )
    else:
        place = _recorded_place(cell, descriptor, recorded)
    fields: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in recorded.items()
    }
    return ResolvedWeights(**{**fields, "path": str(place.resolve())})


def _recorded_place(cell: TrainedCell, descriptor: MethodDescriptor, recorded: dict[str, Any]) -> Path:
    """Return the file that the cell started from: at its recorded path, or where a named source is on this machine."""
    place, sha = Path(str(recorded["path"])), str(recorded["sha256"])
    if place.is_file() and cached_sha256(place) == sha:
        return place
    if recorded["kind"] not in ("file", "checkpoint"):
        found = weights_of(descriptor, cell.job.params, recorded["profile"], cell.protocol)
        if found.sha256 == sha and found.path is not None:
            return Path(found.path)
        place = Path(str(found.path))
    state = "have changed since" if place.is_file() else "no longer exist"
    raise UserError(
        f"The cell {cell.folder} started from the weights {place}, which {state}; give their path with "
        f"--weights file:PATH (SHA-256 {sha[:12]}...)."
    )


def _other_network(cell: TrainedCell, descriptor: MethodDescriptor, given: str) -> ResolvedWeights | None:
    """Return the whole published network in the given file, or ``None`` if it contains something else."""
    if not descriptor.checkpoint or not given.startswith("file:"):
        return None
    found = weights_of(descriptor, cell.job.params, given, cell.protocol)
    return found if found.kind == "checkpoint" else None


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed every generator as training did, and restore the caller's own state afterwards."""
    import random

    import numpy as np

    python, array = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        seed_everything(seed)
        yield
    random.setstate(python)
    np.random.set_state(array)
