"""Inputs of the parity fixtures, which follow from their names."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float

    from anyadbench.api import ParityFixture


def normal(fixture: ParityFixture, name: str, shape: tuple[int, ...]) -> Float[Tensor, ...]:
    """Return the standard normal numbers of a name inside a fixture."""
    key = zlib.crc32(f"{fixture.name}/{name}".encode())
    values = np.random.Generator(np.random.PCG64([key, fixture.seed])).standard_normal(shape)
    return torch.from_numpy(values.astype(fixture.dtype))


def grey_images(fixture: ParityFixture, sequences: int) -> Float[Tensor, "steps B S H W"]:
    """Return grey pictures in steps of 1/255; item 0 is for evaluation, the others one training batch each."""
    side = int(fixture.setting("image_size"))
    shape = (int(fixture.setting("steps")) + 1, int(fixture.setting("batch")), sequences, side, side)
    bright = (normal(fixture, "images", shape).abs() / 3).clamp(max=1)
    return (255 * bright).floor() / 255
