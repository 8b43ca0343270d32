"""The one exception type for mistakes that the user can fix."""

from __future__ import annotations


class UserError(Exception):
    """A mistake in the user's input: shown as one sentence, without a traceback, with exit code 2.

    The message names the file or option, the cause and the fix.
    """


def suggest(name: str, known: list[str] | tuple[str, ...]) -> str:
    """Return ``" Did you mean 'x'?"`` for the closest known name, or the list of known names."""
    if close := closest(name, known):
        return f" Did you mean {close!r}?"
    return f" Known: {', '.join(sorted(known))}." if known else ""


def closest(name: str, known: list[str] | tuple[str, ...]) -> str:
    """Return the known name that a name is probably a misspelling of; empty if none is close."""
    import difflib

    return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=0.6)), "")
