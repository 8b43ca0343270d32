"""Files that some models need and that no package carries."""

from __future__ import annotations

import os
from pathlib import Path

from anyadbench.errors import UserError
from anyadbench.methods.base import Context
from anyadbench_anomalib.catalogue.entry import Model
from anyadbench_anomalib.descriptors import FILES


def folder(model: Model, context: Context) -> Path:
    """Return the folder with everything that a model needs.

    Raises:
        UserError: If no folder is named, or something is not in it.
    """
    named = str(context.params["files"]) or os.environ.get(FILES, "")
    owner = f"anomalib:{model.name}"
    wanted = "; ".join(f"{name}: {what}" for name, what in model.files.items())
    if not named:
        raise UserError(
            f"{owner} needs files that no package carries ({wanted}); put them into a folder and name it with "
            f"--set {owner}.files=DIR or the environment variable {FILES}."
        )
    path = Path(named).expanduser().absolute()
    for name, what in model.files.items():
        if not (path / name).exists():
            raise UserError(f"{owner}: {path} has no {name}, {what}; put it there, or name another folder.")
    return path
