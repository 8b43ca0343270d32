"""The network of the MMRAD-style method: a prompted frozen encoder and a mask decoder shared by all sequences."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from timm.layers.norm import LayerNorm2d
from torch import Tensor, nn

from anyadbench_baselines.parts.precision import full_precision
from anyadbench_baselines.parts.vit import patch_of

if TYPE_CHECKING:
    from jaxtyping import Float


@full_precision
def high_frequencies(pixels: Float[Tensor, "N 3 h w"], ratio: float) -> Float[Tensor, "N 3 h w"]:
    """Return the images without the lowest frequencies, a centred square of ``ratio`` of the spectrum."""
    height, width = pixels.shape[-2:]
    half = int(math.sqrt(height * width * ratio) // 2)
    if torch.compiler.is_exporting():
        return (pixels - _low_frequencies(pixels, half)).abs()
    spectrum = torch.fft.fftshift(torch.fft.fft2(pixels.float()), dim=(-2, -1))
    spectrum[..., height // 2 - half : height // 2 + half, width // 2 - half : width // 2 + half] = 0
    return torch.fft.ifft2(torch.fft.ifftshift(spectrum, dim=(-2, -1))).real.abs().to(pixels.dtype)


def _low_frequencies(pixels: Float[Tensor, "N 3 h w"], half: int) -> Float[Tensor, "N 3 h w"]:
    """Return the low-frequency part, by products with real matrices: ONNX has no complex numbers."""
    rows, columns = (_low_pass(side, half) for side in pixels.shape[-2:])
    real, imaginary = (a.to(pixels) @ pixels @ b.to(pixels).T for a, b in zip(rows, columns, strict=True))
    return real - imaginary


def _low_pass(side: int, half: int) -> tuple[Float[Tensor, "n n"], Float[Tensor, "n n"]]:
    """Return real and imaginary part of the matrix that keeps the frequencies from ``-half`` to ``half`` - 1."""
    angles = 2 * math.pi / side * torch.arange(side, dtype=torch.float64)[:, None] * torch.arange(-half, half)
    cosines, sines = angles.cos(), angles.sin()
    return (cosines @ cosines.T + sines @ sines.T) / side, (sines @ cosines.T - cosines @ sines.T) / side


class Prompts(nn.Module):
    """Low-level prompts in the manner of explicit visual prompting (Liu et al., CVPR 2023, arXiv 2303.10883).

    The high-frequency image and the encoder's own patch embedding, each reduced to a small width, are summed; one small
    layer per block and one shared projection turn the sum into an addition to the block's patch tokens.

    Args:
        width: Width of the encoder's tokens.
        blocks: Blocks of the encoder.
        patch: Side of its patches.
        reduction: Factor from ``width`` down to the prompts' width.
        ratio: Fraction of the spectrum that counts as low.
    """

    def __init__(self, width: int, blocks: int, patch: int, reduction: int, ratio: float) -> None:
        super().__init__()
        small = max(width // reduction, 4)
        self.ratio = ratio
        self.high = nn.Conv2d(3, small, patch, patch)
        self.embedding = nn.Linear(width, small)
        self.own = nn.ModuleList(nn.Sequential(nn.Linear(small, small), nn.GELU()) for _ in range(blocks))
        self.shared = nn.Linear(small, width)

    def forward(self, pixels: Float[Tensor, "N 3 h w"], embedded: Float[Tensor, "N i j D"]) -> list[Tensor]:
        """Return one prompt N×i×j×D per block."""
        high = self.high(high_frequencies(pixels, self.ratio)).permute(0, 2, 3, 1)
        base = high + self.embedding(embedded)
        return [self.shared(layer(base)) for layer in self.own]


def encode(vit: nn.Module, prompts: Prompts, pixels: Float[Tensor, "N 3 h w"]) -> Float[Tensor, "N C i j"]:
    """Run a frozen transformer with prompts; Segment Anything's ends in its neck, DINOv2's in its norm."""
    embedded: Tensor = vit.patch_embed(pixels)  # type: ignore[operator]
    grid = (pixels.shape[-2] // patch_of(vit), pixels.shape[-1] // patch_of(vit))
    added = prompts(pixels, embedded.view(pixels.shape[0], *grid, -1))
    if hasattr(vit, "neck"):
        from timm.layers.pos_embed import resample_abs_pos_embed_nhwc

        x = embedded + resample_abs_pos_embed_nhwc(vit.pos_embed, list(grid))
        for block, prompt in zip(vit.blocks, added, strict=True):  # type: ignore[arg-type]
            x = block(x + prompt)
        neck: Tensor = vit.neck(x.permute(0, 3, 1, 2))  # type: ignore[operator]
        return neck
    x = vit.norm_pre(vit._pos_embed(embedded))  # type: ignore[operator]
    prefix = int(vit.num_prefix_tokens)  # type: ignore[arg-type]
    for block, prompt in zip(vit.blocks, added, strict=True):  # type: ignore[arg-type]
        x = block(torch.cat([x[:, :prefix], x[:, prefix:] + prompt.flatten(1, 2)], dim=1))
    tokens = vit.norm(x)[:, prefix:]  # type: ignore[operator]
    return tokens.transpose(1, 2).reshape(pixels.shape[0], -1, *grid)


class Attention(nn.Module):
    """Multi-head attention whose inner width may be smaller."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v = (nn.Linear(width, inner) for _ in range(3))
        self.out = nn.Linear(inner, width)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend from N×Q×D to N×K×D."""

        def split(x: Tensor) -> Tensor:
            return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)

        found = F.scaled_dot_product_attention(split(self.q(q)), split(self.k(k)), split(self.v(v)))
        out: Tensor = self.out(found.transpose(1, 2).flatten(2))
        return out


class TwoWayBlock(nn.Module):
    """Tokens attend to themselves and to the image, then the image to the tokens (Segment Anything's decoder)."""

    def __init__(self, width: int, heads: int, *, first: bool) -> None:
        super().__init__()
        self.first = first
        self.own = Attention(width, heads, width)
        self.to_picture, self.to_tokens = (Attention(width, heads, width // 2) for _ in range(2))
        self.mlp = nn.Sequential(nn.Linear(width, 8 * width), nn.ReLU(), nn.Linear(8 * width, width))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(4))

    def forward(self, tokens: Tensor, picture: Tensor, names: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Return updated tokens and image; ``names`` and ``places`` are their positional encodings."""
        q = tokens if self.first else tokens + names
        own = self.own(q, q, tokens)
        tokens = self.norms[0](own if self.first else tokens + own)
        tokens = self.norms[1](tokens + self.to_picture(tokens + names, picture + places, picture))
        tokens = self.norms[2](tokens + self.mlp(tokens))
        picture = self.norms[3](picture + self.to_tokens(picture + places, tokens + names, tokens))
        return tokens, picture


class MaskDecoder(nn.Module):
    """Two task tokens and a two-way transformer, the same for every sequence.

    The mask token becomes the filter of a lesion mask at four times the features' grid; the fusion token serves the
    decision about the whole slice.

    Args:
        channels: Channels of the encoder's features.
        width: Width of the decoder.
        heads: Attention heads.
    """

    frequencies: Float[Tensor, "2 half"]

    def __init__(self, channels: int, width: int = 256, heads: int = 8) -> None:
        super().__init__()
        self.enter = nn.Identity() if channels == width else nn.Conv2d(channels, width, 1)
        self.tokens = nn.Parameter(torch.randn(2, width) * 0.02)
        self.no_mask = nn.Parameter(torch.zeros(width))
        self.register_buffer("frequencies", torch.randn(2, width // 2))
        self.blocks = nn.ModuleList(TwoWayBlock(width, heads, first=index == 0) for index in range(2))
        self.last, self.last_norm = Attention(width, heads, width // 2), nn.LayerNorm(width)
        self.up1, self.norm = nn.ConvTranspose2d(width, width // 4, 2, 2), LayerNorm2d(width // 4)
        self.up2 = nn.ConvTranspose2d(width // 4, width // 8, 2, 2)
        self.filter = _mlp(width, width, width // 8)
        self.case = _mlp(width, width, 1)

    def forward(self, features: Float[Tensor, "N C i j"]) -> tuple[Float[Tensor, "N h w"], Float[Tensor, "N D"]]:
        """Return mask logits at four times the grid, and fusion tokens."""
        grid = features.shape[-2:]
        picture = (self.enter(features) + self.no_mask[:, None, None]).flatten(2).transpose(1, 2)
        names = self.tokens.expand(features.shape[0], -1, -1)
        places = self._places(grid).to(picture)
        tokens = names
        for block in self.blocks:
            tokens, picture = block(tokens, picture, names, places)
        tokens = self.last_norm(tokens + self.last(tokens + names, picture + places, picture))
        fine = picture.transpose(1, 2).reshape(features.shape[0], -1, *grid)
        fine = F.gelu(self.up2(F.gelu(self.norm(self.up1(fine)))))
        return torch.einsum("nc,nchw->nhw", self.filter(tokens[:, 1]), fine), tokens[:, 0]

    def _places(self, grid: tuple[int, int] | torch.Size) -> Float[Tensor, "1 P D"]:
        device = self.frequencies.device
        rows, columns = ((torch.arange(side, device=device) + 0.5) / side * 2 - 1 for side in grid)
        spots = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1).flatten(0, 1)
        waves = 2 * math.pi * spots @ self.frequencies
        return torch.cat([waves.sin(), waves.cos()], dim=1)[None]


def _mlp(width: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, out)
    )
