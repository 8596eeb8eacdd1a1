"""The refusals of each generation of the engine, and where its numbers differ from the others'."""

import numpy as np
import pytest

import aneperf
from aneperf import CompileError, mil
from support import oracle
from support.oracle import engine
from support.programs import build, evaluate, normal_halves

ENGINES = ("h13", "h14", "h15", "h16", "h17", "h18", "h18g", "h19")
PROFILES = (*ENGINES, "none")
INFINITY = np.float16(np.inf)


@pytest.fixture(scope="module", params=PROFILES)
def chip(request):
    return request.param


@pytest.fixture(scope="module")
def profile(chip):
    return aneperf.open("emulator", chip=chip)


def before(chip, generation):
    """Return whether `chip` is an engine older than `generation`."""
    return chip in ENGINES[: ENGINES.index(generation)]


def compiles(profile, define, *shapes, dtype=np.float16):
    """Return the words with which the program is refused, or None."""
    try:
        build(define, *(np.zeros(shape, dtype) for shape in shapes)).compile(profile)
    except CompileError as error:
        assert error.kind == "CompilationFailure"
        assert error.line is not None
        return str(error)
    return None


def test_the_profile_names_itself(profile, chip):
    assert profile.info()["chip"] == chip


def test_an_unknown_profile_lists_those_there_are():
    with pytest.raises(aneperf.ArgumentError, match="'h12': choose from h19, h18, h17, h16, h15, h14"):
        aneperf.open("emulator", chip="h12")


@pytest.mark.parametrize("op", ["sin", "cos"])
def test_sines_came_with_h15(profile, chip, op):
    message = compiles(profile, getattr(mil, op), (1, 4))
    if before(chip, "h15"):
        assert f"{op}: {chip} has no sin and cos, which came with h15 (M3)" in message
    else:
        assert message is None


@pytest.mark.parametrize(("dtype", "target"), [(np.float32, "fp16"), (np.float16, "fp32")])
def test_casts_of_fp32_came_with_h15(profile, chip, dtype, target):
    message = compiles(profile, lambda t: mil.cast(t, target), (1, 4), dtype=dtype)
    if before(chip, "h15"):
        assert "refuse casts from and to fp32 on M1 and M2" in message
        assert "use fp16 ports" in message
    else:
        assert message is None
    assert compiles(profile, lambda t: mil.cast(mil.cast(t, "int8"), "fp16"), (1, 4)) is None


SPATIAL = {
    "width": (mil.relu, (1, 1, 1, 16385)),
    "height": (mil.relu, (1, 1, 16385, 1)),
    "matrix of three axes": (mil.relu, (1, 16385, 1)),
    "columns": (lambda t: mil.matmul(t, np.ones((1, 16385), np.float16)), (2, 1)),
    "inner": (lambda t: mil.matmul(t, t, transpose_x=True), (16385, 1)),
    "concatenated": (lambda t: mil.concat([t, t], 3), (1, 1, 1, 8193)),
}


@pytest.mark.parametrize("case", SPATIAL)
def test_spatial_axes_up_to_16384_before_h16(profile, chip, case):
    define, shape = SPATIAL[case]
    message = compiles(profile, define, shape)
    if before(chip, "h16"):
        assert f"matrix axis of {chip} has at most 16384 elements" in message
        fitting = tuple({16385: 16384, 8193: 8192}.get(extent, extent) for extent in shape)
        if case != "columns":
            assert compiles(profile, define, fitting) is None
    else:
        assert message is None


@pytest.mark.parametrize(
    ("shape", "limit"), [((1, 65537, 1, 1), "an axis"), ((1, 1, 1, 65537), "matrix axis")]
)
def test_no_axis_of_an_engine_passes_65536(profile, chip, shape, limit):
    message = compiles(profile, mil.relu, shape)
    if chip == "none":
        assert message is None
    else:
        assert f"{limit} of {chip} has at most" in message
    assert compiles(profile, mil.relu, (1, 65536, 1, 1)) is None


def test_widest_kernels(profile, chip):
    def conv(width):
        return lambda t: mil.conv(t, np.ones((1, 1, 1, width), np.float16))

    widest = 13 if before(chip, "h15") else 15
    assert compiles(profile, conv(widest), (1, 1, 1, 32)) is None
    message = compiles(profile, conv(widest + 1), (1, 1, 1, 32))
    if chip == "none":
        assert message is None
    else:
        assert f"the engine takes at most {widest}" in message


SLICES = {
    "slice_by_size": (lambda t: mil.slice_by_size(t, [0, 0, 0, 2], [1, 1, 1, 6]), 2),
    "slice_by_index": (lambda t: mil.slice_by_index(t, [0, 0, 0, -6], [1, 1, 1, 8]), 2),
    "from the start": (lambda t: mil.slice_by_size(t, [0, 0, 0, 0], [1, 1, 1, 6]), 0),
}


@pytest.mark.parametrize("case", SLICES)
def test_slices_inside_the_last_axis_overflow_past_4094_before_h15(profile, chip, case):
    define, begin = SLICES[case]
    x = np.array([9e3, -9e3, 4094, -4094, 4096, -65504, 5, np.inf], np.float16).reshape(1, 1, 1, 8)
    program = build(define, x).compile(profile)
    got = program.run(x0=x)["y0"].ravel()
    expected = x.ravel()[begin : begin + 6].copy()
    if before(chip, "h15") and begin:
        expected[2:4] = INFINITY, -INFINITY
        (note,) = program.notes
        assert f"overflows past 4094 on {chip}" in note
    else:
        assert program.notes == []
    oracle.assert_same(got, expected)


def test_slices_of_other_axes_are_exact(profile):
    x = np.full((1, 4, 2, 3), 9000, np.float16)
    got = evaluate(profile, lambda t: mil.slice_by_size(t, [0, 1, 1, 0], [1, 3, 1, 3]), x)
    oracle.assert_same(got[0], x[:, 1:, 1:])


def test_a_slice_of_every_half_is_exact_up_to_4094():
    x = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    x = np.where(np.isnan(x), INFINITY, x).reshape(1, 1, 64, 1024)
    device = aneperf.open("emulator", chip="h13")
    (got,) = evaluate(device, lambda t: mil.slice_by_size(t, [0, 0, 0, 1], [1, 1, 64, 1023]), x)
    kept = x[..., 1:]
    oracle.assert_same(got, np.where(np.abs(kept) > 4094, np.copysign(INFINITY, kept), kept))


TINY = np.array([2**-15, -(2**-15), 2**-14, 2**-24], np.float16)  # 2^-14 is the least normal number
PRODUCTS = {
    "matmul": lambda t: mil.matmul(t, np.array([[1]], np.float16)),
    "matmul with tiny constants": lambda t: mil.matmul(mil.add(mil.mul(t, 0.0), 1.0), TINY[:1].reshape(1, 1)),
    "linear": lambda t: mil.linear(t, np.array([[1]], np.float16)),
    "conv": lambda t: mil.conv(mil.reshape(t, (4, 1, 1, 1)), np.ones((1, 1, 1, 1), np.float16)),
    "conv_transpose": lambda t: mil.conv_transpose(
        mil.reshape(t, (4, 1, 1, 1)), np.ones((1, 1, 1, 1), np.float16)
    ),
    "einsum": lambda t: mil.einsum([mil.reshape(t, (4, 1, 1, 1)), np.ones((1, 1, 1, 1), np.float16)]),
    "attention": lambda t: mil.scaled_dot_product_attention(
        *[mil.reshape(mil.mul(t, 0.0), (4, 1, 1))] * 2, mil.reshape(t, (4, 1, 1))
    ),
}


@pytest.mark.parametrize("case", PRODUCTS)
def test_products_of_small_numbers_round_to_two_to_the_minus_16_on_every_engine(profile, chip, case):
    """Drop what is smaller than 2^-16, although it is a number of fp16."""
    (got,) = evaluate(profile, PRODUCTS[case], TINY.reshape(4, 1))
    expected = TINY[:1].repeat(4) if case == "matmul with tiny constants" else TINY
    if chip != "none":
        expected = engine.linear(expected.reshape(4, 1), np.ones((1, 1), np.float16)).ravel()
    np.testing.assert_array_equal(got.ravel(), expected)


def test_a_weight_file_is_read_as_it_is(profile, chip):
    shape = (1, 100, 1, 1001)  # more than any thread takes at a time, and no multiple of it
    halves = np.resize(np.arange(1 << 16, dtype=np.uint16), shape).view(np.float16)
    program = build(lambda t: mil.add(t, np.ones(shape, np.float16)), np.zeros(shape, np.float16))
    ((path, file),) = program.weights.items()
    stored = file[:128] + halves.tobytes() + file[128 + halves.nbytes :]
    got = profile.compile(program.text, {path: stored}).run(x0=np.zeros(shape, np.float16))
    expected = halves if chip == "none" else oracle.engine_rounded(oracle.decoded(halves))
    np.testing.assert_array_equal(got["y0"], expected)


def test_only_products_lose_small_numbers(profile):
    x = TINY.reshape(4, 1)
    for result in evaluate(
        profile, lambda t: (mil.add(t, 0.0), mil.reduce_sum(t, [1]), mil.transpose(t, [1, 0])), x
    ):
        np.testing.assert_array_equal(result.ravel(), TINY)


def test_products_overflow_at_32768_on_every_engine(profile, chip):
    x = np.array([[16384, 16384]], np.float16)
    (got,) = evaluate(profile, lambda t: mil.matmul(t, np.ones((2, 1), np.float16)), x)
    assert got.item() == (32768 if chip == "none" else np.inf)


def test_masks_are_ignored_on_every_engine(profile, chip):
    arrays = [normal_halves(i, (1, 3, 4)) for i in range(3)]
    mask = np.where(np.tri(3, dtype=bool), 0, -65504).astype(np.float16)
    (got,) = evaluate(profile, mil.scaled_dot_product_attention, *arrays, mask)
    (unmasked,) = evaluate(profile, mil.scaled_dot_product_attention, *arrays)
    assert np.array_equal(got, unmasked) == (chip != "none")


def test_softplus_vanishes_on_every_engine(profile, chip):
    x = np.array([11.0859375, 11.09375, 100, 65504], np.float16)
    (got,) = evaluate(profile, mil.softplus, x)
    oracle.assert_same(got, x if chip == "none" else np.array([x[0], 0, 0, 0], np.float16))


def test_round_on_every_engine(profile, chip):
    x = np.array([0.5, 1.5, 2.5, -2.5, 1024, 1025, -2047, 2048, 4098], np.float16)
    expected = (
        [0, 2, 2, -2, 1024, 1025, -2047, 2048, 4096 + 2]
        if chip == "none"
        else [1, 2, 3, -3, 1025, 1026, -2048, 2048, 4098]
    )
    (got,) = evaluate(profile, mil.round, x)
    np.testing.assert_array_equal(got, np.array(expected, np.float16))
