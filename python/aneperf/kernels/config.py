"""The shape of a transformer, and the names and shapes of its parameters.

Sources: Touvron et al. 2023 (Llama 2), Yang et al. 2025 (Qwen3), Zhang & Sennrich 2019 (RMSNorm), Su et al.
2021 (rotary positions).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .. import bounds
from ..checks import count, shown
from ..errors import ArgumentError

LONGEST_BLOCK = 256  # shorter ones leave out more scores, but their products are small
MOST_BLOCKS = 16


@dataclass(frozen=True)
class TransformerConfig:
    """Shape of a Llama or Qwen3 model: RMSNorm, attention with rotary positions, SwiGLU.

    `kv_heads` divides `heads`: query head h reads key and value head h * kv_heads // heads. `head_dim` is
    even, because rotary positions rotate pairs of neighboring channels. With `qk_norm`, as in Qwen3, each
    head of queries and keys is normed before the rotation.
    """

    dim: int  # channels of the residual stream
    hidden: int  # channels within the feed-forward block
    layers: int
    heads: int  # of queries
    kv_heads: int  # of keys and values
    head_dim: int  # channels of a head
    vocab: int  # tokens
    seq: int  # positions of a sequence
    rope_theta: float = 10000.0  # base of the rotary frequencies
    norm_eps: float = 1e-5  # added to the mean square
    qk_norm: bool = False

    def __post_init__(self) -> None:
        for name, most in bounds.MODEL.items():
            count(f"transformer: {name}", getattr(self, name), most=most)
        for name, limits in bounds.CONSTANTS.items():
            bounds.within(f"transformer: {name}", getattr(self, name), limits)
        if not isinstance(self.qk_norm, bool):
            raise ArgumentError(f"transformer: qk_norm must be True or False, not {shown(self.qk_norm)}")
        if self.heads % self.kv_heads:
            raise ArgumentError(f"transformer: {self.kv_heads} kv_heads do not divide {self.heads} heads")
        if self.head_dim % 2:
            raise ArgumentError(f"transformer: head_dim {self.head_dim} is odd; rotary positions turn pairs")

    @property
    def query_dim(self) -> int:
        """Return the channels of the queries, and of attention's result."""
        return self.heads * self.head_dim

    @property
    def kv_dim(self) -> int:
        """Return the channels of the keys, and of the values."""
        return self.kv_heads * self.head_dim

    @property
    def score_scale(self) -> float:
        """Return the factor of the dot product of a query with a key."""
        return float(self.head_dim**-0.5)

    def attention_blocks(self, as_published: bool = False) -> list[range]:
        """Return the blocks of positions whose queries attention takes at once, with the keys up to its end.

        Scores that the causal mask hides are computed only within a block. Blocks are equal, and all heads'
        scores of each fill whole channels of `seq`. As published, one block holds all positions.
        """
        wanted = 1 if as_published else -(-self.seq // LONGEST_BLOCK)
        counts = [
            n
            for n in range(1, MOST_BLOCKS + 1)
            if self.seq % n == 0 and self.heads * (self.seq // n) % n == 0
        ]
        size = self.seq // next((n for n in counts if n >= wanted), counts[-1])
        return [range(begin, begin + size) for begin in range(0, self.seq, size)]

    def score_channels(self, block: range) -> int:
        """Return the channels of a block's scores, packed as [1, channels, 1, seq]."""
        return self.heads * len(block) * block.stop // self.seq


def layer_shapes(config: TransformerConfig) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a layer's parameters by name, in the order of a llama2.c file."""
    head_norms = {"q_norm": (config.head_dim,), "k_norm": (config.head_dim,)}
    return {
        "rms1": (config.dim,),
        "wq": (config.query_dim, config.dim),
        "wk": (config.kv_dim, config.dim),
        "wv": (config.kv_dim, config.dim),
        "wo": (config.dim, config.query_dim),
        "rms2": (config.dim,),
        "w1": (config.hidden, config.dim),
        "w2": (config.dim, config.hidden),
        "w3": (config.hidden, config.dim),
        **(head_norms if config.qk_norm else {}),
    }


def parameter_count(config: TransformerConfig, separate_classifier: bool = False) -> int:
    """Count the values of all parameters."""
    layer = sum(map(math.prod, layer_shapes(config).values()))
    tables = 2 if separate_classifier else 1
    return tables * config.vocab * config.dim + config.layers * layer + config.dim


def parameter_shapes(
    config: TransformerConfig, separate_classifier: bool = False
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all parameters by name, in the order of a checkpoint.

    Matrices are [outputs, inputs]. The embedding is also the classifier unless that is separate.
    """
    shapes: dict[str, tuple[int, ...]] = {"embedding": (config.vocab, config.dim)}
    for layer in range(config.layers):
        shapes |= {f"layers.{layer}.{name}": shape for name, shape in layer_shapes(config).items()}
    shapes["norm"] = (config.dim,)
    if separate_classifier:
        shapes["classifier"] = (config.vocab, config.dim)
    return shapes
