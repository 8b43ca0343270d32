"""A site's normals, as given on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyadbench.errors import UserError
from anyadbench.predict.batch import Patient, from_folder, from_table

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def given_normals(
    folder: Path | None, dataset: str | None, table: Path | None, said: Callable[[str], object] = lambda text: None
) -> tuple[list[Patient], str]:
    """Return the scans of a folder in a known layout, or of a table, and the name of the source.

    ``said`` is called with a sentence for each file of a folder that is left out.

    Raises:
        UserError: If both or neither are given, or it cannot be read.
    """
    if (folder is None) == (table is None):
        cause = "cannot be combined" if folder is not None else "are both missing"
        raise UserError(f"--normals and --table {cause}; give one of them.")
    if dataset and folder is None:
        raise UserError("--dataset names the layout of --normals; give --normals too, or leave it out.")
    if folder is not None:
        return from_folder(folder, dataset, "--normals", said), dataset or folder.name
    assert table is not None
    return from_table(table), table.name
