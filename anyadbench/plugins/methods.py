"""Methods by entry point: listed without an import, loaded one by one.

A plugin that cannot be imported, or whose descriptor is wrong, becomes a ``BrokenPlugin`` and never blocks a
command. Two distributions that offer the same name are an error that names both.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint

from anyadbench.errors import UserError, close_names, suggest
from anyadbench.methods.descriptor import MethodDescriptor
from anyadbench.plugins.entry_points import METHODS_GROUP, BrokenPlugin, entry_points, normal_name
from anyadbench.plugins.guard import PluginError, guarded
from anyadbench.version import __version__

HARNESS = "anyadbench"
"""The harness's own distribution."""
CONTROLS = (("control:brain", "BRAIN"), ("control:intensity", "INTENSITY"))
"""Names of the controls, and of their descriptors."""

_BASELINES = (
    "aeflow", "anypatchcore", "dae", "dpmm", "esckdrkd", "gatingano", "inpformer", "mmrad", "pixelstats", "rd4ad",
    "recontrast", "skipts", "stfpm",
)  # fmt: skip
_ANYAD = ("anyad", "anyad-intended", "anyad-released")
_RIVALS = ("ddpm", "ddpm-patched", "unimmad", "unimmad-moddrop", "unitransad", "unitransad-flair")
_HOMES = (
    dict.fromkeys(_BASELINES, "anyadbench-baselines")
    | dict.fromkeys(_ANYAD, "anyadbench-anyad")
    | dict.fromkeys(_RIVALS, "anyadbench-rivals")
)
"""This project's own distributions by the name of each method in them, to say what to install; nothing is guessed."""
_NAMESPACES = {"anomalib:": "anyadbench-anomalib"}
"""Distributions by what the names of all their methods begin with."""


@dataclass(frozen=True)
class MethodEntry:
    """One entry point of the group ``anyadbench.methods``, not imported."""

    name: str
    distribution: str
    version: str
    entry_point: EntryPoint


@cache
def method_entries() -> tuple[MethodEntry, ...]:
    """Return the controls and every method entry point, sorted by name and distribution; imports nothing."""
    entries = [*_controls()]
    entries += [
        MethodEntry(offer.entry_point.name, offer.distribution, offer.version, offer.entry_point)
        for offer in entry_points(METHODS_GROUP)
        if not isinstance(offer, BrokenPlugin)
    ]
    return tuple(sorted(entries, key=lambda entry: (entry.name, entry.distribution)))


def _controls() -> list[MethodEntry]:
    """Return entries of the harness's own controls, which are there whatever is installed."""
    points = [EntryPoint(name, f"anyadbench.controls.descriptors:{place}", METHODS_GROUP) for name, place in CONTROLS]
    return [MethodEntry(point.name, HARNESS, __version__, point) for point in points]


def _load(entry: MethodEntry) -> MethodDescriptor | BrokenPlugin:
    fix = f"fix or update it, or remove it with 'pip uninstall {entry.distribution}'."
    try:
        descriptor = guarded(entry.entry_point.load, f"the import of plugin {entry.name!r} of {entry.distribution}")
    except PluginError as error:
        return BrokenPlugin(entry.name, entry.distribution, f"{error}; {fix}")
    if not isinstance(descriptor, MethodDescriptor):
        reason = f"{entry.entry_point.value} is a {type(descriptor).__name__}, not a MethodDescriptor; {fix}"
        return BrokenPlugin(entry.name, entry.distribution, reason)
    if descriptor.name != entry.name:
        reason = f"its descriptor is called {descriptor.name!r}; entry point and descriptor need the same name; {fix}"
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
    return found + [line for line in entry_points(METHODS_GROUP) if isinstance(line, BrokenPlugin)]


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
        raise UserError(f"No installed plugin offers the method {name!r}.{_advice(name)}")
    loaded = _conflict(name, owners) if len(owners) > 1 else _load(owners[0])
    if isinstance(loaded, BrokenPlugin):
        raise UserError(loaded.message)
    return loaded, owners[0]


def how_to_install(name: str) -> str:
    """Return a sentence on how to get a method, or the methods of a pattern, that is not there."""
    home = _home(name)
    return f"'pip install {home}' adds it." if home else "Methods come in distributions; see 'anyadbench methods'."


def _home(name: str) -> str | None:
    """Return the distribution of this project that has a method and is not installed."""
    home = _HOMES.get(name) or next((home for start, home in _NAMESPACES.items() if name.startswith(start)), None)
    installed = {normal_name(entry.distribution) for entry in method_entries()}
    return None if home in installed else home


def _advice(name: str) -> str:
    """Return the advice after the name of an unknown method: what was probably meant, or how to get it."""
    installed = sorted({entry.name for entry in method_entries()})
    names = sorted({*installed, *_HOMES})
    if _home(name) is None and close_names(name, names):
        return suggest(name, names)
    listed = f" Known: {', '.join(installed)}." if installed else ""
    return f"{listed} {how_to_install(name)}"
