"""The cache folder, for files that anyadbench can rebuild."""

from __future__ import annotations

import os
from pathlib import Path

from anyadbench.errors import UserError


def cache_dir() -> Path:
    """Return the cache folder: ``$ANYADBENCH_CACHE``, or the system's cache folder for the user.

    The folder is not created here but by the code that writes into it.

    Raises:
        UserError: If the system does not know the user's home folder, as in some containers.
    """
    chosen = os.environ.get("ANYADBENCH_CACHE")
    if chosen:
        return Path(os.path.expanduser(chosen))
    import platformdirs

    try:
        folder = Path(platformdirs.user_cache_dir("anyadbench"))
    except RuntimeError:  # newer releases raise it where older ones return a folder '~'
        folder = Path()
    if not folder.is_absolute():  # it would be made in the current folder
        raise UserError("The home folder is not known (HOME); set ANYADBENCH_CACHE to a folder that you may write to.")
    return folder
