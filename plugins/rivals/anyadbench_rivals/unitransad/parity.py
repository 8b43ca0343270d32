"""UniTransAD's numbers for the parity fixtures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from anyadbench.api import load_strictly
from anyadbench_rivals.fixtures import grey_images, normal
from anyadbench_rivals.unitransad import postprocessing, training
from anyadbench_rivals.unitransad.cycle import encode_source, run_cycle
from anyadbench_rivals.unitransad.edges import edge_maps, tissue
from anyadbench_rivals.unitransad.network import NetworkSize, Style, UniTransNetwork
from anyadbench_rivals.unitransad.schedule import EPOCHS, epoch_factor

if TYPE_CHECKING:
    from jaxtyping import Float

    from anyadbench.api import ParityFixture

    Numbers = dict[str, np.ndarray]

RATE, BETAS, DECAY = 1e-3, (0.9, 0.95), 0.05
CONTRAST, TRANSLATION = 0.005, 5.0
CYCLE = ("virtual", "reconstruction", "similarity", "error", "map")
DICE_MEDIANS, DICE_COMPONENTS = (0, 3, 5), (0, 3, 10)


def reproduce(fixture: ParityFixture) -> Numbers:
    """Return every entry of a fixture of the method, of its figures, or of its intensities."""
    kind = str(fixture.setting("kind"))
    if kind == "unitransad-dice":
        return _figures(fixture)
    if kind == "unitransad-prep":
        return _intensities(fixture)
    network = _network(fixture)
    with torch.no_grad():
        found = _evaluation(fixture, network.eval())
        found |= _cycles(fixture, network)
        found |= _postprocessing(fixture, network)
    return found | _training(fixture, network)


def _network(fixture: ParityFixture) -> UniTransNetwork:
    def size(key: str) -> int:
        return int(fixture.setting("network", key))

    sizes = NetworkSize(
        int(fixture.setting("image_size")),
        size("patch_size"),
        size("embed_dim"),
        size("depth"),
        size("num_heads"),
        size("decoder_embed_dim"),
        size("decoder_depth"),
        size("decoder_num_heads"),
    )
    network = UniTransNetwork(sizes).to(getattr(torch, fixture.dtype))
    state = {name: torch.from_numpy(value) for name, value in fixture.state("model").items()}
    load_strictly(network, state, f"Fixture {fixture.name!r}")
    return network


def fixture_images(fixture: ParityFixture) -> Float[Tensor, "steps B S H W"]:
    """Return the pictures; tissue differs between sequences, and one of item 0 has none."""
    images = grey_images(fixture, int(fixture.setting("images_sequences")))
    patch, side = int(fixture.setting("network", "patch_size")), images.shape[-1]
    for index in range(images.shape[2]):
        mask = torch.zeros(side, side, dtype=images.dtype)
        mask[index % 2 * patch : side - patch, patch : side - index // 2 * patch] = 1
        images[:, :, index] *= mask
    images[0, -1, len(fixture.setting("sequences")) - 1] = 0
    return images


def _edges(images: Float[Tensor, "B S H W"]) -> Float[Tensor, "B S H W"]:
    return edge_maps(images.flatten(0, 1)).view(images.shape)


def _sources(order: Sequence[int], batch: int) -> Tensor:
    return torch.tensor(order).expand(batch, -1)


def _evaluation(fixture: ParityFixture, network: UniTransNetwork) -> Numbers:
    item = fixture_images(fixture)[0]
    count = len(fixture.setting("sequences"))
    edges, images = _edges(item), item[:, :count]
    present = torch.ones(images.shape[:2], dtype=torch.bool)
    encoded = training.encode_batch(network, images, present)
    sources = _sources(fixture.setting("sources", "eval"), len(images))
    rendered = training.translations(network, encoded, edges, sources)
    fused = []
    for target in range(count):
        content = encoded.content[encoded.rows.gather(1, sources)[:, target]]
        own = encoded.rows[:, target]
        style = Style(encoded.style.mean[own], encoded.style.std[own])
        fused.append(network.fuse(content, edges[:, target][:, None], style))
    names, temperature = fixture.setting("sequences"), float(fixture.setting("temperature"))
    pairs = torch.stack(training.contrastive_pairs(encoded, names, temperature))
    by_sequence = encoded.rows.T
    found = {
        "eval/mask": tissue(images.transpose(0, 1).flatten(0, 1), network.size.patch)
        .view(count, len(images), -1)
        .to(images.dtype),
        "eval/content": encoded.content[by_sequence],
        "eval/style_mean": encoded.style.mean[by_sequence],
        "eval/style_std": encoded.style.std[by_sequence],
        "eval/cscal_pairs": pairs,
        "eval/loss_cscal": pairs.mean(),
        "eval/fused": torch.stack(fused),
        "eval/translations": torch.stack(list(rendered.values())),
        "eval/trans_losses": training.translation_losses(rendered, images, present),
        "input/edges": edges,
        "init/pos_embed": network.get_buffer("pos_embed"),
        "init/decoder_pos_embed": network.get_buffer("decoder_pos_embed"),
    }
    return {name: value.numpy() for name, value in found.items()}


def _cycles(fixture: ParityFixture, network: UniTransNetwork) -> Numbers:
    item = fixture_images(fixture)[0]
    names, edges = list(fixture.setting("sequences")), _edges(item)
    found: Numbers = {}
    for source, target in fixture.setting("cycles"):
        index = names.index(source)
        encoded = encode_source(network, item[:, index], edges[:, index])
        cycle = run_cycle(network, encoded, network.remembered(target, len(item)))
        entries = {name: "maps" if name == "map" else name for name in CYCLE}
        found |= {f"cycle/{source}_to_{target}/{n}": getattr(cycle, a).numpy() for n, a in entries.items()}
    return found


def _postprocessing(fixture: ParityFixture, network: UniTransNetwork) -> Numbers:
    item, side = fixture_images(fixture)[0], int(fixture.setting("fixed_size"))
    source = str(fixture.setting("sequences")[0])
    target = next(name for name in ("t1", "t1ce", "t2", "flair") if name != source)
    encoded = encode_source(network, item[:, 0], _edges(item)[:, 0])
    maps = postprocessing.reduce_map(run_cycle(network, encoded, network.remembered(target, len(item))).maps, side)
    labels = normal(fixture, "labels", (len(item), item.shape[-1], item.shape[-1])) > 1
    labels &= item[:, 0] > 0
    truth = F.interpolate(labels[:, None].double(), (side, side), mode="nearest")[:, 0].bool().numpy()
    values = maps.numpy()
    binary = values > np.quantile(values, 0.8)
    found: Numbers = {
        "post/target": truth[:, None].astype(np.int64),
        "post/map": values[:, None],
        "post/binary": binary[:, None],
        "post/components_4": postprocessing.drop_small(binary, 4)[:, None],
        "post/best_dice": np.array([postprocessing.best_dice(values, truth, least)[0] for least in (0, 4)]),
    }
    return found | {f"post/median_{size}": postprocessing.median(maps, size).numpy() for size in (3, 5)}


def _training(fixture: ParityFixture, network: UniTransNetwork) -> Numbers:
    trained = list(network.parameters())
    optimizer = torch.optim.AdamW(trained, lr=RATE, betas=BETAS, weight_decay=DECAY)
    history: dict[str, list[float]] = {name: [] for name in ("losses", "cscal", "trans", "grad_norms", "lrs")}
    found: Numbers = {}
    network.train()
    for step, batch in enumerate(fixture_images(fixture)[1:]):
        rate = RATE * epoch_factor(step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        contrast, translation = _losses(fixture, network, batch, step)
        loss = contrast + translation
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.stack([p.grad.square().sum() for p in trained if p.grad is not None]).sum().sqrt()
        if step == 0:
            found = _gradients(network)
        optimizer.step()
        values = (loss.item(), contrast.item(), translation.item(), norm.item(), rate)
        for name, value in zip(history, values, strict=True):
            history[name].append(value)
    found |= {f"train/{name}": np.array(values) for name, values in history.items()}
    found["train/lr_table"] = np.array([RATE * epoch_factor(epoch) for epoch in range(EPOCHS)])
    state = {name: value.detach().numpy() for name, value in network.state_dict().items()}
    found["trained/norms"] = np.array([np.linalg.norm(state[name]) for name in fixture.names["model"]])
    return found | {f"trained/{name}": value for name, value in state.items()}


def _losses(fixture: ParityFixture, network: UniTransNetwork, batch: Tensor, step: int) -> tuple[Tensor, Tensor]:
    names = fixture.setting("train_sequences")[step]
    images = batch[:, : len(names)]
    present = torch.ones(images.shape[:2], dtype=torch.bool)
    encoded = training.encode_batch(network, images, present)
    pairs = torch.stack(training.contrastive_pairs(encoded, names, float(fixture.setting("temperature"))))
    sources = _sources(fixture.setting("sources", "train")[step], len(images))
    rendered = training.translations(network, encoded, _edges(images), sources)
    network.remember(encoded.styles(names), float(fixture.setting("momentum")))
    translation = training.translation_losses(rendered, images, present).mean()
    return CONTRAST * pairs.mean(), TRANSLATION * translation


def _gradients(network: UniTransNetwork) -> Numbers:
    squares: dict[str, float] = {}
    for name, parameter in network.named_parameters():
        if parameter.grad is not None:
            module = name.partition(".")[0]
            squares[module] = squares.get(module, 0.0) + float(parameter.grad.square().sum())
    return {f"grad/{module}": np.array(value**0.5) for module, value in squares.items()}


def _figures(fixture: ParityFixture) -> Numbers:
    slices, side = int(fixture.setting("slices")), int(fixture.setting("image_size"))
    shape = (slices, 1, side, side)
    raw = normal(fixture, "maps", shape).abs()[:, 0]
    truth = (normal(fixture, "targets", shape)[:, 0] + raw > 2).numpy()
    truth[::3] = False
    found: Numbers = {"dice/target_pixels": truth.sum((1, 2)).astype(np.float64)}
    for size in DICE_MEDIANS:
        maps = postprocessing.median(raw, size).numpy()
        areas = postprocessing.pixel_areas(maps, truth)
        found |= {f"dice/{name}_median{size}": np.array(a) for name, a in zip(("auroc", "auprc"), areas, strict=True)}
        for least in DICE_COMPONENTS:
            ending = f"median{size}_components{least}"
            found[f"dice/best_{ending}"] = np.array(postprocessing.best_dice(maps, truth, least)[0])
            found[f"dice/fivefold_{ending}"] = np.array(postprocessing.fivefold_dice(maps, truth, least))
    return found


def _intensities(fixture: ParityFixture) -> Numbers:
    side = int(fixture.setting("image_size"))
    volume = np.zeros((side, side, side))
    values = 100 * normal(fixture, "volume", volume.shape).abs().numpy() + 1
    inside = (slice(2, -2), slice(3, -3), slice(2, -3))
    volume[inside] = values[inside]
    return {"prep/normalized": postprocessing.normalise_volume(volume)}
