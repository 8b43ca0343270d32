"""The trained blocks of INP-Former: MLP, prototype extractor, and decoder block with ReLU attention.

Attribute names are those of the published checkpoints. Both attentions have only M prototypes (six) on one side, so
per-head projections are moved to that side. The algebra is the same, but about two matrix products of width D per token
become products of width heads times M.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Float

EPS = 1e-8
"""Epsilon of every trained layer norm, as published."""


class Mlp(nn.Module):
    """Two linear layers with a GELU in between."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Float[Tensor, "... D"]) -> Float[Tensor, "... D"]:
        """Apply the MLP to every token."""
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class _Projections(nn.Module):
    """The four projections of both attentions."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"{heads} heads do not divide a width of {width}")
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)


class SharedQueryAttention(_Projections):
    """Softmax attention of a few queries, the same for every slice, over all tokens of each slice."""

    def forward(self, queries: Float[Tensor, "M D"], tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B M D"]:
        """Return the attended values of each slice.

        The key projection is applied to the queries and the value projection to the pooled tokens. The key bias adds
        the same number to every logit of a query, which the softmax removes.
        """
        count, width = queries.shape
        heads, head = self.heads, width // self.heads
        key, value = self.kv.weight.view(2, heads, head, width)
        q = self.q(queries).view(count, heads, head) * head**-0.5
        folded = torch.einsum("mhd,hde->hme", q, key).reshape(heads * count, width)
        weights = F.linear(tokens, folded).transpose(1, 2).softmax(dim=-1)
        pooled = (weights.to(tokens.dtype) @ tokens).view(-1, heads, count, width)
        out = torch.einsum("bhme,hde->bmhd", pooled, value).flatten(2) + self.kv.bias[width:]
        result: Tensor = self.proj(out)
        return result


class ReluAttention(_Projections):
    """Attention of every token over the prototypes: cosine logits, a learned scale per head, ReLU, no softmax."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads)
        self.learn_scale = nn.Parameter(torch.ones(heads, 1, 1))

    def forward(self, tokens: Float[Tensor, "B N D"], prototypes: Float[Tensor, "B M D"]) -> Float[Tensor, "B N D"]:
        """Return the weighted sum of the prototypes' values for every token.

        The logits of all heads are one product with a block-diagonal key matrix, and the output projection is applied
        to the values, so no tensor of tokens is split by head.
        """
        batch, count, width = prototypes.shape
        heads, head = self.heads, width // self.heads
        key, value = self.kv(prototypes).view(batch, count, 2, heads, head).unbind(2)
        key = F.normalize(key, dim=-1).permute(0, 2, 3, 1) * self.learn_scale
        own_head = torch.eye(heads, dtype=key.dtype, device=key.device)[:, None, :, None]
        keys = (key.unsqueeze(3) * own_head).reshape(batch, width, heads * count)
        weight = self.proj.weight.view(width, heads, head)
        values = torch.einsum("bmhd,ohd->bhmo", value, weight).reshape(batch, heads * count, width)
        q = self.q(tokens)
        length = torch.linalg.vector_norm(q.unflatten(-1, (heads, head)), dim=-1, keepdim=True).clamp_min(1e-12)
        logits = (q @ keys).unflatten(-1, (heads, count))
        weights = (F.relu(logits) / length).flatten(2)
        out: Tensor = weights.to(values.dtype) @ values + self.proj.bias
        return out


class Extractor(nn.Module):
    """One block that turns the learned prototypes into the prototypes of each slice (INP extractor)."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPS)
        self.attn = SharedQueryAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=EPS)
        self.mlp = Mlp(width, hidden)

    def forward(self, prototypes: Float[Tensor, "M D"], tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B M D"]:
        """Return the prototypes of each slice; both sides share the first norm."""
        found = prototypes + self.attn(self.norm1(prototypes), self.norm1(tokens))
        out: Tensor = found + self.mlp(self.norm2(found))
        return out


class DecoderBlock(nn.Module):
    """One decoder block: tokens become sums of prototypes, without a residual, then a residual MLP."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPS)
        self.attn = ReluAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=EPS)
        self.mlp = Mlp(width, hidden)

    def forward(self, tokens: Float[Tensor, "B N D"], prototypes: Float[Tensor, "B M D"]) -> Float[Tensor, "B N D"]:
        """Return the decoded tokens; both sides share the first norm."""
        mixed = self.attn(self.norm1(tokens), self.norm1(prototypes))
        out: Tensor = mixed + self.mlp(self.norm2(mixed))
        return out
