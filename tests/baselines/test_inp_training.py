"""Losses, optimiser and schedule of INP-Former."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from anyadbench_baselines.inp.losses import gather, mined_cosine
from anyadbench_baselines.optim import StableAdamW, warm_cosine


def test_mining_scales_the_gradient_of_each_place() -> None:
    torch.manual_seed(0)
    target, decoded = torch.randn(2, 2, 9, 5, dtype=torch.float64)
    decoded.requires_grad_()
    plain = 1 - F.cosine_similarity(target.flatten(1), decoded.flatten(1), dim=1)
    (gradient,) = torch.autograd.grad(plain.mean(), decoded)
    distance = 1 - F.cosine_similarity(target, decoded.detach(), dim=-1)
    factor = (distance / distance.mean()) ** 3
    mined = mined_cosine(target, decoded)
    torch.testing.assert_close(mined, plain)
    torch.testing.assert_close(torch.autograd.grad(mined.mean(), decoded)[0], gradient * factor[..., None])


def test_the_target_gets_no_gradient() -> None:
    target, decoded = torch.randn(2, 1, 4, 3, requires_grad=True).unbind(0)
    (gradient,) = torch.autograd.grad(mined_cosine(target, decoded).sum(), target, allow_unused=True)
    assert gradient is None


def test_gather_is_the_distance_to_the_nearest_prototype() -> None:
    torch.manual_seed(0)
    tokens, prototypes = torch.randn(2, 7, 5), torch.randn(2, 3, 5)
    distances = 1 - F.cosine_similarity(tokens.unsqueeze(2), prototypes.unsqueeze(1), dim=-1)
    torch.testing.assert_close(gather(tokens, prototypes), distances.min(dim=2).values.mean())


def _reference_step(
    p: torch.Tensor, grad: torch.Tensor, state: dict[str, torch.Tensor], step: int, lr: float
) -> torch.Tensor:
    p = p * (1 - lr * 1e-4)
    state["m"] = 0.9 * state["m"] + 0.1 * grad
    state["v"] = 0.999 * state["v"] + 0.001 * grad**2
    state["top"] = torch.maximum(state["top"], state["v"])
    denominator = state["top"].sqrt() / (1 - 0.999**step) ** 0.5 + 1e-10
    rms = ((grad / denominator) ** 2).mean() ** 0.5
    return p - lr / (1 - 0.9**step) / max(1.0, float(rms)) * state["m"] / denominator


def test_stable_adamw_follows_its_definition() -> None:
    torch.manual_seed(0)
    parameter = torch.nn.Parameter(torch.randn(4, 3, dtype=torch.float64))
    other = torch.nn.Parameter(torch.randn(5, dtype=torch.float64))
    optimizer = StableAdamW([parameter, other], lr=0.1)
    expected, zero = parameter.detach().clone(), torch.zeros_like(parameter)
    state = {"m": zero, "v": zero, "top": zero}
    for step in range(1, 21):
        grad = torch.randn_like(parameter) * 10.0 ** (step % 4)
        parameter.grad, other.grad = grad.clone(), None
        optimizer.step()
        expected = _reference_step(expected, grad, state, step, 0.1)
    torch.testing.assert_close(parameter.detach(), expected, rtol=1e-12, atol=1e-12)


def test_parameters_that_start_late_count_their_own_steps() -> None:
    first, late = (torch.nn.Parameter(torch.ones(3, dtype=torch.float64)) for _ in range(2))
    alone = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    both, single = StableAdamW([first, late], lr=0.1), StableAdamW([alone], lr=0.1)
    for step in range(3):
        first.grad = torch.ones_like(first)
        late.grad = torch.full_like(late, 0.5) if step == 2 else None
        both.step()
    alone.grad = torch.full_like(alone, 0.5)
    single.step()
    assert torch.equal(late, alone)


def test_many_tensors_at_once_give_the_same_numbers() -> None:
    torch.manual_seed(0)
    values = [torch.randn(3, 2), torch.randn(4)]
    one, all_ = ([torch.nn.Parameter(v.clone()) for v in values] for _ in range(2))
    single, joint = StableAdamW(one, lr=0.1), StableAdamW(all_, lr=0.1)
    for _ in range(3):
        for a, b in zip(one, all_, strict=True):
            a.grad = torch.randn_like(a)
            b.grad = a.grad.clone()
        single.step()
        with torch.no_grad():
            joint._update(all_, joint.param_groups[0])
    assert all(torch.equal(a, b) for a, b in zip(one, all_, strict=True))


def test_optimizer_state_survives_saving() -> None:
    torch.manual_seed(0)
    a = torch.nn.Parameter(torch.randn(3))
    b = torch.nn.Parameter(a.detach().clone())
    first, second = StableAdamW([a], lr=0.1), StableAdamW([b], lr=0.1)
    for optimizer, parameter in ((first, a), (second, b)):
        parameter.grad = torch.ones(3)
        optimizer.step()
    resumed = StableAdamW([b], lr=0.1)
    resumed.load_state_dict(second.state_dict())
    for optimizer, parameter in ((first, a), (resumed, b)):
        parameter.grad = torch.tensor([1.0, -2.0, 3.0])
        optimizer.step()
    assert torch.equal(a, b)


@pytest.mark.parametrize(("step", "factor"), [(0, 0.0), (1, 0.5), (2, 1.0), (3, 1.0), (10, 0.1)])
def test_schedule_warms_up_to_one_and_falls_to_the_last_value(step: int, factor: float) -> None:
    assert warm_cosine(3, 0.1)(step, 10) == pytest.approx(factor)


def test_schedule_falls_by_half_a_cosine() -> None:
    assert warm_cosine(0, 0.1)(5, 10) == pytest.approx(0.55)


def test_schedule_of_a_run_shorter_than_its_warm_up_stays_linear() -> None:
    assert [warm_cosine(5, 0.1)(step, 3) for step in range(3)] == [0.0, 0.25, 0.5]


def stable_adamw(*, capturable: bool) -> tuple[torch.nn.Linear, StableAdamW]:
    torch.manual_seed(0)
    layer = torch.nn.Linear(7, 5)
    optimizer = StableAdamW(layer.parameters(), lr=1e-2)
    if capturable:
        optimizer.param_groups[0] |= {"capturable": True, "lr": torch.tensor(1e-2)}
    return layer, optimizer


def steps_of(layer: torch.nn.Linear, optimizer: StableAdamW, numbers: range) -> None:
    for number in numbers:
        optimizer.zero_grad()
        layer(torch.rand(4, 7, generator=torch.Generator().manual_seed(number))).square().sum().backward()
        optimizer.step()


def test_counting_steps_on_the_device_changes_at_most_the_last_bits() -> None:
    (plain, first), (counting, second) = stable_adamw(capturable=False), stable_adamw(capturable=True)
    steps_of(plain, first, range(20))
    steps_of(counting, second, range(20))
    torch.testing.assert_close(counting.weight, plain.weight, rtol=1e-6, atol=1e-7)
    assert all(float(state["step"]) == 20 for state in second.state.values())


def test_an_optimiser_that_counts_on_the_device_resumes_to_the_same_bits() -> None:
    (whole, first), (cut, second) = stable_adamw(capturable=True), stable_adamw(capturable=True)
    steps_of(whole, first, range(20))
    steps_of(cut, second, range(9))
    layer, third = stable_adamw(capturable=True)
    layer.load_state_dict(cut.state_dict())
    third.load_state_dict(second.state_dict())
    steps_of(layer, third, range(9, 20))
    assert torch.equal(layer.weight, whole.weight)
