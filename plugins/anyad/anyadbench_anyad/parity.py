"""AnyAD's numbers for the parity fixtures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from anyadbench_anyad.alignment import EncoderAlignment, Pair
from anyadbench_baselines.inp.parity import fixture_images, fixture_network, reproduce_network
from anyadbench_baselines.inp.statistics import ChannelStatistics

if TYPE_CHECKING:
    import numpy as np

    from anyadbench.testing.parity import ParityFixture


def reproduce(fixture: ParityFixture) -> dict[str, np.ndarray]:
    """Return every entry of a fixture of kind ``inp``, with the alignment from AnyAD's own classes."""
    return reproduce_network(fixture) | _alignment(fixture)


@torch.no_grad()
def _alignment(fixture: ParityFixture) -> dict[str, np.ndarray]:
    network, images = fixture_network(fixture), fixture_images(fixture)[0]
    alignment = EncoderAlignment(network.encoder.config.width, images.shape[1]).to(images.dtype)
    for index, features in enumerate(network.encode(images).groups):
        statistics = ChannelStatistics()
        for slice_features in features.chunk(2):
            statistics.update(slice_features)
        alignment.target_mean[index], alignment.target_std[index] = statistics.result()
    masked = images.clone()
    masked[:, 1:] = 0
    encoded = network.encode(masked)
    loss = alignment.loss(Pair(encoded, network.decode(encoded), None, network))
    return {
        "align/target_mean": alignment.target_mean[-1].numpy(),
        "align/target_std": alignment.target_std[-1].numpy(),
        "align/loss_flair_only": loss.numpy(),
    }
