"""int8 and uint8: quantize, dequantize, weights stored in 8 bits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from aneperf import CompileError, mil
from support import oracle
from support.oracle import engine
from support.programs import any_halves, build, evaluate, normal_halves

SEEDS = st.integers(0, 2**32 - 1)
DTYPES = ["int8", "uint8"]
SHAPES = nps.array_shapes(min_dims=1, max_dims=5, max_side=9)


@st.composite
def parameters(draw):
    """Draw a shape, scale and zero point (scalar, or an element for each index of the axis), dtype, axis."""
    shape, dtype, seed = draw(SHAPES), draw(st.sampled_from(DTYPES)), draw(SEEDS)
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    random, limits = np.random.default_rng(seed), np.iinfo(dtype)

    def one_or_many(values):
        return values if draw(st.booleans()) else values[0]

    scale = one_or_many(np.exp2(random.uniform(-10, 4, shape[axis])).astype(np.float16))
    zero_point = one_or_many(random.integers(limits.min, limits.max + 1, shape[axis]).astype(dtype))
    return shape, scale, zero_point, dtype, axis if np.ndim(scale) or np.ndim(zero_point) else None


def through_integers(t, scale, zero_point, dtype, axis):
    return mil.cast(mil.quantize(t, scale, zero_point, dtype, axis), "fp16")


@given(parameters(), SEEDS, st.booleans())
def test_quantize(device, case, seed, is_any):
    shape, scale, zero_point, dtype, axis = case
    x = any_halves(seed, shape) if is_any else normal_halves(seed, shape, 30)
    (got,) = evaluate(device, lambda t: through_integers(t, scale, zero_point, dtype, axis), x)
    expected = oracle.quantize(x, scale, zero_point, dtype, axis)
    np.testing.assert_array_equal(got, expected)


@given(parameters(), SEEDS)
def test_dequantize(plain, case, seed):
    """Dequantize results of quantize, with a scale of 1 so that every integer occurs."""
    shape, scale, zero_point, dtype, axis = case
    limits = np.iinfo(dtype)
    q = np.random.default_rng(seed).integers(limits.min, limits.max + 1, shape)

    def program(t):
        return mil.dequantize(mil.quantize(t, 1.0, output_dtype=dtype), scale, zero_point, axis)

    (got,) = evaluate(plain, program, q.astype(np.float16))
    oracle.assert_same(got, oracle.rounded(oracle.dequantize(q, scale, zero_point, axis) + 0.0))


@pytest.mark.parametrize("dtype", DTYPES)
def test_ties_go_away_from_zero_and_ends_are_clamped(device, dtype):
    quarters = (np.arange(-1200, 1200) / 4).astype(np.float16)
    (got,) = evaluate(device, lambda t: through_integers(t, 1.0, None, dtype, None), quarters)
    limits = np.iinfo(dtype)
    away = np.trunc(quarters.astype(np.float64) + np.copysign(0.5, quarters))
    np.testing.assert_array_equal(got, np.clip(away, limits.min, limits.max))


def test_the_round_trip_of_the_published_benchmark(device):
    """Scale 2^-3, no zero point: within half a step, and clamped at the ends."""
    x = normal_halves(1, (1, 64, 1, 64), 8)
    (got,) = evaluate(device, lambda t: mil.dequantize(mil.quantize(t, 0.125), 0.125), x)
    clamped = np.clip(x, -16, 15.875)
    assert np.abs(got.astype(np.float64) - clamped).max() <= 0.0625


@pytest.mark.parametrize("shape", [(1, 5, 1, 9001), (5, 9001, 1, 1), (3, 5, 7, 300)])
@pytest.mark.parametrize("axis", [0, 1, 3])
def test_quantize_across_tiles(plain, shape, axis):
    x = normal_halves(2, shape, 40)
    scale = np.exp2(np.random.default_rng(3).uniform(-4, 2, shape[axis])).astype(np.float16)
    zero_point = np.random.default_rng(4).integers(0, 256, shape[axis]).astype(np.uint8)

    def program(t):
        q = mil.quantize(t, scale, zero_point, "uint8", axis)
        return mil.cast(q, "fp16"), mil.dequantize(q, scale, zero_point, axis)

    integers, back = evaluate(plain, program, x)
    expected = oracle.quantize(x, scale, zero_point, "uint8", axis)
    np.testing.assert_array_equal(integers, expected)
    oracle.assert_same(back, oracle.rounded(oracle.dequantize(expected, scale, zero_point, axis)))


@given(parameters(), SEEDS)
def test_weights_in_8_bits(plain, case, seed):
    shape, scale, zero_point, dtype, axis = case
    limits = np.iinfo(dtype)
    q = np.random.default_rng(seed).integers(limits.min, limits.max + 1, shape).astype(dtype)
    weight = oracle.rounded(oracle.dequantize(q, scale, zero_point, axis))
    x = normal_halves(seed, shape)

    def program(t):
        return mil.add(t, mil.constexpr_affine_dequantize(q, scale, zero_point, 0 if axis is None else axis))

    (got,) = evaluate(plain, program, x)
    oracle.assert_same(got, oracle.rounded(oracle.exact("add", x, weight)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_conv_with_weights_in_8_bits(device, dtype):
    """Round the weight to fp16 before it is used; one scale for each output channel."""
    limits = np.iinfo(dtype)
    q = np.random.default_rng(5).integers(limits.min, limits.max + 1, (48, 32, 1, 1)).astype(dtype)
    scale = np.exp2(np.random.default_rng(6).uniform(-12, -8, 48)).astype(np.float16)
    weight = oracle.rounded(oracle.dequantize(q, scale, 0, 0))
    x = normal_halves(7, (1, 32, 2, 33))
    (got,) = evaluate(device, lambda t: mil.conv(t, mil.constexpr_affine_dequantize(q, scale)), x)
    oracle.assert_same(got, engine.conv(x, weight))


def blockwise(parameter, shape):
    """Repeat each element for a whole block of `shape`."""
    for axis, (have, want) in enumerate(zip(parameter.shape, shape, strict=True)):
        parameter = np.repeat(parameter, want // have, axis)
    return parameter


def added(device, x, weight):
    """Compute x + weight, the weight being an expression of constants."""
    (got,) = evaluate(device, lambda t: mil.add(t, weight), x)
    return got


BLOCKS = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 4)), min_size=1, max_size=4)


@given(
    BLOCKS,
    st.sampled_from(["int4", "uint4", "uint8", "int8"]),
    st.sampled_from([None, "fp16", "data"]),
    SEEDS,
)
def test_weights_in_blocks(plain, blocks, dtype, offset_dtype, seed):
    random = np.random.default_rng(seed)
    shape, counts = tuple(a * b for a, b in blocks), tuple(a for a, _ in blocks)
    low, high = {"int4": (-8, 8), "uint4": (0, 16), "uint8": (0, 256), "int8": (-128, 128)}[dtype]
    data, scale = random.integers(low, high, shape), normal_halves(seed, counts)
    offset, stored = np.zeros(counts), None
    if offset_dtype == "fp16":
        offset = stored = normal_halves(seed + 1, counts, 10)
    elif offset_dtype == "data":
        offset = random.integers(low, high, counts)
        stored = mil.const(offset, dtype)
    weight = mil.constexpr_blockwise_shift_scale(mil.const(data, dtype), scale, stored)
    x = normal_halves(seed + 2, shape)
    # The difference and the product are each rounded to fp32 on the way.
    difference = (data - blockwise(offset.astype(np.float64), shape)).astype(np.float32)
    true = oracle.rounded(difference * blockwise(scale.astype(np.float32), shape))
    oracle.assert_same(added(plain, x, weight), oracle.rounded(oracle.exact("add", x, true)))


@given(BLOCKS, st.sampled_from([1, 2, 3, 4, 6, 8]), st.sampled_from([1, 2, 3]), st.data(), SEEDS)
def test_weights_from_tables(plain, blocks, bits, vector, data, seed):
    shape, counts = tuple(a * b for a, b in blocks), tuple(a for a, _ in blocks)
    entries = 2**bits
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    indices = np.random.default_rng(seed).integers(0, entries, shape)
    lut = normal_halves(seed, (*counts, entries, vector))
    weight = mil.constexpr_lut_to_dense(mil.const(indices, f"uint{bits}"), lut, axis)
    true = np.empty((*shape, vector), np.float16)
    for place in np.ndindex(*shape):
        block = tuple(i * count // side for i, count, side in zip(place, counts, shape, strict=True))
        true[place] = lut[block][indices[place]]
    axis %= len(shape)
    true = np.moveaxis(true, -1, axis + 1)
    true = true.reshape([side * (vector if i == axis else 1) for i, side in enumerate(shape)])
    x = normal_halves(seed + 1, true.shape)
    oracle.assert_same(added(plain, x, weight), oracle.rounded(oracle.exact("add", x, true)))


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), SEEDS)
def test_sparse_weights(plain, shape, seed):
    mask = np.random.default_rng(seed).integers(0, 2, shape)
    mask.flat[0] = 1
    values = normal_halves(seed, (int(mask.sum()),))
    true = np.zeros(shape, np.float16)
    true[mask == 1] = values
    x = normal_halves(seed + 1, tuple(shape))
    weight = mil.constexpr_sparse_to_dense(values, mask)
    oracle.assert_same(added(plain, x, weight), oracle.rounded(oracle.exact("add", x, true)))


@pytest.mark.parametrize("counts", [(300, 1, 1), (1, 3, 1), (3, 1, 2), (1, 1, 1), (300, 6, 2), (1, 6, 2)])
@pytest.mark.parametrize("shape", [(300, 48, 10), (300, 6, 2)])
def test_large_weights_in_blocks(plain, shape, counts):
    """Span rows, parts of rows and single elements with blocks, across tiles and threads."""
    random = np.random.default_rng(1)
    x = normal_halves(2, shape)
    data, scale = random.integers(0, 16, shape), normal_halves(3, counts)
    offset = random.integers(0, 16, counts)
    weight = mil.constexpr_blockwise_shift_scale(mil.const(data, "uint4"), scale, mil.const(offset, "uint4"))
    true = oracle.rounded((data - blockwise(offset, shape)) * blockwise(scale.astype(np.float64), shape))
    oracle.assert_same(added(plain, x, weight), oracle.rounded(oracle.exact("add", x, true)))
    lut = normal_halves(4, (*counts, 16, 1))
    weight = mil.constexpr_lut_to_dense(mil.const(data, "uint4"), lut)
    entries = [blockwise(lut[..., entry, 0], shape) for entry in range(16)]
    expected = oracle.rounded(oracle.exact("add", x, np.choose(data, entries)))
    oracle.assert_same(added(plain, x, weight), expected)


def test_sparse_weights_of_many_elements(emulator):
    """Store more elements than an axis of the engine has: what is stored is no tensor of the engine's."""
    weight = mil.constexpr_sparse_to_dense(np.ones(70000, np.float16), np.ones((700, 100, 1, 1), np.uint8))
    (got,) = evaluate(emulator, lambda t: mil.conv(t, weight), np.ones((1, 100, 1, 2), np.float16))
    np.testing.assert_array_equal(got, np.full((1, 700, 1, 2), 100))


@pytest.mark.parametrize("count", [1, 7, 9, 40000, 40005])
def test_large_sparse_weights(plain, count):
    """Use masks that end within a byte, and bytes without ones."""
    mask = np.random.default_rng(count).random(count) < 0.1
    mask[0] = mask[-1] = True
    values = normal_halves(1, (int(mask.sum()),))
    true = np.zeros(count, np.float16)
    true[mask] = values
    weight = mil.constexpr_sparse_to_dense(values, mask.astype(np.uint8))
    x = normal_halves(2, (count,))
    oracle.assert_same(added(plain, x, weight), oracle.rounded(oracle.exact("add", x, true)))


SPARSE = """program(1.3)
[buildInfo = dict<string, string>({{"coremlc-version", "3505.4.1"}})]
{
    func main<ios18>(tensor<fp16, [9]> x) {
        tensor<int8, [9]> q = constexpr_sparse_to_dense()[\
mask = tensor<uint1, [9]>([0, 1, 0, 0, 0, 0, 0, 0, 1]), name = string("q"), \
nonzero_data = tensor<int8, [2]>([3, -5])];
        tensor<fp16, [9]> w = dequantize(input = q, scale = fp16(0x1p-1));
        tensor<fp16, [9]> y = add(x = x, y = w)[name = string("y")];
    } -> (y);
}
"""


def test_sparse_weights_in_8_bits(device):
    y = device.compile(SPARSE).run(x=np.ones(9, np.float16))["y"]
    np.testing.assert_array_equal(y, [1, 2.5, 1, 1, 1, 1, 1, 1, -1.5])


CAST = """program(1.3)
[buildInfo = dict<string, string>({{"coremlc-version", "3505.4.1"}})]
{
    func main<ios18>(tensor<fp16, [3]> x) {
        tensor<fp32, [3]> wide = constexpr_cast()[name = string("wide"), output_dtype = string("fp32"), \
source_val = tensor<fp16, [3]>([0x1p-24, -0x1.8p+0, 0x1.ffcp+15])];
        tensor<fp16, [3]> w = cast(x = wide, dtype = string("fp16"))[name = string("w")];
        tensor<fp16, [3]> y = add(x = x, y = w)[name = string("y")];
    } -> (y);
}
"""


def test_constexpr_cast(device):
    """Return fp32 from fp16, which `cast` takes back; the builder stores constants as fp16 at once."""
    x = np.array([0, 1.5, -65504], np.float16)
    y = device.compile(CAST).run(x=x)["y"]
    np.testing.assert_array_equal(y, [2**-24, 0, 0])
    assert mil.write(mil.parse(CAST)) == CAST
    with pytest.raises(CompileError, match='output_dtype must be "fp32"'):
        device.compile(CAST.replace('string("fp32")', 'string("fp16")'))


def test_a_mask_with_another_number_of_ones_is_refused(device):
    weight = mil.constexpr_sparse_to_dense(normal_halves(1, (3,)), [1, 0, 1, 0])
    program = build(lambda t: mil.add(t, weight), normal_halves(2, (4,)))
    with pytest.raises(CompileError, match="mask has 2 ones, nonzero_data 3 elements"):
        program.compile(device)


@pytest.mark.parametrize(
    ("define", "message"),
    [
        (
            lambda: mil.constexpr_lut_to_dense(mil.const([1], "uint4"), np.ones((1, 8, 1))),
            "16 entries, this one 8",
        ),
        (lambda: mil.constexpr_lut_to_dense(mil.const([1], "uint4"), np.ones((16, 1))), "two axes more"),
        (
            lambda: mil.constexpr_lut_to_dense(mil.const([1], "uint1"), np.ones((1, 2, 2))),
            "'vector_axis' is missing",
        ),
        (lambda: mil.constexpr_blockwise_shift_scale(np.int8([1, 2, 3]), np.ones(2)), "does not divide"),
        (
            lambda: mil.constexpr_blockwise_shift_scale(
                np.int8([1, 2]), np.ones(2), mil.const([1, 2], "uint8")
            ),
            "offset must be fp16 or int8",
        ),
        (lambda: mil.constexpr_sparse_to_dense(np.ones((2, 1), np.float16), [1, 1]), "must have one axis"),
    ],
)
def test_compressed_weights_that_do_not_fit(define, message):
    with pytest.raises(CompileError, match=message):
        define()
