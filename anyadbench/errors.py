"""The one exception type for mistakes that the user can fix."""

from __future__ import annotations

from pathlib import Path


class UserError(Exception):
    """A mistake in the user's input: shown as one sentence, without a traceback, with exit code 2.

    The message names the file or option, the cause and the fix.
    """


class PluginError(UserError):
    """A plugin raised an error: shown as one sentence with the place in the plugin, with exit code 1."""


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


MOST_SUGGESTED = 8
"""Names that a suggestion lists; of more, the first ones."""


def suggest(name: str, known: list[str] | tuple[str, ...]) -> str:
    """Return a question with the close known names, such as ``" Did you mean 'x'?"``, or the list of known names."""
    close = close_names(name, known)
    if len(close) == 1:
        return f" Did you mean {close[0]!r}?"
    if len(close) > MOST_SUGGESTED:
        return f" Did you mean {', '.join(close[:MOST_SUGGESTED])}, …?"
    if close:
        return f" Did you mean {', '.join(close[:-1])} or {close[-1]}?"
    return f" Known: {', '.join(sorted(known))}." if known else ""


def close_names(name: str, known: list[str] | tuple[str, ...]) -> list[str]:
    """Return the known names that a misspelt name may mean, in the order of ``known``.

    Names that begin with it come first; without any, the ones that are most alike.
    """
    from difflib import SequenceMatcher

    begun = [other for other in known if name and other.lower().startswith(name.lower())]
    if begun:
        return list(dict.fromkeys(begun))
    likeness = {other: SequenceMatcher(None, other, name).ratio() for other in known}
    most = max(likeness.values(), default=0.0)
    return [other for other, ratio in likeness.items() if ratio == most] if most >= 0.6 else []
