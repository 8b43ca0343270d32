"""Tensors at two moments, compared by what the steps between them change."""

from __future__ import annotations

import pytest
import torch
from toy_trainer import Toy

from anyadbench.engine.stepping.moments import Moment, groups_of
from anyadbench.engine.stepping.optimisers import optimised_tensors


@pytest.mark.parametrize("deterministic", [True, False])
def test_every_tensor_that_a_step_changes_is_compared(deterministic: bool) -> None:
    method = Toy()
    method.register_buffer("count", torch.zeros((), dtype=torch.int64))
    method.register_buffer("seen", torch.zeros(2))
    specs = method.optimizers()

    def steps(forgotten: str = "") -> None:
        method.get_buffer("count").add_(1)
        method.get_buffer("seen").add_(torch.tensor([1.0, torch.nan]))
        with torch.no_grad():
            for name, group in optimised_tensors(specs).items():
                for tensor in group if not name.startswith(forgotten or "none") else ():
                    tensor += 1e-6

    method.layer(torch.rand(2, 16)).sum().backward()
    specs["main"].optimizer.step()
    groups = groups_of(method, optimised_tensors(specs))
    names = [f"{kind} of optimiser main" for kind in ("weights", "step", "exp_avg", "exp_avg_sq")]
    assert list(groups) == [*names, "count", "seen"]
    before = Moment(groups)
    steps()
    after = Moment(groups)
    for name in ("", *names):
        before.restore()
        steps(name)
        assert after.difference(before, exact=deterministic).startswith(name or "never") is bool(name)
    before.restore()
    steps()
    method.get_buffer("count").add_(1)
    assert after.difference(before, exact=deterministic).startswith("count ")
