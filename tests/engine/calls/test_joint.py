"""Several subsets in one call of the network: equal rows, for methods that look at each slice's availability."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from anyadbench.data.store.store import SliceStore
from anyadbench.engine.calls.joint import JointCalls
from anyadbench.engine.calls.pending import Pending
from anyadbench.engine.map_sample import MapSample
from anyadbench.engine.numerics import NotFinite, Policy
from anyadbench.engine.per_subset import PerSubset
from anyadbench.engine.protocol_data import ProtocolData
from anyadbench.engine.reporter import Reporter
from anyadbench.engine.scoring import Evaluator
from anyadbench.methods.contract import Batch, Context, Method, Scores
from anyadbench.protocols.model import Protocol


def context(sequences: tuple[str, ...]) -> Context:
    return Context({}, sequences, (40, 40), SimpleNamespace(kind="none"))  # type: ignore[arg-type]


class Each(Method):
    """Scores each slice by a convolution of its mean shown sequence."""

    def __init__(self, sequences: tuple[str, ...]) -> None:
        super().__init__(context(sequences))
        torch.manual_seed(0)
        self.filter = nn.Conv2d(1, 1, 3, padding=1)
        self.sizes: list[int] = []

    def score(self, batch: Batch) -> Scores:
        self.sizes.append(len(batch))
        mean = batch.inputs.sum(1, keepdim=True) / batch.shown.sum(1)[:, None, None, None]
        return Scores(self.filter(mean)[:, 0].square())


class Whole(Each):
    """Looks at the first slice's availability only."""

    def score(self, batch: Batch) -> Scores:
        self.sizes.append(len(batch))
        return Scores(batch.inputs[:, batch.shown[0]].mean(1))


class Drawing(Each):
    """Adds noise to its maps."""

    def score(self, batch: Batch) -> Scores:
        maps = super().score(batch).maps
        return Scores(maps + 1e-3 * torch.rand(maps.shape))


def evaluated(method: Any, store: SliceStore, protocol: Protocol, allowed: bool | None) -> tuple[Evaluator, Any]:
    torch.manual_seed(1)
    data, kept = ProtocolData(protocol, {"phantom": store}), MapSample("none", protocol.sequences)
    evaluator = Evaluator(method.eval(), data, Policy(threads=1), Reporter(), kept)
    evaluator._joint.allowed = allowed
    states = evaluator.run_test(protocol.tests[0])
    return evaluator, {label: (state.records, vars(state)) for label, state in states.items()}


@pytest.mark.parametrize(("kind", "allowed"), [(Each, True), (Whole, False), (Drawing, False)])
def test_rows_are_equal_whether_subsets_share_calls_or_not(
    kind: type[Each], allowed: bool, store: SliceStore, protocol: Protocol
) -> None:
    found, rows = evaluated(kind(protocol.sequences), store, protocol, None)
    _, alone = evaluated(kind(protocol.sequences), store, protocol, False)
    assert found._joint.allowed is allowed
    assert rows.keys() == alone.keys()
    for label, (records, _) in rows.items():
        assert records == alone[label][0]


def test_every_call_holds_at_most_a_batch_and_several_subsets(store: SliceStore, protocol: Protocol) -> None:
    together, alone = Each(protocol.sequences), Each(protocol.sequences)
    evaluated(together, store, protocol, True)
    evaluated(alone, store, protocol, False)
    assert sum(together.sizes) == sum(alone.sizes)
    assert max(together.sizes) <= 16
    assert len(together.sizes) < len(alone.sizes)


def test_models_for_single_subsets_are_asked_one_by_one(protocol: Protocol) -> None:
    method = PerSubset(context(("flair", "t1")), {("flair",): Each(("flair",)), ("t1",): Each(("t1",))})

    def call(batch: Batch, names: list[str]) -> Pending:
        maps = method.score(batch).maps.detach().numpy()
        return lambda: (maps, maps.max((1, 2)).astype(float))

    def one(values: np.ndarray, subset: tuple[str, ...], names: list[str]) -> Pending:
        shown = np.array([name in subset for name in ("flair", "t1")])
        masked = values * shown[None, :, None, None].astype(np.float32)
        return call(Batch(torch.from_numpy(masked), torch.from_numpy(np.tile(shown, (len(values), 1)))), names)

    joint = JointCalls(one, call, ("flair", "t1"), torch.device("cpu"))
    values, members = np.random.default_rng(0).random((16, 2, 8, 8)).astype(np.float32), np.arange(16)
    wanted = [(("flair",), members), (("t1",), members)]
    found = [pending() for pending in joint.score(values, wanted, [""] * 16)]
    assert joint.allowed is False
    assert len(found) == 2


def test_padded_calls_have_one_size_and_return_no_padding() -> None:
    sizes: list[int] = []

    def call(batch: Batch, names: list[str]) -> Pending:
        assert len(names) == len(batch)
        sizes.append(len(batch))
        return lambda: (batch.inputs.sum(1).numpy(), batch.inputs.sum((1, 2, 3)).double().numpy())

    joint = JointCalls(lambda *_: pytest.fail("one by one"), call, ("flair", "t1"), torch.device("cpu"), True, True)
    values = np.random.default_rng(0).random((9, 2, 4, 4)).astype(np.float32)
    wanted = [(("flair",), np.arange(9)), (("flair", "t1"), np.array([1, 4, 7]))]
    first, second = (pending() for pending in joint.score(values, wanted, [str(i) for i in range(9)]))
    assert sizes == [16]
    np.testing.assert_array_equal(first[0], values[:, 0])
    np.testing.assert_array_equal(second[0], values[[1, 4, 7]].sum(1))


def test_a_score_that_is_not_finite_is_named_with_its_subset(store: SliceStore, protocol: Protocol) -> None:
    class Broken(Each):
        def score(self, batch: Batch) -> Scores:
            maps = super().score(batch).maps
            bad = batch.shown.sum(1) == 1
            return Scores(torch.where(bad[:, None, None], torch.nan, maps))

    with pytest.raises(NotFinite, match=r"the scores of .* slice \d+, shown F, hold NaN or infinity"):
        evaluated(Broken(protocol.sequences), store, protocol, True)
