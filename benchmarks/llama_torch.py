"""A Llama 2 training step in PyTorch, for ratios_torch.py: forward, loss and backward of one sequence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

STORIES110M = {"dim": 768, "hidden": 2048, "layers": 12, "heads": 12, "vocab": 32000, "seq": 256}
EPSILON, THETA = 1e-5, 10000.0


class Block(nn.Module):
    def __init__(self, dim: int, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.RMSNorm(dim, EPSILON), nn.RMSNorm(dim, EPSILON)
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim, bias=False) for _ in range(4))
        self.gate, self.up = (nn.Linear(dim, hidden, bias=False) for _ in range(2))
        self.down = nn.Linear(hidden, dim, bias=False)

    def forward(self, x: Any, cosines: Any, sines: Any) -> Any:
        positions, dim = x.shape
        normed = self.norm1(x)
        q, k, v = (
            projection(normed).view(positions, self.heads, -1).transpose(0, 1)
            for projection in (self.q, self.k, self.v)
        )
        q, k = rotate(q, cosines, sines), rotate(k, cosines, sines)
        attended = F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)[0]
        x = x + self.o(attended.transpose(0, 1).reshape(positions, dim))
        normed = self.norm2(x)
        return x + self.down(F.silu(self.gate(normed)) * self.up(normed))


def rotate(x: Any, cosines: Any, sines: Any) -> Any:
    """Rotate halves by position, which PyTorch computes faster than neighboring pairs."""
    first, second = x.chunk(2, dim=-1)
    return x * cosines + torch.cat((-second, first), dim=-1) * sines


class Llama(nn.Module):
    def __init__(self, dim: int, hidden: int, layers: int, heads: int, vocab: int, seq: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab, dim)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.blocks = nn.ModuleList(Block(dim, hidden, heads) for _ in range(layers))
        self.norm = nn.RMSNorm(dim, EPSILON)
        half = dim // heads // 2
        angles = torch.outer(torch.arange(seq), THETA ** (-torch.arange(half) / half)).repeat(1, 2)
        self.register_buffer("cosines", angles.cos())
        self.register_buffer("sines", angles.sin())

    def forward(self, tokens: Any) -> Any:
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, self.cosines, self.sines)
        return F.linear(self.norm(x), self.embedding.weight)


def training_step(model: Llama, dtype: torch.dtype) -> Callable[[], Any]:
    """Return a step that adds to the gradients; with bf16 its products are autocast."""
    tokens = torch.randint(STORIES110M["vocab"], (STORIES110M["seq"] + 1,))

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            logits = model(tokens[:-1])
        F.cross_entropy(logits.float(), tokens[1:]).backward()

    return step
