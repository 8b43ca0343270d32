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
    "wm": Tissue(0.72, 830.0, 72.0, 0.02),
    "gm": Tissue(0.83, 1330.0, 92.0, 0.05),
    "csf": Tissue(1.00, 4100.0, 1100.0, 0.0),
    "blood": Tissue(0.75, 1650.0, 45.0, 3.0),
    "oedema": Tissue(0.84, 1500.0, 185.0, 0.03),
    "solid": Tissue(0.86, 1850.0, 200.0, 0.10),
    "necrosis": Tissue(0.92, 2600.0, 280.0, 0.05),
    "rim": Tissue(0.84, 1500.0, 150.0, 1.6),
}
"""At 3 T, near Wansapura 1999 and Stanisz 2005 for healthy tissue. Lesions lie near grey matter in T1, and between
grey matter and fluid in T2, so that T1 shows oedema faintly and only the core clearly."""


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
        noise: Standard deviation of the noise in each channel, as a share of the signal of white matter.
        bias: Standard deviation of the logarithm of the shading.
        blur: Standard deviation in mm of the in-plane point spread.
    """

    pulses: dict[str, Pulse]
    noise: float
    bias: float
    blur: float


SCANNER = Scanner(
    {
        "flair": Pulse(118.0, 9000.0, 2420.0),
        "t1": Pulse(4.0, 2100.0, 1000.0),
        "t1ce": Pulse(4.0, 2100.0, 1000.0, True),
        "t2": Pulse(85.0, 3000.0),
    },
    noise=0.035,
    bias=0.08,
    blur=0.45,
)
"""Inversion-prepared T1, as in most of BraTS: spin-echo T1 separates grey and white matter far less at 3 T."""

SHIFTED = Scanner(
    {
        "flair": Pulse(140.0, 8000.0, 2330.0),
        "t1": Pulse(12.0, 520.0),
        "t1ce": Pulse(12.0, 520.0, 0.0, True),
        "t2": Pulse(84.0, 3200.0),
    },
    noise=0.05,
    bias=0.14,
    blur=0.75,
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
            density=tissue.density * float(np.exp(rng.normal(0, 0.01))),
            t1=tissue.t1 * float(np.exp(rng.normal(0, 0.025))),
            t2=tissue.t2 * float(np.exp(rng.normal(0, 0.025))),
        )
        for name, tissue in TISSUES.items()
    }
    pulses = {}
    for name in COMMON:
        pulse = scanner.pulses[name]
        echo, repetition = pulse.echo * rng.uniform(0.96, 1.04), pulse.repetition * rng.uniform(0.97, 1.03)
        pulses[name] = replace(pulse, echo=echo, repetition=repetition)
    return tissues, replace(scanner, pulses=pulses)


def mixed(
    shares: dict[str, Float32[np.ndarray, "x y z"]], tissues: dict[str, Tissue], pulse: Pulse
) -> Float32[np.ndarray, "x y z"]:
    """Return the signal of voxels that hold several tissues, in units of white matter's signal."""
    white = signal(tissues["wm"], pulse)
    total = np.zeros_like(shares["wm"])
    for name, share in shares.items():
        total += share * np.float32(signal(tissues[name], pulse) / white)
    return total
