"""Transformer blocks compiled one by one by ``torch.compile``.

Norms, scales, activations and residuals of a block are some twenty small kernels, each of which reads and writes every
token; compiled, they are a few. Blocks of one class and one shape share what is compiled, so that it is ready in
seconds, where compiling a whole step takes a minute.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from anyadbench.engine.compiling import BLOCKS, FELL_BACK, OFF, is_compiler_error
from anyadbench.methods.freezing import is_frozen

if TYPE_CHECKING:
    from anyadbench.engine.reporter import Reporter

LEAST = 3
"""Fewest blocks of one kind for which compiling pays."""

COMPILED_FROM = 2000
"""Fewest steps of a training for which it pays: it took 25 s where a step was 8.5 ms shorter (RESULTS.md). Those of the
whole training, so that one that resumes computes as it began."""

KINDS = 64
"""Most variants of one class that are compiled: shapes, precisions, with and without gradients. At torch's own limit of
8, the others would run as they are without a word."""


def repeated_blocks(module: nn.Module) -> list[nn.Module]:
    """Return the transformer blocks of a network, in its order.

    A block has a layer norm and comes at least ``LEAST`` times in one list, with parameters of the same shapes. Left
    out are blocks that draw random numbers, which a compiled kernel draws otherwise, and those with batch norms, which
    change with every call.
    """
    found: list[nn.Module] = []
    for part in module.modules():
        if not isinstance(part, nn.ModuleList | nn.Sequential):
            continue
        kinds: dict[Any, list[nn.Module]] = {}
        for block in part:
            if _compilable(block):
                shapes = tuple((name, tuple(value.shape)) for name, value in block.named_parameters())
                kinds.setdefault((type(block), shapes), []).append(block)
        found += [block for blocks in kinds.values() if len(blocks) >= LEAST for block in blocks]
    return list(dict.fromkeys(found))


def _compilable(block: nn.Module) -> bool:
    parts = list(block.modules())
    norms = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)
    return (
        len(parts) > 1
        and any(isinstance(part, nn.LayerNorm) for part in parts)
        and not any(map(_draws, parts))
        and not any(isinstance(part, norms) for part in parts)
        and "forward" not in vars(block)
    )


def _draws(part: nn.Module) -> bool:
    """Whether a module draws random numbers while it trains: dropout, also of whole paths as in timm."""
    share = part.p if isinstance(part, nn.modules.dropout._DropoutNd) else getattr(part, "drop_prob", None)
    return bool(share) and not is_frozen(part)


class CompiledBlocks:
    """The transformer blocks of a method, which run compiled inside ``used``, and as they are outside.

    Args:
        method: The method, on its device.
        enabled: Whether to compile at all.
        reporter: Where a fall-back is reported.
        compiler: Compiles a function.

    Attributes:
        state: ``off``, which is also the state without such blocks, ``blocks``, or ``fell back``.
    """

    def __init__(
        self,
        method: nn.Module,
        enabled: bool,
        reporter: Reporter,
        compiler: Callable[..., Callable[..., Any]] = torch.compile,
    ) -> None:
        self._reporter, self._fast = reporter, list[tuple[nn.Module, Callable[..., Any]]]()
        self.state = OFF
        if not enabled:
            return
        blocks = repeated_blocks(method)
        try:
            self._fast = [(block, compiler(block.forward, dynamic=False)) for block in blocks]
        except RuntimeError as error:  # torch cannot compile on this interpreter or system
            self.give_up(_said(error))
            return
        self.state = BLOCKS if blocks else OFF

    def give_up(self, reason: str) -> None:
        """Run the blocks as they are from now on, for a reason that is reported."""
        self.state, self._fast = FELL_BACK, []
        said = f"The transformer blocks of the network are not compiled: {reason}"
        print(said, file=sys.stderr, flush=True)
        self._reporter.send(note=said)

    @contextmanager
    def used(self) -> Iterator[None]:
        """Run the blocks compiled; an error of the compiler is raised, see ``attempt``."""
        if not self._fast:
            yield
            return
        import torch._dynamo.config as dynamo

        for block, fast in self._fast:
            block.forward = fast
        try:
            with dynamo.patch(recompile_limit=KINDS, fail_on_recompile_limit_hit=True):
                yield
        finally:
            for block, _ in self._fast:
                vars(block).pop("forward", None)

    def attempt(self, function: Callable[[], Any], undo: Callable[[], None] = lambda: None) -> Any:
        """Call a function with compiled blocks; if the compiler fails, undo what it did, and call it without."""
        try:
            with self.used():
                return function()
        except Exception as error:
            if not is_compiler_error(error):
                raise
            self.give_up(_said(error))
        undo()
        return function()


def _said(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
