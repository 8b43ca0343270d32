"""Hook plugins: data sets, protocols, metrics, launchers and report sections.

A plugin that raises becomes a ``BrokenPlugin`` and never blocks a command.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import pluggy

from anyadbench.errors import UserError, suggest
from anyadbench.plugins import hookspecs
from anyadbench.plugins.entry_points import HOOKS_GROUP, BrokenPlugin, entry_points

if TYPE_CHECKING:
    from anyadbench.data.trees.layouts import Layout


@cache
def hooks() -> tuple[pluggy.PluginManager, tuple[BrokenPlugin, ...]]:
    """Return the plugin manager with every hook plugin loaded, and the plugins that could not be."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    broken: list[BrokenPlugin] = []
    owners: dict[str, str] = {}
    for distribution, entry_point in entry_points(HOOKS_GROUP):
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
        except Exception as error:  # whatever a plugin raises at import must not reach the command
            if plugin is not None and manager.is_registered(plugin):
                manager.unregister(plugin)
            cause = " ".join(str(error).split())[:300]
            fix = f"fix or update it, or remove it with 'pip uninstall {owner}'."
            broken.append(BrokenPlugin(entry_point.name, owner, f"{type(error).__name__}: {cause}; {fix}"))
    return manager, tuple(broken)


def collect(hook: str) -> tuple[list[Any], list[BrokenPlugin]]:
    """Call a hook on every plugin; return the results, and the plugins whose call failed."""
    manager, _ = hooks()
    results: list[Any] = []
    broken: list[BrokenPlugin] = []
    for implementation in getattr(manager.hook, hook).get_hookimpls():
        try:
            results.append(implementation.function())
        except Exception as error:  # likewise
            cause = " ".join(str(error).split())[:300]
            reason = f"{hook} raised {type(error).__name__}: {cause}; fix, update or uninstall it."
            broken.append(BrokenPlugin(implementation.plugin_name, implementation.plugin_name, reason))
    return results, broken


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
