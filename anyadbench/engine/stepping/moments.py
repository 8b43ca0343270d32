"""A method and its optimisers at one moment: copied, restored, and compared with where other steps have led."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from anyadbench.engine.stepping.generators import Generators
from anyadbench.methods.freezing import is_excluded

if TYPE_CHECKING:
    from anyadbench.methods.contract import Method

Groups = Mapping[str, Sequence[Tensor]]
"""Tensors that are compared together, by a name that a reader understands."""

SHARE = 0.1
"""Largest difference between captured and eager steps, as a share of what eager steps change."""

ROUNDING = 2**-22
"""What rounding to float32 may add to it, as a share of the values."""


class Moment:
    """Copies of tensors, and the states of the random generators.

    Args:
        groups: The tensors, which are copied.
    """

    def __init__(self, groups: Groups) -> None:
        self._generators, self._groups = Generators(), groups
        self._copies = {name: [x.detach().clone() for x in group] for name, group in groups.items()}

    def restore(self) -> None:
        """Set tensors and generators back to this moment."""
        with torch.no_grad():
            for name, group in self._groups.items():
                for tensor, copy in zip(group, self._copies[name], strict=True):
                    tensor.copy_(copy)
        self._generators.restore()

    def difference(self, before: Moment, *, exact: bool) -> str:
        """Return the first group that is not as it was at this moment, in words; an empty text if all are.

        A gradient that is 0 except for rounding has a random sign, and Adam scales it up. Groups are therefore compared
        as a whole, by their Euclidean norm.

        Args:
            before: Where both ways began.
            exact: Whether all values must be equal.
        """
        for name, group in self._groups.items():
            triples = list(zip(group, self._copies[name], before._copies[name], strict=True))
            if exact and not all(_equal(tensor, copy) for tensor, copy, _ in triples):
                return f"{name} not to the bit"
            off, change = (_norm(pair) for pair in (((x, y) for x, y, _ in triples), ((y, z) for _, y, z in triples)))
            allowed = SHARE * change + ROUNDING * _norm((y, torch.zeros_like(y)) for _, y, _ in triples)
            if not exact and not torch.isnan(change) and not off <= allowed:
                return f"{name} by {float(off / change):.0%} of their change" if change else f"{name}, which stay"
        return ""


def groups_of(method: Method, optimised: Groups) -> Groups:
    """Return the groups of optimisers, and every other tensor of a method that it stores as a group of its own."""
    taken = {id(x) for group in optimised.values() for x in group}
    return {**optimised, **{name: [x] for name, x in _tensors(method) if id(x) not in taken}}


def _tensors(method: Method) -> Iterator[tuple[str, Tensor]]:
    for prefix, part in method.named_modules():
        if not is_excluded(part):
            for name, tensor in (*part._parameters.items(), *part._buffers.items()):
                if tensor is not None:
                    yield f"{prefix}.{name}".lstrip("."), tensor


def _equal(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are equal, NaN counting as equal to itself."""
    return torch.equal(one.isnan(), other.isnan()) and torch.equal(one.nan_to_num(), other.nan_to_num())


def _norm(pairs: Iterator[tuple[Tensor, Tensor]]) -> Tensor:
    """Return the Euclidean norm of all differences together, on the device."""
    return torch.stack([(a.detach().double() - b.double()).square().sum() for a, b in pairs]).sum().sqrt()
