"""Channel statistics that are merged batch by batch."""

from __future__ import annotations

import pytest
import torch

from anyadbench_baselines.inp.statistics import ChannelStatistics, moment_distance, moments


@pytest.mark.parametrize("sizes", [(7,), (1, 6), (3, 3, 1)])
def test_any_batching_gives_the_statistics_of_all(sizes: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    features = 1000 + torch.randn(7, 5, 4, dtype=torch.float64)
    statistics = ChannelStatistics()
    for part in features.split(list(sizes)):
        statistics.update(part)
    mean, std = statistics.result()
    torch.testing.assert_close(mean, features.mean((0, 1)))
    torch.testing.assert_close(std, features.flatten(0, 1).std(0), rtol=1e-10, atol=0)


def test_statistics_of_nothing_are_an_error() -> None:
    with pytest.raises(ValueError, match="at least two tokens"):
        ChannelStatistics().result()


def test_distance_adds_the_errors_of_means_and_deviations() -> None:
    own, target = torch.tensor([[[1.0], [3.0]]]), torch.tensor([[[0.0], [0.0]]])
    assert moment_distance(moments(own), moments(target)) == pytest.approx(4.0 + 2.0)
