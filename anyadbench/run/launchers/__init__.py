"""Launchers: how jobs become processes. Each takes jobs and options and returns one outcome per job."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anyadbench.errors import UserError, suggest
from anyadbench.run.jobs import Job, Outcome

if TYPE_CHECKING:
    from anyadbench.run.display import Display

BUILTIN = {"local": "anyadbench.run.launchers.local:launch"}


@dataclass(frozen=True)
class LaunchOptions:
    """What a launcher is told.

    Attributes:
        display: Where progress goes.
        slots: Cells that may run at once; 0 for one per GPU, or one on the CPU.
    """

    display: Display
    slots: int = 0


Launcher = Callable[[Sequence[Job], LaunchOptions], list[Outcome]]


def find_launcher(name: str) -> Launcher:
    """Return a launcher by name, built in or from a plugin.

    Raises:
        UserError: If there is none of that name.
    """
    from importlib import import_module

    from anyadbench.plugins import collect

    known = dict(BUILTIN)
    for added in collect("anyadbench_launchers")[0]:
        known = {**added, **known}
    if name not in known:
        raise UserError(f"Unknown launcher {name!r}.{suggest(name, list(known))}")
    module, _, attribute = known[name].partition(":")
    launcher: Launcher = getattr(import_module(module), attribute)
    return launcher
