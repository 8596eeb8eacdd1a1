"""Attention with rotary positions and shared key heads: forward, and backward in three kernels.

The forward kernel returns queries and keys that are rotated by their positions. The backward kernels take
them so, and return the gradients of what was rotated. All parts are [1, C, 1, S].

Attention takes one block of queries after the other, each with the keys up to its end: most of what the
causal mask hides is not computed. As published, all positions are one block.

With `q_norm` and `k_norm` [head_dim], each head is normed before the rotation. The forward kernel then also
returns the projections' results before their norms, and the last backward kernel takes them.
"""

from __future__ import annotations

import functools
from typing import Any

from numpy.typing import NDArray

from .. import mil
from .config import TransformerConfig
from .transformer import Kernel, KernelBuilder


def attention_forward(
    config: TransformerConfig,
    *,
    rms1: NDArray[Any],
    wq: NDArray[Any],
    wk: NDArray[Any],
    wv: NDArray[Any],
    q_norm: NDArray[Any] | None = None,
    k_norm: NDArray[Any] | None = None,
    wo: NDArray[Any],
    as_published: bool = False,
) -> Kernel:
    """Build Wo attention(norm(x)), without the residual: x -> out, q, k, v, context, normed.

    With norms of heads, also q_projected and k_projected.
    """
    g = KernelBuilder(config, as_published, x=config.dim)
    normed = g.rms_norm(g.part("x"), rms1, "rms1")
    q, k, v = g.project(normed, wq, "wq"), g.project(normed, wk, "wk"), g.project(normed, wv, "wv")
    projected = {}
    if q_norm is not None and k_norm is not None:
        projected = {"q_projected": q, "k_projected": k}
        q = g.norm_heads(q, g.head_weight(q_norm, "q_norm"))
        k = g.norm_heads(k, g.head_weight(k_norm, "k_norm"))
    q, k = g.rotate(q), g.rotate(k)
    context = attention_context(g, q, k, v)
    out = g.project(context, wo, "wo")
    return g.kernel("attention_forward", out=out, q=q, k=k, v=v, context=context, normed=normed, **projected)


def attention_backward_scores(
    config: TransformerConfig, *, wot: NDArray[Any], as_published: bool = False
) -> Kernel:
    """Build the backward of the output projection: q, k, v, dout -> dv, probabilities, dprobabilities.

    The kernel computes the probabilities again. They and their gradient are packed block by block. `wot` is
    Wo transposed.
    """
    g = KernelBuilder(
        config, as_published, q=config.query_dim, k=config.kv_dim, v=config.kv_dim, dout=config.dim
    )
    dcontext = g.project(g.part("dout"), wot, "wot")
    return scores_backward(g, "attention_backward_scores", dcontext)


def attention_context(g: KernelBuilder, q: mil.Tensor, k: mil.Tensor, v: mil.Tensor) -> mil.Tensor:
    """Compute causal attention: q, k, v -> [1, query_dim, 1, S]."""
    return g.channels(_gathered(g, _probabilities(g, q, k), g.heads(v)))


def scores_backward(g: KernelBuilder, name: str, dcontext: mil.Tensor) -> Kernel:
    """Build the rest of a kernel with the parts q, k and v, from the gradient of attention's result."""
    probabilities = _probabilities(g, g.part("q"), g.part("k"))
    by_head = g.heads(dcontext)
    return g.kernel(
        name,
        dv=g.channels(_scattered(g, probabilities, by_head), g.config.kv_heads),
        probabilities=_packed(g, probabilities),
        dprobabilities=_packed(g, _dot_products(g, by_head, g.heads(g.part("v")))),
    )


def attention_backward_queries(config: TransformerConfig, *, as_published: bool = False) -> Kernel:
    """Build the backward of softmax and scores: probabilities, dprobabilities, q, k -> dq, dk."""
    channels = sum(map(config.score_channels, config.attention_blocks(as_published)))
    parts = {"probabilities": channels, "dprobabilities": channels, "q": config.query_dim, "k": config.kv_dim}
    g = KernelBuilder(config, as_published, **parts)
    dscores = []
    for p, dp in zip(_unpacked(g, "probabilities"), _unpacked(g, "dprobabilities"), strict=True):
        mean = mil.reduce_sum(p * dp, axes=[-1])
        dscores.append(p * (dp - mean) * config.score_scale)
    dq = g.channels(_gathered(g, dscores, g.heads(g.part("k"))))
    dk = g.channels(_scattered(g, dscores, g.heads(g.part("q"))), config.kv_heads)
    return g.kernel(
        "attention_backward_queries", dq=g.rotate(dq, backward=True), dk=g.rotate(dk, backward=True)
    )


def projections_backward(
    config: TransformerConfig,
    *,
    q_norm: NDArray[Any] | None = None,
    k_norm: NDArray[Any] | None = None,
    wqt: NDArray[Any],
    wkt: NDArray[Any],
    wvt: NDArray[Any],
    as_published: bool = False,
) -> Kernel:
    """Build the backward of the projections: dq, dk, dv -> dnormed. Weights are transposed.

    With norms of heads, also q_projected, k_projected -> dq_projected, dk_projected, and dq_norm, dk_norm:
    the gradients of the norms' weights at each position, [1, head_dim, 1, S].
    """
    channels = {"dq": config.query_dim, "dk": config.kv_dim, "dv": config.kv_dim}
    if q_norm is not None and k_norm is not None:
        channels |= {"q_projected": config.query_dim, "k_projected": config.kv_dim}
    g = KernelBuilder(config, as_published, **channels)
    dq, dk = g.part("dq"), g.part("dk")
    more = {}
    if q_norm is not None and k_norm is not None:
        weights = g.head_weight(q_norm, "q_norm"), g.head_weight(k_norm, "k_norm")
        dq, dq_norm = g.norm_heads_backward(dq, g.part("q_projected"), weights[0])
        dk, dk_norm = g.norm_heads_backward(dk, g.part("k_projected"), weights[1])
        more = {"dq_projected": dq, "dk_projected": dk, "dq_norm": dq_norm, "dk_norm": dk_norm}
    dnormed = g.project(dq, wqt, "wqt") + g.project(dk, wkt, "wkt") + g.project(g.part("dv"), wvt, "wvt")
    return g.kernel("projections_backward", dnormed=dnormed, **more)


def _probabilities(g: KernelBuilder, q: mil.Tensor, k: mil.Tensor) -> list[mil.Tensor]:
    """Compute causal attention's weights, for each block [1, heads, positions, keys]."""
    scores = _dot_products(g, g.heads(q), g.heads(k))
    return [
        mil.softmax(block_scores * g.config.score_scale + g.mask(block))
        for block, block_scores in zip(g.blocks, scores, strict=True)
    ]


def _dot_products(g: KernelBuilder, queries: mil.Tensor, keys: mil.Tensor) -> list[mil.Tensor]:
    return [
        g.dot_products(g.positions(queries, block), g.positions(keys, range(block.stop)))
        for block in g.blocks
    ]


def _gathered(g: KernelBuilder, matrices: list[mil.Tensor], x: mil.Tensor) -> mil.Tensor:
    """Sum x over the keys of each position, weighted by its row of its block's matrix."""
    parts = [
        g.gather(matrix, g.positions(x, range(block.stop)))
        for block, matrix in zip(g.blocks, matrices, strict=True)
    ]
    return parts[0] if len(parts) == 1 else mil.concat(parts, axis=-1)


def _scattered(g: KernelBuilder, matrices: list[mil.Tensor], x: mil.Tensor) -> mil.Tensor:
    """Sum x over the positions that use each key, weighted by the key's column of each block's matrix."""
    parts = []
    for block, matrix in zip(g.blocks, matrices, strict=True):
        part, after = g.scatter(matrix, g.positions(x, block)), g.config.seq - block.stop
        parts.append(mil.pad(part, [0] * 7 + [after]) if after else part)
    return functools.reduce(mil.add, parts)


def _packed(g: KernelBuilder, scores: list[mil.Tensor]) -> mil.Tensor:
    parts = [
        mil.reshape(block_scores, (1, g.config.score_channels(block), 1, g.config.seq))
        for block, block_scores in zip(g.blocks, scores, strict=True)
    ]
    return parts[0] if len(parts) == 1 else mil.concat(parts, axis=1)


def _unpacked(g: KernelBuilder, part: str) -> list[mil.Tensor]:
    packed = g.part(part)
    scores, begin = [], 0
    for block in g.blocks:
        size = 1, g.config.score_channels(block), 1, g.config.seq
        rows = packed if len(g.blocks) == 1 else mil.slice_by_size(packed, (0, begin, 0, 0), size)
        scores.append(mil.reshape(rows, (1, g.config.heads, len(block), block.stop)))
        begin += size[1]
    return scores
