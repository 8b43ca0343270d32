"""Where in a plugin an error comes from."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from functools import cache
from pathlib import PurePath
from types import TracebackType

from anyadbench.plugins.entry_points import HOOKS_GROUP, METHODS_GROUP, BrokenPlugin, entry_points


def blame(error: BaseException, *modules: str) -> str:
    """Return ``FILE:LINE in FUNCTION: ERROR`` for the last frame inside a plugin; empty if no plugin is involved.

    Args:
        error: The error.
        modules: Modules that count as a plugin besides those of installed plugins, such as a factory's.
    """
    place = plugin_place(error, *modules)
    return f"{place}: {described(error)}" if place else ""


def described(error: BaseException) -> str:
    """Return type and text of an error as one line."""
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def plugin_place(error: BaseException, *modules: str) -> str:
    """Return ``FILE:LINE in FUNCTION`` of the last frame inside a plugin; empty if there is none.

    An error that was raised from another one is traced to that.
    """
    tops = ({_top(module) for module in modules} | _installed()) - {"", "anyadbench"}
    seen: BaseException | None = error
    while seen is not None:
        found = ""
        for module, file, line, function in _frames(seen.__traceback__):
            top = _top(module)
            if top in tops:
                found = f"{_short(file, top)}:{line} in {function}"
        if found:
            return found
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return ""


@cache  # a metric may raise for each of thousands of rows
def _installed() -> frozenset[str]:
    """Return the packages of installed plugins."""
    offers = [offer for group in (METHODS_GROUP, HOOKS_GROUP) for offer in entry_points(group)]
    return frozenset(_top(offer.entry_point.value) for offer in offers if not isinstance(offer, BrokenPlugin))


def _top(module: str) -> str:
    return module.partition(":")[0].partition(".")[0]


def _frames(trace: TracebackType | None) -> Iterator[tuple[str, str, int, str]]:
    while trace is not None:
        frame = trace.tb_frame
        yield str(frame.f_globals.get("__name__", "")), frame.f_code.co_filename, trace.tb_lineno, frame.f_code.co_name
        trace = trace.tb_next


def _short(file: str, top: str) -> str:
    """Return a file from its package's folder on."""
    parts = PurePath(file).parts
    start = max((i for i, part in enumerate(parts) if part == top), default=len(parts) - 1)
    return "/".join(parts[start:])


def whole(error: BaseException) -> str:
    """Return an error's traceback."""
    return "".join(traceback.format_exception(error))
