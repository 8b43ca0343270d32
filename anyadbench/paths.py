"""Where anyadbench keeps what it can make again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """Return the cache folder: ``$ANYADBENCH_CACHE``, or the user's cache folder of this system.

    The folder is not created here; whoever writes into it makes it.
    """
    chosen = os.environ.get("ANYADBENCH_CACHE")
    if chosen:
        return Path(os.path.expanduser(chosen))
    import platformdirs

    return Path(platformdirs.user_cache_dir("anyadbench"))
