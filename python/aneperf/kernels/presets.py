"""Models by name: the published shapes, and names of others."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ..checks import shown
from ..errors import ArgumentError
from .config import TransformerConfig

# Sources: github.com/karpathy/llama2.c; Yang et al. 2025 (Qwen3), at the sequence length of maderix/ANE.
PRESETS: Mapping[str, TransformerConfig] = MappingProxyType(
    {
        "stories260k": TransformerConfig(
            dim=64, hidden=172, layers=5, heads=8, kv_heads=4, head_dim=8, vocab=512, seq=512
        ),
        "stories15m": TransformerConfig(
            dim=288, hidden=768, layers=6, heads=6, kv_heads=6, head_dim=48, vocab=32000, seq=256
        ),
        "stories42m": TransformerConfig(
            dim=512, hidden=1376, layers=8, heads=8, kv_heads=8, head_dim=64, vocab=32000, seq=1024
        ),
        "stories110m": TransformerConfig(
            dim=768, hidden=2048, layers=12, heads=12, kv_heads=12, head_dim=64, vocab=32000, seq=256
        ),
        "qwen3-0.6b": TransformerConfig(
            dim=1024,
            hidden=3072,
            layers=28,
            heads=16,
            kv_heads=8,
            head_dim=128,
            vocab=151936,
            seq=256,
            rope_theta=1e6,
            norm_eps=1e-6,
            qk_norm=True,
        ),
    }
)


def model_config(model: str | TransformerConfig) -> TransformerConfig:
    """Return the shape itself, or the preset with that name."""
    if isinstance(model, TransformerConfig):
        return model
    if model not in PRESETS:
        raise ArgumentError(
            f"no model is called {shown(model)}: choose {', '.join(PRESETS)}, or give a TransformerConfig"
        )
    return PRESETS[model]


def model_name(model: TransformerConfig) -> str:
    """Return the name of the preset with this shape, or a name made of the sizes."""
    for name, preset in PRESETS.items():
        if model == preset:
            return name
    shared = f"-{model.kv_heads}" if model.kv_heads != model.heads else ""
    return (
        f"dim{model.dim}-hidden{model.hidden}-layers{model.layers}-heads{model.heads}{shared}"
        f"x{model.head_dim}{'-qknorm' if model.qk_norm else ''}-vocab{model.vocab}-seq{model.seq}"
    )
