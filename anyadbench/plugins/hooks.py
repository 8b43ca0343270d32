"""Hook plugins: data sets, protocols, metrics, launchers and report sections.

A plugin that raises becomes a ``BrokenPlugin`` and never blocks a command.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from importlib import import_module
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any

import pluggy

from anyadbench.errors import UserError, suggest
from anyadbench.plugins import hookspecs
from anyadbench.plugins.entry_points import HOOKS_GROUP, BrokenPlugin, entry_points
from anyadbench.plugins.guard import PluginError, guarded

if TYPE_CHECKING:
    from anyadbench.data.trees.layouts import Layout


HOUSE = {"house": "anyadbench.metrics.rows.house"}
"""Modules of this distribution with hook functions, registered as those of other distributions are."""


@cache
def hooks() -> tuple[pluggy.PluginManager, tuple[BrokenPlugin, ...]]:
    """Return the plugin manager with every hook plugin loaded, and the plugins that could not be."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    broken: list[BrokenPlugin] = []
    owners: dict[str, str] = {}
    for name, module in HOUSE.items():
        owners[name] = hookspecs.PROJECT
        manager.register(import_module(module), name=name)
    for offer in entry_points(HOOKS_GROUP):
        if isinstance(offer, BrokenPlugin):
            broken.append(offer)
            continue
        owner, entry_point = offer.distribution, offer.entry_point
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
        try:
            guarded(partial(_register, manager, entry_point), f"the import of plugin {entry_point.name!r} of {owner}")
        except PluginError as error:
            if (plugin := manager.get_plugin(entry_point.name)) is not None:
                manager.unregister(plugin)
            fix = f"fix or update it, or remove it with 'pip uninstall {owner}'."
            broken.append(BrokenPlugin(entry_point.name, owner, f"{error}; {fix}"))
    return manager, tuple(broken)


def _register(manager: pluggy.PluginManager, entry_point: EntryPoint) -> None:
    manager.register(entry_point.load(), name=entry_point.name)
    manager.check_pending()


def collect(hook: str) -> tuple[list[Any], list[BrokenPlugin]]:
    """Call a hook on every plugin; return the results, and the plugins whose call failed."""
    manager, _ = hooks()
    results: list[Any] = []
    broken: list[BrokenPlugin] = []
    for implementation in getattr(manager.hook, hook).get_hookimpls():
        try:
            results.append(
                guarded(partial(_answer, implementation.function), f"{hook} of plugin {implementation.plugin_name!r}")
            )
        except PluginError as error:
            reason = f"{hook} raised {error}; fix, update or uninstall it."
            broken.append(BrokenPlugin(implementation.plugin_name, implementation.plugin_name, reason))
    return results, broken


def _answer(hook: Callable[[], Any]) -> Any:
    found = hook()
    # The answer is read here, so that a generator fails here too.
    return found if isinstance(found, (Mapping, Sequence)) else tuple(found)


def all_layouts() -> dict[str, Layout]:
    """Return every data-set layout by name: the built-in ones, and those of plugins."""
    from anyadbench.data.trees.layouts import LAYOUTS

    added = [layout for layouts in collect("anyadbench_layouts")[0] for layout in layouts]
    return dict(LAYOUTS) | {layout.name: layout for layout in added if layout.name not in LAYOUTS}


def find_layout(name: str) -> Layout:
    """Return the layout of a data set.

    Raises:
        UserError: If no data set has that name.
    """
    known = all_layouts()
    if name not in known:
        raise UserError(f"Unknown data set {name!r}.{suggest(name, list(known))}")
    return known[name]
