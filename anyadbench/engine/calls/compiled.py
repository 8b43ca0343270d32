"""A method's scoring, compiled as the policy says."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol, cast

from anyadbench.engine.calls.joint import call_size
from anyadbench.engine.compiling import BLOCKS, OFF, Compiled
from anyadbench.engine.stepping.blocks import CompiledBlocks
from anyadbench.methods.contract import Method

if TYPE_CHECKING:
    from anyadbench.engine.numerics import Policy
    from anyadbench.engine.reporter import Reporter
    from anyadbench.methods.contract import Batch, Scores


class Scorer(Protocol):
    """What scores slices: a trained ``Method``, or anything else with this one function."""

    def score(self, batch: Batch) -> Scores:
        """Return anomaly maps for slices, from the shown sequences alone."""


class CompiledScoring:
    """Scores batches; as a whole compiled, or with compiled transformer blocks in calls of the full size.

    Args:
        scorer: A method, or anything else that scores.
        policy: Numeric policy.
        reporter: Where a fall-back is reported.
        subsets: Subsets of the protocol.
    """

    def __init__(self, scorer: Scorer, policy: Policy, reporter: Reporter, subsets: int) -> None:
        method = scorer if isinstance(scorer, Method) else None
        self._whole = Compiled(scorer.score, method, reporter, enabled=policy.compile)
        self._blocks = None if method is None else CompiledBlocks(method, policy.blocks, reporter)
        self._device, self._subsets, self._ran = policy.torch_device(), subsets, False

    def __call__(self, batch: Batch) -> Scores:
        """Score a batch."""
        if self._blocks is not None and self._blocks.state == BLOCKS and len(batch) == self.size:
            self._ran = True
            return cast("Scores", self._blocks.attempt(partial(self._whole, batch)))
        return cast("Scores", self._whole(batch))

    def leave_blocks(self) -> None:
        """Run the blocks as they are from now on, where subsets do not share calls."""
        if self._blocks is not None:
            self._blocks.leave()

    @property
    def state(self) -> str:
        """Outcome of compiling: ``off``, ``blocks``, ``on`` or ``fell back``; blocks count once a call has run them."""
        blocks = OFF if self._blocks is None else self._blocks.state
        return self._whole.state if blocks == OFF or (blocks == BLOCKS and not self._ran) else blocks

    @property
    def padded(self) -> bool:
        """Whether shared calls all have one size: what is compiled is compiled for that."""
        blocks = OFF if self._blocks is None else self._blocks.state
        return self._whole.state != OFF or blocks != OFF

    @property
    def size(self) -> int:
        """Slices of a shared call."""
        return call_size(self._device, self._subsets, padded=self.padded)
