"""From the last norm to the probabilities of the next token. All parts are [1, C, 1, S]."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from .. import mil
from .transformer import Graph, Kernel, TransformerConfig


def classifier_forward(
    config: TransformerConfig, *, embedding: NDArray[Any], as_published: bool = False
) -> Kernel:
    """Logits: `embedding` [vocab, dim] times the normed: normed -> logits [vocab]."""
    g = Graph(config, as_published, normed=config.dim)
    return g.kernel("classifier_forward", logits=g.project(g.part("normed"), embedding, "embedding"))


def classifier_softmax(config: TransformerConfig, *, as_published: bool = False) -> Kernel:
    """Softmax over the vocabulary, at every position: logits -> probabilities."""
    g = Graph(config, as_published, logits=config.vocab)
    return g.kernel("classifier_softmax", probabilities=mil.softmax(g.part("logits"), axis=1))
