"""From tissue to signal: relaxation times, scanners, and the inversion-recovery and spin-echo equations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.sequences import COMMON

if TYPE_CHECKING:
    from jaxtyping import Float32


@dataclass(frozen=True)
class Tissue:
    """Proton density (1 for water), T1 and T2 in ms, and the increase of 1/T1 after contrast agent in 1/s."""

    density: float
    t1: float
    t2: float
    uptake: float


TISSUES: dict[str, Tissue] = {
    "wm": Tissue(0.72, 850.0, 72.0, 0.02),
    "gm": Tissue(0.85, 1330.0, 78.5, 0.05),
    "csf": Tissue(1.00, 4000.0, 900.0, 0.0),
    "blood": Tissue(0.75, 1650.0, 30.0, 1.7),
    "plexus": Tissue(0.85, 1500.0, 130.0, 1.6),
    "dura": Tissue(0.70, 1000.0, 60.0, 0.7),
    "void": Tissue(0.0, 1000.0, 50.0, 0.0),
    "fat": Tissue(0.80, 450.0, 85.0, 0.0),
    "oedema": Tissue(0.84, 1430.0, 159.0, 0.03),
    "solid": Tissue(0.86, 1660.0, 159.0, 0.10),
    "mucoid": Tissue(0.92, 2600.0, 220.0, 0.03),
    "necrosis": Tissue(0.92, 2500.0, 220.0, 0.05),
    "cavity": Tissue(0.98, 3600.0, 600.0, 0.0),
    "rim": Tissue(0.84, 1600.0, 130.0, 1.2),
}
"""At 3 T, near Wansapura 1999 and Stanisz 2005 for healthy tissue. Lesions lie near grey matter in T1, and between
grey matter and fluid in T2, so that T1 shows oedema faintly and only the core clearly."""

IRON = {"flair": 0.28, "t2": 0.32, "t1": 0.0, "t1ce": 0.0}
"""Share of the signal that iron takes from the nuclei that store most of it."""

LIMBIC = {"flair": 0.22, "t2": 0.08, "t1": 0.0, "t1ce": 0.0}
"""Share by which limbic cortex is brighter than other cortex."""


@dataclass(frozen=True)
class Pulse:
    """Echo, repetition and inversion time in ms (inversion 0: spin echo), and whether contrast agent was given."""

    echo: float
    repetition: float
    inversion: float = 0.0
    contrast_agent: bool = False


@dataclass(frozen=True)
class Scanner:
    """A scanner's settings and image quality.

    Attributes:
        pulses: Pulse parameters by sequence.
        noise: Standard deviation of the noise in each channel by sequence, as a share of the signal of white matter.
        grain: Range of the in-plane standard deviation in voxels of what correlates the noise of neighbours, as
            interpolation, filters and parallel imaging do.
        bias: Standard deviation of the logarithm of the shading, by sequence.
        blur: Standard deviation in mm of the in-plane point spread.
        uneven: Standard deviation of the variation within a tissue by sequence, over about 20 mm, and again over 5 mm.
    """

    pulses: dict[str, Pulse]
    noise: dict[str, float]
    grain: tuple[float, float]
    bias: dict[str, float]
    blur: float
    uneven: dict[str, float]


SCANNER = Scanner(
    {
        "flair": Pulse(102.0, 9000.0, 2420.0),
        "t1": Pulse(4.0, 2100.0, 980.0),
        "t1ce": Pulse(4.0, 2100.0, 980.0, True),
        "t2": Pulse(90.0, 3700.0),
    },
    noise={"flair": 0.05, "t1": 0.033, "t1ce": 0.052, "t2": 0.073},
    grain=(0.42, 0.77),
    bias={"flair": 0.13, "t1": 0.042, "t1ce": 0.09, "t2": 0.06},
    blur=0.25,
    uneven={"flair": 0.045, "t1": 0.045, "t1ce": 0.045, "t2": 0.065},
)
"""Inversion-prepared T1, as in most of BraTS: spin-echo T1 separates grey and white matter far less at 3 T."""

SHIFTED = Scanner(
    {
        "flair": Pulse(140.0, 8000.0, 2330.0),
        "t1": Pulse(12.0, 520.0),
        "t1ce": Pulse(12.0, 520.0, 0.0, True),
        "t2": Pulse(90.0, 3600.0),
    },
    noise={"flair": 0.065, "t1": 0.045, "t1ce": 0.055, "t2": 0.08},
    grain=(0.55, 0.9),
    bias={"flair": 0.17, "t1": 0.08, "t1ce": 0.11, "t2": 0.1},
    blur=0.7,
    uneven={"flair": 0.045, "t1": 0.045, "t1ce": 0.045, "t2": 0.065},
)
"""The scanner of ``shift``: spin-echo T1, different timings, more noise and shading, more blur."""


def signal(tissue: Tissue, pulse: Pulse) -> float:
    """Return the magnitude signal of a tissue.

    With inversion it is ``PD |1 - 2 e^(-TI/T1) + e^(-TR/T1)| e^(-TE/T2)``, without
    ``PD (1 - e^(-TR/T1)) e^(-TE/T2)``.
    """
    rate = 1 / tissue.t1 + (tissue.uptake / 1000 if pulse.contrast_agent else 0.0)
    recovery = np.exp(-pulse.repetition * rate)
    recovered = 1 - 2 * np.exp(-pulse.inversion * rate) + recovery if pulse.inversion else 1 - recovery
    return float(tissue.density * abs(recovered) * np.exp(-pulse.echo / tissue.t2))


def jittered(rng: np.random.Generator, scanner: Scanner) -> tuple[dict[str, Tissue], Scanner]:
    """Return tissues and pulse parameters, varied for one subject and one day at the scanner."""
    tissues = {
        name: replace(
            tissue,
            density=tissue.density * float(np.exp(rng.normal(0, 0.015))),
            t1=tissue.t1 * float(np.exp(rng.normal(0, 0.04))),
            t2=tissue.t2 * float(np.exp(rng.normal(0, 0.04))),
        )
        for name, tissue in TISSUES.items()
    }
    pulses = {}
    for name in COMMON:
        pulse = scanner.pulses[name]
        echo, repetition = pulse.echo * rng.uniform(0.88, 1.12), pulse.repetition * rng.uniform(0.92, 1.08)
        # An inversion time a little off leaves some signal of fluid in FLAIR.
        inversion = pulse.inversion * rng.uniform(0.9, 1.0)
        pulses[name] = replace(pulse, echo=echo, repetition=repetition, inversion=inversion)
    noise = {name: value * float(rng.uniform(0.65, 1.4)) for name, value in scanner.noise.items()}
    bias = {name: value * float(rng.uniform(0.6, 1.4)) for name, value in scanner.bias.items()}
    return tissues, replace(scanner, pulses=pulses, noise=noise, bias=bias)


def mixed(
    shares: dict[str, Float32[np.ndarray, "x y z"]], tissues: dict[str, Tissue], pulse: Pulse
) -> Float32[np.ndarray, "x y z"]:
    """Return the signal of voxels that hold several tissues, in units of white matter's signal."""
    white = signal(tissues["wm"], pulse)
    total = np.zeros_like(shares["wm"])
    for name, share in shares.items():
        total += share * np.float32(signal(tissues[name], pulse) / white)
    return total
