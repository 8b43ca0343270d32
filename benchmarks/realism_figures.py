"""What can be measured of one patient's scans: noise, shading, tissues, sharpness, and how far a lesion stands out.

The same code measures real patients and the phantom. A tissue is what a mixture of three normal distributions finds in
T1 (or T1ce), outside the lesion: crude, equally so on both sides. Distances are in voxels in the plane, as a method
sees them, except where mm are named.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from sklearn.metrics import average_precision_score
from sklearn.mixture import GaussianMixture

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Bool, Float32, Float64

TISSUES = ("csf", "gm", "wm")
DARK = ("t1", "t1ce")
QUANTILES = np.linspace(0.01, 0.99, 99)
_MIN_LESION_PX = 20
_SIGMA = 2.0
"""Of the control ``intensity``, in pixels."""

Figures = dict[str, float]


@dataclass(frozen=True)
class Patient:
    """One patient.

    Attributes:
        name: Name.
        images: Volumes by sequence, 0 outside the brain; the last axis is the height.
        lesion: Where any label lies.
        spacing: Voxel size in mm.
    """

    name: str
    images: Mapping[str, Float32[np.ndarray, "x y z"]]
    lesion: Bool[np.ndarray, "x y z"]
    spacing: tuple[float, float, float]

    def cropped(self, margin: int = 8) -> Patient:
        """Return the box that holds the brain, with a margin in voxels; the background outside changes no figure."""
        brain = np.logical_or.reduce([image > 0 for image in self.images.values()])
        spans = [np.flatnonzero(brain.any(axis)) for axis in ((1, 2), (0, 2), (0, 1))]
        box = tuple(slice(max(int(span[0]) - margin, 0), int(span[-1]) + 1 + margin) for span in spans)
        images = {name: np.ascontiguousarray(image[box]) for name, image in self.images.items()}
        return Patient(self.name, images, np.ascontiguousarray(self.lesion[box]), self.spacing)

    @property
    def brain(self) -> Bool[np.ndarray, "x y z"]:
        """Where every sequence is above the background."""
        return np.logical_and.reduce([image > 0 for image in self.images.values()])


def tissues(patient: Patient) -> dict[str, Bool[np.ndarray, "x y z"]]:
    """Return masks of the three tissues, more than 3 mm from any lesion."""
    image = patient.images["t1" if "t1" in patient.images else "t1ce"]
    away = patient.brain & ~_grown(patient.lesion, 3.0, patient.spacing)
    values = image[away].astype(np.float64)
    top = np.percentile(values, 99)
    values = np.minimum(values / np.median(values), top / np.median(values))
    sample = values[:: max(1, len(values) // 20_000)]
    start = np.percentile(sample, [5, 40, 80])[:, None]
    mixture = GaussianMixture(3, means_init=start, weights_init=[0.15, 0.45, 0.4], reg_covar=1e-4, random_state=0)
    mixture.fit(sample[:, None])
    order = np.argsort(mixture.means_.ravel())
    label = np.zeros(image.shape, np.uint8)
    label[away] = 1 + np.argsort(order)[mixture.predict(values[:, None])]
    return {name: label == place for place, name in enumerate(TISSUES, 1)}


def _grown(mask: np.ndarray, millimetres: float, spacing: tuple[float, float, float]) -> np.ndarray:
    if not mask.any():
        return mask
    box = ndimage.find_objects(mask.view(np.uint8))[0]
    near = tuple(
        slice(max(0, part.start - int(millimetres / step) - 1), part.stop + int(millimetres / step) + 1)
        for part, step in zip(box, spacing, strict=True)
    )
    grown = np.zeros_like(mask)
    grown[near] = ndimage.distance_transform_edt(~mask[near], sampling=spacing) <= millimetres
    return grown


def _core(mask: np.ndarray) -> np.ndarray:
    """Return a tissue without its border in the plane."""
    plane = ndimage.generate_binary_structure(2, 1)[:, :, None]
    core: np.ndarray = ndimage.binary_erosion(mask, plane, iterations=1)
    return core if core.sum() > 500 else mask


def _local_mean(image: np.ndarray, inside: np.ndarray, sigma: list[float]) -> np.ndarray:
    """Return the mean of an image's neighbourhood within a mask."""
    weight = ndimage.gaussian_filter(inside.astype(np.float32), sigma, truncate=3.0)
    total = ndimage.gaussian_filter(np.where(inside, image, 0).astype(np.float32), sigma, truncate=3.0)
    mean: np.ndarray = total / np.maximum(weight, 1e-6)
    return mean


def noise(image: np.ndarray, white: np.ndarray) -> Figures:
    """Return the correlation of neighbours in the plane and the size of what remains of white matter off its mean."""
    residual = image - _local_mean(image, white, [3.0, 3.0, 0.0])
    first, second = [], []
    for axis in (0, 1):
        low = [slice(None)] * 3
        high = [slice(None)] * 3
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        both = white[tuple(low)] & white[tuple(high)]
        first.append(residual[tuple(low)][both])
        second.append(residual[tuple(high)][both])
    correlation = np.corrcoef(np.concatenate(first), np.concatenate(second))[0, 1]
    return {
        "noise, neighbours' correlation": float(correlation),
        "noise, share of white matter": float(residual[white].std() / image[white].mean()),
    }


def shading(image: np.ndarray, white: np.ndarray, spacing: tuple[float, float, float]) -> Figures:
    """Return the variation of white matter: all of it, and that over more than about 20 mm."""
    # Of every third voxel in the plane: over such distances, the rest adds only time.
    thin = (slice(None, None, 3), slice(None, None, 3))
    sigma = [20.0 / (3 * spacing[0]), 20.0 / (3 * spacing[1]), 20.0 / spacing[2]]
    slow = _local_mean(image[thin], white[thin], sigma)[white[thin]]
    values = image[white]
    return {
        "white matter, variation": float(values.std() / values.mean()),
        "white matter, shading": float(slow.std() / slow.mean()),
    }


def contrasts(image: np.ndarray, masks: Mapping[str, np.ndarray]) -> Figures:
    """Return the medians of grey matter and CSF in units of white matter."""
    median = {name: float(np.median(image[mask])) for name, mask in masks.items()}
    return {"GM/WM": median["gm"] / median["wm"], "CSF/WM": median["csf"] / median["wm"]}


def spectrum_slope(image: np.ndarray, brain: np.ndarray, spacing: tuple[float, float, float]) -> float:
    """Return the slope of power against frequency, both logarithmic, between 0.03 and 0.3 cycles per mm.

    Planes are 80 mm squares around the brain's centre in its middle third, under a Hann window.
    """
    heights = np.flatnonzero(brain.any((0, 1)))
    planes = np.linspace(heights[len(heights) // 3], heights[2 * len(heights) // 3], 9).astype(int)
    side = [round(80 / step) for step in spacing[:2]]
    window = np.hanning(side[0])[:, None] * np.hanning(side[1])
    frequency = np.hypot(np.fft.fftfreq(side[0], spacing[0])[:, None], np.fft.fftfreq(side[1], spacing[1]))
    total = np.zeros(frequency.shape)
    for z in planes:
        cx, cy = (round(v) for v in np.argwhere(brain[:, :, z]).mean(0))
        x, y = max(0, cx - side[0] // 2), max(0, cy - side[1] // 2)
        cut = image[x : x + side[0], y : y + side[1], z]
        if cut.shape == frequency.shape:
            total += np.abs(np.fft.fft2((cut - cut.mean()) * window)) ** 2 / max(cut.mean(), 1e-6) ** 2
    edges = np.geomspace(0.03, 0.3, 10)
    bins = np.digitize(frequency.ravel(), edges)
    power = [total.ravel()[bins == k].mean() for k in range(1, len(edges))]
    return float(np.polyfit(np.log(np.sqrt(edges[1:] * edges[:-1])), np.log(power), 1)[0])


def auroc(values: np.ndarray, lesion: np.ndarray) -> float:
    """Return the share of pairs in which a lesion voxel is brighter than another, ties counting half."""
    rest = np.sort(values[~lesion])
    low, high = (np.searchsorted(rest, values[lesion], side) for side in ("left", "right"))
    return float((low + high).mean() / 2 / len(rest))


def _scaled(image: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = np.clip(image / np.percentile(image[image > 0], 99.8), 0, 1)
    return scaled


def conspicuity(patient: Patient, sequence: str, masks: Mapping[str, np.ndarray]) -> Figures:
    """Return how far the lesion stands out in one sequence, over the slices that show it.

    AUROC and the ratios are of intensities within the brain. AP is of the whole field, as a board's pixel AP: raw, and
    smoothed as the control ``intensity``; T1 and T1ce are inverted within the brain.
    """
    shown = patient.lesion.sum((0, 1)) >= _MIN_LESION_PX
    image, lesion = patient.images[sequence], patient.lesion
    inside = patient.brain & shown
    scaled = _scaled(image[:, :, shown])
    raw = np.where(image[:, :, shown] > 0, 1 - scaled, 0) if sequence in DARK else scaled
    smooth = ndimage.gaussian_filter(raw, [_SIGMA, _SIGMA, 0])
    truth = lesion[:, :, shown].ravel()
    middle = float(np.median(image[lesion & inside]))
    return {
        "lesion against brain, AUROC": auroc(image[inside], lesion[inside]),
        "lesion/WM": middle / float(np.median(image[masks["wm"]])),
        "lesion/CSF": middle / float(np.median(image[masks["csf"]])),
        "brightness, pixel AP (raw)": float(average_precision_score(truth, raw.ravel())),
        "brightness, pixel AP (control)": float(average_precision_score(truth, smooth.ravel())),
    }


def histogram(image: np.ndarray, healthy: np.ndarray, white: np.ndarray) -> Float64[np.ndarray, " 99"]:
    """Return the percentiles of a healthy brain's intensities, in units of white matter."""
    return np.asarray(np.quantile(image[healthy], QUANTILES) / np.median(image[white]))


@dataclass(frozen=True)
class Measured:
    """Figures of one patient by sequence (``""``: of the whole head), and percentiles of intensity by sequence."""

    name: str
    figures: dict[tuple[str, str], float]
    histograms: dict[str, Float64[np.ndarray, " 99"]]


def measure(patient: Patient) -> Measured:
    """Measure one patient; without a lesion, the figures of the lesion are missing."""
    patient = patient.cropped()
    masks = tissues(patient)
    white = _core(masks["wm"])
    healthy = masks["csf"] | masks["gm"] | masks["wm"]
    voxel = float(np.prod(patient.spacing)) / 1000
    figures = {("", "brain, ml"): float(patient.brain.sum() * voxel)}
    figures |= {("", f"{name.upper()}, share of the brain"): float(masks[name].sum() / healthy.sum()) for name in masks}
    if patient.lesion.any():
        figures["", "lesion, ml"] = float(patient.lesion.sum() * voxel)
    histograms = {}
    for sequence, image in patient.images.items():
        found = noise(image, white) | shading(image, white, patient.spacing) | contrasts(image, masks)
        found["spectrum, slope"] = spectrum_slope(image, patient.brain, patient.spacing)
        if patient.lesion.any():
            found |= conspicuity(patient, sequence, masks)
        figures |= {(sequence, name): value for name, value in found.items()}
        histograms[sequence] = histogram(image, healthy, white)
    return Measured(patient.name, figures, histograms)
