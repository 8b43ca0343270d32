"""Comparing methods with numbers that the authors' own code computed.

A folder of fixtures holds ``manifest.json`` and, for each fixture, ``NAME.names.json`` (published state-dict names and
shapes by module) and ``NAME.safetensors`` (the numbers). Weights and images are not stored: they follow from their
names by a fill rule, so that anyone can rebuild them. A method claims the fixtures of its name through its descriptor's
``parity``, a callable that takes a ``ParityFixture`` and returns the computed entries by name.
"""

from __future__ import annotations

import importlib
import json
import math
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.errors import UserError
from anyadbench.names import plain_path

if TYPE_CHECKING:
    from jaxtyping import Float

    from anyadbench.methods.descriptor import MethodDescriptor

Shapes = Mapping[str, tuple[int, ...]]

ALL_ENTRIES = "(all)"
"""Name for all entries of a fixture whose method raised an error."""


def normal(name: str, shape: tuple[int, ...], seed: int) -> Float[np.ndarray, ...]:
    """Return the standard normal numbers derived from a name."""
    return np.random.Generator(np.random.PCG64([zlib.crc32(name.encode()), seed])).standard_normal(shape)


def fill(names: Shapes, seed: int) -> dict[str, np.ndarray]:
    """Return a state dict filled by the rule of the fixtures.

    Args:
        names: Shape of each entry by its published name.
        seed: Seed of the folder.
    """
    return {name: _fill_entry(name, tuple(shape), seed) for name, shape in names.items()}


def _fill_entry(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, dtype=np.int64)
    z = normal(name, shape, seed)
    if name.endswith("running_var"):
        return np.asarray(1 + 0.2 * np.abs(z))
    if len(shape) <= 1:
        scale = not name.endswith("running_mean") and name.endswith("weight")
        return np.asarray(1 + 0.1 * z if scale else 0.1 * z)
    return np.asarray(z / math.sqrt(math.prod(shape[1:])))


def images(name: str, seed: int, *, steps: int, batch: int, image_size: int) -> Float[np.ndarray, "steps B 3 H W"]:
    """Return a fixture's normalised images: item 0 for evaluation, the others one training batch each."""
    return normal(f"{name}/images", (steps + 1, batch, 3, image_size, image_size), seed)


@dataclass(frozen=True)
class ParityFixture:
    """What a method receives to reproduce a fixture's numbers.

    Attributes:
        name: Name of the fixture.
        entry: Its entry in the manifest: kind, sizes.
        seed: Seed of the folder.
        names: Published state-dict shapes, by module and name.
        dtype: Precision of the numbers, e.g. ``"float64"``.
    """

    name: str
    entry: Mapping[str, Any]
    seed: int
    names: Mapping[str, Shapes]
    dtype: str = "float64"

    @cached_property
    def images(self) -> Float[np.ndarray, "steps B 3 H W"]:
        """The images, see ``images``."""
        sizes = {key: self._count(key, least) for key, least in (("steps", 0), ("batch", 1), ("image_size", 1))}
        return images(self.name, self.seed, **sizes).astype(self.dtype)

    def _count(self, key: str, least: int) -> int:
        value = self.setting(key)
        try:
            count = int(value)
        except (TypeError, ValueError, OverflowError):
            count = least - 1
        if count < least:
            raise UserError(
                f"manifest.json sets {key!r} of fixture {self.name!r} to {value!r}, which must be a whole number of at "
                f"least {least}; copy the manifest again."
            )
        return count

    def setting(self, *path: str) -> Any:
        """Return a value of the entry, e.g. ``setting("encoder", "depth")``.

        Raises:
            UserError: If the manifest has no such value.
        """
        value: Any = self.entry
        for key in path:
            if not isinstance(value, Mapping) or key not in value:
                raise UserError(
                    f"The manifest's fixture {self.name!r} has no {'.'.join(path)!r}; copy the manifest again."
                )
            value = value[key]
        return value

    def state(self, module: str) -> dict[str, np.ndarray]:
        """Return the filled state dict of one module; integer entries stay integers.

        Raises:
            UserError: If the names file has no such module.
        """
        if module not in self.names:
            raise UserError(f"{self.name}.names.json has no module {module!r}; copy it again.")
        filled = fill(self.names[module], self.seed)
        return {name: v.astype(self.dtype) if v.dtype.kind == "f" else v for name, v in filled.items()}


@dataclass(frozen=True)
class EntryResult:
    """The error of one number, or array of numbers.

    Attributes:
        entry: Its name; ``ALL_ENTRIES`` if the method raised an error instead of computing any.
        error: Largest absolute difference; infinite if it is missing, of another shape, or not finite.
        note: Why, where the error is infinite.
    """

    entry: str
    error: float
    note: str = ""


@dataclass(frozen=True)
class ParityReport:
    """The outcome for a folder.

    Attributes:
        tolerance: Largest error that passes.
        results: Results by fixture.
        methods: The method that claimed each fixture.
        unclaimed: Method named by each fixture that no installed method claims, by fixture.
    """

    tolerance: float
    results: dict[str, list[EntryResult]] = field(default_factory=dict)
    methods: dict[str, str] = field(default_factory=dict)
    unclaimed: dict[str, str] = field(default_factory=dict)

    @property
    def worst(self) -> float:
        """Largest error of all; 0 if nothing was compared."""
        return max((entry.error for entries in self.results.values() for entry in entries), default=0.0)

    @property
    def ok(self) -> bool:
        """Whether something was compared, and every entry of it is within the tolerance."""
        return bool(self.results) and self.worst <= self.tolerance

    def as_json(self) -> dict[str, Any]:
        """Return plain values; an infinite error becomes ``None``."""
        rows = {
            name: [{**asdict(e), "error": e.error if math.isfinite(e.error) else None} for e in entries]
            for name, entries in self.results.items()
        }
        return {
            "ok": self.ok,
            "tolerance": self.tolerance,
            "results": rows,
            "methods": self.methods,
            "unclaimed": self.unclaimed,
        }


def run_parity(folder: Path, descriptors: Iterable[MethodDescriptor], tolerance: float = 1e-6) -> ParityReport:
    """Compare every fixture of a folder with the method that claims it.

    A fixture whose method raises an error fails with the cause as the only result; the others are still compared.

    Raises:
        UserError: If the folder, its manifest or a fixture's file is missing or damaged.
    """
    claims = {descriptor.name: descriptor.parity for descriptor in descriptors if descriptor.parity}
    report = ParityReport(tolerance)
    for fixture, method in read_folder(folder):
        expected = read_numbers(folder, fixture.name)
        if method not in claims:
            report.unclaimed[fixture.name] = method
            continue
        report.methods[fixture.name] = method
        report.results[fixture.name] = _results(fixture, claims[method], expected)
    return report


def _results(fixture: ParityFixture, path: str, expected: Mapping[str, np.ndarray]) -> list[EntryResult]:
    try:
        return compare(expected, _claimant(path)(fixture))
    except UserError as error:  # a wrong value of the manifest or of the names, already one sentence
        return [EntryResult(ALL_ENTRIES, math.inf, str(error))]
    except Exception as error:  # whatever a plugin raises, or returns instead of numbers, must not stop the others
        cause = " ".join(str(error).split())[:300]
        return [EntryResult(ALL_ENTRIES, math.inf, f"{path} failed with {type(error).__name__}: {cause}")]


def compare(expected: Mapping[str, np.ndarray], computed: Mapping[str, np.ndarray]) -> list[EntryResult]:
    """Compare every expected entry; entries that only the method computed are ignored."""
    return [_compare_entry(name, value, computed.get(name)) for name, value in sorted(expected.items())]


def _compare_entry(name: str, expected: np.ndarray, computed: np.ndarray | None) -> EntryResult:
    if computed is None:
        return EntryResult(name, math.inf, "the method does not compute it")
    found = np.asarray(computed)
    if found.shape != expected.shape:
        return EntryResult(name, math.inf, f"shape {found.shape} instead of {expected.shape}")
    error = float(np.abs(found.astype(np.float64) - expected).max(initial=0.0))
    return EntryResult(name, error) if math.isfinite(error) else EntryResult(name, math.inf, "not finite")


def _claimant(path: str) -> Callable[[ParityFixture], Mapping[str, np.ndarray]]:
    module, _, attribute = path.partition(":")
    claimant: Callable[[ParityFixture], Mapping[str, np.ndarray]] = getattr(importlib.import_module(module), attribute)
    return claimant


def read_folder(folder: Path) -> list[tuple[ParityFixture, str]]:
    """Return the fixtures of a folder, each with the name of the method that it belongs to.

    Raises:
        UserError: If a file is missing or damaged.
    """
    manifest_path = folder / "manifest.json"
    manifest = _read_json(manifest_path)
    found = []
    try:
        seed, dtype = int(manifest["seed"]), str(np.dtype(manifest.get("dtype", "float64")))
        np.random.PCG64(seed)  # refuses a negative seed, here where the file can be named
        entries = {str(name): (dict(entry), str(entry["method"])) for name, entry in manifest["fixtures"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{manifest_path} is not a manifest of parity fixtures ({type(error).__name__}: {error}); it needs 'seed' "
            "and 'fixtures', and each fixture its 'method'."
        ) from None
    for name, (entry, method) in entries.items():
        found.append((ParityFixture(name, entry, seed, _read_names(folder / f"{name}.names.json"), dtype), method))
    return found


def read_numbers(folder: Path, name: str) -> dict[str, np.ndarray]:
    """Read a fixture's numbers.

    Raises:
        UserError: If the file is missing, damaged or empty.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = folder / f"{name}.safetensors"
    try:
        with plain_path(path) as plain:
            numbers: dict[str, np.ndarray] = load_file(plain)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; copy the whole folder of parity fixtures.") from None
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} cannot be read as safetensors ({error}); copy it again.") from None
    if not numbers:
        raise UserError(f"{path} holds no numbers; copy it again.")
    return numbers


def _read_names(path: Path) -> dict[str, dict[str, tuple[int, ...]]]:
    raw = _read_json(path)
    try:
        return {
            str(module): {str(name): tuple(int(side) for side in shape) for name, shape in entries.items()}
            for module, entries in raw.items()
        }
    except (TypeError, ValueError, AttributeError):
        raise UserError(f"{path} does not map modules to entries with shapes; copy it again.") from None


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; give a folder of parity fixtures.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error}); copy it again.") from None
