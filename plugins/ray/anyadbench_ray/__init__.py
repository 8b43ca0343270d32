"""The launcher ``ray``: cells as tasks of a Ray cluster. Importing this does not import Ray."""

from __future__ import annotations

from collections.abc import Mapping

from anyadbench.api import hookimpl


@hookimpl
def anyadbench_launchers() -> Mapping[str, str]:
    """Offer the launcher."""
    return {"ray": "anyadbench_ray.launcher:launch"}
