"""The classifier and its softmax over the vocabulary. All parts are [1, C, 1, S]."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from .. import mil
from .config import TransformerConfig
from .transformer import Kernel, KernelBuilder


def classifier_forward(
    config: TransformerConfig, *, embedding: NDArray[Any], as_published: bool = False
) -> Kernel:
    """Build the product with `embedding` [vocab, dim]: normed -> logits."""
    g = KernelBuilder(config, as_published, normed=config.dim)
    return g.kernel("classifier_forward", logits=g.project(g.part("normed"), embedding, "embedding"))


def classifier_softmax(config: TransformerConfig, *, as_published: bool = False) -> Kernel:
    """Build the softmax at every position: logits -> probabilities."""
    g = KernelBuilder(config, as_published, logits=config.vocab)
    return g.kernel("classifier_softmax", probabilities=mil.softmax(g.part("logits"), axis=1))
