"""Models of coremltools become the text that Apple's compiler makes of them."""

import logging
import warnings
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import aneperf
from aneperf import ArgumentError, mil
from aneperf.mil.coreml import spell_model


@pytest.fixture(scope="module")
def proto() -> tuple[ModuleType, ModuleType]:
    """Import the classes of Core ML's protobufs."""
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = pytest.importorskip("coremltools.proto.Model_pb2")
        from coremltools.proto import MIL_pb2
    logging.disable(logging.NOTSET)
    return model, MIL_pb2


class Maker:
    """Makes the protobuf of a program."""

    def __init__(self, proto: tuple[ModuleType, ModuleType], opset: str = "CoreML8") -> None:
        self.model, self.mil = proto[0].Model(), proto[1]
        self.function = self.model.mlProgram.functions["main"]
        self.function.opset = opset
        self.block = self.function.block_specializations[opset]

    def tensor(self, type: Any, dtype: str, *shape: int | None) -> Any:
        type.tensorType.dataType = self.mil.DataType.Value(dtype)
        type.tensorType.rank = len(shape)
        for extent in shape:
            dimension = type.tensorType.dimensions.add()
            if extent is None:
                dimension.unknown.variadic = False
            else:
                dimension.constant.size = extent
        return type

    def input(self, name: str, dtype: str = "FLOAT16", *shape: int | None) -> None:
        self.tensor(self.function.inputs.add(name=name).type, dtype, *shape)

    def operation(self, type: str, result: str, *shape: int, block: Any = None, **arguments: str) -> Any:
        operation = (block or self.block).operations.add(type=type)
        self.tensor(operation.outputs.add(name=result).type, "FLOAT16", *shape)
        for name, value in arguments.items():
            operation.inputs[name].arguments.add(name=value)
        return operation

    def constant(self, kind: str, values: Any, dtype: str, *shape: int) -> None:
        operation = self.block.operations.add(type="const")
        self.tensor(operation.outputs.add(name="c").type, dtype, *shape)
        value = operation.attributes["val"]
        self.tensor(value.type, dtype, *shape)
        stored = getattr(value.immediateValue.tensor, kind)
        if kind == "bytes":
            stored.values = values
        else:
            stored.values.extend(values)

    def text(self, *outputs: str) -> str:
        self.block.outputs.extend(outputs)
        return spell_model(self.model.SerializeToString())

    def lines(self, *outputs: str) -> list[str]:
        """Return the lines of the function."""
        return [line.strip() for line in self.text(*outputs).splitlines()[3:-1]]


def half(*values: float) -> bytes:
    return np.array(values, np.float16).tobytes()


CONSTANTS = {
    "half": ("bytes", half(1, -np.inf), "FLOAT16", (2,), "tensor<fp16, [2]>([0x1p+0, -inf])"),
    "half scalar": ("bytes", half(0.1), "FLOAT16", (), "fp16(0x1.998p-4)"),
    "float": ("floats", [0.1, np.nan], "FLOAT32", (2, 1), "tensor<fp32, [2, 1]>([[0x1.99999ap-4], [nan]])"),
    "integer": ("ints", [-3], "INT32", (), "int32(-3)"),
    "integers": ("ints", [1, 2, 3, 4], "INT32", (2, 2), "tensor<int32, [2, 2]>([[1, 2], [3, 4]])"),
    "bytes": ("bytes", b"\xff\x01", "INT8", (2,), "tensor<int8, [2]>([-1, 1])"),
    "truth": ("bools", [True, False], "BOOL", (2,), "tensor<bool, [2]>([true, false])"),
    "string": ("strings", ['a "b" \\'], "STRING", (), 'string("a \\"b\\" \\\\")'),
    "strings": ("strings", ["a", "b"], "STRING", (2,), 'tensor<string, [2]>(["a", "b"])'),
}


@pytest.mark.parametrize("case", CONSTANTS)
def test_constants(proto: Any, case: str) -> None:
    kind, values, dtype, shape, spelled = CONSTANTS[case]
    maker = Maker(proto)
    maker.constant(kind, values, dtype, *shape)
    type = spelled.partition("(")[0]
    assert maker.lines()[1] == f"{type} c = const()[val = {spelled}];"


def test_older_targets_have_scalars_of_rank_0(proto: Any) -> None:
    maker = Maker(proto, "CoreML6")
    maker.constant("ints", [7], "INT32")
    text = maker.text()
    assert text.startswith("program(1.0)\n[buildInfo = dict<tensor<string, []>, tensor<string, []>>(")
    assert "func main<ios16>() {" in text
    assert "tensor<int32, []> c = const()[val = tensor<int32, []>(7)];" in text


def test_a_weight_is_a_reference(proto: Any) -> None:
    maker = Maker(proto)
    operation = maker.block.operations.add(type="const")
    maker.tensor(operation.outputs.add(name="w").type, "FLOAT16", 4)
    value = operation.attributes["val"]
    maker.tensor(value.type, "FLOAT16", 4)
    value.blobFileValue.fileName, value.blobFileValue.offset = "@model_path/weights/weight.bin", 64
    place = 'path = string("@model_path/weights/weight.bin"), offset = uint64(64)'
    assert maker.lines()[1] == f"tensor<fp16, [4]> w = const()[val = tensor<fp16, [4]>(BLOBFILE({place}))];"


def test_names_become_names_of_mil(proto: Any) -> None:
    maker = Maker(proto)
    for name in ("x.1", "x/1", "1", "const", "größe"):
        maker.input(name, "FLOAT16", 2)
    maker.operation("add", "y", 2, x="x.1", y="x/1")
    maker.operation("add", "fp16", 2, x="1", y="const")
    inputs = [f"tensor<fp16, [2]> {name}" for name in ("x_1", "x_1_", "_1_", "const_", "gr__e")]
    assert maker.lines("fp16") == [
        f"func main<ios18>({', '.join(inputs)}) {{",
        "tensor<fp16, [2]> y = add(x = x_1, y = x_1_);",
        "tensor<fp16, [2]> fp16_ = add(x = _1_, y = const_);",
        "} -> (fp16_);",
    ]


def test_several_values_of_an_argument_are_a_tuple(proto: Any) -> None:
    maker = Maker(proto)
    maker.input("x", "FLOAT16", 2)
    operation = maker.operation("concat", "y", 4, values="x")
    operation.inputs["values"].arguments.add(name="x")
    literal = operation.inputs["axis"].arguments.add().value
    maker.tensor(literal.type, "INT32")
    literal.immediateValue.tensor.ints.values.append(0)
    assert maker.lines("y")[1] == "tensor<fp16, [4]> y = concat(axis = int32(0), values = (x, x));"


def test_one_value_of_a_tuple_is_a_tuple(proto: Any) -> None:
    maker = Maker(proto)
    maker.input("x", "FLOAT16", 2)
    maker.operation("stack", "y", 1, 2, values="x")
    assert maker.lines("y")[1] == "tensor<fp16, [1, 2]> y = stack(values = (x));"


def test_flexible_shapes_states_and_blocks_are_spelled(proto: Any) -> None:
    maker = Maker(proto)
    maker.input("x", "FLOAT16", 1, None)
    state = maker.function.inputs.add(name="s").type.stateType.wrappedType
    maker.tensor(state, "FLOAT16", 2)
    condition = maker.operation("cond", "y", 2, pred="x")
    for name in ("a", "b"):
        block = condition.blocks.add(outputs=[name])
        maker.operation("relu", name, 2, block=block, x="x")
    assert maker.lines("y") == [
        "func main<ios18>(tensor<fp16, [1, ?]> x, state<tensor<fp16, [2]>> s) {",
        "tensor<fp16, [2]> y = cond(pred = x) {",
        "tensor<fp16, [2]> a = relu(x = x);",
        "} -> (a) {",
        "tensor<fp16, [2]> b = relu(x = x);",
        "} -> (b);",
        "} -> (y);",
    ]


@pytest.mark.parametrize(
    ("kind", "values", "dtype"), [("floats", [1.0], "FLOAT32"), ("bytes", b"ab", "FLOAT16")]
)
def test_a_value_of_a_flexible_shape_is_refused(proto: Any, kind: str, values: Any, dtype: str) -> None:
    maker = Maker(proto)
    maker.constant(kind, values, dtype, None, None)
    with pytest.raises(ArgumentError, match=r"holds a value of the flexible shape \[-1, -1\]"):
        maker.text("c")


def test_what_is_no_program_is_named(proto: Any) -> None:
    model = proto[0].Model()
    for content, message in (
        (b"", "holds no model"),
        (b"\x08\x07\x12\x7f", "damaged or truncated"),
        (b"junk", "damaged or truncated"),
    ):
        with pytest.raises(ArgumentError, match=message):
            spell_model(content)
    model.neuralNetwork.layers.add(name="a")
    with pytest.raises(ArgumentError, match="a model of the type neuralNetwork, not an ML program"):
        spell_model(model.SerializeToString())
    maker = Maker(proto)
    maker.constant("ints", [1, 2], "INT32", 3)
    with pytest.raises(ArgumentError, match="holds 2 values where"):
        maker.text()


def test_a_truncated_model_is_one_line(proto: Any) -> None:
    maker = Maker(proto)
    for name in "abc":
        maker.input(name, "FLOAT16", 2)
    maker.operation("add", "y", 2, x="a", y="b")
    content = maker.model.SerializeToString()
    for length in range(len(content)):
        try:
            text = spell_model(content[:length])
        except aneperf.AneError as error:
            assert "\n" not in str(error)
        else:
            assert text.startswith("program(")


@pytest.fixture(scope="module", params=["fp16", "fp32"])
def package(proto: Any, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a precision, and a package that coremltools made with it: relu(x @ WEIGHT.T)."""
    path = tmp_path_factory.mktemp("model") / "m.mlpackage"
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import coremltools
        from coremltools.converters.mil import Builder
        from coremltools.converters.mil.mil import types

        dtype = getattr(types, request.param)
        precision = getattr(coremltools.precision, {"fp16": "FLOAT16", "fp32": "FLOAT32"}[request.param])

        @Builder.program(
            input_specs=[Builder.TensorSpec((1, 16), dtype=dtype)], opset_version=coremltools.target.iOS18
        )
        def program(x: Any) -> Any:
            weight = WEIGHT.astype(f"float{request.param[2:]}")
            return Builder.relu(x=Builder.matmul(x=x, y=weight, transpose_y=True), name="y")

        coremltools.convert(
            program,
            minimum_deployment_target=coremltools.target.iOS18,
            compute_precision=precision,
            skip_model_load=True,
        ).save(str(path))
    logging.disable(logging.NOTSET)
    return request.param, path


WEIGHT = np.random.default_rng(0).standard_normal((8, 16)).astype(np.float16)


def test_a_package_of_coremltools_runs(package: Any, emulator: aneperf.Device) -> None:
    precision, path = package
    program = mil.read(path)
    if precision == "fp32":
        with pytest.raises(aneperf.CompileError, match="fp32"):
            program.compile(emulator)
        program = mil.to_fp16(program)
        assert program.changes.operations == 2
        assert program.inputs["x"].dtype == "fp32"
    x = np.random.default_rng(1).standard_normal((1, 16)).astype(np.float16)
    (y,) = program.compile(emulator).run(x=x.astype(f"float{precision[2:]}")).values()
    expected = np.maximum(x.astype(np.float64) @ WEIGHT.T.astype(np.float64), 0)
    np.testing.assert_allclose(y, expected, atol=2**-8)
    assert y.max() > 1


def test_lint_takes_a_package(package: Any, run: Any) -> None:
    precision, path = package
    outcome = run("lint", str(path))
    assert outcome.code == (precision == "fp32")
    assert (": fails: matmul: " in outcome.out) == (precision == "fp32")
    outcome = run("lint", str(path), "--fp16")
    assert outcome.code == 0
    assert outcome.err == ""
