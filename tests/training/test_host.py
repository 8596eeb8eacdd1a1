"""Training's native functions on the CPU, against float64."""

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import aneperf
from aneperf import _ane_native as host
from support.host_arrays import Array, assert_near, bad, normal, surface

EPSILON = 1e-5
ADAM = {"learning_rate": 1e-2, "beta1": 0.9, "beta2": 0.95, "epsilon": 1e-8, "weight_decay": 0.1}
SHAPES = pytest.mark.parametrize("shape", [(1, 1), (7, 5), (64, 64), (48, 129), (768, 256)])


@SHAPES
def test_channels_of_surfaces(device: aneperf.Device, shape: tuple[int, int]) -> None:
    channels, positions = shape
    x = normal(1, channels, positions)
    s = surface(device, channels + 3, positions)
    host.write_channels(s, 2, x)
    halves = x.astype(np.float16)
    whole = s.read()[0, :, 0]
    np.testing.assert_array_equal(whole[2 : 2 + channels], halves)
    assert not whole[:2].any()
    assert not whole[2 + channels :].any()

    y = np.empty_like(x)
    host.read_channels(s, 2, y)
    np.testing.assert_array_equal(y, halves.astype(np.float32))
    residual = normal(2, channels, positions)
    host.add_channels(s, 2, residual, y)
    np.testing.assert_array_equal(y, residual + halves.astype(np.float32))
    host.add_channels(s, 2, residual, residual)
    np.testing.assert_array_equal(y, residual)

    other = surface(device, channels + 1, positions)
    host.copy_channels(s, 2, other, 1, channels)
    np.testing.assert_array_equal(other.read()[0, 1:, 0], halves)
    assert not other.read()[0, 0].any()


@pytest.mark.parametrize(("channels", "count"), [(1, 1), (3, 5), (70, 129)])
def test_columns_of_channels(device: aneperf.Device, channels: int, count: int) -> None:
    s, x = surface(device, channels + 1, count + 37), normal(1, channels, count)
    expected = np.zeros((channels + 1, count + 37), np.float16)
    host.write_channels(s, 1, x, 33)
    expected[1:, 33 : 33 + count] = x
    np.testing.assert_array_equal(s.read()[0, :, 0], expected)
    host.write_channels(s, 0, np.ascontiguousarray(x.T), column=2, transpose=True)
    expected[:-1, 2 : 2 + count] = x
    np.testing.assert_array_equal(s.read()[0, :, 0], expected)
    whole = surface(device, channels, count)
    host.write_channels(whole, 0, -x)
    host.copy_channels(whole, 0, s, 1, channels, 37)
    expected[1:, 37:] = -x
    np.testing.assert_array_equal(s.read()[0, :, 0], expected)


def test_columns_that_are_not_there(device: aneperf.Device) -> None:
    s, x = surface(device, 4, 8), normal(1, 2, 3)
    for column in (-1, 6, 2**62):
        with pytest.raises(aneperf.SurfaceError, match=f"of 3 positions from column {column} on, are not in"):
            host.write_channels(s, 0, x, column)
    with pytest.raises(aneperf.SurfaceError, match="of 3 positions, are not in"):
        host.write_channels(s, 0, x)
    with pytest.raises(aneperf.SurfaceError, match="3 channels from 2 on, of 2 positions from column 0 on"):
        host.write_channels(s, 2, x, 0, transpose=True)
    bad(lambda: host.write_channels(s, 0, x, "1"), "column is '1', must be an integer")


def test_channels_that_are_not_there(device: aneperf.Device) -> None:
    s, x = surface(device, 4, 8), normal(1, 2, 8)
    for first in (-1, 3, 2**62, 2**63 - 1, -(2**63)):
        with pytest.raises(aneperf.SurfaceError, match=r"are not in a surface of \[1, 4, 1, 8\]"):
            host.write_channels(s, first, x)
    with pytest.raises(aneperf.SurfaceError, match="of 9 positions, are not in"):
        host.read_channels(s, 0, np.zeros((2, 9), np.float32))
    with pytest.raises(aneperf.SurfaceError, match="not made for an fp16 tensor"):
        host.write_channels(device.make_surface(4096), 0, x)
    with pytest.raises(aneperf.SurfaceError, match="not made for an fp16 tensor"):
        host.write_channels(device.make_surface(aneperf.Layout("fp32", (1, 4, 1, 8))), 0, x)
    with pytest.raises(aneperf.SurfaceError):
        host.copy_channels(s, 0, s, 3, 2)


def rms_norm(x: Array, weight: Array) -> Array:
    x = x.astype(np.float64)
    return x / np.sqrt((x**2).mean(axis=0) + EPSILON) * weight[:, None]


@SHAPES
def test_rms_norm(shape: tuple[int, int]) -> None:
    x, weight, dy = normal(1, *shape, scale=3), 1 + normal(2, shape[0], scale=0.5), normal(3, *shape)
    y = np.empty_like(x)
    host.rms_norm(x, weight, EPSILON, y)
    assert_near(y, rms_norm(x, weight))

    before_dx, before_dw = normal(4, *shape), normal(5, shape[0])
    dx, dw = before_dx.copy(), before_dw.copy()
    host.rms_norm_backward(dy, x, weight, EPSILON, dx, dw)
    wide, gradient = x.astype(np.float64), weight[:, None] * dy.astype(np.float64)
    inverse = 1 / np.sqrt((wide**2).mean(axis=0) + EPSILON)
    exact = inverse * gradient - wide * inverse**3 * (gradient * wide).mean(axis=0)
    assert_near(dx, before_dx + exact, 3e-5)
    assert_near(dw, before_dw + (dy * wide * inverse).sum(axis=1), 3e-5)
    alone = before_dw.copy()
    host.rms_norm_backward(dy, x, weight, EPSILON, None, alone)
    np.testing.assert_array_equal(alone, dw)
    frozen = before_dx.copy()
    host.rms_norm_backward(dy, x, weight, EPSILON, frozen, None)
    np.testing.assert_array_equal(frozen, dx)


def test_rms_norm_backward_is_the_gradient() -> None:
    x, weight, dy = normal(1, 6, 3), 1 + normal(2, 6, scale=0.5), normal(3, 6, 3)
    dx, dw = np.zeros_like(x), np.zeros_like(weight)
    host.rms_norm_backward(dy, x, weight, EPSILON, dx, dw)
    step = 1e-6

    def difference(of: int, index: tuple[int, ...]) -> float:
        ends = []
        for sign in (1, -1):
            operands = [x.astype(np.float64), weight.astype(np.float64)]
            operands[of][index] += sign * step
            ends.append(float(np.vdot(rms_norm(*operands), dy)))
        return (ends[0] - ends[1]) / (2 * step)

    for of, gradient in enumerate((dx, dw)):
        for index in np.ndindex(gradient.shape):
            assert gradient[index] == pytest.approx(difference(of, index), rel=1e-3, abs=1e-4)


@pytest.mark.parametrize(("vocab", "positions"), [(1, 1), (3, 2), (1000, 7), (50, 256), (32000, 64)])
def test_cross_entropy(vocab: int, positions: int) -> None:
    logits = normal(1, vocab, positions, scale=4)
    targets = np.random.default_rng(2).integers(0, vocab, positions)
    gradient = logits.copy()
    loss = host.cross_entropy(gradient, targets, scale=128.0)
    shifted = logits.astype(np.float64) - logits.max(axis=0)
    probabilities = np.exp(shifted) / np.exp(shifted).sum(axis=0)
    columns = np.arange(positions)
    assert loss == pytest.approx(-np.log(probabilities[targets, columns]).mean(), rel=1e-5, abs=1e-6)
    probabilities[targets, columns] -= 1
    assert_near(gradient, probabilities * 128 / positions)


@pytest.mark.parametrize(("vocab", "positions"), [(1, 1), (7, 3), (3000, 40)])
def test_cross_entropy_of_probabilities(device: aneperf.Device, vocab: int, positions: int) -> None:
    logits = normal(1, vocab, positions, scale=8).astype(np.float16)
    targets = np.random.default_rng(2).integers(0, vocab, positions)
    exact = np.exp(logits.astype(np.float64))
    exact /= exact.sum(axis=0)
    halves = exact.astype(np.float16).astype(np.float32)
    assert vocab < 3000 or (halves[targets, np.arange(positions)] == 0).any()
    s = surface(device, vocab + 1, positions)
    host.write_channels(s, 1, logits.astype(np.float32))
    gradient = halves.copy()
    loss = host.cross_entropy_of_probabilities(gradient, s, 1, targets, scale=64.0)
    columns = np.arange(positions)
    assert loss == pytest.approx(-np.log(exact[targets, columns]).mean(), rel=1e-3, abs=1e-6)
    expected = halves.astype(np.float64)
    expected[targets, columns] -= 1
    assert_near(gradient, expected * 64 / positions)


def test_cross_entropy_of_large_and_infinite_logits() -> None:
    logits = np.array([[1e30, -1e4], [-1e30, 1e4]], np.float32)
    assert host.cross_entropy(logits, [0, 1]) == 0
    hidden = np.array([[-np.inf], [2.0]], np.float32)
    assert host.cross_entropy(hidden, [1]) == 0
    assert np.isnan(host.cross_entropy(np.array([[np.nan], [2.0]], np.float32), [1]))


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (100, 129)])
def test_swiglu_backward(shape: tuple[int, int]) -> None:
    dgated, h1, h3 = (normal(seed, *shape, scale=3) for seed in (1, 2, 3))
    dh1, dh3 = np.empty_like(h1), dgated.copy()
    host.swiglu_backward(dh3, h1, h3, dh1, dh3)  # a result may take the place of an operand
    gate = 1 / (1 + np.exp(-h1.astype(np.float64)))
    assert_near(dh1, dgated * h3 * gate * (1 + h1 * (1 - gate)))
    assert_near(dh3, dgated * h1 * gate)
    bad(lambda: host.swiglu_backward(dh3, h1, h3[:, :0], dh1, dh3), r"h3 is \[\d+, 0\], must be")


def test_embedding() -> None:
    table, tokens = normal(1, 11, 37), np.array([3, 0, 10, 3, 3], np.uint16)
    y = np.empty((37, 5), np.float32)
    host.embed(table, tokens, y)
    np.testing.assert_array_equal(y, table[tokens].T)
    dy, before = normal(2, 37, 5), normal(3, 11, 37)
    dtable = before.copy()
    host.embed_backward(dy, tokens, dtable)
    expected = before.astype(np.float64)
    np.add.at(expected, tokens, dy.T)
    assert_near(dtable, expected, 1e-6)


@pytest.mark.parametrize("count", [1, 15, 16385, 100_003])
def test_adam(count: int) -> None:
    parameter, mean, variance = normal(1, count), np.zeros(count, np.float32), np.zeros(count, np.float32)
    p, m, v = (a.astype(np.float64) for a in (parameter, mean, variance))
    for step in range(1, 5):
        gradient = normal(10 + step, count)
        host.adam(parameter, gradient, mean, variance, step=step, gradient_scale=0.5, **ADAM)
        g = gradient * 0.5
        m, v = 0.9 * m + 0.1 * g, 0.95 * v + 0.05 * g**2
        p = p * (1 - 1e-3) - 1e-2 * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.95**step)) + 1e-8)
        assert_near(parameter, p, 1e-5)
        assert_near(mean, m, 1e-5)
        assert_near(variance, v, 1e-5)


def test_sum_of_squares_takes_any_shape() -> None:
    x = normal(1, 300, 301)
    assert host.sum_of_squares(x) == pytest.approx(float((x.astype(np.float64) ** 2).sum()), rel=1e-5)
    assert host.sum_of_squares(normal(1, 1)) > 0


@pytest.mark.parametrize(
    ("transpose_a", "transpose_b"), [(False, False), (False, True), (True, False), (True, True)]
)
@pytest.mark.parametrize(("m", "n", "k"), [(1, 1, 1), (5, 300, 17), (513, 258, 64), (300, 7, 600)])
def test_product(m: int, n: int, k: int, transpose_a: bool, transpose_b: bool) -> None:
    a, b = normal(1, *((k, m) if transpose_a else (m, k))), normal(2, *((n, k) if transpose_b else (k, n)))
    c = np.full((m, n), np.nan, np.float32)
    host.product(a, b, c, transpose_a=transpose_a, transpose_b=transpose_b)
    exact = (a.T if transpose_a else a).astype(np.float64) @ (b.T if transpose_b else b)
    assert_near(c, exact)
    base = normal(3, m, n)
    host.product(a, b, c, transpose_a=transpose_a, transpose_b=transpose_b, base=base)
    assert_near(c, base + exact)


def unaligned(array: Any) -> Any:
    """Copy an array to an address that is no multiple of its elements' size."""
    memory = np.empty(array.nbytes + 1, np.uint8)
    copy = memory[1 - memory.ctypes.data % 2 :][: array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    assert not copy.flags.aligned
    return copy


def test_unaligned_arrays_of_integers_and_halves_are_read(device: aneperf.Device) -> None:
    table, tokens = normal(1, 5, 3), np.array([4, 0, 2])
    expected, got = np.empty((3, 3), np.float32), np.empty((3, 3), np.float32)
    host.embed(table, tokens, expected)
    host.embed(table, unaligned(tokens), got)
    np.testing.assert_array_equal(got, expected)
    s, x = surface(device, 4, 8), normal(1, 1, 4, 1, 8).astype(np.float16)
    s.write(unaligned(x))
    np.testing.assert_array_equal(s.read(), x)


def test_bad_arguments(device: aneperf.Device) -> None:
    x, w = normal(1, 4, 8), normal(2, 4)
    bad(
        lambda: host.rms_norm(x, w, EPSILON, x.astype(np.float64)),
        "out must be a contiguous, aligned float32 array",
    )
    bad(lambda: host.rms_norm(x[:, ::2], w, EPSILON, x), "x must be a contiguous, aligned float32 array")
    bad(lambda: host.rms_norm(x, w[:3], EPSILON, x), r"weight is \[3\], must be \[4\]")
    bad(lambda: host.rms_norm(x, w, 0.0, x), "epsilon must be positive")
    bad(lambda: host.rms_norm([1.0], w, EPSILON, x), "x is <class 'list'>, must be a numpy array")
    bad(lambda: host.rms_norm(unaligned(x), w, EPSILON, x), "x must be a contiguous, aligned float32 array")
    bad(lambda: host.rms_norm(x, w, EPSILON, unaligned(x)), "out must be a contiguous, aligned float32 array")
    frozen = x.copy()
    frozen.flags.writeable = False
    bad(
        lambda: host.rms_norm(x, w, EPSILON, frozen),
        "out must be a contiguous, aligned float32 array that can be written",
    )
    bad(
        lambda: host.embed(x, [0, 4], np.empty((8, 2), np.float32)), r"tokens\[1\] is 4; the vocabulary has 4"
    )
    bad(lambda: host.embed(x, [0, -1], np.empty((8, 2), np.float32)), r"tokens\[1\] is -1")
    bad(
        lambda: host.embed(x, [[0]], np.empty((8, 1), np.float32)),
        "tokens must be a one-dimensional array of integers",
    )
    bad(
        lambda: host.embed(x, ["a"], np.empty((8, 1), np.float32)),
        "tokens must be a one-dimensional array of integers",
    )
    bad(lambda: host.cross_entropy(x.copy(), [0]), "targets has 1 elements, where there are 8 positions")
    bad(lambda: host.product(x, x, np.empty((4, 4), np.float32)), r"b is \[4, 8\], must be \[8, 4\]")
    bad(lambda: host.sum_of_squares(np.zeros((0,), np.float32)), r"x is \[0\]")
    bad(
        lambda: host.adam(x, x, x, w, step=1, gradient_scale=1.0, **ADAM),
        r"variance is \[4\], must be \[4, 8\]",
    )
    bad(lambda: host.adam(x, x, x, x, step=0, gradient_scale=1.0, **ADAM), "step is 0; the first is 1")
    queue = host.GradientQueue()
    bad(lambda: queue.add(x, normal(1, 4, 9), np.zeros((4, 4), np.float32)), "dy has 8 positions, x has 9")
    bad(lambda: queue.add(x, x, np.zeros((4, 5), np.float32)), r"dweight is \[4, 5\], must be \[4, 4\]")
    bad(lambda: queue.add((1, 2), x, np.zeros((4, 4), np.float32)), r"dy must be an array, or \(surface")
    with pytest.raises(aneperf.SurfaceError):
        queue.add((surface(device, 4, 8), 1, 4), x, np.zeros((4, 4), np.float32))


@pytest.mark.parametrize(
    "variable",
    [
        {"ANEPERF_THREADS": "1"},
        {"ANEPERF_THREADS": "3"},
        {"ANEPERF_SIMD": "baseline"},
        {"ANEPERF_SIMD": "avx2"},
    ],
)
def test_the_same_bits_for_any_threads_and_instruction_set(
    emulator: aneperf.Device, variable: dict[str, str]
) -> None:
    if "ANEPERF_SIMD" in variable and not emulator.info()["simd"].startswith("avx"):
        pytest.skip("this processor has one level")
    # The x86-64 baseline has no fused multiply-add, which products take at the other levels.
    is_fused = variable.get("ANEPERF_SIMD") != "baseline"
    code = """
import hashlib, sys, numpy as np
from aneperf import _ane_native as host
r = np.random.default_rng(1)
n = lambda *s: r.standard_normal(s).astype(np.float32)
x, w, dy, dx, dw = n(96, 130), n(96), n(96, 130), n(96, 130), n(96)
y = np.empty_like(x); host.rms_norm(x, w, 1e-5, y); host.rms_norm_backward(dy, x, w, 1e-5, dx, dw)
logits = n(3000, 130); loss = host.cross_entropy(logits, r.integers(0, 3000, 130))
products = [np.empty((96, 96), np.float32), np.empty((17, 97), np.float32)]
for a, b, c in zip((dy, n(17, 700)), (x, n(97, 700)), products): host.product(a, b, c, transpose_b=True)
p, g, m, v = n(50000), n(50000), n(50000), abs(n(50000))
rates = dict(learning_rate=.01, beta1=.9, beta2=.95, epsilon=1e-8, weight_decay=.1)
host.adam(p, g, m, v, step=3, gradient_scale=.5, **rates)
h = hashlib.sha256()
if sys.argv[1] == "False": products = []
for a in (y, dx, dw, logits, *products, p, m, v): h.update(a.tobytes())
print(h.hexdigest(), loss, host.sum_of_squares(p))
"""
    hashes = {
        subprocess.run(
            [sys.executable, "-c", code, str(is_fused)],
            capture_output=True,
            check=True,
            env={**os.environ, **extra},
        ).stdout
        for extra in ({}, variable)
    }
    assert len(hashes) == 1
