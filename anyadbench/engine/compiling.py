"""``torch.compile`` with a fallback that is reported and recorded."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from anyadbench.engine.stepping.generators import Generators
from anyadbench.methods.freezing import is_excluded

if TYPE_CHECKING:
    from torch import Tensor

    from anyadbench.engine.reporter import Reporter
    from anyadbench.methods.contract import Method

OFF, BLOCKS, ON, FELL_BACK = "off", "blocks", "on", "fell back"
"""Outcomes of compiling: nothing is compiled, transformer blocks alone, everything, or what failed was left out."""


def combined(outcomes: Iterable[str | None]) -> str:
    """Return the outcome of several parts of a cell: that of the part of which a reader has to know most.

    Args:
        outcomes: Those of the parts; ``None`` for one that recorded none.
    """
    found = set(outcomes)
    return next((outcome for outcome in (FELL_BACK, ON, BLOCKS) if outcome in found), OFF)


class Compiled:
    """A method's function compiled by ``torch.compile``, or the function itself where compiling fails.

    Any call can fail to compile, since a new batch size recompiles. The method and the random generators are then
    reset to their state before the call, so that the result is the plain function's. Errors that the method itself
    raises are passed on.

    Args:
        function: The function.
        method: The method that it belongs to; ``None`` for a function without a state.
        reporter: Where a fall-back is reported.
        enabled: Whether to compile at all.
    """

    def __init__(
        self, function: Callable[..., Any], method: Method | None, reporter: Reporter, *, enabled: bool
    ) -> None:
        self._plain, self._method, self._reporter = function, method, reporter
        self._proven = False
        self._untrained: list[tuple[dict[str, Tensor | None], str]] | None = None
        self.state, self.reason = OFF, ""
        if enabled:
            import torch

            self.state = ON
            try:
                self._fast: Callable[..., Any] = torch.compile(function)
            except RuntimeError as error:  # torch cannot compile on this interpreter or system
                self._fall_back(error)

    def __call__(self, *arguments: Any) -> Any:
        """Call the function."""
        if self.state != ON:
            return self._plain(*arguments)
        undo = self._snapshot()
        try:
            value = self._fast(*arguments)
        except Exception as error:
            if not is_compiler_error(error):
                raise
            self._fall_back(error)
            undo()
            return self._plain(*arguments)
        self._proven = True
        return value

    def _snapshot(self) -> Callable[[], None]:
        method, generators = self._method, Generators()
        places: list[tuple[dict[str, Tensor | None], str]] = []
        # A copy of everything at every call would cost time and memory. Once a call has come through, what the
        # optimiser trains is left out, as a step itself does not change it; scoring changes nothing at all.
        if method is not None and not self._proven:
            places = _places(method, trained=True)
        elif method is not None and method.training:
            if self._untrained is None:
                self._untrained = _places(method, trained=False)
            places = self._untrained
        kept = [(holder, name, holder[name], _copied(holder[name])) for holder, name in places]

        def undo() -> None:
            import torch

            with torch.no_grad():
                for holder, name, tensor, copy in kept:
                    if tensor is not None and copy is not None:
                        tensor.copy_(copy)
                    holder[name] = tensor
            generators.restore()

        return undo

    def _fall_back(self, error: Exception) -> None:
        self.state, self.reason = FELL_BACK, " ".join(f"{type(error).__name__}: {error}".split())[:300]
        said = f"torch.compile failed and is not used: {self.reason}"
        print(said, file=sys.stderr, flush=True)
        self._reporter.send(note=said)


def _places(method: Method, *, trained: bool) -> list[tuple[dict[str, Tensor | None], str]]:
    """Return where the tensors of a method are that a cell stores: its modules' dictionaries and the names in them.

    Args:
        method: The method.
        trained: Whether to include parameters that take a gradient.
    """
    parts = [part for part in method.modules() if not is_excluded(part)]
    holders: list[dict[str, Tensor | None]] = []
    for part in parts:
        holders += [part._buffers, part._parameters]  # type: ignore[list-item]
    return [
        (holder, name)
        for holder in holders
        for name, value in holder.items()
        if value is not None and (trained or not value.requires_grad)
    ]


def _copied(value: Tensor | None) -> Tensor | None:
    """Return a copy of a tensor."""
    return None if value is None else value.detach().clone()


def is_compiler_error(error: BaseException) -> bool:
    """Return whether an error comes from torch's compiler, not from the compiled function."""
    return any(kind.__module__.startswith(("torch._dynamo", "torch._inductor")) for kind in type(error).__mro__)
