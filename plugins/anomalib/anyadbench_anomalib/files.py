"""Files that some models need and no package carries."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from anyadbench.errors import UserError
from anyadbench.methods.params import Value
from anyadbench_anomalib.catalogue import MODELS
from anyadbench_anomalib.descriptors import FILES


def needed(params: Mapping[str, Value]) -> dict[str, Path]:
    """Return the files and folders that a model reads, by name in the folder of files.

    Args:
        params: Resolved parameters of the method.

    Raises:
        UserError: If no folder is given, or something is missing from it.
    """
    model = MODELS[str(params["model"])]
    if not model.files:
        return {}
    named = str(params["files"]) or os.environ.get(FILES, "")
    owner = f"anomalib:{model.name}"
    wanted = "; ".join(f"{name}: {what}" for name, what in model.files.items())
    if not named:
        raise UserError(
            f"{owner} needs files that no package carries ({wanted}); put them into a folder and give it with "
            f"--set {owner}.files=DIR or the environment variable {FILES}."
        )
    folder = Path(os.path.expanduser(named)).absolute()
    for name, what in model.files.items():
        if not (folder / name).exists():
            raise UserError(f"{owner}: {folder} has no {name}, {what}; put it there, or name another folder.")
    return {name: folder / name for name in model.files}
