"""The templates, scripts and style sheet of the pages."""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Return the templates of this package; everything is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("anyadbench.predict.viewer", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def asset(name: str) -> str:
    """Return a script or style sheet as text."""
    return (resources.files("anyadbench.predict.viewer") / "templates" / name).read_text(encoding="utf-8")


def hash_of(text: str) -> str:
    """Return the hash by which a page's policy allows one script or style sheet only."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
