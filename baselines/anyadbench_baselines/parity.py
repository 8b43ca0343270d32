"""Numbers of RD4AD and ReContrast for the parity fixtures of kind ``distill``."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn

from anyadbench.weights import ResolvedWeights
from anyadbench_baselines.inp.naming import load_strictly
from anyadbench_baselines.parts.cosine import flat_distance, map_sum, mined_distance
from anyadbench_baselines.parts.pyramid import Pyramid, residual_for
from anyadbench_baselines.parts.reverse import Levels, OneClassBottleneck, ReverseDecoder
from anyadbench_baselines.recontrast import TwoHeadDecoder, mining_threshold

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

    from anyadbench.testing.parity import ParityFixture

    Pair = tuple[list[Tensor], list[Tensor]]

Module = TypeVar("Module", bound=nn.Module)

RAMP_STEPS = 2
"""Steps over which the fixtures' mining threshold rises."""


def rd4ad(fixture: ParityFixture) -> dict[str, np.ndarray]:
    """Return every entry of a fixture of reverse distillation."""
    encoder, levels = _encoder(fixture)
    plan = residual_for(str(fixture.setting("backbone")))
    bottleneck = _load(OneClassBottleneck(levels, plan), fixture, "bn")
    decoder = _load(ReverseDecoder(levels, plan), fixture, "decoder")

    def pyramids(x: Tensor) -> Pair:
        features = encoder(x)
        return features, decoder(bottleneck(features))

    optimizer = torch.optim.Adam([*decoder.parameters(), *bottleneck.used()], lr=0.005, betas=(0.5, 0.999))
    modules = nn.ModuleList([encoder, bottleneck, decoder])
    with torch.no_grad():
        modules.eval()
        teacher, student = pyramids(_images(fixture)[0])
    means = {f"eval/teacher{i}_mean": t.mean((2, 3)).numpy() for i, t in enumerate(teacher)}
    means |= {f"eval/student{i}_mean": s.mean((2, 3)).numpy() for i, s in enumerate(student)}
    return means | _run(fixture, modules, pyramids, [optimizer], lambda pair, step: flat_distance(*pair))


def recontrast(fixture: ParityFixture) -> dict[str, np.ndarray]:
    """Return every entry of a fixture of ReContrast."""
    encoder, levels = _encoder(fixture, frozen=False)
    teacher, _ = _encoder(fixture)
    plan = residual_for(str(fixture.setting("backbone")))
    bottleneck = _load(OneClassBottleneck(levels, plan), fixture, "bn")
    decoder = _load(TwoHeadDecoder(levels, plan), fixture, "decoder")

    def pairs(x: Tensor) -> Pair:
        mine, theirs = encoder(x), teacher(x)
        frozen, trained = decoder.both(bottleneck([torch.cat(pair) for pair in zip(mine, theirs, strict=True)]))
        return [*theirs, *(e.detach() for e in mine)], [*frozen, *trained]

    def loss(pair: Pair, step: int) -> Tensor:
        alpha = mining_threshold(step, RAMP_STEPS, 1.0)
        return 3 * mined_distance(*pair, alpha)

    optimizers = [
        torch.optim.AdamW([*decoder.parameters(), *bottleneck.used()], lr=2e-3, weight_decay=1e-5),
        torch.optim.AdamW(encoder.parameters(), lr=1e-5, weight_decay=1e-5),
    ]
    return _run(fixture, nn.ModuleList([encoder, teacher, bottleneck, decoder]), pairs, optimizers, loss)


def _run(
    fixture: ParityFixture,
    modules: nn.ModuleList,
    pairs: Callable[[Tensor], Pair],
    optimizers: Sequence[torch.optim.Optimizer],
    loss: Callable[[Pair, int], Tensor],
) -> dict[str, np.ndarray]:
    images = _images(fixture)
    size = (images.shape[-2], images.shape[-1])

    @torch.no_grad()
    def picture() -> np.ndarray:
        modules.eval()
        return map_sum(*pairs(images[0]), size).numpy()

    before, losses = picture(), []
    for step, batch in enumerate(images[1:]):
        modules.train()
        value = loss(pairs(batch), step)
        for optimizer in optimizers:
            optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        for optimizer in optimizers:
            optimizer.step()
        losses.append(value.detach())
    return {"eval/map_sum": before, "train/losses": torch.stack(losses).numpy(), "trained/map_sum": picture()}


def _encoder(fixture: ParityFixture, *, frozen: bool = True) -> tuple[Pyramid, Levels]:
    architecture = str(fixture.setting("backbone"))
    weights = ResolvedWeights(name="fixture", profile="random", architecture=architecture, kind="random")
    encoder = Pyramid(weights, frozen=frozen).to(getattr(torch, fixture.dtype))
    own = encoder.net.state_dict()
    # The fixtures' encoders may contain the last stage and the classifier, which are not used here.
    _fill(encoder.net, {name: x for name, x in fixture.state("encoder").items() if name in own}, fixture, "encoder")
    first, second, third = encoder.channels
    return encoder, (first, second, third)


def _load(module: Module, fixture: ParityFixture, name: str) -> Module:
    module.to(getattr(torch, fixture.dtype))
    _fill(module, fixture.state(name), fixture, name)
    return module


def _fill(module: nn.Module, state: dict[str, np.ndarray], fixture: ParityFixture, name: str) -> None:
    tensors = {key: torch.from_numpy(value) for key, value in state.items()}
    load_strictly(module, tensors, f"Module {name!r} of {fixture.name}.names.json")


def _images(fixture: ParityFixture) -> Tensor:
    return torch.from_numpy(fixture.images)
