"""Reading a whole tree to find every problem with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from anyadbench.data.store.build import each
from anyadbench.data.store.store import SliceStore
from anyadbench.data.trees.duplicates import find_duplicates, shared_images
from anyadbench.data.trees.files import ScanFiles
from anyadbench.data.trees.layouts import Layout
from anyadbench.data.trees.problems import Problem
from anyadbench.data.trees.reader import reader_of
from anyadbench.data.trees.survey import survey
from anyadbench.progress import Progress


def verify(
    source: str | Path,
    layout: Layout,
    workers: int = 2,
    progress: Progress | None = None,
    against: Sequence[SliceStore] = (),
) -> list[Problem]:
    """Read every scan of a tree and return every problem, errors first and then by file.

    Args:
        source: Folder with the data set.
        layout: How it lies on disk.
        workers: Number of scans read at a time.
        progress: Called after each scan.
        against: Stores of other data sets; images that they share with the tree are reported.

    Raises:
        UserError: If the folder is missing, holds no scan of the layout, or holds two releases.
    """
    found = survey(Path(source), layout)
    read = each(found.scans, lambda scan: _look(scan, layout), workers, progress, f"reading {layout.name}")
    problems = list(found.problems)
    hashes = {}
    for scan, (own, shas) in zip(found.scans, read, strict=True):
        problems += own
        if shas:
            hashes[scan.scan] = (scan.subject, shas, scan.relative(scan.paths[0]))
    problems += find_duplicates(hashes)
    for store in against:
        problems += shared_images({scan: (own, file) for scan, (_, own, file) in hashes.items()}, store)
    return sorted(problems, key=lambda problem: (problem.severity, problem))


def _look(files: ScanFiles, layout: Layout) -> tuple[list[Problem], dict[str, str]]:
    """Return a scan's problems and, if it is usable, the hashes of its arrays; the arrays are not kept."""
    scan, problems = reader_of(layout).read_scan(files, layout)
    return problems, dict(scan.hashes) if scan else {}
