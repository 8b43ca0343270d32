"""Detection of scans that share an image, which could put one patient on both sides of a split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from anyadbench.data.trees.problems import Problem

if TYPE_CHECKING:
    from anyadbench.data.store.store import SliceStore


def find_duplicates(scans: Mapping[str, tuple[str, Mapping[str, str], str]]) -> list[Problem]:
    """Compare scans by the hashes of their arrays.

    If two subjects share an image, the first scan by name stays and the other is left out. Within one subject it is a
    warning, since no split separates them.

    Args:
        scans: For each scan its subject, the hash of each sequence, and a file to name.
    """
    seen: dict[str, str] = {}
    problems = []
    for scan in sorted(scans):
        subject, hashes, file = scans[scan]
        same = sorted({seen[sha] for sha in hashes.values() if sha in seen})
        foreign = [other for other in same if scans[other][0] != subject]
        if foreign:
            names = [name for name, sha in hashes.items() if seen.get(sha) == foreign[0]]
            cause = f"belongs to {scan}, whose {', '.join(names)} is the same image as in {foreign[0]}, another patient"
            fix = "remove one of the two scans; the second is left out"
            problems.append(Problem(file, cause, fix, scan=scan))
            continue
        if same:
            cause = f"belongs to {scan}, which shares an image with {same[0]} of the same patient"
            problems.append(Problem(file, cause, "check whether a time point was copied twice", "warning", scan))
        for sha in hashes.values():
            seen.setdefault(sha, scan)
    return problems


def shared_images(scans: Mapping[str, tuple[Mapping[str, str], str]], store: SliceStore) -> list[Problem]:
    """Report the scans that share an image with a store of another data set.

    Args:
        scans: For each scan the hash of each sequence, and a file to name.
        store: Store of the other data set.
    """
    theirs: dict[str, str] = {}
    for name in store.sequences:
        for scan, sha in store.scans[f"sha_{name}"].items():
            theirs.setdefault(sha, str(scan))
    problems = []
    for scan, (hashes, file) in sorted(scans.items()):
        same = [name for name, sha in hashes.items() if sha in theirs]
        if same:
            cause = f"belongs to {scan}, whose {', '.join(same)} is the same image as in {theirs[hashes[same[0]]]}"
            cause += f" of {store.dataset} ({store.path})"
            problems.append(Problem(file, cause, "do not train on one set and test on the other", "warning", scan))
    return problems
