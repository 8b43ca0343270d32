"""The tree of OASIS-1: Analyze pairs, and the table of the release."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from anyadbench.data.trees.files import Person
from anyadbench.data.trees.readers.people import UNKNOWN, person_of, read_rows
from anyadbench.data.trees.readers.volume_tree import NiftiReader
from anyadbench.errors import UserError

if TYPE_CHECKING:
    from anyadbench.data.trees.layouts import Layout
    from anyadbench.data.trees.volume import Volume

TABLE = "oasis_cross-sectional.csv"
"""Table of the release: ID, M/F, Hand, Age, Educ, SES, MMSE, CDR and volumes."""


class OasisReader(NiftiReader):
    """Reads the release's pairs, whose axes its documentation defines; Analyze 7.5 stores none."""

    name = "oasis"
    suffixes = (".hdr",)

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
        for row in read_rows(path, "id", ","):
            known = person_of(row)
            healthy = row.get("cdr", "").lower() in UNKNOWN or float(row["cdr"]) == 0
            people.setdefault(row["id"].rpartition("_")[0], Person(healthy, known.site, known.age, known.sex))
        return people

    def volume(self, path: Path) -> Volume:
        """Return an Analyze pair as a volume in LPS order."""
        from anyadbench.data.trees.readers.analyze import read_analyze

        return read_analyze(path)


OASIS = OasisReader()
"""The reader that layouts call ``oasis``."""
