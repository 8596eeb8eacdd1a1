"""Sampling from a model on the CPU, in float32, a token at a time with cached keys and values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .._ane_native import ArgumentError
from ..kernels import TransformerConfig
from .kernels import Floats
from .models import check_parameters


class Decoder:
    """A model reading one token after the other; `config.seq` tokens at most."""

    def __init__(self, config: TransformerConfig, parameters: Mapping[str, Floats]) -> None:
        check_parameters(config, parameters)
        self.position = 0
        self._config, self._parameters = config, parameters
        shape = (config.layers, config.seq, config.kv_heads, config.head_dim)
        self._keys, self._values = np.zeros(shape, np.float32), np.zeros(shape, np.float32)

    def read(self, token: int) -> Floats:
        """The logits [vocab] of what follows this token."""
        config, parameters, position = self._config, self._parameters, self.position
        if position == config.seq:
            raise ArgumentError(f"the model takes sequences of {config.seq} tokens, and that many were read")
        if not 0 <= token < config.vocab:
            raise ArgumentError(f"token {token} is not in the vocabulary of {config.vocab}")
        x = parameters["embedding"][token].copy()
        for layer in range(config.layers):
            w = {kind: parameters[f"layers.{layer}.{kind}"] for kind in _LAYER}
            normed = self._norm(x, w["rms1"])
            q = self._turned(w["wq"] @ normed)
            self._keys[layer, position] = self._turned(w["wk"] @ normed)
            self._values[layer, position] = (w["wv"] @ normed).reshape(config.kv_heads, config.head_dim)
            x += w["wo"] @ self._attend(layer, q)
            normed = self._norm(x, w["rms2"])
            gate = w["w1"] @ normed
            x += w["w2"] @ (gate / (1 + np.exp(-gate)) * (w["w3"] @ normed))
        self.position += 1
        classifier = parameters.get("classifier", parameters["embedding"])
        return np.asarray(classifier @ self._norm(x, parameters["norm"]), np.float32)

    def _attend(self, layer: int, q: Floats) -> Floats:
        """Attention over what was read: q [heads, head_dim] -> [heads * head_dim]."""
        config, seen = self._config, self.position + 1
        shared = q.reshape(config.kv_heads, -1, config.head_dim)
        scores = np.einsum("grd,sgd->grs", shared, self._keys[layer, :seen]) * config.score_scale
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        values = np.einsum("grs,sgd->grd", weights, self._values[layer, :seen])
        return np.asarray(values.reshape(-1), np.float32)

    def _norm(self, x: Floats, weight: Floats) -> Floats:
        return np.asarray(x / np.sqrt((x * x).mean() + self._config.norm_eps) * weight, np.float32)

    def _turned(self, x: Floats) -> Floats:
        """Rotary positions: each pair of a head's channels turned by its angle at this position."""
        head_dim = self._config.head_dim
        frequencies = self._config.rope_theta ** (-np.arange(0, head_dim, 2) / head_dim)
        angles = self.position * frequencies
        even, odd = x.reshape(-1, head_dim // 2, 2).transpose(2, 0, 1)
        cos, sin = np.cos(angles), np.sin(angles)
        pairs = np.stack([even * cos - odd * sin, even * sin + odd * cos], axis=-1)
        return pairs.reshape(-1, head_dim).astype(np.float32)


def generate(
    config: TransformerConfig,
    parameters: Mapping[str, Floats],
    prompt: Sequence[int],
    tokens: int,
    *,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
) -> Iterator[int]:
    """Up to `tokens` tokens that follow the prompt; fewer where the sequence is full.

    At temperature 0 the most probable; otherwise drawn from the fewest tokens that have `top_p` of the
    probability, as by Holtzman et al. 2020.
    """
    if not prompt:
        raise ArgumentError("the prompt is empty: give at least the token that begins a text")
    if not temperature >= 0 or not 0 < top_p <= 1:
        raise ArgumentError("temperature is at least 0, and top_p in (0, 1]")
    random = np.random.default_rng(seed)
    decoder = Decoder(config, parameters)
    for token in prompt:
        logits = decoder.read(int(token))
    for _ in range(tokens):
        token = _choose(logits, temperature, top_p, random)
        yield token
        if decoder.position == config.seq:
            return
        logits = decoder.read(token)


_LAYER = ("rms1", "wq", "wk", "wv", "wo", "rms2", "w1", "w2", "w3")


def _choose(logits: Floats, temperature: float, top_p: float, random: np.random.Generator) -> int:
    if temperature == 0:
        return int(np.argmax(logits))
    scaled = (logits.astype(np.float64) - logits.max()) / temperature
    probabilities: NDArray[np.float64] = np.exp(scaled)
    probabilities /= probabilities.sum()
    order = np.argsort(-probabilities, kind="stable")
    kept = order[: int(np.searchsorted(np.cumsum(probabilities[order]), top_p)) + 1]
    return int(random.choice(kept, p=probabilities[kept] / probabilities[kept].sum()))
