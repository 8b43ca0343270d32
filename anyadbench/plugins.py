"""Discovery of plugins: methods by entry point, everything else by hooks.

A plugin that cannot be imported, or whose descriptor is wrong, becomes a ``BrokenPlugin`` and never blocks a
command. Two distributions that offer one name are an error that names both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

from anyadbench import hookspecs
from anyadbench.errors import UserError, suggest
from anyadbench.hashing import python_files, sha256_code
from anyadbench.methods.descriptor import MethodDescriptor

if TYPE_CHECKING:
    from anyadbench.data.layouts import Layout

METHODS_GROUP = "anyadbench.methods"
HOOKS_GROUP = "anyadbench"

_BASELINES = (
    "aeflow", "anypatchcore", "dae", "dpmm", "esckdrkd", "gatingano", "inpformer", "mmrad", "pixelstats", "rd4ad",
    "recontrast", "skipts", "stfpm",
)  # fmt: skip
_HOMES = {"anyad": "anyadbench-anyad", "anomalib:": "anyadbench-anomalib"} | dict.fromkeys(
    _BASELINES, "anyadbench-baselines"
)
"""This project's own distributions by the start of a method's name, to say what to install; nothing is guessed."""


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
        raise UserError(f"No installed plugin offers the method {name!r}.{suggest(name, known)} {how_to_install(name)}")
    loaded = _conflict(name, owners) if len(owners) > 1 else _load(owners[0])
    if isinstance(loaded, BrokenPlugin):
        raise UserError(loaded.message)
    return loaded, owners[0]


def how_to_install(name: str) -> str:
    """Return a sentence on how to get a method that is not there."""
    home = next((home for start, home in _HOMES.items() if name.startswith(start)), None)
    return f"'pip install {home}' adds it." if home else "Methods come in distributions; see 'anyadbench methods'."


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


def collect(hook: str) -> tuple[list[Any], list[BrokenPlugin]]:
    """Call a hook on every plugin; return what the good ones gave, and the plugins whose call failed."""
    manager, _ = hooks()
    results: list[Any] = []
    broken: list[BrokenPlugin] = []
    for implementation in getattr(manager.hook, hook).get_hookimpls():
        try:
            results.append(implementation.function())
        except Exception as error:  # see _load
            cause = " ".join(str(error).split())[:300]
            reason = f"{hook} raised {type(error).__name__}: {cause}; mend, update or uninstall it."
            broken.append(BrokenPlugin(implementation.plugin_name, implementation.plugin_name, reason))
    return results, broken


def all_layouts() -> dict[str, Layout]:
    """Return every data-set layout by name: the built-in ones, and those of plugins."""
    from anyadbench.data.layouts import LAYOUTS

    added = [layout for layouts in collect("anyadbench_layouts")[0] for layout in layouts]
    return dict(LAYOUTS) | {layout.name: layout for layout in added if layout.name not in LAYOUTS}


def find_layout(name: str) -> Layout:
    """Return the layout of a data set.

    Raises:
        UserError: If there is none of that name.
    """
    known = all_layouts()
    if name not in known:
        raise UserError(f"Unknown data set {name!r}.{suggest(name, list(known))}")
    return known[name]


def code_hash(entry: MethodEntry, factory: str = "") -> str:
    """Return the sha256 over the Python files of a method's distribution and of the plugins that it builds on.

    The files of every required distribution that offers methods itself are included, since a change there changes
    this method's numbers; so are those of the factory's package.

    Args:
        entry: Where the method comes from.
        factory: The descriptor's factory.
    """
    return sha256_code(_code_files(entry, factory))


def _code_files(entry: MethodEntry, factory: str = "") -> list[tuple[Path, Path]]:
    from importlib.util import find_spec

    by_distribution: dict[str, set[str]] = {}
    for other in method_entries():
        module = other.entry_point.value.partition(":")[0].partition(".")[0]
        by_distribution.setdefault(_normal(other.distribution), set()).add(module)
    wanted = [_normal(entry.distribution)]
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


def _normal(name: str) -> str:
    import re

    return re.sub(r"[-_.]+", "-", name).lower()


def _requirements(name: str) -> list[str]:
    import re
    from importlib.metadata import requires

    matches = [re.match(r"[A-Za-z0-9._-]+", text) for text in requires(name) or [] if "extra ==" not in text]
    return [_normal(match.group()) for match in matches if match]
