"""Frozen networks: fixed while a method trains, and never stored."""

from __future__ import annotations

import torch
from inp_fixture import training_batch
from torch import nn

from anyadbench.methods.contract import Batch, Context, Method, Scores
from anyadbench.methods.freezing import exclude_from_cells, excluded_names, freeze
from anyadbench.weights.resolved import NO_WEIGHTS


class Features(Method):
    """A frozen network, one that its own code switches, and a head."""

    def __init__(self, fill: float = 1.0) -> None:
        super().__init__(Context({}, ("flair", "t1", "t2"), (40, 40), NO_WEIGHTS))
        self.encoder = freeze(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5)))
        self.teachers = nn.ModuleDict({"own": exclude_from_cells(nn.BatchNorm2d(4))})
        self.again = self.encoder[0]
        self.head = nn.Conv2d(4, 1, 1)
        nn.init.constant_(self.head.weight, fill)

    def score(self, batch: Batch) -> Scores:
        return Scores(self.head(self.teachers["own"](self.encoder(batch.inputs)))[:, 0])


def test_a_frozen_part_stays_in_eval_mode_and_takes_no_gradient() -> None:
    method = Features()
    for _ in range(2):
        assert method.train() is method
        assert method.training and method.head.training and method.teachers["own"].training
        assert not any(part.training for part in method.encoder.modules())
    assert not any(parameter.requires_grad for parameter in method.encoder.parameters())
    assert all(parameter.requires_grad for parameter in method.teachers.parameters())
    before = {name: value.clone() for name, value in method.encoder.state_dict().items()}
    method.score(training_batch()).maps.mean().backward()
    assert all(torch.equal(value, before[name]) for name, value in method.encoder.state_dict().items())


def test_what_is_excluded_is_not_stored_and_not_asked_for() -> None:
    method, batch = Features(fill=2.0).eval(), training_batch()
    state = method.saved_state()
    assert set(state) == {"head.weight", "head.bias"}
    assert excluded_names(method) == method.state_dict().keys() - state.keys()
    torch.manual_seed(0)
    first = Features(fill=2.0).eval()
    torch.manual_seed(0)
    other = Features().eval()
    other.load_saved_state(first.saved_state())
    assert torch.equal(first.score(batch).maps, other.score(batch).maps)


def test_freezing_survives_a_copy_and_another_device() -> None:
    from copy import deepcopy

    copied = deepcopy(Features()).to(torch.float64)
    copied.train()
    assert not copied.encoder.training
    assert not any(name.startswith("encoder.") for name in copied.saved_state())
