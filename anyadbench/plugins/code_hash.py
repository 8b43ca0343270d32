"""The hash over a method's own files."""

from __future__ import annotations

from contextlib import suppress
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path

from anyadbench.hashing import python_files, sha256_code
from anyadbench.plugins.entry_points import normal_name
from anyadbench.plugins.methods import HARNESS, MethodEntry, method_entries


def code_hash(entry: MethodEntry, factory: str = "") -> str:
    """Return the sha256 over the Python files of a method's distribution and of the plugins that it builds on.

    The files of every required distribution that offers methods itself are included, since a change there changes
    this method's numbers; so are those of the factory's package. Of a control, which the harness itself offers, the
    files of its own folder are; those of the harness that change numbers are part of every id already.

    Args:
        entry: Where the method comes from.
        factory: The descriptor's factory.
    """
    return sha256_code(_code_files(entry, factory))


def _code_files(entry: MethodEntry, factory: str = "") -> list[tuple[Path, Path]]:
    if entry.distribution == HARNESS:
        folder = Path(__file__).parents[1]
        return [(path, folder) for path in python_files(folder / "controls")]
    by_distribution: dict[str, set[str]] = {}
    for other in (one for one in method_entries() if one.distribution != HARNESS):
        module = other.entry_point.value.partition(":")[0].partition(".")[0]
        by_distribution.setdefault(normal_name(other.distribution), set()).add(module)
    wanted = [normal_name(entry.distribution)]
    for name in wanted:
        wanted += [other for other in _requirements(name) if other in by_distribution and other not in wanted]
    modules = {module for name in wanted for module in by_distribution.get(name, set())}
    modules |= {factory.partition(":")[0].partition(".")[0]} - {""}
    files: list[tuple[Path, Path]] = []
    for spec in (find_spec(module) for module in sorted(modules)):
        if spec is None:
            continue
        for folder in map(Path, spec.submodule_search_locations or ()):
            files += [(path, folder.parent) for path in python_files(folder)]
        if not spec.submodule_search_locations and spec.origin:
            files.append((Path(spec.origin), Path(spec.origin).parent))
    return files


def _requirements(name: str) -> list[str]:
    return [normal_name(name) for name in requirements(name)]


def requirements(name: str) -> list[str]:
    """Return the names of what a distribution requires here without extras; what cannot be read is left out."""
    from packaging.requirements import InvalidRequirement, Requirement  # costs a command that only lists plugins 20 ms

    try:
        texts = distribution(name).requires or []
    except Exception:  # not UTF-8, or without metadata: each version of Python raises something else
        return []
    needed = []
    for text in texts:
        with suppress(InvalidRequirement):
            needed.append(Requirement(text))
    return [one.name for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
