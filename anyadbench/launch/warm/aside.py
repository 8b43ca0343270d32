"""Modules imported ahead that a process sees only once it imports them.

Many methods import timm and torchvision, and many do not. Whether a library was imported decides which of its versions
a manifest records, and other libraries look into ``sys.modules`` too. So these two are imported before the fork, and
taken out of ``sys.modules`` until a worker imports them.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from copy import copy
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class Aside(MetaPathFinder, Loader):
    """The modules that were put aside, in the order in which their libraries were imported.

    A library may have imported those before it, so an import of one brings back all up to it.
    """

    def __init__(self) -> None:
        self._layers: list[dict[str, ModuleType]] = []
        self._specs: dict[str, ModuleSpec | None] = {}

    def put(self, name: str) -> None:
        """Import a library and put its modules aside, with those of other libraries that only it needs.

        Modules of libraries that are in use already stay: they are parts of what every worker imports.

        Raises:
            Exception: Whatever the import raises.
        """
        known = {module.partition(".")[0] for module in sys.modules}
        self._restore(len(self._layers))
        importlib.import_module(name)
        for layer in self._layers:
            for module in layer:
                del sys.modules[module]
        new = [module for module in sys.modules if module.partition(".")[0] not in known]
        self._layers.append({module: sys.modules.pop(module) for module in new})

    def install(self) -> None:
        """Let imports of this process find what was put aside."""
        sys.meta_path.insert(0, self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how to bring a module back; ``None`` if it was not put aside."""
        for layer in self._layers:
            if fullname in layer:
                spec = copy(layer[fullname].__spec__) or ModuleSpec(fullname, None)
                spec.loader = self
                return spec
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the module as it was imported."""
        (module,) = (layer[spec.name] for layer in self._layers if spec.name in layer)
        self._specs[spec.name] = module.__spec__  # the import is about to replace it
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Bring back everything that came with a module; it has been executed already."""
        module.__spec__ = self._specs.pop(module.__name__)
        depth = next(i for i, layer in enumerate(self._layers, 1) if module.__name__ in layer)
        self._restore(depth)
        del self._layers[:depth]

    def _restore(self, depth: int) -> None:
        for layer in self._layers[:depth]:
            sys.modules.update(layer)
