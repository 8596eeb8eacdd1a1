"""The ten kernels of the dynamic pipeline: those of maderix/ANE, training/training_dynamic.

Each is compiled once, whatever the number of layers. Where the input would be too wide, `chunks` divides its
weights: a kernel then computes an equal part of the heads, of the hidden channels or of its result. All parts
are [1, C, 1, S].

As published, activations are transposed, the feed-forward adds its residual times 1 / sqrt(2 layers), the CPU
computes the backward of SiLU and rotary positions, and keys and values come to attention's backward repeated.
"""

from __future__ import annotations

from dataclasses import replace

from .. import mil
from .attention import attention_backward_queries, attention_context, scores_backward
from .config import TransformerConfig
from .feed_forward import gate_backward
from .packed import PackedBuilder, PackedKernel
from .transformer import Kernel, KernelBuilder


def attention_forward(
    config: TransformerConfig, *, chunks: int = 1, as_published: bool = False
) -> PackedKernel:
    """Build attention up to the output projection: normed -> context, q, k, v (published: sdpaFwd).

    With norms of heads, also q_projected and k_projected.
    """
    config = replace(config, heads=config.heads // chunks, kv_heads=config.kv_heads // chunks)
    weights = {"wq.T": config.query_dim, "wk.T": config.kv_dim, "wv.T": config.kv_dim}
    if config.qk_norm:
        weights |= {"q_norm": config.head_dim, "k_norm": config.head_dim}
    g = PackedBuilder(config, as_published, config.dim, ("normed",), weights)
    normed = g.part("normed")
    q, k, v = (g.multiply(normed, name) for name in ("wq.T", "wk.T", "wv.T"))
    projected = {}
    if config.qk_norm:
        projected = {"q_projected": q, "k_projected": k}
        q, k = g.norm_heads(q, g.head_vector("q_norm")), g.norm_heads(k, g.head_vector("k_norm"))
    q, k = g.rotate(q), g.rotate(k)
    return g.packed("attention_forward", context=attention_context(g, q, k, v), q=q, k=k, v=v, **projected)


def output_forward(config: TransformerConfig, *, chunks: int = 1, as_published: bool = False) -> PackedKernel:
    """Build the output projection: context -> out (published: woFwd)."""
    weights = {"wo.T": config.dim // chunks}
    g = PackedBuilder(config, as_published, config.query_dim, ("context",), weights)
    return g.packed("output_forward", out=g.multiply(g.part("context"), "wo.T"))


def feed_forward_forward(
    config: TransformerConfig, *, chunks: int = 1, as_published: bool = False
) -> PackedKernel:
    """Build the feed-forward: normed -> out, h1, h3, gated (published: ffnFused). Chunks sum up to `out`.

    As published, it also takes x, to which it adds.
    """
    hidden = config.hidden // chunks
    activations = ("normed", "x") if as_published else ("normed",)
    g = PackedBuilder(
        config, as_published, config.dim, activations, dict.fromkeys(("w1.T", "w3.T", "w2"), hidden)
    )
    normed = g.part("normed")
    h1, h3 = g.multiply(normed, "w1.T"), g.multiply(normed, "w3.T")
    gated = h1 * mil.sigmoid(h1) * h3
    out = g.multiply_stored(gated, "w2")
    if as_published:
        out = g.part("x") + out * residual_scale(config)
    return g.packed("feed_forward_forward", out=out, h1=h1, h3=h3, gated=gated)


def gated_backward(config: TransformerConfig, *, chunks: int = 1, as_published: bool = False) -> PackedKernel:
    """Build the backward of the feed-forward's last product: dout -> dgated (published: ffnBwdW2t)."""
    g = PackedBuilder(config, as_published, config.dim, ("dout",), {"w2": config.hidden // chunks})
    return g.packed("gated_backward", dgated=g.multiply(g.part("dout"), "w2"))


def feed_forward_backward(
    config: TransformerConfig, *, chunks: int = 1, as_published: bool = False
) -> PackedKernel:
    """Build the rest of its backward: dgated, h1, h3 -> dnormed, dh1, dh3 (published: ffnBwdW13t).

    As published, it takes dh1 and dh3, and returns dnormed alone.
    """
    weights = dict.fromkeys(("w1", "w3"), config.dim // chunks)
    activations = ("dh1", "dh3") if as_published else ("dgated", "h1", "h3")
    g = PackedBuilder(config, as_published, config.hidden, activations, weights)
    more = {}
    if as_published:
        dh1, dh3 = g.part("dh1"), g.part("dh3")
    else:
        dh1, dh3 = gate_backward(g.part("dgated"), g.part("h1"), g.part("h3"))
        more = {"dh1": dh1, "dh3": dh3}
    dnormed = g.multiply(dh1, "w1") + g.multiply(dh3, "w3")
    return g.packed("feed_forward_backward", dnormed=dnormed, **more)


def context_backward(
    config: TransformerConfig, *, chunks: int = 1, as_published: bool = False
) -> PackedKernel:
    """Build the backward of the output projection: dout -> dcontext (published: wotBwd)."""
    g = PackedBuilder(config, as_published, config.dim, ("dout",), {"wo": config.query_dim // chunks})
    return g.packed("context_backward", dcontext=g.multiply(g.part("dout"), "wo"))


def scores_backward_of_context(config: TransformerConfig, *, as_published: bool = False) -> Kernel:
    """Build the backward of attention's result: q, k, v, dcontext -> dv, probabilities, dprobabilities.

    Published: sdpaBwd1.
    """
    config = _with_repeated_heads(config, as_published)
    channels = {"q": config.query_dim, "k": config.kv_dim, "v": config.kv_dim, "dcontext": config.query_dim}
    g = KernelBuilder(config, as_published, **channels)
    return scores_backward(g, "scores_backward", g.part("dcontext"))


def softmax_backward(config: TransformerConfig, *, as_published: bool = False) -> Kernel:
    """Build the backward of softmax and scores: probabilities, dprobabilities, q, k -> dq, dk.

    Published: sdpaBwd2, which leaves the rotary positions to the CPU.
    """
    return attention_backward_queries(_with_repeated_heads(config, as_published), as_published=as_published)


def query_backward(config: TransformerConfig, *, chunks: int = 1, as_published: bool = False) -> PackedKernel:
    """Build the backward of the query projection: dq -> dnormed (published: qBwd).

    With norms of heads also q_projected -> dq_projected, and dq_norm: the gradient of the norm's weight at
    each position, [1, head_dim, 1, S].
    """
    activations, weights = ["dq"], {"wq": config.dim // chunks}
    if config.qk_norm:
        activations, weights = [*activations, "q_projected"], weights | {"q_norm": config.head_dim}
    g = PackedBuilder(config, as_published, config.query_dim, activations, weights)
    dq, more = _head_norm_backward(g, "q")
    return g.packed("query_backward", dnormed=g.multiply(dq, "wq"), **more)


def key_value_backward(
    config: TransformerConfig, *, chunks: int = 1, as_published: bool = False
) -> PackedKernel:
    """Build the backward of the key and value projections: dk, dv -> dnormed (published: kvBwd).

    With norms of heads also k_projected -> dk_projected and dk_norm, as in `query_backward`.
    """
    activations, weights = ["dk", "dv"], dict.fromkeys(("wk", "wv"), config.dim // chunks)
    if config.qk_norm:
        activations, weights = [*activations, "k_projected"], weights | {"k_norm": config.head_dim}
    g = PackedBuilder(config, as_published, config.kv_dim, activations, weights)
    dk, more = _head_norm_backward(g, "k")
    dnormed = g.multiply(dk, "wk") + g.multiply(g.part("dv"), "wv")
    return g.packed("key_value_backward", dnormed=dnormed, **more)


def residual_scale(config: TransformerConfig) -> float:
    """Return the published factor of what a residual branch adds: 1 / sqrt(2 layers)."""
    return float((2 * config.layers) ** -0.5)


def _head_norm_backward(g: PackedBuilder, which: str) -> tuple[mil.Tensor, dict[str, mil.Tensor]]:
    """Return the gradient of a projection's result, and what else the norms of heads give."""
    dy = g.part(f"d{which}")
    if not g.config.qk_norm:
        return dy, {}
    dx, dweight = g.norm_heads_backward(dy, g.part(f"{which}_projected"), g.head_vector(f"{which}_norm"))
    return dx, {f"d{which}_projected": dx, f"d{which}_norm": dweight}


def _with_repeated_heads(config: TransformerConfig, as_published: bool) -> TransformerConfig:
    return replace(config, kv_heads=config.heads) if as_published else config
