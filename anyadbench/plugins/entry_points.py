"""Entry points of installed distributions, read without importing any of them.

Metadata of a distribution that offers nothing here is never read, and what a foreign one gets wrong never matters: it
may be in another encoding, without a name, empty, or missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint, distributions

METHODS_GROUP = "anyadbench.methods"
HOOKS_GROUP = "anyadbench"

_STEM = re.compile(r"(?P<name>.+?)(-(?P<version>\d[^-]*)(-py\d.*)?)?\.(dist|egg)-info")


@dataclass(frozen=True)
class BrokenPlugin:
    """A plugin that cannot be used, with the reason and the fix."""

    name: str
    distribution: str
    reason: str

    @property
    def message(self) -> str:
        """One sentence with cause and fix."""
        return f"Plugin {self.name!r} of {self.distribution} cannot be used: {self.reason}"


@dataclass(frozen=True)
class Offer:
    """An entry point, not imported, and the distribution that offers it."""

    distribution: str
    version: str
    entry_point: EntryPoint


def entry_points(group: str) -> Iterator[Offer | BrokenPlugin]:
    """Yield every entry point of a group with its distribution, and each line that is none."""
    # importlib.metadata.entry_points() merges distributions by name; iterating over the distributions keeps both
    # sides of a conflict visible. A distribution that is found twice on the path, however spelled, counts once.
    seen: set[str] = set()
    for distribution in _installed():
        lines = list(_lines(_text(distribution), group))
        name, version = facts(distribution) if lines else (_folder_facts(distribution)[0], "")
        if not name or normal_name(name) in seen:
            continue
        seen.add(normal_name(name))
        for key, value in lines:
            if value:
                yield Offer(name, version, EntryPoint(key, value, group))
            else:
                reason = f"its entry_points.txt has the line {key!r}, which is no 'NAME = MODULE:OBJECT'; reinstall it."
                yield BrokenPlugin(name, name, reason)


def facts(distribution: Distribution) -> tuple[str, str]:
    """Return name and version of a distribution: from its metadata, or from the name of its folder."""
    name, version = _folder_facts(distribution)
    try:
        metadata = distribution.metadata
        return str(metadata["Name"] or name), str(metadata["Version"] or version)
    except Exception:  # not UTF-8, without a name, or not there: each version of Python raises something else
        return name, version


def _folder_facts(distribution: Distribution) -> tuple[str, str]:
    """Return name and version from the name of a distribution's folder, empty where it has none."""
    folder = getattr(getattr(distribution, "_path", None), "name", "")
    found = _STEM.fullmatch(folder)
    return (found["name"], found["version"] or "") if found else ("", "")


def _installed() -> Iterator[Distribution]:
    found = iter(distributions())
    while True:
        try:
            yield next(found)
        except StopIteration:
            return
        except Exception:  # a finder that another package installed; it is not asked again
            return


def _text(distribution: Distribution) -> str:
    """Return the text of a distribution's entry points, empty if there is none that can be read."""
    try:
        return distribution.read_text("entry_points.txt") or ""
    except UnicodeDecodeError as error:
        return bytes(error.object).decode("latin-1")
    except Exception:  # a foreign finder may raise anything
        return ""


def _lines(text: str, group: str) -> Iterator[tuple[str, str]]:
    """Yield name and value of each entry point of a group; a line without a value is a name alone."""
    section = ""
    for line in (line.strip() for line in text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1].strip()
        elif line and section == group and not line.startswith(("#", ";")):
            name, _, value = line.partition("=")
            yield (name.strip(), value.strip()) if name.strip() and value.strip() else (line, "")


def normal_name(name: str) -> str:
    """Return a distribution's name as packaging compares it: lower case, ``-``, ``_`` and ``.`` alike (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
