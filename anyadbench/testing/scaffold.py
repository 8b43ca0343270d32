"""Writing the package for a new method."""

from __future__ import annotations

import re
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from anyadbench.errors import UserError
from anyadbench.files import make_folder, write_text
from anyadbench.folders import atomic_folder

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")

_FILES = {
    "pyproject.toml": "pyproject.toml.j2",
    "README.md": "README.md.j2",
    ".gitignore": "gitignore.j2",
    ".github/workflows/test.yml": "workflow.yml.j2",
    "{module}/__init__.py": "init.py.j2",
    "{module}/descriptor.py": "descriptor.py.j2",
    "{module}/method.py": "method.py.j2",
    "{module}/py.typed": "",
    "tests/test_conformance.py": "test_conformance.py.j2",
}
"""Template of each file; no template for an empty file."""


def new_package(name: str, out: Path | None = None) -> Path:
    """Write a complete package with a working method, and return its folder.

    Args:
        name: Name of the method: lower-case letters, digits and hyphens, a letter first.
        out: Folder to write, new or empty; ``anyadbench-NAME`` here by default.

    Raises:
        UserError: If the name is invalid or taken, or the folder is not empty or cannot be written.
    """
    from jinja2 import Environment, StrictUndefined

    _check_name(name)
    words = name.split("-")
    values = {
        "name": name,
        "title": " ".join(words).capitalize(),
        "distribution": f"anyadbench-{name}",
        "module": f"anyadbench_{'_'.join(words)}",
        "cls": "".join(word.capitalize() for word in words) + "Method",  # a name that the module does not import
    }
    # Unusual delimiters, because the workflow has its own expressions in double braces.
    environment = Environment(
        variable_start_string="<<", variable_end_string=">>", keep_trailing_newline=True, undefined=StrictUndefined
    )
    folder = Path(values["distribution"]) if out is None else out
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} already exists; give another folder with --out.")
    templates = files("anyadbench.testing") / "template"
    with atomic_folder(folder, "--out") as work:
        for target, template in _FILES.items():
            path = work / target.format(**values)
            make_folder(path.parent, "--out")
            text = (templates / template).read_text(encoding="utf-8") if template else ""
            write_text(path, environment.from_string(text).render(values), "--out")
    return folder


def _check_name(name: str) -> None:
    from anyadbench.plugins import method_entries

    if not NAME.fullmatch(name):
        raise UserError(
            f"A method cannot be called {name!r}; use lower-case letters, digits and hyphens, a letter first."
        )
    owners = [entry.distribution for entry in method_entries() if entry.name == name]
    if owners:
        raise UserError(f"The installed distribution {owners[0]} has a method {name!r}; choose another name.")
    module = f"anyadbench_{name.replace('-', '_')}"
    if find_spec(module) is not None:
        raise UserError(f"A package {module} is already installed; choose a name other than {name!r}.")
