"""Options that several commands share, and the reading of their values."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from anyadbench.errors import UserError

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
Option = Callable[[Decorated], Decorated]


class UserPath(click.Path):
    """A path in which ``~`` is the home folder, also where no shell replaces it: after ``=``, or in a variable."""

    def __init__(self, **more: Any) -> None:
        super().__init__(path_type=Path, **more)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path with its home folder; an unknown user's ``~name`` stays as it is."""
        return super().convert(os.path.expanduser(value), param, ctx)


class Finite(click.FloatRange):
    """A finite number in a range: click's own type takes ``nan`` for any range, and ``inf`` for an open one."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number; give one such as 0.5.", param, ctx)
        return number


PATH = UserPath()
SEED = click.IntRange(0)
"""A run's seed."""

THREADS = click.IntRange(1, 4096)
"""CPU threads of one process; far more than any machine has would only fail later."""

PROCESSES = click.IntRange(1, 10_000)
"""Processes at once, likewise."""
RUNS = Path("runs")
"""Folder of runs where none is given."""


def json_option(what: str = "") -> Option:
    """Return ``--json``; ``what`` says what is printed."""
    return click.option("--json", "as_json", is_flag=True, help=f"Print {what + ' as ' if what else ''}JSON.")


def runs_option(what: str = "Folder that 'anyadbench run' wrote.", *, default: Path | None = RUNS) -> Option:
    """Return ``--runs``; a ``default`` of ``None`` lets a subcommand see whether it was given."""
    shown = "" if default is not None else " runs by default."
    return click.option("--runs", type=PATH, default=default, show_default=default is not None, help=what + shown)


cell_option: Option = click.option("--cell", required=True, type=PATH, help="Folder of a finished cell.")

protocol_option: Option = click.option(
    "--protocol", required=True, help="Name of a protocol, or a path that ends in .toml."
)

data_option: Option = click.option(
    "--data", multiple=True, metavar="[NAME=]DIR", help="Folder of the data set, or NAME=DIR for each of several."
)

device_option: Option = click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True
)

keep_maps_option: Option = click.option(
    "--keep-maps", type=click.Choice(["none", "sample", "all"]), default="sample", show_default=True
)

controls_option: Option = click.option(
    "--controls/--no-controls",
    default=True,
    show_default=True,
    help="Also score the untrained controls, brain mask and brightness.",
)

_LAUNCHER: tuple[Option, ...] = (
    click.option(
        "--launcher", default="local", show_default=True, help="local, shell, slurm, or a plugin's, such as ray."
    ),
    click.option("--launcher-option", multiple=True, metavar="NAME=VALUE", help="Launcher option; may be repeated."),
    click.option(
        "--slots", type=click.IntRange(0, 10_000), default=0, help="Cells run at once; by default one per GPU, or one."
    ),
)


def launcher_options(command: Decorated) -> Decorated:
    """Add ``--launcher``, ``--launcher-option`` and ``--slots``."""
    for option in reversed(_LAUNCHER):
        command = option(command)
    return command


def parse_settings(given: Sequence[str]) -> dict[str, str]:
    """Read ``NAME=VALUE`` settings of a launcher.

    Raises:
        UserError: If a setting has another form.
    """
    parsed = {}
    for item in given:
        name, separator, value = item.partition("=")
        if not (separator and name.strip()):
            raise UserError(f"--launcher-option {item!r} is not of the form NAME=VALUE, e.g. partition=gpu.")
        parsed[name.strip()] = value.strip()
    return parsed


LONGEST = 10 * 365 * 86400.0
"""Longest duration in seconds; more digits would be infinite."""


def parse_duration(option: str, text: str) -> float:
    """Return a duration such as ``90``, ``90s``, ``30m`` or ``2h`` in seconds.

    Raises:
        UserError: If the text is not a duration, or longer than ten years.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip().lower())
    if match is None:
        raise UserError(f"{option} {text!r} is not a duration; give seconds, or e.g. 90s, 30m or 2h.")
    seconds = float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]
    if seconds > LONGEST:
        raise UserError(f"{option} {text!r} is longer than ten years; give a shorter time, e.g. 2h.")
    return seconds


def extra_files() -> tuple[Path, ...]:
    """Return the protocol files that plugins add."""
    from anyadbench.plugins import collect

    return tuple(path for paths in collect("anyadbench_protocols")[0] for path in paths)
