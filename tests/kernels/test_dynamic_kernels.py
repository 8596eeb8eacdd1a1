"""Every kernel of the dynamic pipeline against float64; backward against finite differences."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import aneperf
from aneperf.kernels import TransformerConfig, dynamic
from aneperf.kernels import transformer as t
from aneperf.kernels.config import layer_shapes
from aneperf.kernels.packed import PackedKernel
from aneperf.kernels.shared import SHARED_KERNELS
from support.transformer import Array, assert_near, attend, gradient, halves, norm, turned

PLAIN = TransformerConfig(dim=24, hidden=40, layers=2, heads=3, kv_heads=3, head_dim=8, vocab=50, seq=8)
SHARED = TransformerConfig(dim=24, hidden=40, layers=2, heads=6, kv_heads=2, head_dim=4, vocab=50, seq=7)
NORMED = replace(SHARED, qk_norm=True)
CONFIGS = pytest.mark.parametrize("config", [PLAIN, SHARED, NORMED], ids=["plain", "shared", "normed"])
STORIES = TransformerConfig(
    dim=768, hidden=2048, layers=12, heads=12, kv_heads=12, head_dim=64, vocab=32000, seq=256
)


def run(
    device: aneperf.Device, kernel: t.Kernel, weights: dict[str, Array], **parts: Array
) -> dict[str, Array]:
    """Compute the output's parts [C, S] in float64 from the input's and from weights as they are stored."""
    assert {name: len(part) for name, part in parts.items()} == dict(kernel.inputs)
    shape = kernel.program.inputs["x"].shape
    if isinstance(kernel, PackedKernel):
        columns = [parts[name] for name in kernel.inputs]
        for name in kernel.weights_at:
            array = weights[name.removesuffix(".T")]
            rows = np.zeros((shape[1], len(array))) if array.ndim == 1 else array
            if array.ndim == 1:
                rows[0] = array
            columns.append(rows.T if name.endswith(".T") else rows)
        packed = np.concatenate(columns, axis=1)
        packed = np.pad(packed, ((0, 0), (0, shape[-1] - packed.shape[1])), constant_values=7)
    else:
        packed = np.concatenate([parts[name] for name in kernel.inputs])
    x = packed.astype(np.float16).reshape(shape)
    y = kernel.program.compile(device).run(x=x)["y"][0, :, 0].astype(np.float64)
    edges = np.cumsum(list(kernel.outputs.values()))
    assert edges[-1] == len(y)
    return dict(zip(kernel.outputs, np.split(y, edges[:-1]), strict=True))


def weights_of(config: TransformerConfig) -> dict[str, Array]:
    matrices = {
        name: halves(index, *shape, scale=shape[1] ** -0.5)
        for index, (name, shape) in enumerate(layer_shapes(config).items())
        if len(shape) == 2
    }
    norms = {n: 1 + halves(i, config.head_dim, scale=0.2) for i, n in ((8, "q_norm"), (9, "k_norm"))}
    return matrices | norms


def head_normed(x: Array, weight: Array, config: TransformerConfig) -> Array:
    return np.concatenate([norm(head, weight, config) for head in np.split(x, len(x) // config.head_dim)])


def silu_gate(h1: Array, h3: Array) -> Array:
    return h1 / (1 + np.exp(-h1)) * h3


@CONFIGS
def test_attention_forward(device: aneperf.Device, config: TransformerConfig) -> None:
    w, normed = weights_of(config), halves(10, config.dim, config.seq)
    got = run(device, dynamic.attention_forward(config), w, normed=normed)
    q, k, v = (w[name].astype(float) @ normed for name in ("wq", "wk", "wv"))
    expected = {"v": v}
    if config.qk_norm:
        expected |= {"q_projected": q, "k_projected": k}
        q, k = head_normed(q, w["q_norm"], config), head_normed(k, w["k_norm"], config)
    q, k = turned(q, config), turned(k, config)
    expected |= {"context": attend(q, k, v, config), "q": q, "k": k}
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert_near(got[name], value, 3e-3)


@CONFIGS
def test_products_with_one_weight(device: aneperf.Device, config: TransformerConfig) -> None:
    w, seq = weights_of(config), config.seq
    context, dout = halves(10, config.query_dim, seq), halves(11, config.dim, seq)
    got = run(device, dynamic.output_forward(config), w, context=context)
    assert_near(got["out"], w["wo"].astype(float) @ context, 1e-3)
    got = run(device, dynamic.context_backward(config), w, dout=dout)
    assert_near(got["dcontext"], w["wo"].T.astype(float) @ dout, 1e-3)
    got = run(device, dynamic.gated_backward(config), w, dout=dout)
    assert_near(got["dgated"], w["w2"].T.astype(float) @ dout, 1e-3)


def test_feed_forward(device: aneperf.Device) -> None:
    config, w = PLAIN, weights_of(PLAIN)
    normed = halves(10, config.dim, config.seq)
    got = run(device, dynamic.feed_forward_forward(config), w, normed=normed)
    h1, h3 = w["w1"].astype(float) @ normed, w["w3"].astype(float) @ normed
    gated = silu_gate(h1, h3)
    for name, value in {"out": w["w2"] @ gated, "h1": h1, "h3": h3, "gated": gated}.items():
        assert_near(got[name], value, 5e-3)
    dgated = halves(11, config.hidden, config.seq)
    parts = {"dgated": dgated, "h1": h1.astype(np.float16), "h3": h3.astype(np.float16)}
    got = run(device, dynamic.feed_forward_backward(config), w, **parts)
    dh1 = gradient(lambda x: silu_gate(x, parts["h3"].astype(float)), parts["h1"], dgated)
    dh3 = gradient(lambda x: silu_gate(parts["h1"].astype(float), x), parts["h3"], dgated)
    assert_near(got["dh1"], dh1, 5e-3)
    assert_near(got["dh3"], dh3, 5e-3)
    assert_near(got["dnormed"], w["w1"].T @ dh1 + w["w3"].T @ dh3, 5e-3)


@pytest.mark.parametrize("config", [PLAIN, SHARED], ids=["plain", "shared"])
def test_attention_backward(device: aneperf.Device, config: TransformerConfig) -> None:
    channels = (config.query_dim, config.kv_dim, config.kv_dim)
    q, k, v = (halves(i, c, config.seq).astype(float) for i, c in enumerate(channels))
    dcontext = halves(10, config.query_dim, config.seq)
    turned_q, turned_k = (turned(x, config).astype(np.float16) for x in (q, k))
    scores = run(
        device, dynamic.scores_backward_of_context(config), {}, q=turned_q, k=turned_k, v=v, dcontext=dcontext
    )
    dv = scores.pop("dv")
    got = run(device, dynamic.softmax_backward(config), {}, **scores, q=turned_q, k=turned_k)

    def context(q: Array, k: Array, v: Array) -> Array:
        return attend(turned(q, config), turned(k, config), v, config)

    assert_near(got["dq"], gradient(lambda x: context(x, k, v), q, dcontext), 5e-3)
    assert_near(got["dk"], gradient(lambda x: context(q, x, v), k, dcontext), 5e-3)
    assert_near(dv, gradient(lambda x: context(q, k, x), v, dcontext), 5e-3)


@CONFIGS
def test_projections_backward(device: aneperf.Device, config: TransformerConfig) -> None:
    w, seq = weights_of(config), config.seq
    dq, dk, dv = (
        halves(i, c, seq) for i, c in ((1, config.query_dim), (2, config.kv_dim), (3, config.kv_dim))
    )
    q, k = halves(4, config.query_dim, seq), halves(5, config.kv_dim, seq)
    projected = {"q_projected": q} if config.qk_norm else {}
    query = run(device, dynamic.query_backward(config), w, dq=dq, **projected)
    projected = {"k_projected": k} if config.qk_norm else {}
    key_value = run(device, dynamic.key_value_backward(config), w, dk=dk, dv=dv, **projected)
    through: dict[str, Array] = {"q": dq, "k": dk}
    for got, which, dy, x in ((query, "q", dq, q), (key_value, "k", dk, k)):
        if not config.qk_norm:
            assert list(got) == ["dnormed"]
            continue
        weight = w[f"{which}_norm"]
        dx = gradient(lambda x, weight=weight: head_normed(x, weight, config), x, dy)
        dweight = gradient(lambda weight, x=x: head_normed(x, weight, config), weight, dy)
        assert_near(got[f"d{which}_projected"], dx, 5e-3)
        assert_near(got[f"d{which}_norm"].sum(axis=1), dweight, 5e-3)
        through[which] = dx
    assert_near(query["dnormed"], w["wq"].T @ through["q"].astype(float), 5e-3)
    expected = w["wk"].T @ through["k"].astype(float) + w["wv"].T.astype(float) @ dv
    assert_near(key_value["dnormed"], expected, 5e-3)


def test_published_inputs_have_the_published_sizes() -> None:
    shapes = {}
    for family in SHARED_KERNELS:
        kernel, chunks = family.fitting(STORIES, 16384, as_published=True)
        assert chunks == 1
        _, channels, _, width = kernel.program.inputs["x"].shape
        shapes[family.name] = channels, width
    assert shapes == {
        "attention_forward": (768, 256 + 3 * 768),
        "output_forward": (768, 256 + 768),
        "feed_forward_forward": (768, 2 * 256 + 3 * 2048),
        "gated_backward": (768, 256 + 2048),
        "feed_forward_backward": (2048, 2 * 256 + 2 * 768),
        "context_backward": (768, 256 + 768),
        "scores_backward_of_context": (4 * 768, 256),
        "softmax_backward": (2 * 12 * 256 + 2 * 768, 256),
        "query_backward": (768, 256 + 768),
        "key_value_backward": (768, 2 * 256 + 2 * 768),
    }


@pytest.mark.parametrize(
    ("change", "widest", "divided"),
    [
        ({"hidden": 8192}, 16384, {"feed_forward_forward": 2}),
        ({"dim": 8192}, 16384, {"feed_forward_backward": 2, "key_value_backward": 2}),
        ({}, 65536, {}),
    ],
)
def test_a_wide_model_is_divided(change: dict[str, Any], widest: int, divided: dict[str, int]) -> None:
    chunks = {}
    for family in SHARED_KERNELS:
        kernel, count = family.fitting(replace(STORIES, **change), widest)
        assert kernel.program.inputs["x"].shape[-1] <= widest
        if count > 1:
            chunks[family.name] = count
    assert chunks == divided


def test_sequences_that_no_division_helps() -> None:
    (family,) = (family for family in SHARED_KERNELS if family.name == "attention_forward")
    with pytest.raises(
        aneperf.ArgumentError,
        match=r"attention_forward is 1056 wide with kv_heads divided by 2, .* the engine takes 1024: choose",
    ):
        family.fitting(replace(SHARED, seq=1024), 1024)
    with pytest.raises(aneperf.ArgumentError, match=r"feed_forward_forward is 25088 wide, .* takes 16384"):
        SHARED_KERNELS[2].fitting(replace(STORIES, hidden=8192), 16384, as_published=True)
