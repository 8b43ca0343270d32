"""States of the random generators, taken and compared as they are: cheap enough for every step."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


class Generators:
    """The states of Python's, NumPy's and torch's generators at one moment.

    Those of a checkpoint are plain values (``anyadbench.engine.checkpoints.generator_states``), which takes longer.
    """

    def __init__(self) -> None:
        self._python = random.getstate()
        self._numpy: Any = np.random.get_state()
        self._torch = torch.get_rng_state()
        # An uninitialised CUDA has drawn nothing, and asking it would initialise it.
        self._cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]

    def restore(self) -> None:
        """Set the generators back to this moment."""
        random.setstate(self._python)
        np.random.set_state(self._numpy)
        torch.set_rng_state(self._torch)
        if self._cuda:
            torch.cuda.set_rng_state_all(self._cuda)

    def host_equals(self, other: Generators) -> bool:
        """Return whether no generator of the host has moved between two moments."""
        return (
            self._python == other._python
            and bool((self._numpy[1] == other._numpy[1]).all())
            and self._numpy[2:] == other._numpy[2:]
            and torch.equal(self._torch, other._torch)
        )
