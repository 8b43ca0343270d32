"""From matched files to scans, and what the names of the files of a scan have wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from anyadbench.data.trees.files import Match, Person, ScanFiles, Survey
from anyadbench.data.trees.layouts import FOUR_D, SEGMENTATION, Layout
from anyadbench.data.trees.problems import Problem
from anyadbench.names import readable
from anyadbench.sequences import SEQUENCES


@dataclass(frozen=True)
class ScanMatches:
    """The matched files of one scan, named as in the first of them."""

    scan: str
    subject: str
    timepoint: str
    matches: list[Match] = field(default_factory=list)

    @property
    def files(self) -> dict[str, list[Path]]:
        """Files by meaning, sorted."""
        found: dict[str, list[Path]] = {}
        for match in self.matches:
            found.setdefault(match.meaning, []).append(match.path)
        return {meaning: sorted(paths) for meaning, paths in found.items()}


def group_by_scan(matches: Iterable[Match]) -> list[ScanMatches]:
    """Return the scans of matched files, sorted by name; case, ``_`` and ``-`` make no difference to a name."""
    found: dict[str, ScanMatches] = {}
    for match in matches:
        # A name may consist of several folders, but it names files, too.
        scan, subject = (readable(str(match.groups[part])).replace("/", "_") for part in ("scan", "subject"))
        key = scan.lower().replace("-", "_")
        item = found.setdefault(key, ScanMatches(scan, subject, readable(match.groups.get("time") or "")))
        item.matches.append(match)
    return sorted(found.values(), key=lambda item: item.scan)


def one_file_each(
    matches: Sequence[Match], layout: Layout, root: Path, people: Mapping[str, Person] = MappingProxyType({})
) -> Survey:
    """Sort files into scans that have one file per sequence, or one for all, and one segmentation.

    Args:
        matches: The files.
        layout: Their layout.
        root: Source folder.
        people: What tables say about the subjects.
    """
    scans: list[ScanFiles] = []
    problems: list[Problem] = []
    for item in group_by_scan(matches):
        paths = item.files
        images = _images(paths, layout)
        scan = ScanFiles(item.scan, item.subject, item.timepoint, images, paths.get(SEGMENTATION, [None])[0], root)
        site = next((found for match in item.matches if (found := match.groups.get("site"))), "")
        scan = identified(replace(scan, person=Person(site=readable(site))), layout, people)
        wrong = [_twice(scan, meaning, files) for meaning, files in sorted(paths.items()) if len(files) > 1]
        if not images:
            cause = f"is the segmentation of {item.scan}, which has no image"
            wrong.append(Problem(scan.relative(scan.paths[0]), cause, "add the images, or remove it", scan=item.scan))
        elif scan.seg is None and not scan.person.healthy:
            wrong.append(_no_segmentation(scan, layout))
        problems += wrong
        problems += name_warnings(scan, layout)
        if not wrong:
            scans.append(scan)
    return Survey(scans, problems)


def identified(scan: ScanFiles, layout: Layout, people: Mapping[str, Person]) -> ScanFiles:
    """Return a scan with what its name, the layout and tables say about its subject."""
    known = scan.person.with_(people.get(scan.subject, Person()))
    return replace(scan, person=replace(known, healthy=known.healthy or layout.is_healthy(scan.subject)))


def name_warnings(scan: ScanFiles, layout: Layout) -> Iterator[Problem]:
    """Yield a warning for the sequences that a scan lacks, and one for a segmentation with an odd name."""
    missing = [name for name in layout.expected if name not in scan.files]
    if missing and scan.files:
        cause = f"belongs to {scan.scan}, which has no {', '.join(missing)}"
        fix = "add what is missing if you have it; the scan counts only where its sequences suffice"
        yield Problem(scan.relative(scan.paths[0]), cause, fix, severity="warning", scan=scan.scan)
    if scan.seg is not None and "segm" in scan.seg.name.lower():
        cause = f"is read as the segmentation of {scan.scan} despite its odd name in the release"
        yield Problem(scan.relative(scan.seg), cause, "no action is needed", severity="warning", scan=scan.scan)


def _images(paths: Mapping[str, list[Path]], layout: Layout) -> dict[str, Path]:
    if FOUR_D in paths:
        return {name: paths[FOUR_D][0] for name in layout.channels}
    return {name: paths[name][0] for name in SEQUENCES if name in paths}


def _twice(scan: ScanFiles, meaning: str, files: list[Path]) -> Problem:
    cause = f"and {scan.relative(files[1])} are both {meaning} of {scan.scan}"
    fix = "keep one of them, or give a folder that holds only one copy"
    return Problem(scan.relative(files[0]), cause, fix, scan=scan.scan)


def _no_segmentation(scan: ScanFiles, layout: Layout) -> Problem:
    known = layout.known.get(scan.scan)
    cause = f"belongs to {scan.scan}, which has no segmentation" + (f" ({known})" if known else "")
    fix = "leave the scan out" if known else "add the segmentation, or remove the scan"
    return Problem(scan.relative(scan.paths[0]), cause, fix, scan=scan.scan)
