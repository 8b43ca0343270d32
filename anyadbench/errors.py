"""The one exception type for mistakes that the user can mend."""

from __future__ import annotations

from pathlib import Path


class UserError(Exception):
    """A mistake in what the user gave: shown as one sentence, without a traceback, with exit code 2.

    The message names the file or option, the cause and the fix.
    """


class DiskError(UserError):
    """The system refused to write a file or folder.

    Attributes:
        path: What was being written.
        cause: The system's error.
    """

    def __init__(self, sentence: str, path: Path, cause: OSError) -> None:
        super().__init__(sentence, path, cause)  # all of them, so that a worker process can hand the error on
        self.path, self.cause = path, cause

    def __str__(self) -> str:
        return str(self.args[0])


def suggest(name: str, known: list[str] | tuple[str, ...]) -> str:
    """Return ``" Did you mean 'x'?"`` for the closest known name, or the list of known names."""
    import difflib

    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f" Did you mean {close[0]!r}?"
    return f" Known: {', '.join(sorted(known))}." if known else ""
