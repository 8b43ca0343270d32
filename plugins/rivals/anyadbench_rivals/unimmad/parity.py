"""UniMMAD's numbers for the parity fixtures."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from anyadbench.api import ResolvedWeights, load_strictly, normalise
from anyadbench_rivals.fixtures import grey_images
from anyadbench_rivals.unimmad.experts import ExpertSizes
from anyadbench_rivals.unimmad.network import (
    NetworkSize,
    Passed,
    UniMmadNetwork,
    anomaly_maps,
    balance_weight,
    blurred,
    image_scores,
    levels_mean,
    reconstruction_loss,
    stack_pictures,
)

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from anyadbench.api import ParityFixture

    Numbers = dict[str, np.ndarray]

SEQUENCES, RATE = 4, 1e-3
FEATURES = ("encoded", "general", "prior", "reconstruction")
HISTORY = ("losses", "cos_losses", "extra_losses", "grad_norms", "lrs")


def reproduce(fixture: ParityFixture) -> Numbers:
    """Return every entry of a fixture."""
    network = _network(fixture)
    images = _images(fixture)
    with torch.no_grad():
        found = _evaluation(fixture, network.eval(), images[0])
    if len(images) > 1:
        found |= _training(fixture, network, images)
    return found


def _network(fixture: ParityFixture) -> UniMmadNetwork:
    def setting(*path: str) -> int:
        return int(fixture.setting(*path))

    first, second, third = (int(blocks) for blocks in fixture.setting("decoder", "stages"))
    experts = ExpertSizes(*(setting("moe", key) for key in ("embed_dim", "base_num", "router_num", "top_k")))
    size = NetworkSize(
        setting("image_size"),
        stages=(first, second, third),
        base_width=setting("decoder", "base_width"),
        experts=experts,
    )
    architecture = str(fixture.setting("backbone"))
    weights = ResolvedWeights(name="fixture", profile="random", architecture=architecture, kind="random")
    network = UniMmadNetwork(size, weights).to(getattr(torch, fixture.dtype))
    for name, module in network.published_modules().items():
        key, _, inside = name.partition(".")
        state = {k[len(inside) :]: torch.from_numpy(v) for k, v in fixture.state(key).items() if k.startswith(inside)}
        load_strictly(module, state, f"Module {key!r} of fixture {fixture.name!r}")
    return network


def _images(fixture: ParityFixture) -> Float[Tensor, "steps B S 3 H W"]:
    grey = grey_images(fixture, SEQUENCES)
    rgb = grey[:, :, :, None].expand(-1, -1, -1, 3, -1, -1)
    return normalise(rgb.flatten(0, 2)).view(rgb.shape)


def _shown(fixture: ParityFixture, item: int) -> Bool[Tensor, "B S"]:
    counts = torch.tensor(fixture.setting("present")[item])
    return torch.arange(SEQUENCES) < counts[:, None]


def _pass(network: UniMmadNetwork, images: Tensor, shown: Tensor) -> Passed:
    return network(images[shown], shown.nonzero()[:, 0], stack_pictures(images, shown, "packed"))


def _evaluation(fixture: ParityFixture, network: UniMmadNetwork, images: Float[Tensor, "B S 3 H W"]) -> Numbers:
    shown, size = _shown(fixture, 0), (images.shape[-2], images.shape[-1])
    passes = [_pass(network, images[at : at + 1], shown[at : at + 1]) for at in range(len(images))]
    maps = torch.cat([anomaly_maps(one, 1, size) for one in passes])
    smooth = blurred(maps)
    found = {
        "eval/stem": torch.cat([one.stem for one in passes]),
        "eval/experts": torch.cat([one.chosen for one in passes], dim=2),
        "eval/extra_loss": torch.stack([one.balance for one in passes]) * balance_weight(1),
        "eval/map": maps,
        "eval/map_smoothed": smooth,
        "eval/image_score": image_scores(smooth),
    }
    for name in FEATURES:
        parts = [levels_mean(getattr(one, "rebuilt" if name == "reconstruction" else name)) for one in passes]
        found |= {f"eval/{name}{level}_mean": torch.cat(means) for level, means in enumerate(zip(*parts, strict=True))}
    return {name: value.numpy() for name, value in found.items()}


def _training(fixture: ParityFixture, network: UniMmadNetwork, images: Float[Tensor, "steps B S 3 H W"]) -> Numbers:
    period, weight = int(fixture.setting("lr_period")), float(np.mean(fixture.setting("loss_weight")))
    optimizer = torch.optim.Adam(network.trained(), lr=RATE)
    history: dict[str, list[float]] = {name: [] for name in HISTORY}
    found: Numbers = {}
    network.train()
    for step, batch in enumerate(images[1:]):
        rate = RATE * (1 + math.cos(math.pi * step / period)) / 2
        for group in optimizer.param_groups:
            group["lr"] = rate
        passed = _pass(network, batch, _shown(fixture, step + 1))
        cosine = weight * reconstruction_loss(passed)
        extra = balance_weight(fixture.setting("epochs")[step]) * passed.balance
        loss = cosine + extra
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        squares = _squared_gradients(network)
        if step == 0:
            found = {f"grad/{name}": np.array(value**0.5) for name, value in squares.items()}
        optimizer.step()
        values = (loss.item(), cosine.item(), extra.item(), sum(squares.values()) ** 0.5, rate)
        for name, value in zip(history, values, strict=True):
            history[name].append(value)
    found |= {f"train/{name}": np.array(values) for name, values in history.items()}
    with torch.no_grad():
        trained = _evaluation(fixture, network.eval(), images[0])
    return found | _state(fixture, network) | {"trained/map": trained["eval/map"]}


def _squared_gradients(network: UniMmadNetwork) -> dict[str, float]:
    squares: dict[str, float] = {}
    for name, module in network.published_modules().items():
        own = sum(float(p.grad.square().sum()) for p in module.parameters() if p.grad is not None)
        key = name.partition(".")[0]
        if key != "piror_generator":
            squares[key] = squares.get(key, 0.0) + own
    return squares


def _state(fixture: ParityFixture, network: UniMmadNetwork) -> Numbers:
    values: Numbers = {}
    for name, module in network.published_modules().items():
        key, _, inside = name.partition(".")
        values |= {f"{key}.{inside}{entry}": value.detach().numpy() for entry, value in module.state_dict().items()}
    norms = {
        f"trained/norms/{key}": np.array([np.linalg.norm(values[f"{key}.{entry}"]) for entry in entries])
        for key, entries in fixture.names.items()
    }
    return norms | {f"trained/{name}": value for name, value in values.items()}
