"""Element-wise operations run in chains, tile by tile: every bit is that of the operations run one by one.

    python test_fusion.py FIRST COUNT

checks random programs and prints a digest of their results.
"""

import hashlib
import os
import subprocess
import sys
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import aneperf
from aneperf import mil
from support import environment, oracle
from support.programs import any_halves, build, evaluate, normal_halves, run

SEEDS = st.integers(0, 2**32 - 1)
SHAPES = [
    (1, 3, 5, 33),
    (2, 7, 1, 257),
    (1, 64, 2, 64),
    (5, 1, 1, 1),
    (1, 1, 9, 500),
    (3, 11),
    (1, 40, 1, 99),
]


def compiled(device, program, *, fused):
    with mock.patch.dict(os.environ, {"ANEPERF_FUSION": "1" if fused else "0"}):
        return program.compile(device)


class RandomProgram:
    """A graph of element-wise operations, casts and reductions over one shape and what broadcasts to it."""

    UNARY = ("abs", "relu", "sigmoid", "silu", "square", "floor", "sign", "exp")
    BINARY = ("add", "sub", "mul", "maximum", "minimum", "real_div")
    COMPARISONS = ("less", "greater_equal", "equal", "not_equal")

    def __init__(self, seed, length):
        self.random = np.random.default_rng(seed)
        self.shape = SHAPES[self.random.integers(len(SHAPES))]
        self.arrays = [self.input(seed + i) for i in range(self.random.integers(1, 5))]
        self.length = length
        self.program = build(self.define, *self.arrays)

    def input(self, seed):
        shape = self.shape if self.random.random() < 0.6 else self.broadcast()
        array = any_halves(seed, shape) if self.random.random() < 0.3 else normal_halves(seed, shape, 2)
        array[self.random.random(shape) < 0.05] = np.nan
        return array.astype(np.float32) * np.float32(1.0001) if self.random.random() < 0.3 else array

    def broadcast(self):
        shape = tuple(int(extent if self.random.random() < 0.5 else 1) for extent in self.shape)
        return shape[self.random.integers(len(shape)) :] if self.random.random() < 0.3 else shape

    def pick(self):
        age = min(int(self.random.exponential(4)), len(self.values) - 1)
        return self.values[len(self.values) - 1 - age]

    def axes(self, x):
        return self.random.permutation(len(x.shape))[: self.random.integers(1, len(x.shape) + 1)].tolist()

    def truth(self):
        return getattr(mil, self.random.choice(self.COMPARISONS))(self.pick(), self.pick())

    def step(self):
        x, y = self.pick(), self.pick()
        match self.random.integers(14):
            case 0 | 1 | 2:
                return getattr(mil, self.random.choice(self.UNARY))(x)
            case 3 | 4 | 5:
                return getattr(mil, self.random.choice(self.BINARY))(x, y)
            case 6:
                return mil.mul(x, 1.25) if self.random.random() < 0.5 else mil.sub(0.5, x)
            case 7:
                return mil.select(self.truth(), x, y)
            case 8:
                return mil.cast(mil.logical_not(self.truth()), "fp16")
            case 9:
                return mil.softmax(x, int(self.random.integers(len(x.shape))))
            case 10:
                return getattr(mil, self.random.choice(["reduce_sum", "reduce_max"]))(x, self.axes(x))
            case 11:
                return mil.dequantize(mil.quantize(x, 0.0625), 0.0625)
            case 12:
                return mil.layer_norm(x, [len(x.shape) - 1])
            case _:
                constant = normal_halves(int(self.random.integers(1 << 30)), (x.shape[-1],))
                return mil.mul(mil.reshape(mil.reshape(x, (-1,)), x.shape), constant)

    def define(self, *inputs):
        self.values = [mil.cast(x, "fp16") if x.dtype == "fp32" else x for x in inputs]
        while len(self.values) < self.length + len(inputs):
            try:
                result = self.step()
            except aneperf.AneError:
                continue  # the shapes do not broadcast
            self.values.append(result)
        computed = self.values[len(inputs) :]
        chosen = {len(computed) - 1, *self.random.integers(len(computed), size=4).tolist()}
        outputs = [computed[i] for i in sorted(chosen)]
        return tuple(mil.cast(y, "fp32") if self.random.random() < 0.2 else y for y in outputs)

    def check(self, device):
        """Return the results, which are the same in chains and one by one."""
        results = [run(compiled(device, self.program, fused=fused), *self.arrays) for fused in (True, False)]
        for got, expected in zip(*results, strict=True):
            assert got.dtype == expected.dtype
            assert got.tobytes() == expected.tobytes()
        return results[0]


@given(SEEDS, st.integers(1, 40))
def test_random_programs(emulator, seed, length):
    RandomProgram(seed, length).check(emulator)


@given(SEEDS, st.integers(1, 40))
def test_random_programs_with_nan(plain, seed, length):
    RandomProgram(seed, length).check(plain)


def check_seeds(first, count):
    device = aneperf.open("emulator:h16")
    digest = hashlib.sha256()
    for seed in range(first, first + count):
        for result in RandomProgram(seed, 25).check(device):
            digest.update(result.tobytes())
    return digest.hexdigest()


@pytest.mark.thorough
def test_every_level_computes_the_same_bits(thorough):
    digests = {}
    for level in ("baseline", "avx2", "avx512", "neon"):
        done = subprocess.run(
            [sys.executable, __file__, "0", "40" if thorough else "5"],
            env=environment(ANEPERF_SIMD=level, ANEPERF_THREADS=3),
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        if "no such SIMD level" not in done.stderr:
            assert done.returncode == 0, done.stderr
            digests[level] = done.stdout
    assert digests
    assert len(set(digests.values())) == 1, digests


def chain(a, b, c):
    return mil.add(mil.mul(mil.silu(a), b), c)


def test_a_chain_is_one_operation_without_intermediate_tensors(emulator):
    arrays = [normal_halves(i, (1, 64, 32, 64)) for i in range(3)]
    program = build(chain, *arrays)
    stats = compiled(emulator, program, fused=True).stats
    assert stats.operations == 1
    assert stats.activation_bytes < arrays[0].nbytes
    assert compiled(emulator, program, fused=False).stats.operations == 7


@pytest.mark.parametrize("name", ["emulator", "plain"])
@pytest.mark.parametrize("axes", [[1], [3], [1, 3], [0, 1, 2, 3]])
@pytest.mark.parametrize("square", [mil.square, lambda t: mil.mul(t, t)])
def test_sums_of_squares_round_each_square(request, name, axes, square):
    """Round the squares to fp16 as they would be in memory, those that overflow or vanish too."""
    x = np.concatenate([normal_halves(5, (1, 40, 3, 33)), any_halves(6, (1, 40, 3, 33))], axis=2)

    def define(t):
        root = mil.abs(t)
        return mil.reduce_sum(square(t), axes), mil.reduce_mean(square(root), axes)

    device, program = request.getfixturevalue(name), build(define, x)
    results = [run(compiled(device, program, fused=fused), x) for fused in (True, False)]
    for got, expected in zip(*results, strict=True):
        assert got.tobytes() == expected.tobytes()


def largest_first(t, axes):
    """Return the steps of a norm that divides by the largest element first."""
    largest = mil.reduce_max(mil.abs(t), axes)
    return largest, mil.reduce_mean(mil.square(t * mil.inverse(largest)), axes)


@pytest.mark.parametrize("name", ["emulator", "plain"])
@pytest.mark.parametrize("axes", [[1], [3], [1, 2], [1, 3]])
@pytest.mark.parametrize("width", [1, 33, 150])
def test_a_scaled_reduction_rounds_each_product(request, name, axes, width):
    """Round each, also where the factor is no row's own, or comes first."""
    shape = (2, 40, 3, width)
    x = np.concatenate([normal_halves(5, shape), any_halves(6, shape)], axis=2)
    x[np.random.default_rng(7).random(x.shape) < 0.005] = np.nan
    of_channels = normal_halves(8, (1, 40, 1, 1))

    def define(t):
        largest, mean = largest_first(t, axes)
        products = t * of_channels, mil.mul(largest, t), t * t
        return largest, mean, *(mil.reduce_sum(mil.square(product), axes) for product in products)

    device, program = request.getfixturevalue(name), build(define, x)
    results = [run(compiled(device, program, fused=fused), x) for fused in (True, False)]
    for got, expected in zip(*results, strict=True):
        assert got.tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    "define",
    [lambda t: mil.reduce_sum(t * t, [1]), lambda t: largest_first(t, [1])[1]],
    ids=["plain", "scaled"],
)
@pytest.mark.parametrize("name", ["emulator", "plain"])
def test_a_sum_of_squares_keeps_no_squares(request, name, define):
    x = normal_halves(7, (1, 40, 3, 32))
    program = build(define, x)
    device = request.getfixturevalue(name)
    assert compiled(device, program, fused=True).stats.activation_bytes < x.nbytes


def product_of_a_slice(begin, columns, shape, *, rows_of_both=True):
    """Return the product of a transposed slice of x's last axis, brought into `shape`, with the rest of x."""

    def define(x):
        height = x.shape[-2] if rows_of_both else x.shape[-2] // 2
        size = (*x.shape[:-2], height, columns)
        sliced = mil.reshape(mil.slice_by_size(x, (0,) * (len(size) - 1) + (begin,), size), shape)
        return mil.matmul(sliced, mil.relu(sliced), transpose_x=True)

    return define


@pytest.mark.parametrize("name", ["emulator", "plain", "h13"])
@pytest.mark.parametrize(
    "define",
    [
        product_of_a_slice(5, 40, (2, 24, 40)),
        product_of_a_slice(0, 40, (4, 12, 40)),
        product_of_a_slice(63, 1, (2, 24, 1)),
        product_of_a_slice(9, 40, (2, 20, 48)),
        product_of_a_slice(9, 40, (2, 12, 40), rows_of_both=False),
    ],
    ids=["batch", "other rows", "one column", "other columns", "part of the rows"],
)
def test_a_product_reads_a_slice_in_place(request, name, define):
    x = np.where(normal_halves(4, (2, 24, 64)) > 2, 5000, normal_halves(5, (2, 24, 64))).astype(np.float16)
    device = request.getfixturevalue(name) if name != "h13" else aneperf.open("emulator", chip="h13")
    program = build(define, x)
    results = [run(compiled(device, program, fused=fused), x)[0] for fused in (True, False)]
    assert results[0].tobytes() == results[1].tobytes()


def test_a_slice_that_a_product_transposes_is_not_stored(plain):
    x = normal_halves(4, (1, 1, 512, 2048))

    def define(t):
        return mil.matmul(mil.slice_by_size(t, (0, 0, 0, 512), (1, 1, 512, 1024)), t, transpose_x=True)

    program = build(define, x)
    fused, unfused = (compiled(plain, program, fused=fused).stats.activation_bytes for fused in (True, False))
    assert fused <= unfused - 512 * 1024 * 2


def test_rows_join_what_comes_before_and_after(emulator):
    x = normal_halves(1, (8, 100, 96))
    program = build(lambda t: mil.mul(mil.softmax(mil.mul(t, 0.5), -1), 2.0), x)
    assert compiled(emulator, program, fused=True).stats.operations == 1


def test_results_that_others_read_are_kept(emulator):
    """Let a chain's intermediate result feed a product, a reduction and an output."""
    x = normal_halves(2, (1, 1, 64, 64))

    def define(t):
        root = mil.sqrt(mil.abs(t))
        return mil.add(root, 1.0), mil.matmul(root, root), mil.reduce_max(root, [3]), root

    expected = oracle.engine_rounded(oracle.engine_sqrt(np.abs(x.astype(np.float64))))
    total, _, largest, root = evaluate(emulator, define, x)
    oracle.assert_same(root, expected)
    oracle.assert_same(largest, expected.max(3, keepdims=True))
    oracle.assert_same(total, oracle.engine_rounded(oracle.exact("add", expected, np.float16(1))))


@pytest.mark.parametrize("shape", [(1, 40, 1, 64), (1, 40, 3, 33)])
@pytest.mark.parametrize("name", ["emulator", "plain"])
def test_a_surface_may_be_input_and_output(request, name, shape):
    """Sum along other axes, which reads what the first rows of the result overwrite."""
    device, x = request.getfixturevalue(name), normal_halves(3, shape)

    def define(t):
        return mil.add(mil.transpose(mil.transpose(t, [0, 1, 3, 2]), [0, 1, 3, 2]), mil.reduce_sum(t, [1]))

    (expected,) = evaluate(device, define, x)
    program = build(define, x).compile(device)
    surface = device.make_surface(program.inputs[0])
    request = program.bind({"x0": surface}, {"y0": surface})
    for _ in range(2):
        surface.write(x)
        request.evaluate()
        oracle.assert_same(surface.read(), expected)


def test_padding_of_an_output_stays(emulator):
    x = normal_halves(4, (1, 5, 1, 33))
    program = build(mil.relu, x).compile(emulator)
    source, target = (emulator.make_surface(port) for port in (*program.inputs, *program.outputs))
    padded = aneperf.Layout("fp16", (1, 5, 1, 64))
    target.write(np.full((1, 5, 1, 64), 7, np.float16), padded)
    source.write(x)
    program.bind({"x0": source}, {"y0": target}).evaluate()
    oracle.assert_same(target.read(), np.maximum(x, 0))
    assert np.all(target.read(padded)[..., 33:] == 7)


if __name__ == "__main__":
    print(check_seeds(int(sys.argv[1]), int(sys.argv[2])))
