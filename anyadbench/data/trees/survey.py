"""Finding a tree's scans by the patterns of a layout."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from anyadbench.data.trees.files import ScanFiles, SliceFiles
from anyadbench.data.trees.layouts import FOUR_D, LAYOUTS, SEGMENTATION, SKIP, Layout
from anyadbench.data.trees.problems import Problem, errors
from anyadbench.errors import UserError
from anyadbench.sequences import SEQUENCES


@dataclass
class Survey:
    """What was found in a tree: readable scans, and problems visible from the names alone."""

    scans: list[ScanFiles]
    problems: list[Problem]


@dataclass
class _Found:
    scan: str
    subject: str
    timepoint: str
    files: dict[str, list[Path]] = field(default_factory=dict)
    slices: dict[tuple[int, str], dict[str, list[Path]]] = field(default_factory=dict)


def walk(source: Path, unreadable: Callable[[OSError], None] = lambda error: None) -> Iterator[Path]:
    """Yield every file below a folder in a fixed order; links are followed, but never in a circle.

    Args:
        source: The folder.
        unreadable: Called with the error of each folder below that cannot be listed.
    """
    seen: set[str] = set()
    for folder, names, files in os.walk(source, onerror=unreadable, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            names.clear()
            continue
        seen.add(real)
        names[:] = sorted(name for name in names if not name.startswith(".") and name != "__MACOSX")
        yield from (Path(folder) / name for name in sorted(files))


def check_source(source: Path) -> Path:
    """Return the absolute path of an existing folder.

    Raises:
        UserError: If it is missing or not a folder.
    """
    if not source.exists():
        raise UserError(f"The folder {source} does not exist; check the path given as the source.")
    if not source.is_dir():
        raise UserError(f"{source} is a file, not a folder; give the folder that holds the data set.")
    return Path(os.path.abspath(source))


def survey(source: Path, layout: Layout) -> Survey:
    """Find the scans of a tree and the problems with its names.

    Raises:
        UserError: If the folder is missing, holds no scan of the layout, or holds another release as well.
    """
    root = check_source(Path(source))
    found: dict[str, _Found] = {}
    problems: list[Problem] = []
    foreign: dict[str, str] = {}
    unmatched: list[str] = []
    for path in walk(root, lambda error: problems.append(_unreadable(error, root))):
        relative = path.relative_to(root).as_posix()
        # The given folder counts as part of the path: it may be a patient's folder.
        full = f"{root.name}/{relative}"
        if path.name.startswith("._"):
            problems.append(_junk(relative))
        elif path.name.startswith(".") or not path.name.lower().endswith((".nii", ".nii.gz", ".png")):
            continue
        elif match := layout.match(full):
            _add(found, match.groupdict(), layout, path)
        elif other := _other_layout(full, layout):
            foreign.setdefault(other, relative)
        elif layout.reader == "png" or not path.name.lower().endswith(".png"):
            unmatched.append(relative)
    if not any(item.files for item in found.values()):
        raise UserError(_nothing_found(source, layout, foreign))
    if foreign:
        other, example = sorted(foreign.items())[0]
        raise UserError(
            f"{source} holds files of {other} (e.g. {example}) beside {layout.name}; "
            "move each release into a folder of its own and give one of them."
        )
    problems += [_unknown(name, layout) for name in unmatched]
    return _sort_out(found, problems, layout, root)


def discover(source: Path, layout: Layout) -> list[ScanFiles]:
    """Return the readable scans of a tree, sorted by name; ``survey`` also reports what is wrong with the others."""
    return survey(source, layout).scans


def _add(found: dict[str, _Found], groups: Mapping[str, str | None], layout: Layout, path: Path) -> None:
    scan, subject = str(groups["scan"]), str(groups["subject"])
    key = scan.lower().replace("-", "_")
    kind = str(groups["kind"]).lower()
    meaning = layout.kinds.get(kind, layout.kinds.get(kind.replace("-", "_"), SKIP))
    if meaning != SKIP:
        item = found.setdefault(key, _Found(scan, subject, groups.get("time") or ""))
        item.files.setdefault(meaning, []).append(path)
        if layout.reader == "png":
            at = (int(groups["slice"] or 0), str(groups["part"]).lower())
            item.slices.setdefault(at, {}).setdefault(meaning, []).append(path)


def _other_layout(path: str, layout: Layout) -> str | None:
    return next((other.name for other in LAYOUTS.values() if other.name != layout.name and other.match(path)), None)


def _unreadable(error: OSError, root: Path) -> Problem:
    relative = Path(str(error.filename)).relative_to(root).as_posix()
    return Problem(relative, f"cannot be read ({error.strerror})", "check the permissions, or remove it")


def _junk(relative: str) -> Problem:
    return Problem(
        relative, "is a macOS archive leftover, not an image, and is ignored", "delete it", severity="warning"
    )


def _unknown(relative: str, layout: Layout) -> Problem:
    cause = f"does not match the file names of {layout.name} and is ignored"
    return Problem(relative, cause, f"rename it to match {layout.tree!r}, or remove it", severity="warning")


def _nothing_found(source: Path, layout: Layout, foreign: Mapping[str, str]) -> str:
    if foreign:
        other, example = sorted(foreign.items())[0]
        looks = f"but looks like {other} (e.g. {example})"
        return f"{source} holds no scan of {layout.name} {looks}; give {other} as the data set."
    return f"{source} holds no scan of {layout.name}; give a folder with files like {layout.tree}."


def _sort_out(found: dict[str, _Found], problems: list[Problem], layout: Layout, root: Path) -> Survey:
    if layout.reader == "png":
        return _sort_out_slices(found, problems, layout, root)
    scans: list[ScanFiles] = []
    for item in sorted(found.values(), key=lambda item: item.scan):
        paths = {meaning: sorted(files) for meaning, files in item.files.items()}
        images = _images(paths, layout)
        scan = ScanFiles(item.scan, item.subject, item.timepoint, images, paths.get(SEGMENTATION, [None])[0], root)
        wrong = [_twice(scan, meaning, files) for meaning, files in sorted(paths.items()) if len(files) > 1]
        if not images:
            cause = f"is the segmentation of {item.scan}, which has no image"
            wrong.append(Problem(scan.relative(scan.paths[0]), cause, "add the images, or remove it", scan=item.scan))
        elif scan.seg is None and not layout.healthy:
            wrong.append(_no_segmentation(scan, layout))
        problems += wrong
        problems += _notes(scan, layout)
        if not wrong:
            scans.append(scan)
    return Survey(scans, problems)


def _sort_out_slices(found: dict[str, _Found], problems: list[Problem], layout: Layout, root: Path) -> Survey:
    from anyadbench.data.trees.png import png_problems

    scans: list[ScanFiles] = []
    problems += _patients_in_two_parts(found.values(), root)
    for item in sorted(found.values(), key=lambda item: item.scan):
        wrong = list(png_problems(item.slices, item.scan, root))
        meanings = (*SEQUENCES, SEGMENTATION)
        slices = tuple(
            SliceFiles(index, part, {name: min(kinds[name]) for name in meanings if name in kinds})
            for (index, part), kinds in sorted(item.slices.items())
        )
        images = {name: min(item.files[name]) for name in SEQUENCES if name in item.files}
        scan = ScanFiles(item.scan, item.subject, item.timepoint, images, None, root, slices)
        problems += [*wrong, *_notes(scan, layout)]
        if images and not errors(wrong):
            scans.append(scan)
    return Survey(scans, problems)


def _patients_in_two_parts(found: Iterable[_Found], root: Path) -> Iterator[Problem]:
    """Yield a warning for each patient with slices in both train and test, at any time point."""
    parts: dict[str, dict[str, tuple[Path, str]]] = {}
    for item in found:
        for (_, part), kinds in item.slices.items():
            first = min(path for paths in kinds.values() for path in paths)
            known = parts.setdefault(item.subject, {})
            known[part] = min(known.get(part, (first, item.scan)), (first, item.scan))
    for subject, files in sorted(parts.items()):
        if "train" in files and len(files) > 1:
            path, scan = files["train"]
            cause = f"belongs to {subject}, who has slices in both train and test"
            fix = "split by patient, or the test scores include a patient seen in training"
            yield Problem(path.relative_to(root).as_posix(), cause, fix, "warning", scan)


def _images(paths: Mapping[str, list[Path]], layout: Layout) -> dict[str, Path]:
    if FOUR_D in paths:
        return {name: paths[FOUR_D][0] for name in layout.channels}
    return {name: paths[name][0] for name in SEQUENCES if name in paths}


def _twice(scan: ScanFiles, meaning: str, files: list[Path]) -> Problem:
    cause = f"and {scan.relative(files[1])} both stand for {meaning} of {scan.scan}"
    fix = "keep one of them, or give a folder that holds only one copy"
    return Problem(scan.relative(files[0]), cause, fix, scan=scan.scan)


def _no_segmentation(scan: ScanFiles, layout: Layout) -> Problem:
    known = layout.known.get(scan.scan)
    cause = f"belongs to {scan.scan}, which has no segmentation" + (f" ({known})" if known else "")
    fix = "leave the scan out" if known else "add the segmentation, or remove the scan"
    return Problem(scan.relative(scan.paths[0]), cause, fix, scan=scan.scan)


def _notes(scan: ScanFiles, layout: Layout) -> Iterator[Problem]:
    missing = [name for name in layout.expected if name not in scan.files]
    if missing and scan.files:
        cause = f"belongs to {scan.scan}, which has no {', '.join(missing)}"
        fix = "add what is missing if you have it; the scan counts only where its sequences suffice"
        yield Problem(scan.relative(scan.paths[0]), cause, fix, severity="warning", scan=scan.scan)
    if scan.seg is not None and "segm" in scan.seg.name.lower():
        cause = f"is read as the segmentation of {scan.scan} despite its odd name in the release"
        yield Problem(scan.relative(scan.seg), cause, "no action is needed", severity="warning", scan=scan.scan)
