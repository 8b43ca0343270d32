"""Trees in the Brain Imaging Data Structure (BIDS).

Source: the BIDS specification, 1.10, sections "Entities", "Magnetic Resonance Imaging data" and "Imaging derivatives".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from anyadbench.data.trees.files import Match, Person, Survey
from anyadbench.data.trees.grouping import group_by_scan, one_file_each
from anyadbench.data.trees.layouts import SEGMENTATION
from anyadbench.data.trees.problems import Problem
from anyadbench.data.trees.readers.people import by_subject, read_people, table_warnings
from anyadbench.data.trees.readers.volume_tree import NiftiReader

if TYPE_CHECKING:
    from anyadbench.data.trees.layouts import Layout

LESION = re.compile(r"l|.*(lesion|tumou?r|wmh|stroke|infarct|plaque|anomaly|abnormal).*", re.IGNORECASE)
"""Values of ``label`` or ``desc`` that make a mask one of lesions; the specification uses ``L``."""

TABLE = "participants.tsv"


class BidsReader(NiftiReader):
    """Reads a BIDS tree: its entities say what a file shows, and its table who the participants are."""

    name = "bids"

    def find(self, matches: Sequence[Match], layout: Layout, root: Path) -> Survey:
        """Sort files into scans; images under derivatives count only if there are no others."""
        masks = [match for match in matches if match.meaning == SEGMENTATION and _shows_lesions(match)]
        images = [_with_contrast(match) for match in matches if match.meaning != SEGMENTATION]
        raw = [match for match in images if not _derived(match.path, root)]
        kept, warnings = _one_run_each(raw or images, root)
        people, odd = _participants(root, [item.subject for item in group_by_scan([*masks, *kept])])
        found = one_file_each([*masks, *kept], layout, root, people)
        return Survey(found.scans, [*found.problems, *warnings, *odd])


BIDS = BidsReader()
"""The reader that layouts call ``bids``."""


def _participants(root: Path, subjects: Sequence[str]) -> tuple[Mapping[str, Person], list[Problem]]:
    """Return what ``participants.tsv`` says about each subject, and what is odd about it.

    Raises:
        UserError: If the table cannot be read, or contradicts itself.
    """
    path = next((found for folder in (root, *root.parents[:2]) if (found := folder / TABLE).is_file()), None)
    if path is None:
        return {}, []
    entries = read_people(path, "participant_id")
    file = path.name if path.parent == root else str(path)
    people = {subject: entry.person for subject, entry in by_subject(path, entries, subjects).items()}
    return people, list(table_warnings(file, entries, subjects))


def _entities(match: Match) -> dict[str, str]:
    parts = str(match.groups.get("entities") or "").split("_")
    return {key.lower(): value for key, _, value in (part.partition("-") for part in parts if part)}


def _with_contrast(match: Match) -> Match:
    """Return a T1w with an agent as T1ce."""
    return replace(match, meaning="t1ce") if match.meaning == "t1" and "ce" in _entities(match) else match


def _shows_lesions(match: Match) -> bool:
    entities = _entities(match)
    named = [entities[key] for key in ("label", "desc") if key in entities]
    if not named:
        return str(match.groups["kind"]).lower() != "dseg"
    return any(LESION.fullmatch(value) for value in named)


def _derived(path: Path, root: Path) -> bool:
    return "derivatives" in path.relative_to(root).parts


def _one_run_each(images: Sequence[Match], root: Path) -> tuple[list[Match], list[Problem]]:
    """Keep the first file by name of each sequence of a scan, and return a warning for each of the others."""
    kept: list[Match] = []
    warnings: list[Problem] = []
    for item in group_by_scan(images):
        first: dict[str, Path] = {}
        for match in sorted(item.matches, key=lambda match: match.path):
            path = match.path.relative_to(root).as_posix()
            if match.meaning in first:
                cause = f"is a further {match.meaning} of {item.scan} and is not read; {first[match.meaning].name} is"
                warnings.append(Problem(path, cause, "remove the one that you do not want", "warning", item.scan))
                continue
            first[match.meaning] = match.path
            kept.append(match)
    return kept, warnings
