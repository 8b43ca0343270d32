"""Noise of diffusion models: normal, or simplex noise in several octaves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float, Int

SKEW, UNSKEW = (math.sqrt(3) - 1) / 2, (3 - math.sqrt(3)) / 6
"""From the plane to the grid of triangles and back (Perlin 2001)."""

PEAK = 99.2
"""Makes the highest value about 1 for gradients of length 1."""

TABLE = 256


@dataclass(frozen=True)
class NoiseKind:
    """What noise is drawn.

    Attributes:
        name: ``gauss`` or ``simplex``.
        octaves: Sheets of simplex noise, each twice as fine as the one before.
        persistence: Amplitude of each sheet relative to the one before.
        period: Pixels per cell of the first sheet.
    """

    name: str
    octaves: int = 6
    persistence: float = 0.8
    period: float = 64.0


def draw_noise(
    kind: NoiseKind, count: int, size: tuple[int, int], generator: torch.Generator | None = None
) -> Float[Tensor, "N H W"]:
    """Draw independent fields of noise on the processor.

    Args:
        kind: What noise.
        count: Fields.
        size: Height and width.
        generator: Source of the numbers; torch's own if ``None``.
    """
    if kind.name == "gauss":
        return torch.randn(count, *size, generator=generator)
    tables = torch.rand(count, TABLE, generator=generator).argsort(1)
    total = torch.zeros(count, *size)
    for octave in range(kind.octaves):
        total += kind.persistence**octave * simplex(size, kind.period / 2**octave, tables)
    return total


def simplex(size: tuple[int, int], period: float, tables: Int[Tensor, "N 256"]) -> Float[Tensor, "N H W"]:
    """Return one sheet of two-dimensional simplex noise for each permutation.

    Args:
        size: Height and width.
        period: Pixels per unit of the plane.
        tables: Permutations of 0..255.
    """
    y, x = torch.meshgrid(*(torch.arange(side, dtype=torch.float32) / period for side in size), indexing="ij")
    offset = (x + y) * SKEW
    column, row = (x + offset).floor(), (y + offset).floor()
    back = (column + row) * UNSKEW
    x, y = x - column + back, y - row + back
    right = (x > y).float()
    total = torch.zeros(len(tables), *size)
    for step_x, step_y, corner in ((0.0, 0.0, 0), (right, 1 - right, 1), (1.0, 1.0, 2)):
        dx, dy = x - step_x + corner * UNSKEW, y - step_y + corner * UNSKEW
        weight = (0.5 - dx.square() - dy.square()).clamp(min=0) ** 4
        inner = tables[:, ((row + step_y).long() % TABLE).flatten()]
        place = ((column + step_x).long().flatten() + inner) % TABLE
        angle = (2 * math.pi / TABLE) * tables.gather(1, place).view(-1, *size)
        total += weight * (angle.cos() * dx + angle.sin() * dy)
    return PEAK * total
