"""Text generation on the CPU, in fp32, one token at a time with cached keys and values."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..bounds import TEMPERATURE, check_memory, within
from ..checks import count, shown
from ..errors import ArgumentError
from ..kernels import TransformerConfig
from ..kernels.config import layer_shapes
from .kernels import Floats
from .models import check_parameters


class Decoder:
    """Reads one token after another, up to `config.seq` or `most`, and predicts the next.

    Raises ArgumentError for parameters that are not those of the model, or not finite.
    """

    def __init__(
        self, config: TransformerConfig, parameters: Mapping[str, Floats], most: int | None = None
    ) -> None:
        check_parameters(config, parameters)
        self.position = 0
        self._config, self._parameters = config, parameters
        self.most = config.seq if most is None else min(most, config.seq)
        shape = (config.layers, self.most, config.kv_heads, config.head_dim)
        check_memory(
            f"generating {self.most} tokens", 2 * 4 * math.prod(shape), "ask for fewer, or shorten the prompt"
        )
        self._keys, self._values = np.zeros(shape, np.float32), np.zeros(shape, np.float32)

    @np.errstate(over="ignore", invalid="ignore")  # exp overflows where silu is 0
    def read(self, token: int) -> Floats:
        """Read a token and return the logits of the next: [vocab]."""
        config, parameters = self._config, self._parameters
        if self.position == self.most:
            raise ArgumentError(f"the model takes sequences of {self.most} tokens, and that many were read")
        if not 0 <= token < config.vocab:
            raise ArgumentError(f"token {token} is not in the vocabulary of {config.vocab}")
        x = parameters["embedding"][token].copy()  # [dim]
        for layer in range(config.layers):
            weights = {name: parameters[f"layers.{layer}.{name}"] for name in layer_shapes(config)}
            x += self._attention(layer, self._norm(x, weights["rms1"]), weights)
            x += _feed_forward(self._norm(x, weights["rms2"]), weights)
            self._check(x @ x)  # which the next norm divides by
        self.position += 1
        classifier = parameters.get("classifier", parameters["embedding"])
        logits = np.asarray(classifier @ self._norm(x, parameters["norm"]), np.float32)
        self._check(logits)
        return logits

    def _check(self, x: Floats) -> None:
        if not np.isfinite(x).all():
            raise ArgumentError(f"fp32 overflows at token {self.position}: the weights are too large")

    def _attention(self, layer: int, x: Floats, weights: Mapping[str, Floats]) -> Floats:
        """Attend from this token to those read so far: x [dim] -> [dim]."""
        config, seen = self._config, self.position + 1
        # [heads, head_dim]
        q, k = ((weights[name] @ x).reshape(-1, config.head_dim) for name in ("wq", "wk"))
        if config.qk_norm:
            q, k = self._norm(q, weights["q_norm"]), self._norm(k, weights["k_norm"])
        queries = self._rotate(q).reshape(config.kv_heads, -1, config.head_dim)
        self._keys[layer, self.position] = self._rotate(k)
        self._values[layer, self.position] = (weights["wv"] @ x).reshape(config.kv_heads, config.head_dim)
        # g: a key and value head; r: a query head that shares it; s: a position; d: a channel.
        scores = np.einsum("grd,sgd->grs", queries, self._keys[layer, :seen]) * config.score_scale
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        shares /= shares.sum(axis=-1, keepdims=True)
        context = np.einsum("grs,sgd->grd", shares, self._values[layer, :seen])
        return np.asarray(weights["wo"] @ context.reshape(-1).astype(np.float32), np.float32)

    def _norm(self, x: Floats, weight: Floats) -> Floats:
        mean_square = (x * x).mean(axis=-1, keepdims=True)
        return np.asarray(x / np.sqrt(mean_square + self._config.norm_eps) * weight, np.float32)

    def _rotate(self, x: Floats) -> Floats:
        """Rotate each pair of a head's channels by its angle at this position: [heads, head_dim]."""
        head_dim = self._config.head_dim
        frequencies = self._config.rope_theta ** (-np.arange(0, head_dim, 2) / head_dim)
        angles = self.position * frequencies
        even, odd = x.reshape(-1, head_dim // 2, 2).transpose(2, 0, 1)
        cos, sin = np.cos(angles), np.sin(angles)
        pairs = np.stack([even * cos - odd * sin, even * sin + odd * cos], axis=-1)
        return pairs.reshape(-1, head_dim).astype(np.float32)


def _feed_forward(x: Floats, weights: Mapping[str, Floats]) -> Floats:
    """Compute w2 (silu(w1 x) * w3 x): [dim] -> [dim]."""
    gate = weights["w1"] @ x
    return np.asarray(weights["w2"] @ (gate / (1 + np.exp(-gate)) * (weights["w3"] @ x)), np.float32)


def generate(
    config: TransformerConfig,
    parameters: Mapping[str, Floats],
    prompt: Sequence[int],
    tokens: int,
    *,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    ends: Collection[int] = (),
) -> Iterator[int]:
    """Yield up to `tokens` tokens that follow the prompt; fewer where the sequence becomes full.

    One of `ends`, the tokens that end a text, is the last. Temperature 0 takes the most probable token.
    Others draw from the smallest set of tokens whose probabilities add up to `top_p` (Holtzman et al. 2020).
    """
    if not prompt:
        raise ArgumentError("the prompt is empty: give at least the token that begins a text")
    if temperature != 0:
        within("a temperature other than 0", temperature, TEMPERATURE)
    if not 0 < top_p <= 1:
        raise ArgumentError(f"top_p must be above 0 and at most 1, not {shown(top_p)}")
    random = np.random.default_rng(count("seed", seed, least=0))
    if len(prompt) > config.seq:
        raise ArgumentError(
            f"the prompt has {len(prompt)} tokens, and the model takes sequences of {config.seq}: give a "
            "shorter one"
        )
    decoder = Decoder(config, parameters, len(prompt) + count("tokens", tokens, least=0))
    for token in prompt:
        logits = decoder.read(int(token))
    for _ in range(tokens):
        token = _choose(logits, temperature, top_p, random)
        yield token
        if token in ends or decoder.position == decoder.most:
            return
        logits = decoder.read(token)


def _choose(logits: Floats, temperature: float, top_p: float, random: np.random.Generator) -> int:
    if temperature == 0:
        return int(np.argmax(logits))
    scaled = (logits.astype(np.float64) - logits.max()) / temperature
    probabilities: NDArray[np.float64] = np.exp(scaled)
    probabilities /= probabilities.sum()
    order = np.argsort(-probabilities, kind="stable")
    kept = order[: int(np.searchsorted(np.cumsum(probabilities[order]), top_p)) + 1]
    return int(random.choice(kept, p=probabilities[kept] / probabilities[kept].sum()))
