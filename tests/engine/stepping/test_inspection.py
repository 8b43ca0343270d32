"""What a CUDA graph would repeat wrongly is noticed before a step is captured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from toy_trainer import Toy

from anyadbench.engine.stepping.inspection import Inspection, watched

X, MASK = torch.eye(4) + 0.5, torch.eye(4) > 0
COUNTS = torch.tensor([1, 2, 1, 1])


@pytest.mark.parametrize(
    "operation",
    [
        lambda: X[MASK],
        lambda: X.clone().index_put_((MASK,), torch.rand(4)),
        lambda: X.masked_select(MASK),
        lambda: torch.where(MASK),
        lambda: X.repeat_interleave(COUNTS, 0),
        lambda: torch.bincount(COUNTS),
        lambda: torch.unique(COUNTS),
        lambda: torch.unique_consecutive(COUNTS),
        lambda: torch.equal(X, X),
        lambda: torch.allclose(X, X),
        lambda: torch.linalg.inv(X),
        lambda: torch.linalg.cholesky(X @ X.T),
        lambda: torch.linalg.solve(X, X),
        lambda: torch.linalg.eigh(X),
        lambda: torch.multinomial(X[0], 1),
    ],
)
def test_operations_that_wait_for_a_value_of_the_device_are_noticed(operation: Callable[[], Any]) -> None:
    inspection = Inspection(Toy(), apart=False)
    for _ in range(2):
        inspection.watch(lambda step, total: operation(), 0, 9)
    assert [reason.startswith("it reads a value back from the device (") for reason in inspection.reasons] == [True]


def test_operations_that_wait_for_nothing_are_not_noticed() -> None:
    def step(step: int, total: int) -> None:
        x = X.clone()
        x[MASK] = 0.0
        x[COUNTS] = x[COUNTS] + 1
        x.repeat_interleave(COUNTS, 0, output_size=5)
        x.repeat_interleave(2, 0)
        torch.tensor(3.0)
        torch.where(MASK, x, 0.0)

    inspection = Inspection(Toy(), apart=False)
    for _ in range(2):
        inspection.watch(step, 0, 9)
    assert inspection.reasons == []


def test_a_tensor_that_is_made_from_numbers_on_another_device_is_noticed() -> None:
    inspection = Inspection(Toy(), apart=False)
    for _ in range(2):
        inspection.watch(lambda step, total: torch.tensor([3.0], device="meta"), 0, 9)
    assert inspection.reasons == ["it copies between host and device"]


def test_random_numbers_of_the_host_are_noticed_where_the_device_is_another() -> None:
    inspection = Inspection(Toy(), apart=True)
    inspection.watch(lambda step, total: torch.rand(1), 0, 9)
    assert inspection.reasons == ["it draws random numbers on the host"]
    quiet = Inspection(Toy(), apart=False)
    quiet.watch(lambda step, total: torch.rand(1), 0, 9)
    assert quiet.reasons == []


def test_a_watched_number_counts_like_any_other() -> None:
    number = watched(7)
    assert not number.used
    assert (number + 1, 1 - watched(7), watched(7) / 2, float(watched(7)), watched(7) == 7) == (8, -6, 3.5, 7.0, True)
    assert number.used
