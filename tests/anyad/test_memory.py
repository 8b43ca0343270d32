"""The memory of normal tokens that weighs AnyAD + teacher's reconstruction error."""

from __future__ import annotations

import pytest
import torch
from inp_fixture import Normals, build, training_batch

from anyadbench.errors import UserError
from anyadbench.methods.contract import Batch
from anyadbench_anyad import memory
from anyadbench_anyad.descriptors import ANYAD, ANYAD_INTENDED
from anyadbench_anyad.memory import TokenMemory, inside


def normals(count: int = 5) -> Normals:
    targets = torch.rand(count, 3, 40, 40, generator=torch.Generator().manual_seed(9))
    return Normals(targets, torch.ones(count, 3, dtype=torch.bool))


def test_a_remembered_token_has_no_distance_and_an_opposite_one_the_largest() -> None:
    kept = TokenMemory(3, 2, 4)
    kept.tokens.copy_(torch.eye(4)[:3].expand(2, 3, 4))
    seen = torch.tensor([[[2.0, 0, 0, 0], [0, 0, 0, 1.0], [-1.0, -1.0, -1.0, 0]]])
    assert torch.allclose(kept.distance([seen, seen]), torch.tensor([[0.0, 1.0, 1 + 3**-0.5]]), atol=1e-6)


def test_tokens_come_from_every_subset_and_from_tissue_alone() -> None:
    values = torch.zeros(4, 3, 8, 8)
    values[:, :, :, :4] = torch.arange(1.0, 4).view(1, 3, 1, 1)  # the right half is air
    slices = Normals(values, torch.ones(4, 3, dtype=torch.bool))
    shown: list[Batch] = []

    def encode(batch: Batch) -> list[torch.Tensor]:
        shown.append(batch)
        token = torch.nn.functional.avg_pool2d(batch.inputs, 4).flatten(2).transpose(1, 2)
        return [token, 2 * token]

    kept = TokenMemory(70, 2, 3)
    kept.fill(slices, encode, 3)
    subsets = {tuple(row) for batch in shown for row in batch.shown.tolist()}
    assert len(subsets) == 7 and sum(map(len, shown)) == 7 * 4
    assert all((batch.inputs[~batch.shown] == 0).all() for batch in shown)
    assert torch.allclose(kept.tokens.norm(dim=-1), torch.ones(2, 70))  # air would have length 0
    kinds = {tuple(row) for row in (kept.tokens[0] > 0).tolist()}
    assert kinds == subsets


def test_only_some_slices_are_remembered_and_they_are_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "SLICES", 3)
    values = torch.arange(9.0).view(9, 1, 1, 1).expand(9, 1, 4, 4) + 1
    chosen = memory._spread(Normals(values, torch.ones(9, 1, dtype=torch.bool)), 2)
    assert chosen.inputs[:, 0, 0, 0].tolist() == [1, 5, 9]


def test_normals_without_tissue_are_refused() -> None:
    method = build(ANYAD)
    empty = Normals(torch.zeros(4, 3, 40, 40), torch.ones(4, 3, dtype=torch.bool))
    with pytest.raises(UserError, match=r"No training slice of anyad shows tissue; .* --set anyad\.memory=0"):
        method.prepare(empty)


def test_the_map_is_the_weighed_error_and_ends_with_the_brain() -> None:
    method, plain = build(ANYAD, memory=64), build(ANYAD, memory=0)
    plain.load_saved_state({k: v for k, v in method.saved_state().items() if not k.startswith("memory.")})
    batch = training_batch((0, 0), (1, 2))
    batch.inputs[:, :, :20] = 0
    # An empty memory has the distance 1 everywhere, which weighs nothing.
    full = plain.score(batch).maps
    side = full.shape[-1]
    brain = inside(batch, side)
    assert torch.allclose(method.score(batch).maps, full * brain)
    assert not brain[:, : side // 2].any() and brain[:, side // 2 :].any()
    method.prepare(normals())
    weighed = method.score(batch).maps
    assert (weighed[~brain] == 0).all() and not torch.allclose(weighed, full * brain)


def test_an_alignment_that_changes_features_is_compared_by_frozen_ones() -> None:
    method = build(ANYAD, align="adapter")
    method.prepare(normals())
    before = method.memory.distance(method.encode_frozen(training_batch((0, 0))))
    for parameter in method.alignment.parameters():
        parameter.data.add_(0.5)
    assert torch.equal(before, method.memory.distance(method.encode_frozen(training_batch((0, 0)))))


def test_the_method_as_described_has_no_memory() -> None:
    assert "memory" not in ANYAD_INTENDED.resolve("demo")
    assert build(ANYAD_INTENDED).memory is None
