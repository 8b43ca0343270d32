"""Reading protocol files, with the line and key of each mistake."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from anyadbench.data.slices.rules import (
    HARMONISE,
    LESION_FREE,
    NORMALS,
    PERCENTILE,
    GeometryRules,
    HealthySplitRules,
    IntensityRules,
    SliceRules,
    SplitRules,
)
from anyadbench.errors import UserError, suggest
from anyadbench.protocols.model import LESION_RULES, Protocol, ScoringRules, TestSet
from anyadbench.sequences import Subset, all_subsets, format_subset, order, parse_subset
from anyadbench.tables import read_text

_TOP: dict[str, type | tuple[type, ...]] = {
    "name": str, "version": int, "title": str, "notes": str, "sequences": list, "subsets": (list, str),
    "as_available": bool, "weights": str, "budget": str, "threads": int, "selection": str, "candidates": int,
    "oracle": bool, "train": dict, "slices": dict, "split": dict, "intensity": dict, "geometry": dict,
    "scoring": dict, "test": list,
}  # fmt: skip
_REQUIRED = ("name", "version", "title", "sequences", "train", "test")
_CHOICES = {
    "weights": ("published", "package"),
    "budget": ("tiny", "demo", "paper"),
    "selection": ("last", "validation", "test-image-ap"),
    "masks": ("nearest-exact", "nearest"),
    "lesion_rule": tuple(LESION_RULES),
    "mode": ("volume", "slice-minmax8"),
    "percentile": (99, 99.5, 99.8, 99.9),
    "normals": NORMALS,
    "harmonise": HARMONISE,
}
_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")


class _Reader:
    """Checks one file and names the line of each mistake."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.lines = path, text.splitlines()

    def fail(self, key: str, problem: str) -> UserError:
        number = self.line(key)
        where = f", line {number}" if number else ""
        return UserError(f"Protocol {self.path}{where}: {key} {problem}")

    def line(self, key: str) -> int:
        """Return the first line of a dotted key, else of the table that it is missing from, else 0."""
        place: dict[str, int] = {}
        table = ""
        for number, text in enumerate(self.lines, 1):
            if header := re.match(r"\s*\[+\s*([\w.-]+)\s*\]", text):
                table = header[1]
                place.setdefault(table, number)
            elif entry := re.match(r"\s*([\w.-]+)\s*=", text):
                place.setdefault(f"{table}.{entry[1]}".lstrip("."), number)
        return place.get(key) or place.get(key.rpartition(".")[0], 0)

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

    def size(self, key: str, value: Any, absent: str, example: str) -> tuple[int, int]:
        if value == absent:
            return (0, 0)
        if not (isinstance(value, list) and len(value) == 2 and all(type(n) is int and 1 <= n <= 4096 for n in value)):
            raise self.fail(key, f"must be '{absent}' or two sizes such as {example}, got {value!r}; correct it.")
        return (value[0], value[1])

    def table(self, cls: type[Any], raw: Mapping[str, Any], prefix: str) -> Any:
        defaults = {f.name: getattr(cls(), f.name) for f in fields(cls)}
        self.keys(raw, list(defaults), prefix)
        values = {}
        for key, value in raw.items():
            kind: type = type(defaults[key])
            if kind is tuple:
                values[key] = self.size(prefix + key, value, "none", "[448, 448]")
                continue
            self.value(prefix + key, value, (float, int) if kind is float else kind)
            if isinstance(value, int | float) and not isinstance(value, bool) and not 0 <= value < math.inf:
                raise self.fail(prefix + key, f"must not be negative or infinite, got {value!r}; correct the value.")
            values[key] = kind(value)
        return cls(**values)


def read_protocol(path: Path) -> Protocol:
    """Read and validate a protocol file.

    Raises:
        UserError: If the file cannot be read, is not TOML, or breaks a rule; the sentence names line and key.
    """
    try:
        text = read_text(path)
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"Protocol {path} is not valid TOML: {error}; correct that line.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"Protocol {path} cannot be read ({error}); give the path of a protocol file (TOML).") from None
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
    except (UserError, TypeError) as error:
        raise reader.fail("sequences", f"is wrong: {error}") from None
    listed = raw.get("subsets", "all")
    subsets = all_subsets(sequences) if listed == "all" else _subsets(reader, "subsets", listed, sequences)
    reader.keys(raw["train"], ["dataset", "normals", "shots"], "train.")
    split, healthy_split = _splits(reader, raw.get("split", {}))
    tests = tuple(_test_set(reader, item, sequences) for item in raw["test"])
    if not tests or len({test.name for test in tests}) < len(tests):
        raise reader.fail("test", "must be one or more [[test]] tables with different names; add or rename one.")
    train = reader.value("train.dataset", raw["train"].get("dataset"), str)
    _check_splits(reader, train, tests)
    optional = {key: raw[key] for key in _TOP if key in raw and _TOP[key] in (str, int, bool)}
    if optional.get("threads", 1) < 1:
        raise reader.fail("threads", "must be at least 1; correct the value.")
    if optional.get("candidates", 0) < 0:
        raise reader.fail("candidates", "must be 0 (one per epoch) or more; correct the value.")
    if optional.get("selection") == "test-image-ap" and not optional.get("oracle"):
        raise reader.fail("selection", "chooses on test data, so the protocol must set oracle = true; add it.")
    scoring_grid, scoring = _scoring(reader, raw.get("scoring", {}))
    return Protocol(
        **optional,
        sequences=sequences,
        subsets=subsets,
        train=train,
        normals=reader.value("train.normals", raw["train"].get("normals", LESION_FREE), str),
        shots=_shots(reader, raw["train"].get("shots", "all")),
        healthy_split=healthy_split,
        tests=tests,
        slices=reader.table(SliceRules, raw.get("slices", {}), "slices."),
        split=split,
        intensity=_intensity(reader, raw.get("intensity", {})),
        geometry=_geometry(reader, raw.get("geometry", {})),
        scoring_grid=scoring_grid,
        scoring=scoring,
        file=reader.path,
    )


def _shots(reader: _Reader, value: Any) -> int:
    """Return how many subjects are trained on, 0 for all."""
    if value == "all":
        return 0
    if type(value) is not int or value < 1:
        raise reader.fail("train.shots", f'must be "all" or a number of subjects from 1, got {value!r}; correct it.')
    return value


def _splits(reader: _Reader, raw: dict[str, Any]) -> tuple[SplitRules, HealthySplitRules]:
    """Read the split of the patients, and that of healthy subjects in its table ``healthy``."""
    own = reader.value("split.healthy", raw.get("healthy", {}), dict)
    split = reader.table(SplitRules, {key: value for key, value in raw.items() if key != "healthy"}, "split.")
    healthy = reader.table(HealthySplitRules, own, "split.healthy.")
    for rules, prefix in ((split, "split"), (healthy, "split.healthy")):
        if abs(rules.train + rules.validation + rules.test - 1) > 1e-6:
            raise reader.fail(f"{prefix}.train", "validation and test must add up to 1; correct the fractions.")
    return split, healthy


def _check_splits(reader: _Reader, train: str, tests: tuple[TestSet, ...]) -> None:
    for test in tests:
        if test.split == "all" and test.dataset == train:
            raise reader.fail("test.split", f"cannot be 'all' for {train}, which trains too; use test.")
        if any(other.split != test.split for other in tests if other.dataset == test.dataset):
            raise reader.fail("test.split", f"must be the same in every test set of {test.dataset}; correct one.")


def _subsets(reader: _Reader, key: str, listed: Any, sequences: Subset) -> tuple[Subset, ...]:
    if not isinstance(listed, list):
        raise reader.fail(key, f'must be a list such as ["F", "F+T1"], got {listed!r}; correct it.')
    try:
        subsets = tuple(parse_subset(str(item)) for item in listed)
    except UserError as error:
        raise reader.fail(key, f"is wrong: {error}") from None
    if not subsets:
        raise reader.fail(key, 'is empty; name at least one, or write "all".')
    for subset in subsets:
        if not set(subset) <= set(sequences):
            raise reader.fail(
                key, f"names {format_subset(subset)}, which is not among the protocol's sequences; correct it."
            )
    if len(set(subsets)) < len(subsets):
        raise reader.fail(key, "names a subset twice; remove one.")
    return subsets


def _intensity(reader: _Reader, raw: dict[str, Any]) -> IntensityRules:
    rules: IntensityRules = reader.table(IntensityRules, raw, "intensity.")
    if rules.mode != "volume" and rules.harmonise != PERCENTILE:
        cause = f"is {rules.harmonise!r}, which scales whole scans, but mode is {rules.mode!r}"
        raise reader.fail("intensity.harmonise", f'{cause}; write mode = "volume", or leave harmonise out.')
    return rules


def _geometry(reader: _Reader, raw: dict[str, Any]) -> GeometryRules:
    rules: GeometryRules = reader.table(GeometryRules, raw, "geometry.")
    if any(rules.resize) and any(have < want for have, want in zip(rules.resize, rules.crop, strict=True)):
        raise reader.fail("geometry.crop", "is larger than geometry.resize; make it smaller.")
    return rules


def _scoring(reader: _Reader, raw: dict[str, Any]) -> tuple[tuple[int, int], ScoringRules]:
    grid = reader.size("scoring.grid", raw.get("grid", "native"), "native", "[256, 256]")
    names = [f.name for f in fields(ScoringRules)]
    reader.keys(raw, ["grid", *names], "scoring.")
    rules: ScoringRules = reader.table(ScoringRules, {k: v for k, v in raw.items() if k in names}, "scoring.")
    if rules.smoothing_size and (rules.smoothing_size % 2 == 0 or rules.smoothing_sigma <= 0):
        raise reader.fail("scoring.smoothing_size", "must be odd, with a smoothing_sigma above 0; correct one.")
    if rules.top_fraction > 1:
        raise reader.fail("scoring.top_fraction", "must lie between 0 and 1; correct the value.")
    if rules.rank_height and not rules.normalise_height:
        raise reader.fail("scoring.rank_height", "needs normalise_height = true; add it, or remove rank_height.")
    _check_lesion_rule(reader, rules)
    return grid, rules


def _check_lesion_rule(reader: _Reader, rules: ScoringRules) -> None:
    """Refuse settings of whole scans that would have no effect, and an overlap that no pair, or every pair, has."""
    usual, own = ScoringRules(), LESION_RULES[rules.lesion_rule]
    numbers = [name for names in LESION_RULES.values() for name in names]
    for name in ("lesion_rule", *numbers, "smallest_cluster_ml"):
        changed = getattr(rules, name) != getattr(usual, name)
        if changed and not rules.volumes:
            raise reader.fail(f"scoring.{name}", "has no effect without volumes = true; add that, or remove the key.")
        if changed and name in numbers and name not in own:
            raise reader.fail(
                f"scoring.{name}", f'has no effect with lesion_rule = "{rules.lesion_rule}"; remove it or change that.'
            )
    if not 0 < rules.lesion_overlap <= 1:
        raise reader.fail("scoring.lesion_overlap", "must lie above 0 and not above 1; correct the value.")


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
            "test.feed",
            f"fills {sorted(set(feed) - set(sequences))}, not among the protocol's sequences; correct it.",
        )
    for source in feed.values():
        try:
            order([source])
        except UserError as error:
            raise reader.fail("test.feed", f"is wrong: {error}") from None
    subsets = _subsets(reader, "test.subsets", raw["subsets"], sequences) if "subsets" in raw else ()
    return TestSet(reader.value("test.name", raw.get("name", dataset), str), dataset, split, dict(feed), subsets)
