"""A transformer's pieces in float64, written from their definitions, and slopes of functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aneperf.kernels import TransformerConfig

Array = NDArray[Any]


def halves(seed: int, *shape: int, scale: float = 1.0) -> NDArray[np.float16]:
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float16)


def gradient(function: Callable[[Array], Array], x: Array, dy: Array) -> Array:
    """Differentiate the dot product of function(x) with dy, by central differences."""
    x = x.astype(np.float64)
    result, step = np.zeros_like(x), 1e-5
    for index in np.ndindex(x.shape):
        moved = x.copy()
        moved[index] += step
        above = function(moved)
        moved[index] -= 2 * step
        result[index] = np.vdot(above - function(moved), dy) / (2 * step)
    return result


def assert_near(got: Array, expected: Array, tolerance: float) -> None:
    assert got.shape == expected.shape
    assert np.linalg.norm(got - expected) <= tolerance * np.linalg.norm(expected)


def norm(x: Array, weight: Array, config: TransformerConfig) -> Array:
    return x / np.sqrt((x.astype(np.float64) ** 2).mean(axis=0) + config.norm_eps) * weight[:, None]


def turned(x: Array, config: TransformerConfig) -> Array:
    """Rotate pair i of a head, a complex number, by position * theta^(-2i / head_dim)."""
    pairs = x.astype(np.float64).reshape(-1, config.head_dim // 2, 2, config.seq)
    frequency = config.rope_theta ** (-2 * np.arange(config.head_dim // 2) / config.head_dim)
    turns = np.exp(1j * frequency[:, None] * np.arange(config.seq))
    result = (pairs[:, :, 0] + 1j * pairs[:, :, 1]) * turns
    return np.stack([result.real, result.imag], axis=2).reshape(x.shape)


def attend(q: Array, k: Array, v: Array, config: TransformerConfig) -> Array:
    """Compute causal attention, head by head and position by position."""
    result = np.zeros((config.query_dim, config.seq))
    for head in range(config.heads):
        shared = head // (config.heads // config.kv_heads)
        mine = slice(head * config.head_dim, (head + 1) * config.head_dim)
        theirs = slice(shared * config.head_dim, (shared + 1) * config.head_dim)
        for s in range(config.seq):
            scores = k[theirs, : s + 1].T @ q[mine, s] / np.sqrt(config.head_dim)
            weights = np.exp(scores - scores.max())
            result[mine, s] = v[theirs, : s + 1] @ (weights / weights.sum())
    return result
