"""Finding the descriptor that an author names: an installed method's, or an object in a package on the path."""

from __future__ import annotations

import importlib

from anyadbench.errors import UserError
from anyadbench.methods.descriptor import MethodDescriptor
from anyadbench.plugins import find_method, method_entries


def is_path(target: str) -> bool:
    """Whether a target is ``package.module:OBJECT`` and not the name of a method such as ``anomalib:padim``."""
    _, colon, attribute = target.partition(":")
    return bool(colon) and attribute.isidentifier() and target not in {entry.name for entry in method_entries()}


def locate(target: str) -> MethodDescriptor:
    """Return the descriptor of an installed method, or of ``package.module:OBJECT``.

    Raises:
        UserError: If there is none.
    """
    if not is_path(target):
        return find_method(target)[0]
    module, _, attribute = target.partition(":")
    if not all(part.isidentifier() for part in module.split(".")):
        raise UserError(f"{target}: {module!r} is not a module name; give package.module:OBJECT.")
    try:
        imported = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UserError(
            f"{target}: there is no module {error.name!r}; install its package, or name its folder with --path."
        ) from None
    except (Exception, SystemExit) as error:  # a module may raise anything
        cause = " ".join(str(error).split())
        raise UserError(
            f"{target}: importing the module {module} fails ({type(error).__name__}: {cause}); fix it."
        ) from None
    found = getattr(imported, attribute, None)
    if found is None:
        raise UserError(f"{target}: the module {module} has no {attribute}; name its descriptor.")
    if not isinstance(found, MethodDescriptor):
        raise UserError(f"{target} is a {type(found).__name__}; name a MethodDescriptor.")
    return found


def import_target(target: str) -> str:
    """Return the ``package.module:OBJECT`` that a target's descriptor is imported from."""
    if is_path(target):
        return target
    return find_method(target)[1].entry_point.value
