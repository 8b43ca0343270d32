"""UniTransAD and the authors' numbers: every entry agrees, and a planted mistake is noticed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rivals_parity import FOLDER, SHARED, report_of
from safetensors.numpy import load_file, save_file

from anyadbench.testing.parity import compare, read_folder, read_numbers
from anyadbench_rivals.descriptors import UNITRANSAD
from anyadbench_rivals.unitransad import cycle, edges, network, parity, postprocessing, training

TINY = next(fixture for fixture, _ in read_folder(FOLDER) if fixture.name == "unitransad_tiny")
SINGLE = 7e-8
"""Largest error where the authors compute in single precision."""


def test_the_authors_numbers(tmp_path: Path) -> None:
    report = report_of(tmp_path, [UNITRANSAD], "unitransad_tiny", "unitransad_prep")
    assert report.ok and report.worst <= SINGLE
    exact = [e for rows in report.results.values() for e in rows if not e.entry.startswith("post/")]
    assert max(entry.error for entry in exact) < 1e-9
    assert {name: len(rows) for name, rows in report.results.items()} == {"unitransad_tiny": 40, "unitransad_prep": 1}


def test_a_changed_number_is_noticed(tmp_path: Path) -> None:
    folder, report = tmp_path / "changed", tmp_path / "report"
    folder.mkdir(), report.mkdir()
    for path in FOLDER.glob("unitransad_prep.*"):
        shutil.copyfile(path, folder / path.name)
    shutil.copyfile(FOLDER / "manifest.json", folder / "manifest.json")
    numbers = load_file(folder / "unitransad_prep.safetensors")
    numbers["prep/normalized"][4, 4, 4] += 2e-6
    save_file(numbers, folder / "unitransad_prep.safetensors")
    assert not report_of(report, [UNITRANSAD], "unitransad_prep", source=folder).ok


@pytest.mark.slow
def test_the_authors_figures(tmp_path: Path) -> None:
    report = report_of(tmp_path, [UNITRANSAD], "unitransad_dice")
    assert report.ok and report.worst <= SINGLE and len(report.results["unitransad_dice"]) == 25


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="ANYADBENCH_SHARED has no folder parity-rivals on this machine")
def test_every_entry_at_the_published_widths(tmp_path: Path) -> None:
    names = ("unitransad_tiny", "unitransad_official", "unitransad_dice", "unitransad_prep")
    report = report_of(tmp_path, [UNITRANSAD], *names, source=SHARED)
    assert report.ok and report.worst <= SINGLE
    assert sum(map(len, report.results.values())) == 193 + 64 + 25 + 1


def style_per_channel(original: Callable[..., Any]) -> Callable[..., Any]:
    """AdaIN as usually meant: statistics of each channel over the tokens."""

    def fuse(self: Any, content: Any, edge: Any, style: Any) -> Any:
        neutral = network.Style(torch.zeros_like(style.mean), torch.ones_like(style.std))
        tokens = original(self, content, edge, neutral)
        spread = tokens.std(1, keepdim=True) + network.EPSILON
        return style.std[:, None] * (tokens - tokens.mean(1, keepdim=True)) / spread + style.mean[:, None]

    return fuse


def without_background(original: Callable[..., Any]) -> Callable[..., Any]:
    """A contrastive loss whose masked entries leave the sums."""

    def loss(first: Any, second: Any, inside: Any, other: Any, temperature: float = 0.05) -> Any:
        rows, columns = (torch.nn.functional.normalize(x, dim=2) for x in (first, second))
        both = inside[:, :, None] & other[:, None]
        logits = (rows @ columns.transpose(1, 2) / temperature).masked_fill(~both, -torch.inf)
        common = inside & other
        return (logits.logsumexp(2) - logits.diagonal(dim1=1, dim2=2))[common].mean()

    return loss


def scaled_once(original: Callable[..., Any]) -> Callable[..., Any]:
    calls = []

    def scaled(values: Any, inside: Any) -> Any:
        calls.append(1)
        return original(values, inside) if len(calls) % 2 else torch.where(inside, values, 0.0)

    return scaled


def swapped(original: Callable[..., Any]) -> Callable[..., Any]:
    """The order of sequences in ``tune.py``: second T1ce, third T2."""

    def remembered(self: Any, sequence: str, batch: int) -> Any:
        return original(self, {"t2": "t1ce", "t1ce": "t2"}.get(sequence, sequence), batch)

    return remembered


def symmetric(original: Callable[..., Any]) -> Callable[..., Any]:
    def loss(first: Any, second: Any, inside: Any, other: Any, temperature: float = 0.05) -> Any:
        return original(second, first, other, inside, temperature)

    return loss


def old_momentum(original: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, styles, momentum: original(self, styles, 1 - momentum)


def all_magnitudes(original: Callable[..., Any]) -> Callable[..., Any]:
    return lambda values: original(values + 1e-12)


def mean_not_variance(original: Callable[..., Any]) -> Callable[..., Any]:
    """Tissue by brightness instead of variation."""
    return lambda images, patch: images.unfold(1, patch, patch).unfold(2, patch, patch).mean((3, 4)).flatten(1) > 0.3


def without_factor(original: float) -> float:
    """The translation loss without the factor that only the training script has."""
    return original / 5


MISTAKES = {
    "style per channel": (network.UniTransNetwork, "fuse", style_per_channel, "eval/fused"),
    "masked entries removed": (training, "contrastive_loss", without_background, "eval/cscal_pairs"),
    "sequences exchanged in the loss": (training, "contrastive_loss", symmetric, "eval/cscal_pairs"),
    "similarity scaled once": (cycle, "_scaled", scaled_once, "cycle/t1_to_t1ce/similarity"),
    "T2 and T1ce exchanged": (network.UniTransNetwork, "remembered", swapped, "cycle/t1_to_t1ce/virtual"),
    "momentum on the old value": (network.UniTransNetwork, "remember", old_momentum, "trained/dspm_t1_mean"),
    "translation loss without its factor": (parity, "TRANSLATION", without_factor, "train/trans"),
    "quantiles of all magnitudes": (edges, "positive_quantiles", all_magnitudes, "input/edges"),
    "tissue by brightness": (training, "tissue", mean_not_variance, "eval/cscal_pairs"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_is_noticed(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, name, change, entry = MISTAKES[mistake]
    monkeypatch.setattr(owner, name, change(getattr(owner, name)))
    if owner is edges:
        monkeypatch.setattr(parity, "edge_maps", edges.edge_maps)
    model = parity._network(TINY)
    part = "eval/" if entry.startswith(("eval/", "input/")) else entry.partition("/")[0] + "/"
    stages = {"eval/": parity._evaluation, "cycle/": parity._cycles}
    trained = part in ("train/", "trained/")
    found = parity._training(TINY, model) if trained else stages[part](TINY, model.eval().requires_grad_(False))
    errors = {row.entry: row.error for row in compare(read_numbers(FOLDER, TINY.name), found)}
    assert errors[entry] > 1e-6


def test_without_a_mistake_the_same_comparison_passes() -> None:
    found = parity._evaluation(TINY, parity._network(TINY).eval().requires_grad_(False))
    expected = read_numbers(FOLDER, TINY.name)
    assert max(row.error for row in compare({k: expected[k] for k in expected if k in found}, found)) < 1e-9


def test_the_median_is_scipys() -> None:
    from scipy.ndimage import median_filter

    maps = torch.rand(2, 9, 11, generator=torch.Generator().manual_seed(3))
    for size in (3, 5, 7):
        theirs = np.stack([median_filter(one, size, mode="reflect") for one in maps.numpy()])
        assert (postprocessing.median(maps, size).numpy() == theirs).all()
    assert postprocessing.median(maps, 0) is maps
