"""``torch.compile`` with a fallback that is reported and recorded."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from anyadbench.engine.checkpoints import generator_states, restore_generators

if TYPE_CHECKING:
    from torch import Tensor

    from anyadbench.engine.reporter import Reporter
    from anyadbench.methods.contract import Method

OFF, ON, FELL_BACK = "off", "on", "fell back"


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
        method, generators = self._method, generator_states()
        state: dict[str, Tensor] = {}
        # A copy of everything at every call would cost time and memory. Once a call has come through, what the
        # optimiser trains is left out, as a step itself does not change it; scoring changes nothing at all.
        if method is not None and (method.training or not self._proven):
            trained = {name for name, parameter in method.named_parameters() if parameter.requires_grad}
            left_out = trained if self._proven else set()
            state = {name: x.clone() for name, x in method.saved_state().items() if name not in left_out}

        def undo() -> None:
            if method is not None and state:  # loading is strict: what was left out is loaded from itself
                method.load_saved_state(method.saved_state() | state)
            restore_generators(generators)

        return undo

    def _fall_back(self, error: Exception) -> None:
        self.state, self.reason = FELL_BACK, " ".join(f"{type(error).__name__}: {error}".split())[:300]
        said = f"torch.compile failed and is not used: {self.reason}"
        print(said, file=sys.stderr, flush=True)
        self._reporter.send(note=said)


def is_compiler_error(error: BaseException) -> bool:
    """Return whether an error comes from torch's compiler, not from the compiled function."""
    return any(kind.__module__.startswith(("torch._dynamo", "torch._inductor")) for kind in type(error).__mro__)
