"""Programs that the engine does not take are refused with the reason; profile "none" has no such limits."""

import numpy as np
import pytest

from aneperf import CompileError, mil
from aneperf import _ane_native as native
from support import oracle
from support.programs import build, evaluate, normal_halves


def refusal(emulator, define, *shapes):
    """Return the words of the refusal of a program with inputs of these shapes."""
    program = build(define, *(np.zeros(shape, np.float16) for shape in shapes))
    with pytest.raises(CompileError) as caught:
        program.compile(emulator)
    assert caught.value.kind == "CompilationFailure"
    assert caught.value.line is not None
    return str(caught.value)


def test_run_time_weights_need_a_batch_of_one(emulator):
    assert "run-time weights need a batch of 1: use matmul" in refusal(
        emulator, mil.conv, (2, 4, 1, 8), (3, 4, 1, 1)
    )


def test_run_time_weights_of_linear_are_refused(emulator):
    assert "'weight' must be a constant: use matmul" in refusal(emulator, mil.linear, (2, 4), (3, 4))
    weight = np.ones((3, 4), np.float16)
    message = refusal(emulator, lambda x, bias: mil.linear(x, weight, bias), (2, 4), (3,))
    assert "'bias' must be a constant: add a run-time one with add" in message
    message = refusal(emulator, lambda x, b: mil.conv(x, weight[..., None], b), (1, 4, 2), (3,))
    assert "'bias' must be a constant: add a run-time one with add" in message


def test_run_time_weights_of_conv_transpose_are_refused(emulator):
    message = refusal(emulator, mil.conv_transpose, (1, 4, 3, 3), (4, 2, 1, 1))
    assert "'weight' must be a constant: use matmul" in message


def test_kernels_are_at_most_15_wide(emulator, plain):
    def conv(width, height=1):
        return lambda t: mil.conv(t, np.ones((2, 2, height, width), np.float16), pad_type="same")

    x = normal_halves(1, (1, 2, 20, 20))
    (got,) = evaluate(emulator, conv(15, 17), x)
    pad = oracle.same_padding((20, 20), (17, 15), (1, 1), (1, 1))
    oracle.assert_within(got, oracle.conv(x, np.ones((2, 2, 17, 15)), pad=pad))
    assert "the kernel is 16 wide; the engine takes at most 15" in refusal(emulator, conv(16), x.shape)
    assert "the kernel is 17 wide; the engine takes at most 15" in refusal(emulator, conv(17, 17), x.shape)
    evaluate(emulator, conv(16, 16), x)  # as in ViT/16
    evaluate(plain, conv(16), x)


def test_kernels_are_at_most_31_high(emulator, plain):
    x = normal_halves(1, (1, 1, 40, 2))
    for op in (mil.conv, mil.conv_transpose):

        def define(height, op=op):
            return lambda t: op(t, np.ones((1, 1, height, 1), np.float16))

        evaluate(emulator, define(31), x)
        assert "the kernel is 32 high; the engine takes at most 31" in refusal(emulator, define(32), x.shape)
        evaluate(plain, define(32), x)


def test_windows_of_max_pool_are_at_most_8_wide(emulator, plain):
    x = normal_halves(1, (1, 1, 20, 20))
    for kernel in ((8, 8), (9, 1)):
        evaluate(emulator, lambda t, kernel=kernel: mil.max_pool(t, kernel), x)
    message = refusal(emulator, lambda t: mil.max_pool(t, (1, 9)), x.shape)
    assert (
        "the window is 9 wide; the engine takes at most 8 (751K, measured on M4): pool in two steps"
        in message
    )
    evaluate(emulator, lambda t: mil.avg_pool(t, (14, 14)), x)
    evaluate(plain, lambda t: mil.max_pool(t, (9, 9)), x)


def test_sums_of_matmul_have_at_most_32768_terms(emulator, plain):
    def define(inner):
        return lambda t: mil.matmul(mil.reshape(t, (1, inner)), mil.reshape(t, (inner, 1)))

    x = np.full((32768,), 2.0**-8, np.float16)
    assert evaluate(emulator, define(32768), x)[0].item() == 0.5
    message = refusal(emulator, define(32769), (32769,))
    assert "the sums have 32769 terms; the engine takes at most 32768 (751K, measured on M4" in message
    evaluate(plain, define(32769), np.zeros((32769,), np.float16))


PRODUCTS = {  # of 4 terms or more, by the input that has them
    "linear": (lambda t: mil.linear(t, np.ones((2, t.shape[-1]), np.float16)), lambda n: (1, n)),
    "einsum": (
        lambda t: mil.einsum([t, np.ones((1, t.shape[-1], 1, 2), np.float16)]),
        lambda n: (1, 1, 1, n),
    ),
    "scaled_dot_product_attention": (
        lambda t: mil.scaled_dot_product_attention(mil.slice_by_size(t, [0, 0, 0], [1, 1, 2]), t, t),
        lambda n: (1, n, 2),
    ),
    "scaled_dot_product_attention of long features": (
        lambda t: mil.scaled_dot_product_attention(t, t, mil.slice_by_size(t, [0, 0, 0], [1, 2, 2])),
        lambda n: (1, 2, n),
    ),
}


@pytest.mark.parametrize("case", PRODUCTS)
def test_sums_of_other_products_have_the_limit_of_matmul(emulator, plain, case):
    define, shape = PRODUCTS[case]
    evaluate(emulator, define, np.zeros(shape(32768), np.float16))
    message = refusal(emulator, define, shape(32769))
    assert f"{case.split()[0]}: the sums have 32769 terms; the engine takes at most 32768" in message
    evaluate(plain, define, np.zeros(shape(32769), np.float16))


def test_limits_are_told_where_weight_files_are_missing(emulator):
    """List them without lowering: kernel, window, sum, and what the generation lacks."""

    def define(x):
        y = mil.conv(x, normal_halves(1, (8, 8, 1, 16)), pad_type="same")
        y = mil.max_pool(y, (1, 9), pad_type="same")
        return mil.sin(mil.linear(mil.reshape(y, (1, 40000)), normal_halves(2, (64, 40000))))

    program = build(define, np.zeros((1, 8, 50, 100), np.float16))
    assert program.weights
    for weights in (None, dict(program.weights)):
        refused = native.check(program.text, weights, "h13")
        assert [each.op for each in refused] == ["conv", "max_pool", "linear", "sin"]


@pytest.mark.parametrize(
    ("define", "shape", "name"),
    [
        (mil.relu, (1, 1, 1, 65537), "'x0'"),
        (mil.relu, (65537, 1), "'x0'"),
        (lambda t: mil.relu(mil.reshape(t, (-1,))), (2, 40000), "'reshape_0'"),
        (lambda t: mil.relu(mil.concat([t, t], 0)), (32769, 1), "'concat_0'"),
        (
            lambda t: mil.conv(t, np.ones((1, 1, 1, 1), np.float16), pad_type="custom", pad=(0, 0, 1, 0)),
            (1, 1, 1, 65536),
            "'y0'",
        ),
    ],
)
def test_axes_have_at_most_65536_elements(emulator, plain, define, shape, name):
    message = refusal(emulator, define, shape)
    assert name in message
    assert "axis of h16 has at most 65536 elements" in message
    evaluate(plain, define, np.ones(shape, np.float16))


def test_axes_may_have_65536_elements(emulator):
    x = normal_halves(1, (1, 65536))
    oracle.assert_same(evaluate(emulator, mil.abs, x)[0], np.abs(x))


def test_what_only_the_emulator_does_not_run(emulator):
    """Let the builder write it; the emulator says that only the emulator lacks it."""
    x, matrix = (1, 4, 3, 5), np.ones((1, 6))
    for define, advice in [
        (lambda t: mil.upsample_nearest_neighbor(t, 1, 1.7), "use resize_nearest_neighbor"),
        (lambda t: mil.upsample_nearest_neighbor(t, 1.3, 1), "use resize_nearest_neighbor"),
        (lambda t: mil.local_response_norm(t, 4), "give an odd size"),
        (lambda t: mil.affine(t, matrix, 1, 5), "map to 2 elements or more"),
    ]:
        message = refusal(emulator, define, x)
        assert "is not documented, so the emulator does not run it: " + advice in message


def test_kernels_of_conv_transpose_are_at_most_15_wide(emulator):
    weight = np.ones((4, 1, 1, 16), np.float16)
    message = refusal(emulator, lambda t: mil.conv_transpose(t, weight), (1, 4, 3, 5))
    assert "the kernel is 16 wide; the engine takes at most 15" in message


REFUSED = {
    "acos": "the Neural Engine's compiler does not accept this operation",
    "gather_nd": "the Neural Engine's compiler does not accept this operation",
    "lstm": "the Neural Engine's compiler does not accept this operation",
    "reduce_argmax": "the Neural Engine's compiler does not accept this operation",
    "cumsum": "use matmul with a triangular constant",
    "identity": "a no-op breaks programs on the Neural Engine: use its operand directly",
    "resize": "write it as resize_bilinear or resize_nearest_neighbor",
    "shape": "shapes are static on the Neural Engine: write them as constants",
    "where": "the Neural Engine's compiler does not accept where: use select",
    "while_loop": "the Neural Engine runs no control flow or lists",
    "read_state": "this route to the Neural Engine has no state",
    "random_normal": "the Neural Engine's compiler accepts no random operations in MIL",
    "list_length": "the Neural Engine runs no control flow or lists",
    "resample": "the Neural Engine runs this operation (751K, measured on M4), but",
    "softplus_parametric": "no measurement tells whether the Neural Engine runs this operation",
}


@pytest.mark.parametrize("op", REFUSED)
def test_operations_that_are_refused_with_a_reason(emulator, op):
    program = build(mil.relu, normal_halves(1, (1, 2, 1, 3)))
    with pytest.raises(CompileError) as caught:
        emulator.compile(program.text.replace("relu(", f"{op}("))
    assert caught.value.kind == "CompilationFailure"
    assert f"{op}: " in str(caught.value)
    assert REFUSED[op] in str(caught.value)
    line = program.text.splitlines()[caught.value.line - 1]
    assert line[caught.value.column - 1 :].startswith("relu(")


def test_an_unknown_operation_is_an_error_of_the_text(emulator):
    text = build(mil.relu, normal_halves(1, (1, 2, 1, 3))).text
    with pytest.raises(CompileError, match="there is no such operation in MIL") as caught:
        emulator.compile(text.replace("relu(", "rectify("))
    assert caught.value.kind == "InvalidMILProgram"


def test_an_argument_that_an_operation_does_not_have(emulator):
    text = build(mil.relu, normal_halves(1, (1, 2, 1, 3))).text
    with pytest.raises(CompileError, match="relu: has no argument 'bias'"):
        emulator.compile(text.replace("relu(", "relu(bias = fp16(1), "))
