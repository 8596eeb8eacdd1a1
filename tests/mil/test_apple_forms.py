"""MIL as Apple's tools write it: headers, literals, flexible shapes, state, control flow."""

import itertools

import numpy as np
import pytest

import aneperf
from aneperf import CompileError
from aneperf import _ane_native as native

SHORT = '[buildInfo = dict<string, string>({{"coremlc-version", "3520.5.1"}})]'
LONG = '[buildInfo = dict<tensor<string, []>, tensor<string, []>>({{"coremlc-version", "3500.32.1"}})]'
X = "tensor<fp16, [1, 4, 1, 8]>"
RELU = f'{X} y = relu(x = x)[name = string("y")];'
FLEXIBLE = (
    "[FlexibleShapeInformation = tuple<tuple<string, dict<string, tensor<int32, [?]>>>, tuple<string, "
    'dict<string, list<tensor<int32, [2]>, ?>>>>((("DefaultShapes", {{"x", [1, 4, 1, 8]}}), '
    '("RangeDims", {{"x", [[1, 1], [4, 4], [1, 1], [8, 64]]}})))]'
)


def program(
    body: str = RELU,
    inputs: str = f"{X} x",
    attributes: str = "",
    version: str = "1.3",
    opset: str = "ios18",
    info: str = SHORT,
) -> str:
    head = f"program({version})\n{info}\n{{\nfunc main<{opset}>({inputs}) {attributes}"
    return f"{head}{{\n{body}\n}} -> (y);\n}}\n"


def refusal(device: aneperf.Device, text: str) -> CompileError:
    with pytest.raises(CompileError) as caught:
        device.compile(text)
    return caught.value


@pytest.mark.parametrize("opset", ["ios15", "ios16", "ios17", "ios18"])
@pytest.mark.parametrize(("version", "info"), [("1.0", LONG), ("1.3", SHORT)])
def test_each_version_goes_with_each_opset(
    emulator: aneperf.Device, version: str, info: str, opset: str
) -> None:
    x = np.linspace(-2, 2, 32, dtype=np.float16).reshape(1, 4, 1, 8)
    compiled = emulator.compile(program(version=version, opset=opset, info=info))
    np.testing.assert_array_equal(compiled.run(x=x)["y"], np.maximum(x, 0))


@pytest.mark.parametrize(("version", "opset"), [("1.3", "ios14"), ("1.1", "ios18"), ("2.0", "ios16")])
def test_other_pairs_are_refused(emulator: aneperf.Device, version: str, opset: str) -> None:
    message = str(refusal(emulator, program(version=version, opset=opset)))
    assert "write program(1.0) or program(1.3), with ios15, ios16, ios17 or ios18" in message


@pytest.mark.parametrize("form", ["fp16({})", "tensor<fp16, []>({})"])
def test_clip_between_infinities_changes_nothing(plain: aneperf.Device, form: str) -> None:
    low, high = form.format("-inf"), form.format("inf")
    x = np.array([-65504, -1, 0, 3, 65504, -np.inf, np.inf, 2], np.float16).repeat(4).reshape(1, 4, 1, 8)
    compiled = plain.compile(program(f"{X} y = clip(alpha = {low}, beta = {high}, x = x);"))
    np.testing.assert_array_equal(compiled.run(x=x)["y"], x)


def test_a_mask_of_infinities_leaves_no_weight_to_masked_elements(emulator: aneperf.Device) -> None:
    mask = "tensor<fp16, [8]> m = const()[val = tensor<fp16, [8]>([0, 0, 0, -inf, -inf, 0, -inf, 0])];"
    body = f"{mask} {X} s = add(x = x, y = m); {X} y = softmax(axis = int32(-1), x = s);"
    x = np.linspace(-2, 2, 32, dtype=np.float16).reshape(1, 4, 1, 8)
    got = emulator.compile(program(body)).run(x=x)["y"]
    masked = np.where([1, 1, 1, 0, 0, 1, 0, 1], x.astype(float), -np.inf)
    expected = np.exp(masked) / np.exp(masked).sum(-1, keepdims=True)
    np.testing.assert_array_equal(got[..., [3, 4, 6]], 0)
    np.testing.assert_allclose(got, expected, atol=2e-3)


@pytest.mark.parametrize("dtype", ["fp16", "fp32"])
@pytest.mark.parametrize(
    ("op", "arguments", "expected"),
    [
        ("leaky_relu", {"alpha": 2**-7}, lambda x: np.where(x < 0, x * 2**-7, x)),
        ("thresholded_relu", {"alpha": 0.25}, lambda x: np.where(x >= 0.25, x, 0)),
        ("clip", {"alpha": -0.5, "beta": 0.75}, lambda x: np.clip(x, -0.5, 0.75)),
        ("rsqrt", {"epsilon": 4.0}, lambda x: 1 / np.sqrt(x + 4)),
        ("layer_norm", {"epsilon": 0.5}, None),
    ],
)
def test_scalars_of_both_float_types_give_the_same(
    plain: aneperf.Device, op: str, arguments: dict[str, float], expected: object, dtype: str
) -> None:
    scalars = ", ".join(f"{name} = {dtype}({value.hex()})" for name, value in arguments.items())
    axes = "axes = tensor<int32, [1]>([-1]), " if op == "layer_norm" else ""
    x = np.linspace(-2, 2, 32, dtype=np.float16).reshape(1, 4, 1, 8)
    got = plain.compile(program(f"{X} y = {op}({axes}{scalars}, x = x);")).run(x=x)["y"]
    wide = x.astype(float)
    if callable(expected):
        right = expected(wide)
    else:
        right = (wide - wide.mean(-1, keepdims=True)) / np.sqrt(wide.var(-1, keepdims=True) + 0.5)
    np.testing.assert_allclose(got, right, rtol=2**-10, atol=2**-10)


def test_an_fp32_tensor_is_no_scalar(emulator: aneperf.Device) -> None:
    message = str(refusal(emulator, program(f"{X} y = add(x = x, y = fp32(1));")))
    assert "'y' is fp32, must be fp16" in message
    message = str(
        refusal(emulator, program(f"{X} y = dequantize(input = x, scale = fp32(1));").replace("fp16", "int8"))
    )
    assert "fp32" in message or "int8" in message


def test_a_tuple_of_one_value_needs_no_parentheses(emulator: aneperf.Device) -> None:
    x = np.linspace(-2, 2, 32, dtype=np.float16).reshape(1, 4, 1, 8)
    for values in ("x", "(x)"):
        text = program(f"{X} y = concat(axis = int32(1), interleave = bool(false), values = {values});")
        np.testing.assert_array_equal(emulator.compile(text).run(x=x)["y"], x)


@pytest.mark.parametrize("axis", range(4))
def test_a_flexible_axis_is_refused_by_name(emulator: aneperf.Device, axis: int) -> None:
    shape: list[object] = [1, 4, 1, 8]
    shape[axis] = "?"
    flexible = f"tensor<fp16, [{', '.join(map(str, shape))}]>"
    text = program(f"{flexible} y = relu(x = x);", f"{flexible} x", FLEXIBLE)
    error = refusal(emulator, text)
    assert error.kind == "CompilationFailure"
    assert f"axis {axis} of x is flexible: the engine compiles fixed shapes only" in str(error)
    assert [r.line for r in native.check(text)] == [error.line]


def test_a_flexible_result_of_fixed_shapes_is_refused(emulator: aneperf.Device) -> None:
    error = refusal(emulator, program("tensor<fp16, [1, 4, 1, ?]> y = relu(x = x);"))
    assert "axis 3 of y is flexible" in str(error)


def test_behind_a_flexible_shape_operations_are_checked_by_name() -> None:
    flexible = "tensor<fp16, [1, ?]>"
    text = program(f"{flexible} z = cosh(x = x); {flexible} y = relu(x = z);", f"{flexible} x")
    assert [(r.line, r.op) for r in native.check(text)] == [(4, "port"), (5, "cosh")]


@pytest.mark.parametrize(
    "attributes",
    [FLEXIBLE, '[other = string("a, b")] ', '[a = int32(1), b = dict<string, fp16>({{"k", 1}})]'],
)
def test_attributes_of_functions_are_no_obstacle(emulator: aneperf.Device, attributes: str) -> None:
    emulator.compile(program(attributes=attributes))


def test_other_attributes_of_programs_are_no_obstacle(emulator: aneperf.Device) -> None:
    emulator.compile(program(info=SHORT[:-1] + ', origin = dict<string, fp16>({{"a", 1}})]'))
    emulator.compile(program(info='[origin = string("]"), ' + SHORT[1:]))


def test_a_state_is_refused_with_its_reason(emulator: aneperf.Device) -> None:
    body = (
        f"{X} s = read_state(input = cache);\n{X} y = add(x = s, y = x);\n"
        'write_state(data = y, input = cache)[name = string("w")];'
    )
    text = program(body, f"{X} x, state<{X}> cache")
    error = refusal(emulator, text)
    assert error.kind == "CompilationFailure"
    assert "'cache' is a state: this route to the Neural Engine has no state" in str(error)
    assert [(r.line, r.op) for r in native.check(text)] == [
        (4, "port"),
        (5, "read_state"),
        (7, "write_state"),
    ]


BLOCKS = [
    '{ X p = exp(x = x)[name = string("p")]; -> (p) } { X q = relu(x = x); -> (q) }',
    "{\n X p = exp(x = x);\n } -> (p) {\n X q = relu(x = x);\n } -> (q)",
    "cond_true() { X p = exp(x = x); } -> (p), cond_false() { X p = cond(pred = b) { } { }; } -> (p)",
]


@pytest.mark.parametrize(("op", "blocks"), list(itertools.product(["cond", "while_loop"], BLOCKS)))
@pytest.mark.parametrize("name", ["", '[name = string("y")] '])
def test_control_flow_is_read_and_refused_with_its_reason(
    emulator: aneperf.Device, op: str, blocks: str, name: str
) -> None:
    text = program(f"{X} y = {op}(pred = x) {name}{blocks.replace('X', X)};\n{X} z = relu(x = y);")
    error = refusal(emulator, text)
    assert error.kind == "CompilationFailure"
    assert f"{op}: the Neural Engine runs no control flow" in str(error)
    assert [(r.line, r.op) for r in native.check(text)] == [(5, op)]


def test_lists_and_labels_are_read_and_refused_with_their_reason() -> None:
    text = program(
        f"list<{X}, ?> l = make_list(init_length = int32(1));\n"
        'tensor<string, [2]> c = const()[val = tensor<string, [2]>(["a]", "b"])];\n'
        "string label, dict<string, fp32> p = classify(classes = c, probabilities = x);\n" + RELU
    )
    assert [(r.line, r.op, r.kind) for r in native.check(text)] == [
        (5, "make_list", "CompilationFailure"),
        (7, "classify", "CompilationFailure"),
    ]


@pytest.mark.parametrize("dtype", ["int64", "fp64", "bf16"])
def test_types_that_the_engine_lacks_are_named(emulator: aneperf.Device, dtype: str) -> None:
    error = refusal(emulator, program(f"tensor<{dtype}, [1]> z = cast(x = x);\n{RELU}"))
    assert error.kind == "CompilationFailure"
    assert f"the engine has no {dtype}: convert to fp16 or int32" in str(error)
