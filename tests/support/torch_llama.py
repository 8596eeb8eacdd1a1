"""A Llama 2 model in PyTorch, in float32, and the models that are compared with it."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from aneperf.kernels import TransformerConfig
from aneperf.kernels.presets import PRESETS
from aneperf.training.models import Parameters, random_parameters
from support import stories260k

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'aneperf[parity]'")

torch.set_num_threads(1)  # tests run in as many processes as there are cores

STORIES = replace(PRESETS["stories260k"], seq=256)
WIDE = TransformerConfig(
    dim=768, hidden=2048, layers=2, heads=12, kv_heads=12, head_dim=64, vocab=32000, seq=256
)


def real_stories() -> tuple[TransformerConfig, Parameters]:
    """Return the real model, at sequences of 256."""
    config, parameters = stories260k.model()
    return replace(config, seq=STORIES.seq), parameters


def model(name: str) -> tuple[TransformerConfig, Parameters]:
    if name == "stories260k":
        return real_stories()
    config = {"random stories260k": STORIES, "wide": WIDE}[name]
    return config, random_parameters(config)


def rotated(x: Any, config: TransformerConfig) -> Any:
    """Rotate by position [seq, heads, head_dim]: each pair of channels is a complex number."""
    exponents = torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim
    angles = torch.outer(torch.arange(config.seq, dtype=torch.float32), config.rope_theta**-exponents)
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)[:, None]).flatten(-2)


def attention(q: Any, k: Any, v: Any, config: TransformerConfig, turn: bool) -> Any:
    """Compute causal attention [seq, channels], each key and value head shared by neighboring query heads."""
    q, k, v = (x.unflatten(-1, (-1, config.head_dim)) for x in (q, k, v))
    if turn:
        q, k = rotated(q, config), rotated(k, config)
    k, v = (x.repeat_interleave(config.heads // config.kv_heads, dim=1) for x in (k, v))
    scores = torch.einsum("qhd,khd->hqk", q, k) / math.sqrt(config.head_dim)
    later = torch.ones(config.seq, config.seq, dtype=torch.bool).triu(1)
    weights = scores.masked_fill(later, -torch.inf).softmax(-1)
    return torch.einsum("hqk,khd->qhd", weights, v).flatten(1)


def loss_of(p: Mapping[str, Any], text: Any, config: TransformerConfig, turn: bool = True) -> Any:
    """Return the mean cross-entropy of a Llama 2 model (Touvron et al. 2023) on text [seq + 1]."""
    functions = torch.nn.functional

    def norm(x: Any, weight: Any) -> Any:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + config.norm_eps) * weight

    x = p["embedding"][text[:-1]]
    for i in range(config.layers):
        w = {kind: p[f"layers.{i}.{kind}"].T for kind in ("wq", "wk", "wv", "wo", "w1", "w2", "w3")}
        y = norm(x, p[f"layers.{i}.rms1"])
        x = x + attention(y @ w["wq"], y @ w["wk"], y @ w["wv"], config, turn) @ w["wo"]
        y = norm(x, p[f"layers.{i}.rms2"])
        x = x + (functions.silu(y @ w["w1"]) * (y @ w["w3"])) @ w["w2"]
    logits = norm(x, p["norm"]) @ p.get("classifier", p["embedding"]).T
    return functions.cross_entropy(logits, text[1:])


def leaves(parameters: Parameters) -> dict[str, Any]:
    """Return copies that collect gradients."""
    return {name: torch.from_numpy(value.copy()).requires_grad_() for name, value in parameters.items()}
