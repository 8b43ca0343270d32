"""Discovery of plugins: methods by entry point, everything else by hooks.

A plugin that cannot be imported, or whose descriptor is wrong, becomes a :class:`BrokenPlugin` and never blocks a
command. Two distributions that offer one name are an error that names both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path

import pluggy

from anyadbench import hookspecs
from anyadbench.errors import UserError, suggest
from anyadbench.methods.descriptor import MethodDescriptor

METHODS_GROUP = "anyadbench.methods"
HOOKS_GROUP = "anyadbench"


@dataclass(frozen=True)
class MethodEntry:
    """One entry point of the group ``anyadbench.methods``, not imported."""

    name: str
    distribution: str
    version: str
    entry_point: EntryPoint


@dataclass(frozen=True)
class BrokenPlugin:
    """A plugin that cannot be used, with the reason and what to do."""

    name: str
    distribution: str
    reason: str

    @property
    def message(self) -> str:
        """One sentence with cause and fix."""
        return f"Plugin {self.name!r} of {self.distribution} cannot be used: {self.reason}"


def _entry_points(group: str) -> Iterator[tuple[Distribution, EntryPoint]]:
    # importlib.metadata.entry_points() merges distributions by name; going through the distributions keeps both
    # sides of a conflict visible. A distribution that is found twice on the path counts once.
    seen: set[str] = set()
    for distribution in distributions():
        name = distribution.metadata["Name"]
        if not name or name in seen:
            continue
        seen.add(name)
        for entry_point in distribution.entry_points:
            if entry_point.group == group:
                yield distribution, entry_point


@cache
def method_entries() -> tuple[MethodEntry, ...]:
    """Return every method entry point, sorted by name and distribution; imports nothing."""
    entries = [
        MethodEntry(entry_point.name, distribution.metadata["Name"], distribution.version, entry_point)
        for distribution, entry_point in _entry_points(METHODS_GROUP)
    ]
    return tuple(sorted(entries, key=lambda entry: (entry.name, entry.distribution)))


def _load(entry: MethodEntry) -> MethodDescriptor | BrokenPlugin:
    fix = f"mend or update it, or remove it with 'pip uninstall {entry.distribution}'."
    try:
        descriptor = entry.entry_point.load()
    except Exception as error:  # whatever a foreign module raises at import must not reach the command
        cause = " ".join(str(error).split())[:300]
        return BrokenPlugin(entry.name, entry.distribution, f"{type(error).__name__}: {cause}; {fix}")
    if not isinstance(descriptor, MethodDescriptor):
        reason = f"{entry.entry_point.value} is a {type(descriptor).__name__}, not a MethodDescriptor; {fix}"
        return BrokenPlugin(entry.name, entry.distribution, reason)
    if descriptor.name != entry.name:
        reason = f"its descriptor is called {descriptor.name!r}; entry point and descriptor must have one name; {fix}"
        return BrokenPlugin(entry.name, entry.distribution, reason)
    return descriptor


def _conflict(name: str, owners: list[MethodEntry]) -> BrokenPlugin:
    names = " and ".join(sorted(entry.distribution for entry in owners))
    reason = f"both {names} offer a method of this name; uninstall one of them."
    return BrokenPlugin(name, names, reason)


def scan_methods() -> list[MethodDescriptor | BrokenPlugin]:
    """Return each method's descriptor, or what is wrong with it, by name."""
    found: list[MethodDescriptor | BrokenPlugin] = []
    for name in sorted({entry.name for entry in method_entries()}):
        owners = [entry for entry in method_entries() if entry.name == name]
        found.append(_load(owners[0]) if len(owners) == 1 else _conflict(name, owners))
    return found


def load_methods() -> dict[str, MethodDescriptor]:
    """Return every usable method's descriptor by name."""
    return {item.name: item for item in scan_methods() if isinstance(item, MethodDescriptor)}


def find_method(name: str) -> tuple[MethodDescriptor, MethodEntry]:
    """Return one method's descriptor and where it comes from; only its own plugin is imported.

    Raises:
        UserError: If no plugin offers it, two do, or its plugin is broken.
    """
    owners = [entry for entry in method_entries() if entry.name == name]
    if not owners:
        known = sorted({entry.name for entry in method_entries()})
        guess = name.partition(":")[0].partition("-")[0]
        raise UserError(
            f"No installed plugin offers the method {name!r}.{suggest(name, known)} Methods come in distributions of "
            f"their own: 'pip install anyadbench-{guess}' or 'pip install anyadbench-baselines' adds this project's."
        )
    loaded = _conflict(name, owners) if len(owners) > 1 else _load(owners[0])
    if isinstance(loaded, BrokenPlugin):
        raise UserError(loaded.message)
    return loaded, owners[0]


@cache
def hooks() -> tuple[pluggy.PluginManager, tuple[BrokenPlugin, ...]]:
    """Return the plugin manager with every hook plugin loaded, and the plugins that could not be."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    broken: list[BrokenPlugin] = []
    owners: dict[str, str] = {}
    for distribution, entry_point in _entry_points(HOOKS_GROUP):
        owner = distribution.metadata["Name"]
        if entry_point.name in owners:
            broken.append(
                BrokenPlugin(
                    entry_point.name,
                    owner,
                    f"{owners[entry_point.name]} and {owner} both offer a plugin of this name; uninstall one of them.",
                )
            )
            continue
        owners[entry_point.name] = owner
        plugin: object | None = None
        try:
            plugin = entry_point.load()
            manager.register(plugin, name=entry_point.name)
            manager.check_pending()
        except Exception as error:  # see _load
            if plugin is not None and manager.is_registered(plugin):
                manager.unregister(plugin)
            cause = " ".join(str(error).split())[:300]
            fix = f"mend or update it, or remove it with 'pip uninstall {owner}'."
            broken.append(BrokenPlugin(entry_point.name, owner, f"{type(error).__name__}: {cause}; {fix}"))
    return manager, tuple(broken)


def code_hash(entry: MethodEntry) -> str:
    """Return the sha256 over the Python files of a method's distribution and of the plugins that it builds on.

    The files of every required distribution that offers methods itself are included, since a change there changes
    this method's numbers.
    """
    import hashlib

    digest = hashlib.sha256()
    for root in _package_roots(entry):
        for path in sorted(root.rglob("*.py")):
            digest.update(path.relative_to(root.parent).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _package_roots(entry: MethodEntry) -> list[Path]:
    from importlib.util import find_spec

    by_distribution: dict[str, set[str]] = {}
    for other in method_entries():
        module = other.entry_point.value.partition(":")[0].partition(".")[0]
        by_distribution.setdefault(other.distribution.lower(), set()).add(module)
    wanted = [entry.distribution.lower()]
    for name in wanted:
        for requirement in _requirements(name):
            if requirement in by_distribution and requirement not in wanted:
                wanted.append(requirement)
    modules = sorted({module for name in wanted for module in by_distribution.get(name, set())})
    specs = [find_spec(module) for module in modules]
    return [Path(location) for spec in specs if spec for location in spec.submodule_search_locations or ()]


def _requirements(name: str) -> list[str]:
    import re
    from importlib.metadata import requires

    texts = requires(name) or []
    matches = [re.match(r"[A-Za-z0-9._-]+", text) for text in texts if "extra ==" not in text]
    return [match.group().lower() for match in matches if match]
