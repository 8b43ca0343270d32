"""One subject of the phantom: head, lesions, and the scanner's images of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from anyadbench.data.phantom.fields import smooth_noise
from anyadbench.data.phantom.grid import Grid, block
from anyadbench.data.phantom.head import Head, grow
from anyadbench.data.phantom.lesions import Lesions, lesions
from anyadbench.data.phantom.signal import IRON, LIMBIC, SCANNER, SHIFTED, Scanner, jittered, mixed
from anyadbench.data.phantom.spec import FIRST_HEALTHY, PhantomSpec, missing_sequence, stream
from anyadbench.errors import UserError
from anyadbench.sequences import COMMON

if TYPE_CHECKING:
    from jaxtyping import Float32, Int16, Shaped


def _with_lesions(head: Head, found: Lesions) -> dict[str, np.ndarray]:
    """Return tissue shares after lesions have displaced healthy tissue; the sum is unchanged."""
    taken = sum(found.shares.values(), start=np.zeros_like(head.shares["wm"]))
    # Neighbouring lesions may claim more than all of a voxel together.
    excess = np.maximum(taken, 1)
    left = 1 - taken / excess
    shares = {name: share * left for name, share in head.shares.items()}
    for name, share in found.shares.items():
        shares[name] = shares.get(name, np.float32(0)) + share / excess
    return shares


def _noise(rng: np.random.Generator, grid: Grid, grain: float) -> Float32[np.ndarray, "x y z"]:
    """Return noise of unit variance, correlated between neighbours in the plane."""
    white = rng.standard_normal(grid.shape, dtype=np.float32)
    for axis in (0, 1):
        white = ndimage.gaussian_filter1d(white, grain, axis=axis, truncate=3.0)
    taps = np.exp(-0.5 * (np.arange(-3, 4) / grain) ** 2)
    white /= np.float32(((taps / taps.sum()) ** 2).sum())
    return white


def _image(
    rng: np.random.Generator, clean: np.ndarray, shading: np.ndarray, scanner: Scanner, name: str, grid: Grid
) -> Int16[np.ndarray, "x y z"]:
    """Return the scanner's image of a clean signal: blur, shading, Rician noise and gain, at least 1."""
    sigma = [scanner.blur / step for step in grid.spacing[:2]]
    image = ndimage.gaussian_filter(clean, [*sigma, 0.0], truncate=3.0)
    own = smooth_noise(rng, grid.shape, grid.spacing, 60.0)
    image *= np.exp(np.float32(scanner.bias[name]) * (np.float32(0.8) * shading + np.float32(0.6) * own))
    spread, grain = np.float32(scanner.noise[name]), float(rng.uniform(*scanner.grain))
    real = image + spread * _noise(rng, grid, grain)
    imaginary = spread * _noise(rng, grid, grain)
    gain = np.float32(np.exp(rng.normal(np.log(420), 0.35)))
    counts = np.rint(gain * np.sqrt(real**2 + imaginary**2))
    # A brain voxel is never 0: every reader of skull-stripped images takes 0 for background.
    return np.clip(counts, 1, 32767).astype(np.int16)


def _framed(values: np.ndarray, spec: PhantomSpec, grid: Grid) -> Shaped[np.ndarray, "x y z"]:
    full = np.zeros(spec.shape, dtype=values.dtype)
    full[grid.box] = values
    return full


def _uneven(rng: np.random.Generator, grid: Grid, amount: float) -> Float32[np.ndarray, "x y z"]:
    """Return the local variation within a tissue, as a factor."""
    coarse, fine = (smooth_noise(rng, grid.shape, grid.spacing, scale) for scale in (10.0, 2.5))
    return 1 + np.float32(amount) * (coarse + fine)


def synthesise(spec: PhantomSpec, number: int) -> dict[str, Shaped[np.ndarray, "x y z"]]:
    """Return the volumes of one subject.

    Args:
        spec: The phantom.
        number: The subject, one of ``spec.numbers``.

    Returns:
        An int16 volume for each sequence that the subject has, 0 outside the brain, and the uint8 labels as ``seg``
        (0 healthy, 1 core, 2 oedema, 4 enhancing), indexed towards left, posterior and superior. A healthy subject's
        labels are all 0.

    Raises:
        UserError: If there is no such subject, or nilearn's maps are missing.
    """
    if number not in spec.numbers:
        numbers = f"1 to {spec.subjects}" + (f", or {FIRST_HEALTHY} to {spec.numbers[-1]}" if spec.healthy else "")
        raise UserError(f"Phantom {spec.name!r} has no subject {number}; use {numbers}.")
    head = grow(spec, number, block(spec))
    grid = head.grid
    found = lesions(spec, number, head)
    shares = _with_lesions(head, found)
    tissues, scanner = jittered(stream(spec, number, "scanner"), SHIFTED if spec.shift else SCANNER)
    shading = smooth_noise(stream(spec, number, "shading"), grid.shape, grid.spacing, 60.0)
    absent = missing_sequence(spec, number)
    volumes = {}
    for name in COMMON:
        if name == absent:
            continue
        rng = stream(spec, number, f"image {name}")
        clean = mixed(shares, tissues, scanner.pulses[name]) * _uneven(rng, grid, scanner.uneven[name])
        clean *= 1 - np.float32(IRON[name]) * head.iron + np.float32(LIMBIC[name]) * head.limbic
        volumes[name] = _framed(_image(rng, clean, shading, scanner, name, grid) * head.brain, spec, grid)
    volumes["seg"] = _framed(found.labels, spec, grid)
    return volumes
