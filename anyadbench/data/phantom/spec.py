"""The input of a phantom: its specification, its identity, and one random stream per subject and purpose."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from anyadbench.errors import UserError
from anyadbench.sequences import COMMON

VERSION = 4
"""Version of the generator; raise it whenever a voxel of any phantom changes."""

_INCOMPLETE_EVERY = 6

FIRST_HEALTHY = 1001
"""Number of the first healthy subject; the patients' numbers lie below."""


@dataclass(frozen=True)
class PhantomSpec:
    """A phantom data set; equal specifications give equal files.

    Attributes:
        name: Name of the data set.
        version: Version of the generator.
        subjects: Number of patients, numbered from 1.
        seed: Seed of the whole data set.
        shape: Voxels towards left, posterior and superior.
        spacing: Voxel size in mm, in the same order.
        shift: Another scanner, and small periventricular lesions in place of all kinds.
        healthy: Number of healthy subjects, numbered from ``FIRST_HEALTHY``.

    Raises:
        UserError: If a value is out of range, or the version is not this generator's.
    """

    name: str = "phantom"
    version: int = VERSION
    subjects: int = 72
    seed: int = 3
    shape: tuple[int, int, int] = (192, 192, 30)
    spacing: tuple[float, float, float] = (1.25, 1.25, 5.0)
    shift: bool = False
    healthy: int = 0

    def __post_init__(self) -> None:
        """Refuse a specification that cannot be generated."""
        if self.version != VERSION:
            raise UserError(
                f"Phantom version {self.version} is not available in this release, which generates version {VERSION}; "
                f"use version={VERSION} or the release that generated it."
            )
        if not 1 <= self.subjects <= 999:
            raise UserError(f"A phantom cannot have subjects={self.subjects}; use 1 to 999.")
        if not 0 <= self.healthy <= 999:
            raise UserError(f"A phantom cannot have healthy={self.healthy}; use 0 to 999.")
        if min(self.shape) < 16:
            raise UserError(f"Phantom shape={self.shape} is too small for a brain; use at least 16 voxels per axis.")
        extent = [size * step for size, step in zip(self.shape, self.spacing, strict=True)]
        if min(self.spacing) <= 0 or not all(140 <= length <= 400 for length in extent):
            raise UserError(
                f"Phantom shape={self.shape} with spacing={self.spacing} does not fit a brain; "
                "choose them so that every axis spans 140 to 400 mm."
            )

    @classmethod
    def tiny(cls, subjects: int = 8, seed: int = 0, shift: bool = False, healthy: int = 0) -> PhantomSpec:
        """Return a coarse phantom that takes seconds to generate, for tests."""
        return cls("phantom-tiny", VERSION, subjects, seed, (48, 48, 20), (4.5, 4.5, 7.5), shift, healthy)

    @property
    def numbers(self) -> tuple[int, ...]:
        """Numbers of all subjects: the patients, then the healthy ones."""
        return (*range(1, self.subjects + 1), *range(FIRST_HEALTHY, FIRST_HEALTHY + self.healthy))


def as_json(spec: PhantomSpec) -> dict[str, Any]:
    """Return the specification as values that survive a round trip through JSON."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(spec).items()}


def digest(spec: PhantomSpec) -> str:
    """Return 16 hexadecimal digits that change with the specification and the generator."""
    return hashlib.sha256(json.dumps(as_json(spec), sort_keys=True).encode()).hexdigest()[:16]


def is_healthy(number: int) -> bool:
    """Whether a subject has no lesion."""
    return number >= FIRST_HEALTHY


def subject_id(number: int) -> str:
    """Return the name of a subject's folder, e.g. ``Phantom_007_1``, or ``Phantom-H_007_1`` of a healthy one."""
    return f"Phantom-H_{number - FIRST_HEALTHY + 1:03d}_1" if is_healthy(number) else f"Phantom_{number:03d}_1"


def stream(spec: PhantomSpec, number: int, purpose: str) -> np.random.Generator:
    """Return the random stream of one subject and purpose.

    The counter-based generator is keyed by a hash, so a stream depends neither on other subjects, nor on the order of
    calls, nor on the grid on which other quantities are drawn.
    """
    key = hashlib.blake2b(f"{spec.seed}/{number}/{purpose}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))


def missing_sequence(spec: PhantomSpec, number: int) -> str | None:
    """Return the sequence that a subject lacks, if any: one patient in six lacks one, each sequence in turn.

    Healthy subjects have all: they calibrate and count alarms, and every subset needs many of them.
    """
    if is_healthy(number):
        return None
    block, place = divmod(number - 1, _INCOMPLETE_EVERY)
    if place != int(stream(spec, -block, "incomplete").integers(_INCOMPLETE_EVERY)):
        return None
    first = int(stream(spec, 0, "first missing sequence").integers(len(COMMON)))
    return COMMON[(first + block) % len(COMMON)]
