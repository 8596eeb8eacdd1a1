"""Every kernel of the transformer against float64; backward against finite differences."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import aneperf
from aneperf.kernels import TransformerConfig, schedule
from aneperf.kernels import transformer as t
from aneperf.kernels.attention import (
    attention_backward_queries,
    attention_backward_scores,
    attention_forward,
    projections_backward,
)
from aneperf.kernels.classifier import classifier_forward, classifier_softmax
from aneperf.kernels.config import parameter_shapes
from aneperf.kernels.feed_forward import feed_forward_backward, feed_forward_forward
from aneperf.kernels.norm import norm_backward, norm_forward
from support.transformer import assert_near, attend, gradient, halves, norm, turned

Array = NDArray[Any]
PLAIN = TransformerConfig(dim=24, hidden=40, layers=1, heads=3, kv_heads=3, head_dim=8, vocab=50, seq=12)
SHARED = TransformerConfig(dim=24, hidden=40, layers=1, heads=6, kv_heads=2, head_dim=4, vocab=50, seq=9)
NORMED = replace(SHARED, head_dim=8, qk_norm=True)
CONFIGS = pytest.mark.parametrize("config", [PLAIN, SHARED], ids=["plain", "shared"])


@pytest.fixture(params=["one block", "three blocks"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take all positions of attention at once, or a third."""
    if request.param == "three blocks":
        monkeypatch.setattr("aneperf.kernels.config.LONGEST_BLOCK", 4)
        assert [len(config.attention_blocks()) for config in (PLAIN, SHARED)] == [3, 3]


def run(device: aneperf.Device, kernel: t.Kernel, **parts: Array) -> dict[str, Array]:
    """Compute the output's parts [C, S] in float64 from the input's."""
    assert {name: len(part) for name, part in parts.items()} == dict(kernel.inputs)
    packed = np.concatenate([parts[name] for name in kernel.inputs]).astype(np.float16)
    y = kernel.program.compile(device).run(x=packed[None, :, None, :])["y"][0, :, 0].astype(np.float64)
    edges = np.cumsum(list(kernel.outputs.values()))
    assert edges[-1] == len(y)
    return dict(zip(kernel.outputs, np.split(y, edges[:-1]), strict=True))


def attention_weights(config: TransformerConfig) -> dict[str, Array]:
    d, q, kv = config.dim, config.query_dim, config.kv_dim
    return {
        "rms1": (1 + halves(1, d, scale=0.2)).astype(np.float16),
        "wq": halves(2, q, d, scale=d**-0.5),
        "wk": halves(3, kv, d, scale=d**-0.5),
        "wv": halves(4, kv, d, scale=d**-0.5),
        "wo": halves(5, d, q, scale=q**-0.5),
    }


@pytest.mark.parametrize(
    ("seq", "heads", "sizes"),
    [
        (256, 12, [256]),
        (514, 8, [257] * 2),
        (521, 8, [521]),
        (1000, 8, [250] * 4),
        (1024, 8, [256] * 4),
        (1024, 1, [256] * 4),
        (8192, 16, [512] * 16),
    ],
)
def test_blocks_of_attention(seq: int, heads: int, sizes: list[int]) -> None:
    """Take equal blocks whose scores fill whole channels; a sequence that none divides is one block."""
    config = replace(PLAIN, seq=seq, heads=heads, kv_heads=1)
    blocks = config.attention_blocks()
    assert list(map(len, blocks)) == sizes
    assert [position for block in blocks for position in block] == list(range(seq))
    for block in blocks:
        assert config.score_channels(block) * seq == heads * len(block) * block.stop
    assert config.attention_blocks(as_published=True) == [range(seq)]


@CONFIGS
@pytest.mark.usefixtures("blocks")
def test_attention_forward(device: aneperf.Device, config: TransformerConfig) -> None:
    w, x = attention_weights(config), halves(6, config.dim, config.seq)
    got = run(device, attention_forward(config, **w), x=x)
    assert list(got) == ["out", "q", "k", "v", "context", "normed"]
    normed = norm(x, w["rms1"], config)
    q, k, v = turned(w["wq"] @ normed, config), turned(w["wk"] @ normed, config), w["wv"] @ normed
    context = attend(q, k, v, config)
    expected = {"out": w["wo"] @ context, "q": q, "k": k, "v": v, "context": context, "normed": normed}
    for name, value in expected.items():
        assert_near(got[name], value, 3e-3)


@CONFIGS
@pytest.mark.usefixtures("blocks")
def test_attention_backward(device: aneperf.Device, config: TransformerConfig) -> None:
    w = attention_weights(config)
    q, k, v = (
        halves(i, c, config.seq) for i, c in ((7, config.query_dim), (8, config.kv_dim), (9, config.kv_dim))
    )
    dout = halves(10, config.dim, config.seq)
    first = attention_backward_scores(config, wot=w["wo"].T)
    scores = run(device, first, q=turned(q, config), k=turned(k, config), v=v, dout=dout)
    queries = run(
        device,
        attention_backward_queries(config),
        probabilities=scores["probabilities"],
        dprobabilities=scores["dprobabilities"],
        q=turned(q, config),
        k=turned(k, config),
    )

    def out(q: Array, k: Array, v: Array) -> Array:
        return w["wo"] @ attend(turned(q, config), turned(k, config), v, config)

    q, k, v = (a.astype(np.float64) for a in (q, k, v))
    assert_near(scores["dv"], gradient(lambda v: out(q, k, v), v, dout), 5e-3)
    assert_near(queries["dq"], gradient(lambda q: out(q, k, v), q, dout), 1e-2)
    assert_near(queries["dk"], gradient(lambda k: out(q, k, v), k, dout), 1e-2)


@pytest.mark.usefixtures("blocks")
def test_no_slice_begins_inside_the_last_axis() -> None:
    """M1 and M2 make large values of such a slice infinite."""
    w = attention_weights(SHARED)
    for kernel in (
        attention_forward(SHARED, **w),
        attention_backward_scores(SHARED, wot=w["wo"].T),
        attention_backward_queries(SHARED),
    ):
        assert "slice_by_size" in kernel.program.text
        assert not [finding for finding in aneperf.lint(kernel.program, "h13") if "slice" in finding.op]


@CONFIGS
def test_projections_backward(device: aneperf.Device, config: TransformerConfig) -> None:
    w = attention_weights(config)
    dq, dk, dv = (
        halves(i, c, config.seq)
        for i, c in ((11, config.query_dim), (12, config.kv_dim), (13, config.kv_dim))
    )
    got = run(
        device, projections_backward(config, wqt=w["wq"].T, wkt=w["wk"].T, wvt=w["wv"].T), dq=dq, dk=dk, dv=dv
    )
    exact = sum(w[name].T.astype(np.float64) @ d for name, d in (("wq", dq), ("wk", dk), ("wv", dv)))
    assert_near(got["dnormed"], np.asarray(exact), 2e-3)


def norm_heads(x: Array, weight: Array, config: TransformerConfig) -> Array:
    return np.concatenate([norm(head, weight, config) for head in np.split(x, len(x) // config.head_dim)])


def test_norms_of_heads(device: aneperf.Device) -> None:
    config, names = NORMED, ("q_norm", "k_norm")
    w, x = attention_weights(config), halves(6, config.dim, config.seq)
    w |= {
        name: (1 + halves(14 + i, config.head_dim, scale=0.2)).astype(np.float16)
        for i, name in enumerate(names)
    }
    got = run(device, attention_forward(config, **w), x=x)
    normed = norm(x, w["rms1"], config)
    q, k, v = w["wq"] @ normed, w["wk"] @ normed, w["wv"] @ normed
    rotated = [turned(norm_heads(x, w[name], config), config) for x, name in zip((q, k), names, strict=True)]
    context = attend(*rotated, v, config)
    expected = {
        "out": w["wo"] @ context,
        "q": rotated[0],
        "k": rotated[1],
        "q_projected": q,
        "k_projected": k,
    }
    for name, value in expected.items():
        assert_near(got[name], value, 5e-3)

    projected = {"q": halves(16, config.query_dim, config.seq), "k": halves(17, config.kv_dim, config.seq)}
    dy = {name: halves(18 + i, *x.shape) for i, (name, x) in enumerate(projected.items())}
    dv = halves(20, config.kv_dim, config.seq)
    got = run(
        device,
        projections_backward(
            config, wqt=w["wq"].T, wkt=w["wk"].T, wvt=w["wv"].T, q_norm=w["q_norm"], k_norm=w["k_norm"]
        ),
        **{f"d{name}": value for name, value in dy.items()},
        dv=dv,
        **{f"{name}_projected": value for name, value in projected.items()},
    )
    dnormed = w["wv"].T.astype(np.float64) @ dv
    for name, value in projected.items():
        weight = w[f"{name}_norm"].astype(np.float64)
        dx = gradient(lambda x, weight=weight: norm_heads(x, weight, config), value, dy[name])  # type: ignore[misc]
        assert_near(got[f"d{name}_projected"], dx, 5e-3)
        dnormed += w[f"w{name}"].T @ dx
        dweight = gradient(lambda weight, x=value: norm_heads(x, weight, config), weight, dy[name])  # type: ignore[misc]
        assert_near(got[f"d{name}_norm"].sum(axis=1), dweight, 5e-3)
    assert_near(got["dnormed"], dnormed, 5e-3)


def feed_forward_weights(config: TransformerConfig) -> dict[str, Array]:
    d, h = config.dim, config.hidden
    return {
        "rms2": (1 + halves(1, d, scale=0.2)).astype(np.float16),
        "w1": halves(2, h, d, scale=d**-0.5),
        "w3": halves(3, h, d, scale=d**-0.5),
        "w2": halves(4, d, h, scale=h**-0.5),
    }


def silu(x: Array) -> Array:
    return x / (1 + np.exp(-x))


@CONFIGS
def test_feed_forward(device: aneperf.Device, config: TransformerConfig) -> None:
    w, x = feed_forward_weights(config), halves(5, config.dim, config.seq)
    got = run(device, feed_forward_forward(config, **w), x=x)
    assert list(got) == ["out", "h1", "h3", "gated", "normed"]
    normed = norm(x, w["rms2"], config)
    h1, h3 = w["w1"] @ normed, w["w3"] @ normed
    expected = {
        "out": w["w2"] @ (silu(h1) * h3),
        "h1": h1,
        "h3": h3,
        "gated": silu(h1) * h3,
        "normed": normed,
    }
    for name, value in expected.items():
        assert_near(got[name], value, 5e-3)

    dout = halves(6, config.dim, config.seq)
    back = feed_forward_backward(config, w2t=w["w2"].T, w1t=w["w1"].T, w3t=w["w3"].T)
    got = run(device, back, dout=dout, h1=h1, h3=h3)
    w = {name: value.astype(np.float64) for name, value in w.items()}
    assert_near(got["dh1"], gradient(lambda h: w["w2"] @ (silu(h) * h3), h1, dout), 5e-3)
    assert_near(got["dh3"], gradient(lambda h: w["w2"] @ (silu(h1) * h), h3, dout), 5e-3)
    dnormed = gradient(lambda n: w["w2"] @ (silu(w["w1"] @ n) * (w["w3"] @ n)), normed, dout)
    assert_near(got["dnormed"], dnormed, 5e-3)


@pytest.mark.parametrize("size", [0.02, 1.0, 30.0, 3000.0])
def test_norm(device: aneperf.Device, size: float) -> None:
    weight = (1 + halves(1, PLAIN.dim, scale=0.5)).astype(np.float16)
    x, dnormed = halves(2, PLAIN.dim, PLAIN.seq, scale=size), halves(3, PLAIN.dim, PLAIN.seq)
    got = run(device, norm_forward(PLAIN, weight=weight), x=x)["normed"]
    assert_near(got, norm(x, weight, PLAIN), 3e-3)
    got = run(device, norm_backward(PLAIN, weight=weight), dnormed=dnormed, x=x)["dx"]
    assert_near(got, gradient(lambda x: norm(x, weight, PLAIN), x, dnormed), 5e-3)


def test_classifier(device: aneperf.Device) -> None:
    embedding, normed = halves(1, PLAIN.vocab, PLAIN.dim, scale=0.3), halves(2, PLAIN.dim, PLAIN.seq)
    logits = run(device, classifier_forward(PLAIN, embedding=embedding), normed=normed)["logits"]
    assert_near(logits, embedding.astype(np.float64) @ normed, 2e-3)
    got = run(device, classifier_softmax(PLAIN), logits=logits)["probabilities"]
    powers = np.exp(logits - logits.max(axis=0))
    assert_near(got, powers / powers.sum(axis=0), 2e-3)


def test_as_published_attention_does_not_turn_positions(device: aneperf.Device) -> None:
    w, x = attention_weights(PLAIN), halves(6, PLAIN.dim, PLAIN.seq)
    got = run(device, attention_forward(PLAIN, **w, as_published=True), x=x)
    normed = norm(x, w["rms1"], PLAIN)
    q, k, v = w["wq"] @ normed, w["wk"] @ normed, w["wv"] @ normed
    assert_near(got["q"], q, 3e-3)
    assert_near(got["out"], w["wo"] @ attend(q, k, v, PLAIN), 3e-3)


@CONFIGS
def test_as_published_backward(device: aneperf.Device, config: TransformerConfig) -> None:
    w = attention_weights(config)
    q, k, v = (
        halves(i, c, config.seq) for i, c in ((7, config.query_dim), (8, config.kv_dim), (9, config.kv_dim))
    )
    dout = halves(10, config.dim, config.seq)
    first = attention_backward_scores(config, wot=w["wo"].T, as_published=True)
    scores = run(device, first, q=q, k=k, v=v, dout=dout)
    second = attention_backward_queries(config, as_published=True)
    matrices = {name: scores[name] for name in ("probabilities", "dprobabilities")}
    queries = run(device, second, **matrices, q=q, k=k)
    q, k, v = (a.astype(np.float64) for a in (q, k, v))
    assert_near(scores["dv"], gradient(lambda v: w["wo"] @ attend(q, k, v, config), v, dout), 5e-3)
    assert_near(queries["dq"], gradient(lambda q: w["wo"] @ attend(q, k, v, config), q, dout), 1e-2)
    assert_near(queries["dk"], gradient(lambda k: w["wo"] @ attend(q, k, v, config), k, dout), 1e-2)


def test_bake_replaces_weights(device: aneperf.Device) -> None:
    w = feed_forward_weights(PLAIN)
    kernel = feed_forward_forward(PLAIN, **w)
    assert kernel.weights == ("rms2", "w1", "w3", "w2")
    other = {name: halves(20 + i, *value.shape, scale=0.1) for i, (name, value) in enumerate(w.items())}
    assert kernel.bake(**other) == feed_forward_forward(PLAIN, **other).program
    template = kernel.without_weights()
    assert not template.program.weights
    assert template.bake(**other) == kernel.bake(**other)
    for wrong in ({**other, "w4": other["w1"]}, {"w1": other["w1"]}):
        with pytest.raises(aneperf.ArgumentError, match=r"has the weights rms2, w1, w3, w2; given: .*w1"):
            kernel.bake(**wrong)
    with pytest.raises(aneperf.ArgumentError, match=r"weight 'w1' \[24\] has another size"):
        kernel.bake(**{**other, "w1": other["rms2"]})
    with pytest.raises(aneperf.ArgumentError, match="float32, not fp16"):
        kernel.bake(**{**other, "w1": other["w1"].astype(np.float32)})  # type: ignore[arg-type]


@pytest.mark.usefixtures("blocks")
def test_flops_count_every_product() -> None:
    d, h, s = PLAIN.dim, PLAIN.hidden, PLAIN.seq
    assert feed_forward_forward(PLAIN, **feed_forward_weights(PLAIN)).flops == 6 * d * h * s
    scores = PLAIN.heads * sum(len(block) * block.stop for block in PLAIN.attention_blocks())
    attention = 8 * d * d * s + 4 * scores * PLAIN.head_dim
    assert attention_forward(PLAIN, **attention_weights(PLAIN)).flops == attention


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dim": 0}, "dim must be an integer from 1 to 65536, not 0"),
        ({"seq": 2.5}, "seq must be an integer from 1 to 1048576, not 2.5"),
        ({"kv_heads": 2}, "2 kv_heads do not divide 3 heads"),
        ({"head_dim": 7}, "head_dim 7 is odd"),
        ({"qk_norm": 1}, "qk_norm must be True or False, not 1"),
        ({"norm_eps": 0}, "norm_eps must be a number from 1e-12 to 1, not 0"),
    ],
)
def test_impossible_shapes(change: dict[str, Any], message: str) -> None:
    with pytest.raises(aneperf.ArgumentError, match=message):
        replace(PLAIN, **change)


STORIES = TransformerConfig(
    dim=768, hidden=2048, layers=12, heads=12, kv_heads=12, head_dim=64, vocab=32000, seq=256
)


def parameters(config: TransformerConfig) -> dict[str, Array]:
    shapes = parameter_shapes(config, separate_classifier=True)
    return {name: halves(place, *shape) for place, (name, shape) in enumerate(shapes.items())}


def test_schedules_have_the_published_numbers_of_kernels() -> None:
    static, with_extras = schedule(STORIES), schedule(STORIES, "static-ane")
    assert (len(static), sum(bool(k.parameters) for k in static)) == (72, 60)
    assert (len(with_extras), sum(bool(k.parameters) for k in with_extras)) == (99, 86)
    assert len({kernel.name for kernel in with_extras}) == 99
    assert len(schedule(STORIES, "dynamic")) == 10
    with pytest.raises(aneperf.ArgumentError, match="no pipeline is called 'fast': choose from static, "):
        schedule(STORIES, "fast")  # type: ignore[arg-type]


@pytest.mark.parametrize("as_published", [False, True])
@pytest.mark.parametrize("config", [PLAIN, SHARED, NORMED], ids=["plain", "shared", "normed"])
def test_every_scheduled_kernel_compiles(
    device: aneperf.Device, config: TransformerConfig, as_published: bool
) -> None:
    values = parameters(config)
    for scheduled in schedule(config, "static-ane"):
        kernel = scheduled.build(config, values, as_published)
        assert kernel.weights == tuple(scheduled.parameters)
        template = scheduled.template(config, as_published)
        assert template == kernel.without_weights()
        assert template.bake(**scheduled.weights(values)) == kernel.program
        program = kernel.program.compile(device)
        (x,), (y,) = program.inputs, program.outputs
        assert x.shape == (1, sum(kernel.inputs.values()), 1, config.seq)
        assert y.shape == (1, sum(kernel.outputs.values()), 1, config.seq)
