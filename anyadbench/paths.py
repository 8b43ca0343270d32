"""The cache folder, for files that anyadbench can rebuild."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """Return the cache folder: ``$ANYADBENCH_CACHE``, or the system's cache folder for the user.

    The folder is not created here but by the code that writes into it.
    """
    chosen = os.environ.get("ANYADBENCH_CACHE")
    if chosen:
        return Path(os.path.expanduser(chosen))
    import platformdirs

    return Path(platformdirs.user_cache_dir("anyadbench"))
