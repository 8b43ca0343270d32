"""Tree readers: how the files of one kind of tree become scans, and scans become slices.

A layout names its reader. NIfTI and PNG trees have one each; a plugin adds its own with the layout that uses it.
"""

from __future__ import annotations

import abc
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from anyadbench.data.trees.files import Match, Person, ScanFiles, Survey
from anyadbench.data.trees.grouping import one_file_each
from anyadbench.data.trees.layouts import READERS
from anyadbench.data.trees.problems import Problem
from anyadbench.errors import UserError

if TYPE_CHECKING:
    from anyadbench.data.trees.layouts import Layout
    from anyadbench.data.trees.scan_slices import Part


class ScanContent(Protocol):
    """A scan as its reader holds it in memory."""

    @property
    def hashes(self) -> Mapping[str, str]:
        """Hash of each image by a name for it; scans that share a hash share an image."""


Content = TypeVar("Content", bound=ScanContent)


class TreeReader(abc.ABC, Generic[Content]):
    """Reads the trees of one kind. Scans are read in several threads at once, so a reader keeps no state.

    Attributes:
        name: Part of a store's identity where a layout holds the reader itself.
        suffixes: Ends of the names of its files, in lower case.
        version: Part of a store's identity; raise it whenever the same files lead to another store.
        for_prediction: Whether each sequence of a scan is one file that ``anyadbench predict`` reads.
    """

    name: str
    suffixes: tuple[str, ...]
    version: int = 0
    for_prediction: bool = False

    def stem(self, path: str) -> str | None:
        """Return a path without its suffix, or ``None`` if the reader does not take such files."""
        fitting = [suffix for suffix in self.suffixes if path.lower().endswith(suffix)]
        return path[: -max(map(len, fitting))] if fitting else None

    def find(self, matches: Sequence[Match], layout: Layout, root: Path) -> Survey:
        """Sort files into scans, and report what their names and the tree itself have wrong.

        The default is for trees with one file for each sequence of a scan and one for its segmentation.

        Args:
            matches: The files that match the layout, in the order of their paths.
            layout: The layout.
            root: Source folder.
        """
        return one_file_each(matches, layout, root, self.people(root, layout))

    def people(self, root: Path, layout: Layout) -> Mapping[str, Person]:
        """Return what tables of the tree say about its subjects, by subject; by default nothing.

        A name's group ``site`` and the layout's ``healthy_subjects`` count without it.

        Args:
            root: Source folder.
            layout: The layout.
        """
        return {}

    @abc.abstractmethod
    def read_scan(self, files: ScanFiles, layout: Layout) -> tuple[Content | None, list[Problem]]:
        """Read and check one scan.

        Returns:
            The scan, or ``None`` if a problem excludes it; and every problem found.
        """

    @abc.abstractmethod
    def cut(self, content: Content, layout: Layout) -> Part:
        """Return the slices of a scan without errors, for the store."""


def reader_of(layout: Layout) -> TreeReader[Any]:
    """Return the reader of a layout.

    Raises:
        UserError: If it cannot be imported, or is not a ``TreeReader``.
    """
    named = layout.reader
    if not isinstance(named, str):
        return _checked(named, repr(named), layout)
    module, _, attribute = READERS.get(named, named).partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # a module of a plugin may raise anything
        cause = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise UserError(
            f"The tree reader {named!r} of the data set {layout.name!r} cannot be loaded ({cause}); install or fix the "
            "plugin that adds it."
        ) from error
    return _checked(found, repr(named), layout)


def _checked(found: object, named: str, layout: Layout) -> TreeReader[Any]:
    if not isinstance(found, TreeReader):
        raise UserError(
            f"The tree reader {named} of the data set {layout.name!r} is a {type(found).__name__}, not an instance of "
            "anyadbench.api.TreeReader; fix the plugin that adds it."
        )
    return found
