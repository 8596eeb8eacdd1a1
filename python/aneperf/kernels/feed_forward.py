"""SwiGLU feed-forward, W2 (silu(W1 x) * W3 x), forward and backward.

Source: Shazeer 2020, "GLU variants improve transformer". All parts are [1, C, 1, S].
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from .. import mil
from .config import TransformerConfig
from .transformer import Kernel, KernelBuilder


def feed_forward_forward(
    config: TransformerConfig,
    *,
    rms2: NDArray[Any],
    w1: NDArray[Any],
    w3: NDArray[Any],
    w2: NDArray[Any],
    as_published: bool = False,
) -> Kernel:
    """Build the feed-forward of norm(x), without the residual: x -> out, h1, h3, gated, normed."""
    g = KernelBuilder(config, as_published, x=config.dim)
    normed = g.rms_norm(g.part("x"), rms2, "rms2")
    h1, h3 = g.project(normed, w1, "w1"), g.project(normed, w3, "w3")
    gated = h1 * mil.sigmoid(h1) * h3
    return g.kernel(
        "feed_forward_forward", out=g.project(gated, w2, "w2"), h1=h1, h3=h3, gated=gated, normed=normed
    )


def feed_forward_backward(
    config: TransformerConfig,
    *,
    w2t: NDArray[Any],
    w1t: NDArray[Any],
    w3t: NDArray[Any],
    as_published: bool = False,
) -> Kernel:
    """Build the backward, up to the normed input: dout, h1, h3 -> dnormed, dh1, dh3.

    Weights are transposed.
    """
    g = KernelBuilder(config, as_published, dout=config.dim, h1=config.hidden, h3=config.hidden)
    dgated = g.project(g.part("dout"), w2t, "w2t")
    dh1, dh3 = gate_backward(dgated, g.part("h1"), g.part("h3"))
    dnormed = g.project(dh1, w1t, "w1t") + g.project(dh3, w3t, "w3t")
    return g.kernel("feed_forward_backward", dnormed=dnormed, dh1=dh1, dh3=dh3)


def gate_backward(dgated: mil.Tensor, h1: mil.Tensor, h3: mil.Tensor) -> tuple[mil.Tensor, mil.Tensor]:
    """Compute the gradients of h1 and h3 from that of silu(h1) * h3."""
    gate = mil.sigmoid(h1)
    silu = h1 * gate
    slope = gate + silu * (1.0 - gate)  # of silu
    return dgated * h3 * slope, dgated * silu
