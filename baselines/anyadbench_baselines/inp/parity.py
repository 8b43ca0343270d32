"""INP-Former's numbers for the parity fixtures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from anyadbench_baselines.inp import losses, maps
from anyadbench_baselines.inp.encoder import ViTConfig
from anyadbench_baselines.inp.naming import from_published, load_strictly
from anyadbench_baselines.inp.network import InpNetwork
from anyadbench_baselines.inp.statistics import ChannelStatistics, moment_distance, moments
from anyadbench_baselines.optim import StableAdamW, warm_cosine

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float

    from anyadbench.testing.parity import ParityFixture

MAP_SIZE, WARMUP, TOTAL, LR, LR_FINAL, CLIP, GATHER = 96, 3, 10, 1e-3, 1e-4, 0.1, 0.2
"""Settings shared by all fixtures of this kind."""


def fixture_network(fixture: ParityFixture) -> InpNetwork:
    """Build the network that the fixture's entry describes, with the fixture's weights."""
    patch = int(fixture.setting("encoder", "patch"))
    config = ViTConfig(
        width=int(fixture.setting("encoder", "embed_dim")),
        heads=int(fixture.setting("encoder", "heads")),
        depth=int(fixture.setting("encoder", "depth")),
        patch=patch,
        grid=int(fixture.setting("encoder", "img_size")) // patch,
        registers=int(fixture.setting("encoder", "register_tokens")),
        mlp_ratio=float(fixture.setting("encoder", "mlp_ratio")),
    )
    network = InpNetwork(config, int(fixture.setting("prototypes"))).to(getattr(torch, fixture.dtype))
    state = {name: torch.from_numpy(value) for name, value in fixture.state("model").items()}
    load_strictly(network, from_published(state), f"Fixture {fixture.name!r}")
    return network


def fixture_images(fixture: ParityFixture) -> Float[Tensor, "steps B 3 H W"]:
    """Return the fixture's normalised images; item 0 is for evaluation."""
    return torch.from_numpy(fixture.images)


def reproduce(fixture: ParityFixture) -> dict[str, np.ndarray]:
    """Return every entry of a fixture of kind ``inp``."""
    network, images = fixture_network(fixture), fixture_images(fixture)[0]
    return reproduce_network(fixture) | _alignment(network, images)


def reproduce_network(fixture: ParityFixture) -> dict[str, np.ndarray]:
    """Return evaluation and training entries."""
    network, images = fixture_network(fixture), fixture_images(fixture)
    return _evaluation(network, images[0]) | _training(network, images[1:])


@torch.no_grad()
def _evaluation(network: InpNetwork, images: Tensor) -> dict[str, np.ndarray]:
    side, size = images.shape[-1] // network.encoder.config.patch, images.shape[-1]
    encoded = network.encode(images)
    decoded = network.decode(encoded)
    features = {f"en{i}": x for i, x in enumerate(encoded.groups)} | {f"de{i}": x for i, x in enumerate(decoded.groups)}
    distance = maps.distances(encoded.groups, decoded.groups)
    smoothed = maps.smooth(maps.to_map(distance, maps.resampling(side, size, MAP_SIZE)), maps.smoothing_kernel())
    found = {
        "gather_loss": losses.gather(encoded.tokens, decoded.prototypes),
        "map": maps.to_map(distance, maps.resampling(side, size))[:, None],
        "map_96_smoothed": smoothed[:, None],
        "image_score": maps.top_mean(smoothed),
    }
    found |= {name: x.transpose(1, 2).reshape(*x.shape[::2], side, side) for name, x in features.items()}
    return {f"eval/{name}": value.numpy() for name, value in found.items()}


@torch.no_grad()
def _alignment(network: InpNetwork, images: Tensor) -> dict[str, np.ndarray]:
    statistics = ChannelStatistics()
    for features in network.encode(images).groups[-1].chunk(2):
        statistics.update(features)
    mean, std = statistics.result()
    masked = images.clone()
    masked[:, 1:] = 0
    loss = moment_distance(moments(network.encode(masked).groups[-1]), (mean, std))
    return {"align/target_mean": mean.numpy(), "align/target_std": std.numpy(), "align/loss_flair_only": loss.numpy()}


def _training(network: InpNetwork, images: Tensor) -> dict[str, np.ndarray]:
    optimizer, schedule = StableAdamW(network.trained(), lr=LR), warm_cosine(WARMUP, LR_FINAL / LR)
    history: dict[str, list[float]] = {"losses": [], "lrs": [], "grad_norms": []}
    for step, batch in enumerate(images):
        for group in optimizer.param_groups:
            group["lr"] = LR * schedule(step, TOTAL)
        encoded = network.encode(batch)
        decoded = network.decode(encoded)
        gathering = losses.gather(encoded.tokens, decoded.prototypes)
        loss = losses.reconstruction(encoded.groups, decoded.groups).mean() + GATHER * gathering
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(network.trained(), CLIP)
        optimizer.step()
        for name, value in zip(history, (loss.item(), optimizer.param_groups[0]["lr"], norm.item()), strict=True):
            history[name].append(value)
    found = {f"train/{name}": torch.tensor(values, dtype=torch.float64).numpy() for name, values in history.items()}
    trained = network.state_dict()
    return found | {f"trained/{k}": v.numpy() for k, v in trained.items() if not k.startswith("encoder.")}
