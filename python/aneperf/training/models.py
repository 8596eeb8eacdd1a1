"""Models: presets of llama2.c, the parameters' names and shapes, random ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._ane_native import ArgumentError
from ..kernels import TransformerConfig

Parameters = dict[str, NDArray[np.float32]]

# Source: github.com/karpathy/llama2.c.
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
    }
)


def parameter_shapes(
    config: TransformerConfig, separate_classifier: bool = False
) -> dict[str, tuple[int, ...]]:
    """Every parameter by name, in the order of a checkpoint; matrices are [outputs, inputs].

    The classifier is the embedding unless it is separate.
    """
    layer = {
        "rms1": (config.dim,),
        "wq": (config.query_dim, config.dim),
        "wk": (config.kv_dim, config.dim),
        "wv": (config.kv_dim, config.dim),
        "wo": (config.dim, config.query_dim),
        "rms2": (config.dim,),
        "w1": (config.hidden, config.dim),
        "w2": (config.dim, config.hidden),
        "w3": (config.hidden, config.dim),
    }
    shapes: dict[str, tuple[int, ...]] = {"embedding": (config.vocab, config.dim)}
    shapes |= {f"layers.{i}.{name}": shape for i in range(config.layers) for name, shape in layer.items()}
    shapes["norm"] = (config.dim,)
    if separate_classifier:
        shapes["classifier"] = (config.vocab, config.dim)
    return shapes


def random_parameters(config: TransformerConfig, seed: int = 0) -> Parameters:
    """Parameters to begin training from, the classifier being the embedding.

    Uniform as in the published runs: within 1 / sqrt(dim), those of w1 and w3 within 1 / sqrt(hidden), those
    that end a residual branch (wo, w2) also over sqrt(2 * layers); the embedding within 0.02; norms are 1.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ArgumentError(f"seed {seed!r} is not an integer of at least 0")
    parameters: Parameters = {}
    for index, (name, shape) in enumerate(parameter_shapes(config).items()):
        kind = name.rpartition(".")[2]
        if kind in ("rms1", "rms2", "norm"):
            parameters[name] = np.ones(shape, np.float32)
            continue
        fan = config.hidden if kind in ("w1", "w3") else config.dim
        bound = 0.02 if kind == "embedding" else math.sqrt(1 / fan)
        if kind in ("wo", "w2"):
            bound /= math.sqrt(2 * config.layers)
        random = np.random.default_rng((seed, index)).random(shape, np.float32)
        parameters[name] = (2 * random - 1) * np.float32(bound)
    return parameters


def check_parameters(config: TransformerConfig, parameters: Mapping[str, NDArray[Any]]) -> None:
    """Raises ArgumentError unless every parameter is there, fp32 and of its shape, and nothing else."""
    shapes = parameter_shapes(config, "classifier" in parameters)
    if unknown := parameters.keys() - shapes.keys():
        raise ArgumentError(f"parameter {min(unknown)!r} is not one of a model of {config.layers} layers")
    for name, shape in shapes.items():
        if name not in parameters:
            raise ArgumentError(f"parameter {name!r} is missing")
        array = parameters[name]
        if array.dtype != np.float32 or array.shape != shape:
            raise ArgumentError(
                f"parameter {name!r} is {array.dtype}{list(array.shape)}, not float32{list(shape)}"
            )
