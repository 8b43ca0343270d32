"""The tree of OASIS-1: Analyze pairs, and the table of the release."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from anyadbench.data.trees.files import Match, Person, Survey
from anyadbench.data.trees.grouping import one_file_each
from anyadbench.data.trees.problems import Problem
from anyadbench.data.trees.readers.people import UNKNOWN, Entry, by_subject, entry_of, read_rows
from anyadbench.data.trees.readers.volume_tree import NiftiReader
from anyadbench.errors import UserError
from anyadbench.names import readable
from anyadbench.tables import Line, number

if TYPE_CHECKING:
    from anyadbench.data.trees.layouts import Layout
    from anyadbench.data.trees.volume import Volume

TABLE = "oasis_cross-sectional.csv"
"""Table of the release: ID, M/F, Hand, Age, Educ, SES, MMSE, CDR and volumes."""


class OasisReader(NiftiReader):
    """Reads the release's pairs, whose axes its documentation defines; Analyze 7.5 stores none."""

    name = "oasis"
    suffixes = (".hdr",)
    for_prediction = False  # without this reader, nothing says how the axes of an Analyze file lie

    def find(self, matches: Sequence[Match], layout: Layout, root: Path) -> Survey:
        """Sort files into scans; people with a dementia rating above 0 are left out.

        Raises:
            UserError: If the table of the release is missing or cannot be read.
        """
        people = self._known(root, {readable(str(match.groups["subject"])) for match in matches})
        kept: list[Match] = []
        problems: list[Problem] = []
        for match in matches:
            subject, path = readable(str(match.groups["subject"])), match.path.relative_to(root).as_posix()
            if subject not in people:
                cause = f"belongs to {subject}, who is not in {TABLE}, so that nobody knows about dementia"
                problems.append(Problem(path, cause, "give the table of the release", scan=str(match.groups["scan"])))
            elif not people[subject].healthy:
                cause = f"belongs to {subject}, who has a dementia rating above 0 and is left out"
                problems.append(Problem(path, cause, "no action is needed", "warning", str(match.groups["scan"])))
            else:
                kept.append(match)
        found = one_file_each(kept, layout, root, people)
        return Survey(found.scans, [*problems, *found.problems])

    def _known(self, root: Path, subjects: Iterable[str]) -> Mapping[str, Person]:
        """Return age, sex and health of each subject; a rating above 0 in any session counts.

        Raises:
            UserError: If the table is missing, cannot be read, or contradicts itself.
        """
        path = next(iter(sorted(root.rglob(TABLE))), root.parent / TABLE)
        if not path.is_file():
            raise UserError(
                f"{root} has no {TABLE}, which says who has dementia; download it with the images and put it there."
            )
        rated = [_rated(path, line) for line in read_rows(path, "id")]
        people: dict[str, Entry] = {}
        for session, entry in by_subject(path, rated, [entry.name for entry in rated]).items():
            subject = re.sub(r"_mr\d+$", "", session)
            first = people.setdefault(subject, replace(entry, name=subject))
            if not entry.person.healthy:
                people[subject] = replace(first, person=replace(first.person, healthy=False), group=entry.group)
        return {name: entry.person for name, entry in by_subject(path, list(people.values()), subjects).items()}

    def volume(self, path: Path) -> Volume:
        """Return an Analyze pair as a volume in LPS order."""
        from anyadbench.data.trees.readers.analyze import read_analyze

        return read_analyze(path)


def _rated(path: Path, line: Line) -> Entry:
    """Return what a line says of one session, with the dementia rating as its group; nobody rated the young."""
    text = line.cells.get("cdr", "")
    try:
        rating = 0.0 if text.lower() in UNKNOWN else number(text)
        if not 0 <= rating <= 3:
            raise ValueError(f"{text!r} is no rating from 0 to 3")
    except ValueError as error:
        raise UserError(f"{path}, line {line.number}: {error}; correct the column CDR.") from None
    entry = entry_of(path, line, "id")
    person = replace(entry.person, healthy=rating == 0)
    return replace(entry, name=entry.name.lower(), person=person, group="" if text.lower() in UNKNOWN else text)


OASIS = OasisReader()
"""The reader that layouts call ``oasis``."""
