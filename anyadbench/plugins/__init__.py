"""Discovery of plugins: methods by entry point, everything else by hooks, and the whole hook contract."""

from __future__ import annotations

from anyadbench.plugins.code_hash import code_hash
from anyadbench.plugins.entry_points import BrokenPlugin
from anyadbench.plugins.hooks import all_layouts, collect, find_layout, hooks
from anyadbench.plugins.methods import (
    MethodEntry,
    find_method,
    how_to_install,
    load_methods,
    method_entries,
    scan_methods,
)

__all__ = [
    "BrokenPlugin",
    "MethodEntry",
    "all_layouts",
    "code_hash",
    "collect",
    "find_layout",
    "find_method",
    "hooks",
    "how_to_install",
    "load_methods",
    "method_entries",
    "scan_methods",
]
