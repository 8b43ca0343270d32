"""Training checkpoints: written atomically, hashed, the newest two kept."""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import numpy as np
import torch

from anyadbench.files import atomic_file, make_folder, remove_leftovers, write_text
from anyadbench.hashing import sha256_file
from anyadbench.methods.contract import Method, OptimizerSpec
from anyadbench.names import plain_path

KEEP = 2


def save_checkpoint(
    folder: Path,
    step: int,
    method: Method,
    optimizers: Mapping[str, OptimizerSpec],
    history: list[dict[str, Any]],
    scaler: torch.amp.GradScaler,
) -> None:
    """Write the state after ``step`` steps, then drop all but the newest two checkpoints.

    Raises:
        UserError: If the disk is full or the folder cannot be written.
    """
    make_folder(folder)
    state = {
        "step": step,
        "method": method.saved_state(),
        "optimizers": {name: spec.optimizer.state_dict() for name, spec in optimizers.items()},
        "scaler": scaler.state_dict(),
        "generators": generator_states(),
        "history": history,
    }
    path = folder / f"step-{step:08d}.pt"
    digest = path.with_suffix(".sha256")
    try:
        with atomic_file(path) as handle:
            hashing = _HashingWriter(handle)
            torch.save(state, cast("IO[bytes]", hashing))
            hashing.flush()
            write_text(digest, hashing.digest.hexdigest())  # before the checkpoint, which is damaged without it
    except BaseException:
        if not path.exists():
            digest.unlink(missing_ok=True)
        raise
    for old in sorted(folder.glob("step-*.pt"))[:-KEEP]:
        old.unlink()
        old.with_suffix(".sha256").unlink(missing_ok=True)


def load_checkpoint(
    folder: Path, method: Method, optimizers: Mapping[str, OptimizerSpec], scaler: torch.amp.GradScaler
) -> tuple[int, list[dict[str, Any]]] | None:
    """Restore the newest undamaged checkpoint; return its step and history, or ``None`` if there is none."""
    remove_leftovers(folder)
    for path in sorted(folder.glob("step-*.pt"), reverse=True):
        digest = path.with_suffix(".sha256")
        if not digest.is_file() or sha256_file(path) != digest.read_text():
            print(f"Checkpoint {path.name} is damaged; the previous one is used.", file=sys.stderr)
            continue
        with plain_path(path) as plain:
            state: dict[str, Any] = torch.load(plain, map_location="cpu", weights_only=True)
        method.load_saved_state(state["method"])
        for name, spec in optimizers.items():
            spec.optimizer.load_state_dict(state["optimizers"][name])
        scaler.load_state_dict(state["scaler"])
        restore_generators(state["generators"])
        return int(state["step"]), list(state["history"])
    return None


class _HashingWriter:
    """Hashes what is written, so that the file need not be read again.

    A failed write is raised by ``flush`` only. Torch's writer continues after an error, finds the file too short, and
    raises an error without the cause; if that happens in a destructor, the process aborts.
    """

    def __init__(self, handle: BinaryIO) -> None:
        self._handle = handle
        self._error: OSError | None = None
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        if self._error is None:
            try:
                self.digest.update(data)
                return self._handle.write(data)
            except OSError as error:
                self._error = error
        return len(data)

    def flush(self) -> None:
        if self._error is not None:
            raise self._error
        self._handle.flush()


def generator_states() -> dict[str, Any]:
    """Return the states of Python's, NumPy's and torch's generators as plain values."""
    kind, keys, position, has_gauss, cached = np.random.get_state()
    states: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": [
            str(kind),
            torch.from_numpy(np.asarray(keys).astype(np.int64)),
            int(position),
            int(has_gauss),
            float(cached),
        ],
        "python": [list(part) if isinstance(part, tuple) else part for part in random.getstate()],
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state_all()
    return states


def restore_generators(states: Mapping[str, Any]) -> None:
    """Restore what ``generator_states`` returned."""
    torch.set_rng_state(states["torch"])
    kind, keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    random.setstate(tuple(tuple(part) if isinstance(part, list) else part for part in states["python"]))
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"])
