"""The one exception type for mistakes that the user can fix."""

from __future__ import annotations


class UserError(Exception):
    """A mistake in the user's input: shown as one sentence, without a traceback, with exit code 2.

    The message names the file or option, the cause and the fix.
    """


def suggest(name: str, known: list[str] | tuple[str, ...]) -> str:
    """Return ``" Did you mean 'x'?"`` for the closest known name, or the list of known names."""
    import difflib

    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f" Did you mean {close[0]!r}?"
    return f" Known: {', '.join(sorted(known))}." if known else ""
