"""Model files of llama2.c: a header, then fp32 tensors.

The first format has a header of seven int32, in which a negative vocabulary size announces a separate
classifier, and two tables of rotary positions, which readers ignore. Version 1 has a header of 256 bytes that
begins with a magic number, and another order. Source: github.com/karpathy/llama2.c, export.py.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..bounds import CONSTANTS, check_memory
from ..errors import ArgumentError
from ..files import Input
from ..kernels import TransformerConfig
from ..kernels.config import layer_shapes, parameter_shapes
from ..kinds import LLAMA2C_HEADER, LLAMA2C_MAGIC, Kind
from ..outputs import whole_file
from .arrays import empty
from .config import TrainingConfig
from .models import Parameters, check_parameters, check_values

_VERSIONED_HEADER = struct.Struct("<4si7iB")  # magic, version, sizes, shared classifier
_VERSIONED_HEADER_BYTES = 256
_ROTARY = "rotary tables"


class _Layout(NamedTuple):
    config: TransformerConfig
    separate_classifier: bool
    begin: int  # of the first tensor
    names: tuple[str, ...]  # in the file's order


def load_llama2c(path: str | os.PathLike[str]) -> tuple[TransformerConfig, Parameters]:
    """Read a model, of the first format or of version 1.

    Raises ArgumentError for a file of another format or size, and for values that are not finite.
    """
    with Input(path, Kind.LLAMA2C, ArgumentError) as file:
        config, separate, begin, names = _layout(path, file)
        shapes = parameter_shapes(config, separate)
        end = begin + 4 * sum(_count(name, shapes, config) for name in names)
        if file.size != end:
            raise ArgumentError(
                f"{path}: has {file.size} bytes; a llama2.c model of {list(_sizes(config))} takes {end}: "
                "it is damaged or of another format"
            )
        check_memory(f"the model in {path}", file.size, "free some")
        parameters: Parameters = {}
        for name in names:
            if name != _ROTARY:
                parameters[name] = empty(shapes[name], "<f4")
                file.fill(begin, parameters[name])
            begin += 4 * _count(name, shapes, config)
        file.check_unchanged()
    try:
        check_values(parameters)
    except ArgumentError as error:
        raise ArgumentError(f"{path}: {error}") from None
    return config, {name: parameters[name] for name in shapes}


def save_llama2c(
    path: str | os.PathLike[str], config: TransformerConfig, parameters: Mapping[str, NDArray[Any]]
) -> None:
    """Write a model for llama2.c, in its first format.

    Raises ArgumentError for a model that the format cannot hold.
    """
    check_shape(config)
    check_parameters(config, parameters)
    separate = "classifier" in parameters
    dim, hidden, layers, heads, kv_heads, vocab, seq = _sizes(config)
    header = LLAMA2C_HEADER.pack(dim, hidden, layers, heads, kv_heads, -vocab if separate else vocab, seq)
    with whole_file(path, Kind.LLAMA2C) as file:
        file.write(header)
        for name in _first_order(config, separate):
            array = _rotary_tables(config) if name == _ROTARY else parameters[name]
            file.write(np.ascontiguousarray(array, "<f4").data)


def check_trained(config: TrainingConfig) -> None:
    """Raise ArgumentError unless the format can hold what a run trains."""
    if config.as_published:
        raise ArgumentError(
            "llama2.c has rotary positions: it cannot run a model that was trained as published"
        )
    check_shape(config.model)


def check_shape(config: TransformerConfig) -> None:
    """Raise ArgumentError unless the format can hold a model of this shape and these constants."""
    if config.head_dim * config.heads != config.dim:
        raise ArgumentError(
            f"llama2.c has heads of dim / heads channels; {config.heads} of {config.head_dim} are not "
            f"{config.dim}"
        )
    if config.qk_norm:
        raise ArgumentError(
            "llama2.c has no norms of queries and keys: its file cannot hold q_norm and k_norm"
        )
    for name in CONSTANTS:
        found, held = getattr(config, name), getattr(TransformerConfig, name)
        if found != held:
            raise ArgumentError(f"llama2.c has a {name} of {held:g}: its file cannot hold {found:g}")


def _layout(path: str | os.PathLike[str], file: Input) -> _Layout:
    """Read a header."""
    head = file.read(0, min(file.size, _VERSIONED_HEADER_BYTES))
    if head.startswith(LLAMA2C_MAGIC):
        return _versioned_layout(path, head)
    if len(head) < LLAMA2C_HEADER.size:
        raise ArgumentError(f"{path}: is no llama2.c model: it has {file.size} bytes")
    sizes: tuple[int, ...] = LLAMA2C_HEADER.unpack_from(head)
    *numbers, vocab, seq = sizes
    config = _config(path, (*numbers, abs(vocab), seq))
    return _Layout(config, vocab < 0, LLAMA2C_HEADER.size, tuple(_first_order(config, vocab < 0)))


def _versioned_layout(path: str | os.PathLike[str], head: bytes) -> _Layout:
    if len(head) < _VERSIONED_HEADER_BYTES:
        raise ArgumentError(f"{path}: is no llama2.c model: it ends within its header")
    _, version, *sizes, shared = _VERSIONED_HEADER.unpack_from(head)
    if version != 1:
        quantized = ", whose weights are int8" if version == 2 else ""
        raise ArgumentError(
            f"{path}: is a llama2.c model of version {version}{quantized}: "
            "export it with --version 1 (or 0), which is fp32"
        )
    if shared > 1:
        raise ArgumentError(f"{path}: is no llama2.c model: its flag of a shared classifier is {shared}")
    config = _config(path, tuple(sizes))
    names = tuple(_version_1_order(config, not shared))
    return _Layout(config, not shared, _VERSIONED_HEADER_BYTES, names)


def _config(path: str | os.PathLike[str], sizes: tuple[int, ...]) -> TransformerConfig:
    dim, hidden, layers, heads, kv_heads, vocab, seq = sizes
    try:
        if heads < 1 or dim % heads:
            raise ArgumentError(f"{heads} heads do not divide {dim} channels")
        return TransformerConfig(
            dim=dim,
            hidden=hidden,
            layers=layers,
            heads=heads,
            kv_heads=kv_heads,
            head_dim=dim // heads,
            vocab=vocab,
            seq=seq,
        )
    except ArgumentError as error:
        raise ArgumentError(
            f"{path}: is no llama2.c model: its header reads {list(sizes)}: {error}"
        ) from None


def _sizes(config: TransformerConfig) -> tuple[int, ...]:
    """Return the sizes in a header's order."""
    return (
        config.dim,
        config.hidden,
        config.layers,
        config.heads,
        config.kv_heads,
        config.vocab,
        config.seq,
    )


def _first_order(config: TransformerConfig, separate_classifier: bool) -> Iterator[str]:
    yield "embedding"
    yield from _of_layers(config, *layer_shapes(config))
    yield "norm"
    yield _ROTARY
    if separate_classifier:
        yield "classifier"


def _version_1_order(config: TransformerConfig, separate_classifier: bool) -> Iterator[str]:
    yield from _of_layers(config, "rms1", "rms2")
    yield "norm"
    yield "embedding"
    yield from _of_layers(config, *(kind for kind in layer_shapes(config) if not kind.startswith("rms")))
    if separate_classifier:
        yield "classifier"


def _of_layers(config: TransformerConfig, *kinds: str) -> Iterator[str]:
    for kind in kinds:
        for layer in range(config.layers):
            yield f"layers.{layer}.{kind}"


def _count(name: str, shapes: Mapping[str, tuple[int, ...]], config: TransformerConfig) -> int:
    return config.seq * config.head_dim if name == _ROTARY else math.prod(shapes[name])


def _rotary_tables(config: TransformerConfig) -> NDArray[np.float64]:
    """Return cosines, then sines: [2, seq, head_dim / 2]."""
    frequencies = config.rope_theta ** (-np.arange(0, config.head_dim, 2) / config.head_dim)
    angles = np.outer(np.arange(config.seq), frequencies)
    return np.stack([np.cos(angles), np.sin(angles)])
