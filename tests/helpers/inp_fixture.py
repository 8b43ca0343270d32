"""A tiny DINOv2 transformer and batches for the tests of INP-Former and AnyAD."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from anyadbench.methods.contract import Batch, Context, Method
from anyadbench.methods.descriptor import MethodDescriptor
from anyadbench.methods.params import Value

SEQUENCES = ("flair", "t1", "t2")
GRID = (40, 40)
WIDTH = 64


@dataclass
class TinyWeights:
    """The part of resolved weights that a method uses, with a transformer of width 64 in timm's naming."""

    registers: int = 4
    depth: int = 12
    name: str = "tiny"
    kind: str = "file"
    architecture: str = "vit_tiny_patch14_reg4_dinov2"

    def state_dict(self) -> dict[str, Tensor]:
        """Return random weights, large enough that the features of an image vary with position."""
        generator = torch.Generator().manual_seed(7)
        vit = VisionTransformer(
            img_size=70,
            patch_size=14,
            num_classes=0,
            embed_dim=WIDTH,
            depth=self.depth,
            num_heads=1,
            init_values=1.0,
            no_embed_class=self.registers > 0,
            reg_tokens=self.registers,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
        )
        return {k: v + 0.05 * torch.randn(v.shape, generator=generator) for k, v in vit.state_dict().items()}


def build(
    descriptor: MethodDescriptor,
    weights: TinyWeights | None = None,
    *,
    missing: str = "native",
    sequences: tuple[str, ...] = SEQUENCES,
    **overrides: Value,
) -> Method:
    """Build a method at the tiny budget on tiny weights."""
    torch.manual_seed(0)
    params = descriptor.resolve("tiny", overrides)
    return descriptor.build(Context(params, sequences, GRID, weights or TinyWeights(), missing))  # type: ignore[arg-type]


def training_batch(*hidden: tuple[int, int], size: int = 4, seed: int = 1) -> Batch:
    """Return random slices; ``hidden`` lists (slice, sequence) pairs that are not shown."""
    targets = torch.rand(size, len(SEQUENCES), *GRID, generator=torch.Generator().manual_seed(seed))
    present = torch.ones(size, len(SEQUENCES), dtype=torch.bool)
    shown = present.clone()
    for row, column in hidden:
        shown[row, column] = False
    return Batch(targets * shown[:, :, None, None], shown, targets, present, torch.arange(size))


@dataclass
class Normals:
    """Training normals from one tensor."""

    targets: Tensor
    present: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def batches(self, batch_size: int, *, masked: bool = False, description: str = "") -> Iterator[Batch]:
        """Yield batches in order, everything shown."""
        assert not masked
        for start in range(0, len(self), batch_size):
            part = slice(start, start + batch_size)
            yield Batch.full(self.targets[part], self.present[part])


def gradients(method: Method, batch: Batch) -> dict[str, Tensor]:
    """Return the gradient of every parameter that gets one from a training step."""
    method.zero_grad()
    method.train()
    sum(method.training_step(batch, 0, 10)["main"].values()).backward()  # type: ignore[union-attr]
    return {name: p.grad.clone() for name, p in method.named_parameters() if p.grad is not None}
