"""The names, shapes and initial values of a model's parameters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import bounds
from ..checks import count
from ..errors import AneError, ArgumentError
from ..kernels.config import TransformerConfig, parameter_count, parameter_shapes

Parameters = dict[str, NDArray[np.float32]]


def random_parameters(config: TransformerConfig, seed: int = 0) -> Parameters:
    """Return initial parameters whose classifier is the embedding.

    Uniform as in the published runs: the embedding within 0.02, w1 and w3 within 1 / sqrt(hidden), wo within
    1 / sqrt(query_dim), the other matrices within 1 / sqrt(dim). Those that end a residual branch, wo and w2,
    are also divided by sqrt(2 * layers). Norms are 1.
    """
    count("seed", seed, least=0, most=bounds.SEED)
    bounds.check_memory("a model of these sizes", 4 * parameter_count(config), "choose smaller ones")
    parameters: Parameters = {}
    for index, (name, shape) in enumerate(parameter_shapes(config).items()):
        kind = name.rpartition(".")[2]
        if len(shape) == 1:
            parameters[name] = np.ones(shape, np.float32)
            continue
        fan = {"w1": config.hidden, "w3": config.hidden, "wo": config.query_dim}.get(kind, config.dim)
        bound = 0.02 if kind == "embedding" else math.sqrt(1 / fan)
        if kind in ("wo", "w2"):
            bound /= math.sqrt(2 * config.layers)
        parameters[name] = uniform((seed, index), shape, bound)
    return parameters


def uniform(seed: tuple[int, ...], shape: tuple[int, ...], bound: float) -> NDArray[np.float32]:
    """Draw values between -bound and bound."""
    random = np.random.default_rng(seed).random(shape, np.float32)
    return (2 * random - 1) * np.float32(bound)


def checked_parameters(
    config: TransformerConfig, parameters: Mapping[str, NDArray[Any]], largest: float = math.inf
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield the parameters, asking for each once.

    Raises ArgumentError unless the names, fp32 dtypes and shapes are exactly those of the model, and the
    values finite and at most `largest` in magnitude.
    """
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
        check_values({name: array}, largest)
        yield name, array


def check_parameters(config: TransformerConfig, parameters: Mapping[str, NDArray[Any]]) -> None:
    """Raise ArgumentError unless parameters are exactly those of the model, with finite values."""
    for _ in checked_parameters(config, parameters):
        pass


def check_values(
    parameters: Mapping[str, NDArray[Any]], largest: float = math.inf, error: type[AneError] = ArgumentError
) -> None:
    """Raise `error` unless all values are finite, and at most `largest` in magnitude."""
    for name, array in parameters.items():
        greatest = max(float(array.max()), -float(array.min()))  # NaN if there is one; without a copy
        if greatest <= min(largest, float(np.finfo(np.float32).max)):
            continue
        if bad := int(np.count_nonzero(~np.isfinite(array))):
            raise error(f"{name} has {_values(bad)} not finite: the model is damaged, or training diverged")
        bad = int(np.count_nonzero(np.abs(array) > largest))
        raise error(
            f"{name} has {_values(bad)} beyond {largest:g}, the largest of fp16, in which the engine holds "
            f"weights: the largest is {greatest:g}"
        )


def _values(count: int) -> str:
    return "1 value that is" if count == 1 else f"{count} values that are"
