"""The whole hook contract of the ``anyadbench`` entry-point group.

Methods have their own group, ``anyadbench.methods``, whose entry points name a descriptor. A distribution can add
everything else through the hooks below. No hook runs inside a training loop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from anyadbench.boards.aggregate.report_section import ReportSection
    from anyadbench.data.trees.layouts import Layout
    from anyadbench.metrics.rows.plugin_metrics import AddedMetric

PROJECT = "anyadbench"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def anyadbench_layouts() -> Sequence[Layout]:
    """Return data-set layouts to add to the table of known data sets; each may bring a tree reader of its own."""
    return ()


@hookspec
def anyadbench_protocols() -> Sequence[Path]:
    """Return paths of protocol files (TOML) to add to the built-in protocols."""
    return ()


@hookspec
def anyadbench_launchers() -> Mapping[str, str]:
    """Return launchers as ``{name: "package.module:callable"}``.

    The callable takes the list of ``anyadbench.cells.job.Job`` and the launch options, and returns one
    ``anyadbench.cells.job.Outcome`` per job in the same order.
    """
    return {}


@hookspec
def anyadbench_metrics() -> Sequence[AddedMetric]:
    """Return metrics to add to every board, computed from what the cells store."""
    return ()


@hookspec
def anyadbench_report_sections() -> Sequence[ReportSection]:
    """Return sections to add to the HTML page of every board."""
    return ()
