"""Model files of llama2.c: a header of seven int32, then fp32 tensors, each kind for all layers.

A negative vocabulary size announces a separate classifier. Two tables of rotary positions precede it, which
readers ignore. Source: github.com/karpathy/llama2.c, export.py, the legacy format.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError
from ..files import whole_file
from ..kernels import TransformerConfig
from ..kernels.config import layer_shapes, parameter_shapes
from .models import Parameters, check_parameters

_HEADER = struct.Struct("<7i")  # dim, hidden, layers, heads, kv_heads, vocab, seq
_LARGEST = 1 << 20  # of any number in the header
_ROTARY = "rotary tables"


def load_llama2c(path: str | os.PathLike[str]) -> tuple[TransformerConfig, Parameters]:
    """Read a model. Raises ArgumentError for a file of another format or size."""
    path = Path(path)
    try:
        data = np.memmap(path, np.uint8, mode="r")
    except (OSError, ValueError) as error:
        raise ArgumentError(f"{path} cannot be read: {error}") from error
    if data.size < _HEADER.size:
        raise ArgumentError(f"{path} is no llama2.c model: it has {data.size} bytes")
    dim, hidden, layers, heads, kv_heads, vocab, seq = numbers = _HEADER.unpack(
        data[: _HEADER.size].tobytes()
    )
    sizes = (dim, hidden, layers, heads, kv_heads, abs(vocab), seq)
    if not all(0 < size <= _LARGEST for size in sizes) or dim % heads:
        raise ArgumentError(f"{path} is no llama2.c model: its header reads {list(numbers)}")
    config = TransformerConfig(
        dim=dim,
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=dim // heads,
        vocab=abs(vocab),
        seq=seq,
    )
    separate = vocab < 0
    expected = _file_size(config, separate)
    if data.size != expected:
        raise ArgumentError(f"{path} has {data.size} bytes; a model of {list(numbers)} takes {expected}")
    shapes = parameter_shapes(config, separate)
    parameters: Parameters = {}
    start = _HEADER.size
    for name in _file_order(config, separate):
        size = 4 * _count(name, shapes, config)
        if name != _ROTARY:
            parameters[name] = data[start : start + size].view("<f4").reshape(shapes[name]).astype(np.float32)
        start += size
    return config, {name: parameters[name] for name in shapes}


def save_llama2c(
    path: str | os.PathLike[str], config: TransformerConfig, parameters: Mapping[str, NDArray[Any]]
) -> None:
    """Write a model for llama2.c. Raises ArgumentError if the format cannot hold its shape."""
    check_parameters(config, parameters)
    check_shape(config)
    separate = "classifier" in parameters
    header = _HEADER.pack(
        config.dim,
        config.hidden,
        config.layers,
        config.heads,
        config.kv_heads,
        -config.vocab if separate else config.vocab,
        config.seq,
    )
    with whole_file(path) as file:
        file.write(header)
        for name in _file_order(config, separate):
            array = _rotary_tables(config) if name == _ROTARY else parameters[name]
            file.write(np.ascontiguousarray(array, "<f4").data)


def check_shape(config: TransformerConfig) -> None:
    """Raise ArgumentError unless the format can hold a model of this shape."""
    if config.head_dim * config.heads != config.dim:
        raise ArgumentError(
            f"llama2.c has heads of dim / heads channels; {config.heads} of {config.head_dim} are not "
            f"{config.dim}"
        )


def _file_order(config: TransformerConfig, separate_classifier: bool) -> Iterator[str]:
    yield "embedding"
    for kind in layer_shapes(config):
        for layer in range(config.layers):
            yield f"layers.{layer}.{kind}"
    yield "norm"
    yield _ROTARY
    if separate_classifier:
        yield "classifier"


def _file_size(config: TransformerConfig, separate_classifier: bool) -> int:
    """Return the bytes of a file. One layer is counted: a damaged header may announce any number."""
    one = replace(config, layers=1)
    shapes = parameter_shapes(one, separate_classifier)
    counts = {name: _count(name, shapes, config) for name in _file_order(one, separate_classifier)}
    layer = sum(count for name, count in counts.items() if name.startswith("layers."))
    return _HEADER.size + 4 * (sum(counts.values()) + (config.layers - 1) * layer)


def _count(name: str, shapes: Mapping[str, tuple[int, ...]], config: TransformerConfig) -> int:
    return config.seq * config.head_dim if name == _ROTARY else math.prod(shapes[name])


def _rotary_tables(config: TransformerConfig) -> NDArray[np.float64]:
    """Return cosines, then sines: [2, seq, head_dim / 2]."""
    frequencies = config.rope_theta ** (-np.arange(0, config.head_dim, 2) / config.head_dim)
    angles = np.outer(np.arange(config.seq), frequencies)
    return np.stack([np.cos(angles), np.sin(angles)])
