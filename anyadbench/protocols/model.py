"""The protocol model and its reader.

A protocol is a TOML file. Its hash is taken over the parsed values, not over the text, so comments and layout do not
change it; every rule that can change a number is written in the file or has the default given here.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from anyadbench.data.rules import IntensityRules, SliceRules, SplitRules
from anyadbench.errors import UserError, suggest
from anyadbench.hashing import stable_hash
from anyadbench.sequences import Subset, all_subsets, format_subset, order, parse_subset


@dataclass(frozen=True)
class TestSet:
    """One test set.

    Attributes:
        name: Name on the board.
        dataset: Name of the data set.
        split: ``test`` for the subjects that the split rules keep for testing, ``all`` for every subject.
        feed: Which sequence stands in which slot; empty for the sequences themselves.
    """

    __test__ = False

    name: str
    dataset: str
    split: str = "test"
    feed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Protocol:
    """A whole protocol, validated.

    Attributes:
        name: Name used on the command line.
        version: Raised whenever a rule changes.
        title: One line.
        sequences: Sequences that a method may see, canonical order.
        subsets: Evaluated subsets.
        as_available: Whether the row "as available" is evaluated.
        train: Data set to train on.
        tests: Test sets.
        scoring_grid: Height and width of the scoring grid; (0, 0) for the slices' own.
        selection: ``last``: the last state of a fixed budget is tested.
        weights: Weights profile.
        budget: Default budget.
        threads: CPU threads per cell.
        oracle: Whether test data take part in a choice.
        notes: What is known of the paper's choice, and what is ours.
    """

    name: str
    version: int
    title: str
    sequences: Subset
    subsets: tuple[Subset, ...]
    train: str
    tests: tuple[TestSet, ...]
    as_available: bool = True
    slices: SliceRules = field(default_factory=SliceRules)
    split: SplitRules = field(default_factory=SplitRules)
    intensity: IntensityRules = field(default_factory=IntensityRules)
    scoring_grid: tuple[int, int] = (0, 0)
    selection: str = "last"
    weights: str = "published"
    budget: str = "paper"
    threads: int = 2
    oracle: bool = False
    notes: str = ""

    @property
    def hash(self) -> str:
        """Return the sha256 of everything in the protocol but its notes and title."""
        return stable_hash({**self.training_part(), **self.test_part(), "name": self.name, "version": self.version})

    def training_part(self) -> dict[str, Any]:
        """Return what a fit depends on; protocols that agree here share their fits."""
        return {
            "sequences": list(self.sequences),
            "train": self.train,
            "slices": asdict(self.slices),
            "split": asdict(self.split),
            "intensity": asdict(self.intensity),
            "selection": self.selection,
        }

    def test_part(self) -> dict[str, Any]:
        """Return what only the scores depend on."""
        return {
            "subsets": [format_subset(subset) for subset in self.subsets],
            "as_available": self.as_available,
            "tests": [{**asdict(test), "feed": dict(test.feed)} for test in self.tests],
            "scoring_grid": list(self.scoring_grid),
            "oracle": self.oracle,
        }

    @property
    def datasets(self) -> tuple[str, ...]:
        """Every data set that the protocol reads, training first."""
        return tuple(dict.fromkeys([self.train, *(test.dataset for test in self.tests)]))


_TOP: dict[str, type | tuple[type, ...]] = {
    "name": str, "version": int, "title": str, "notes": str, "sequences": list, "subsets": (list, str),
    "as_available": bool, "weights": str, "budget": str, "threads": int, "selection": str, "oracle": bool,
    "train": dict, "slices": dict, "split": dict, "intensity": dict, "scoring": dict, "test": list,
}  # fmt: skip
_REQUIRED = ("name", "version", "title", "sequences", "train", "test")
_CHOICES = {
    "weights": ("published", "package"),
    "budget": ("tiny", "demo", "paper"),
    "selection": ("last",),
    "mode": ("volume", "slice-minmax8"),
    "percentile": (99, 99.5, 99.8, 99.9),
}
_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")


class _Reader:
    """Checks one file and names the line of each mistake."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.lines = path, text.splitlines()

    def fail(self, key: str, problem: str) -> UserError:
        leaf = key.rpartition(".")[2]
        hits = [n for n, line in enumerate(self.lines, 1) if re.match(rf"\s*\[*\s*{re.escape(leaf)}\s*[=\]]", line)]
        where = f", line {hits[0]}" if hits else ""
        return UserError(f"Protocol {self.path}{where}: {key} {problem}")

    def keys(self, table: Mapping[str, Any], allowed: list[str], prefix: str = "") -> None:
        for key in table:
            if key not in allowed:
                raise self.fail(
                    f"{prefix}{key}", f"is not a known key; remove it or correct it.{suggest(key, allowed)}"
                )

    def value(self, key: str, value: Any, kinds: type | tuple[type, ...]) -> Any:
        expected = kinds if isinstance(kinds, tuple) else (kinds,)
        names = " or ".join(kind.__name__ for kind in expected)
        if not isinstance(value, expected) or (isinstance(value, bool) and bool not in expected):
            raise self.fail(key, f"must be of type {names}, got {value!r}; correct the value.")
        leaf = key.rpartition(".")[2]
        if leaf in _CHOICES and value not in _CHOICES[leaf]:
            raise self.fail(key, f"cannot be {value!r}; use one of {', '.join(map(str, _CHOICES[leaf]))}.")
        return value

    def table(self, cls: type[Any], raw: Mapping[str, Any], prefix: str) -> Any:
        defaults = {f.name: getattr(cls(), f.name) for f in fields(cls)}
        self.keys(raw, list(defaults), prefix)
        values = {}
        for key, value in raw.items():
            kind: type = type(defaults[key])
            self.value(prefix + key, value, (float, int) if kind is float else kind)
            if isinstance(value, int | float) and not isinstance(value, bool) and not 0 <= value < math.inf:
                raise self.fail(prefix + key, f"must not be negative nor infinite, got {value!r}; correct the value.")
            values[key] = kind(value)
        return cls(**values)


def read_protocol(path: Path) -> Protocol:
    """Read and validate a protocol file.

    Raises:
        UserError: If the file cannot be read, is no TOML, or breaks a rule; line and key are named.
    """
    try:
        text = path.read_text(encoding="utf-8")
        raw = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Protocol {path} cannot be read ({error}); give the path of a protocol file (TOML).") from None
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"Protocol {path} is not valid TOML: {error}; correct that line.") from None
    reader = _Reader(path, text)
    reader.keys(raw, list(_TOP))
    for key in _REQUIRED:
        if key not in raw:
            raise reader.fail(key, "is missing; add it.")
    for key, value in raw.items():
        reader.value(key, value, _TOP[key])
    return _build(reader, raw)


def _build(reader: _Reader, raw: dict[str, Any]) -> Protocol:
    if not _NAME.fullmatch(raw["name"]):
        raise reader.fail("name", f"must be lower case letters, digits and hyphens, got {raw['name']!r}; rename it.")
    try:
        sequences = order(raw["sequences"])
        listed = raw.get("subsets", "all")
        subsets = all_subsets(sequences) if listed == "all" else tuple(parse_subset(str(item)) for item in listed)
    except (UserError, TypeError) as error:
        raise reader.fail("subsets" if "subset" in str(error) else "sequences", f"is wrong: {error}") from None
    if not subsets:
        raise reader.fail("subsets", 'is empty; name at least one, or write "all".')
    for subset in subsets:
        if not set(subset) <= set(sequences):
            raise reader.fail("subsets", f"names {format_subset(subset)}, which is not among the protocol's sequences.")
    reader.keys(raw["train"], ["dataset"], "train.")
    split = reader.table(SplitRules, raw.get("split", {}), "split.")
    if abs(split.train + split.validation + split.test - 1) > 1e-6:
        raise reader.fail("split.train", "validation and test must add up to 1; correct the fractions.")
    tests = tuple(_test_set(reader, item, sequences) for item in raw["test"])
    if not tests or len({test.name for test in tests}) < len(tests):
        raise reader.fail("test", "must be one or more [[test]] tables with different names; add or rename one.")
    optional = {key: raw[key] for key in _TOP if key in raw and _TOP[key] in (str, int, bool)}
    if optional.get("threads", 1) < 1:
        raise reader.fail("threads", "must be at least 1; correct the value.")
    return Protocol(
        **optional,
        sequences=sequences,
        subsets=subsets,
        train=reader.value("train.dataset", raw["train"].get("dataset"), str),
        tests=tests,
        slices=reader.table(SliceRules, raw.get("slices", {}), "slices."),
        split=split,
        intensity=reader.table(IntensityRules, raw.get("intensity", {}), "intensity."),
        scoring_grid=_grid(reader, raw.get("scoring", {})),
    )


def _grid(reader: _Reader, raw: dict[str, Any]) -> tuple[int, int]:
    reader.keys(raw, ["grid"], "scoring.")
    grid = raw.get("grid", "native")
    if grid == "native":
        return (0, 0)
    if not (isinstance(grid, list) and len(grid) == 2 and all(type(n) is int and 1 <= n <= 4096 for n in grid)):
        raise reader.fail(
            "scoring.grid", f"must be 'native' or two sizes such as [256, 256], got {grid!r}; correct it."
        )
    return (grid[0], grid[1])


def _test_set(reader: _Reader, raw: Any, sequences: Subset) -> TestSet:
    if not isinstance(raw, dict):
        raise reader.fail("test", "must be written as [[test]] tables; correct it.")
    reader.keys(raw, [f.name for f in fields(TestSet)], "test.")
    dataset = reader.value("test.dataset", raw.get("dataset"), str)
    split = reader.value("test.split", raw.get("split", "test"), str)
    if split not in ("test", "all"):
        raise reader.fail("test.split", f"cannot be {split!r}; use test or all.")
    feed = reader.value("test.feed", raw.get("feed", {}), dict)
    if not set(feed) <= set(sequences):
        raise reader.fail(
            "test.feed", f"fills {sorted(set(feed) - set(sequences))}, not among the protocol's sequences."
        )
    for source in feed.values():
        try:
            order([source])
        except UserError as error:
            raise reader.fail("test.feed", f"is wrong: {error}") from None
    return TestSet(reader.value("test.name", raw.get("name", dataset), str), dataset, split, dict(feed))
