"""A small model trained here, and its figures by a float64 forward pass written from the definition."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import numpy as np
from numpy.typing import NDArray

import aneperf
from aneperf.kernels import TransformerConfig
from aneperf.training.config import TrainingConfig
from aneperf.training.models import Parameters, random_parameters
from aneperf.training.optimizer import update
from aneperf.training.pipeline import open_pipeline
from aneperf.training.state import RunState

Array = NDArray[np.float64]

LETTERS = "\n abcdefghijklmnopqrstuvwxyz."
MODEL = TransformerConfig(
    dim=32, hidden=64, layers=2, heads=4, kv_heads=2, head_dim=8, vocab=len(LETTERS), seq=48
)


def corpus(sentences: int, seed: int) -> NDArray[np.int64]:
    """Return sentences such as "the cat sees a dog." as tokens, one for each letter."""
    random = np.random.default_rng(seed)
    nouns, verbs = ("cat", "dog", "bird", "child", "fish"), ("sees", "likes", "finds", "calls")
    text = "".join(
        f"\n{random.choice(['the', 'a'])} {random.choice(nouns)} {random.choice(verbs)} "
        f"{random.choice(['the', 'a'])} {random.choice(nouns)}."
        for _ in range(sentences)
    )
    return np.array([LETTERS.index(letter) for letter in text])


@cache
def trained() -> Parameters:
    """Return the parameters after 200 updates on the emulator: the same on every machine."""
    config = TrainingConfig(MODEL, steps=200, accumulation=1, learning_rate=1e-2, warmup=10, decay="cosine")
    text, random = corpus(400, seed=0), np.random.default_rng(0)
    parameters = random_parameters(MODEL)
    begins = random.integers(0, len(text) - MODEL.seq, config.steps)
    losses_in_training(
        aneperf.open("emulator"),
        config,
        parameters,
        (text[begin : begin + MODEL.seq + 1] for begin in begins),
    )
    return parameters


def losses_in_training(
    device: aneperf.Device,
    config: TrainingConfig,
    parameters: Parameters,
    texts: Iterable[NDArray[np.int64]],
) -> list[float]:
    """Update the parameters after each text, in this process, and return the losses."""
    zeros = [{name: np.zeros_like(value) for name, value in parameters.items()} for _ in range(3)]
    parts = {"parameters": parameters, "mean": zeros[0], "variance": zeros[1]}
    pipeline = open_pipeline(config.pipeline, device, config.model, parameters)
    pipeline.load_fixed()
    state, losses = RunState(config.loss_scale), []
    for text in texts:
        pipeline.load()
        losses.append(pipeline.step(text[:-1], text[1:], zeros[2], loss_scale=state.loss_scale))
        update(config, state, parts, zeros[2], sequences=1)
    return losses


def logits(parameters: Parameters, config: TransformerConfig, tokens: NDArray[np.int64]) -> Array:
    """Compute Llama or Qwen3 in float64: tokens [positions] -> logits [positions, vocab].

    Sources: Touvron et al. 2023, Yang et al. 2025.
    """
    p = {name: value.astype(np.float64) for name, value in parameters.items()}
    positions = len(tokens)
    angles = np.outer(
        np.arange(positions), config.rope_theta ** -(np.arange(0, config.head_dim, 2) / config.head_dim)
    )

    def norm(x: Array, weight: Array) -> Array:
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + config.norm_eps) * weight

    def heads(x: Array) -> Array:  # [positions, channels] -> [heads, positions, head_dim]
        return x.reshape(positions, -1, config.head_dim).swapaxes(0, 1)

    def rotate(x: Array) -> Array:  # neighboring channels are a complex number
        pairs = np.ascontiguousarray(x).view(np.complex128) * np.exp(1j * angles)
        return pairs.view(np.float64)

    def attention(x: Array, layer: str) -> Array:
        q, k, v = (heads(x @ p[f"{layer}.{name}"].T) for name in ("wq", "wk", "wv"))
        if config.qk_norm:
            q, k = norm(q, p[f"{layer}.q_norm"]), norm(k, p[f"{layer}.k_norm"])
        k, v = (y.repeat(config.heads // config.kv_heads, axis=0) for y in (rotate(k), v))
        scores = rotate(q) @ k.swapaxes(1, 2) / np.sqrt(config.head_dim)
        scores[:, np.triu_indices(positions, 1)[0], np.triu_indices(positions, 1)[1]] = -np.inf
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        context = (shares / shares.sum(-1, keepdims=True)) @ v
        return context.swapaxes(0, 1).reshape(positions, -1) @ p[f"{layer}.wo"].T

    x = p["embedding"][tokens]
    for index in range(config.layers):
        layer = f"layers.{index}"
        x = x + attention(norm(x, p[f"{layer}.rms1"]), layer)
        y = norm(x, p[f"{layer}.rms2"])
        gate = y @ p[f"{layer}.w1"].T
        x = x + (gate / (1 + np.exp(-gate)) * (y @ p[f"{layer}.w3"].T)) @ p[f"{layer}.w2"].T
    return norm(x, p["norm"]) @ p.get("classifier", p["embedding"]).T


def loss(parameters: Parameters, config: TransformerConfig, tokens: NDArray[np.int64]) -> float:
    """Return the mean cross-entropy in nats of tokens [positions + 1], predicted from those before."""
    predicted = logits(parameters, config, tokens[:-1])
    predicted -= predicted.max(-1, keepdims=True)
    chosen = predicted[np.arange(len(tokens) - 1), tokens[1:]]
    return float((np.log(np.exp(predicted).sum(-1)) - chosen).mean())
