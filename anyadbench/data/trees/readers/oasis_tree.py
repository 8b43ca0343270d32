"""The tree of OASIS-1: Analyze pairs, and the table of the release."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from anyadbench.data.trees.files import Match, Person, Survey
from anyadbench.data.trees.grouping import one_file_each
from anyadbench.data.trees.problems import Problem
from anyadbench.data.trees.readers.people import UNKNOWN, person_of, read_rows
from anyadbench.data.trees.readers.volume_tree import NiftiReader
from anyadbench.errors import UserError
from anyadbench.names import readable

if TYPE_CHECKING:
    from anyadbench.data.trees.layouts import Layout
    from anyadbench.data.trees.volume import Volume

TABLE = "oasis_cross-sectional.csv"
"""Table of the release: ID, M/F, Hand, Age, Educ, SES, MMSE, CDR and volumes."""


class OasisReader(NiftiReader):
    """Reads the release's pairs, whose axes its documentation defines; Analyze 7.5 stores none."""

    name = "oasis"
    suffixes = (".hdr",)

    def find(self, matches: Sequence[Match], layout: Layout, root: Path) -> Survey:
        """Sort files into scans; people with a dementia rating above 0 are left out.

        Raises:
            UserError: If the table of the release is missing or cannot be read.
        """
        people = self.people(root, layout)
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

    def people(self, root: Path, layout: Layout) -> Mapping[str, Person]:
        """Return age, sex and health of each person; of two sessions, the first counts.

        Raises:
            UserError: If the table is missing or cannot be read.
        """
        path = next(iter(sorted(root.rglob(TABLE))), root.parent / TABLE)
        if not path.is_file():
            raise UserError(
                f"{root} has no {TABLE}, which says who has dementia; download it with the images and put it there."
            )
        people: dict[str, Person] = {}
        for row in read_rows(path, "id"):
            known = person_of(row)
            rating = row.get("cdr", "").lower()
            healthy = rating in UNKNOWN or rating.rstrip("0") in ("", "0.", ".")
            people.setdefault(row["id"].rpartition("_")[0], Person(healthy, known.site, known.age, known.sex))
        return people

    def volume(self, path: Path) -> Volume:
        """Return an Analyze pair as a volume in LPS order."""
        from anyadbench.data.trees.readers.analyze import read_analyze

        return read_analyze(path)


OASIS = OasisReader()
"""The reader that layouts call ``oasis``."""
