"""Programs that a chip's compiler, or any, refuses: a note or an error, and no time for what cannot run."""

from pathlib import Path

import pytest

import aneperf
from aneperf import mil
from aneperf.errors import ProgramError

HEADER = """program(1.3)
[buildInfo = dict<string, string>({{"coremltools-version", "9.0"}})]
{
    func main<ios18>(%s) {
        bool no = const()[name = string("no"), val = bool(false)];
        int32 one = const()[name = string("one"), val = int32(1)];
        tensor<int32, [2]> ones = const()[name = string("ones"), val = tensor<int32, [2]>([1, 1])];
        tensor<int32, [2]> wide =
            const()[name = string("wide"), val = tensor<int32, [2]>([2147483647, -2147483648])];
        tensor<int32, [4]> none = const()[name = string("none"), val = tensor<int32, [4]>([0, 0, 0, 0])];
        string valid = const()[name = string("valid"), val = string("valid")];
        tensor<%s, [1, 4, 8, 8]> y = %s[name = string("y")];
    } -> (y);
}
"""
X = "tensor<fp16, [1, 4, 8, 8]> x"
CONV = "conv(x = x, weight = {}, strides = {}, pad_type = valid, pad = none, dilations = ones, groups = {})"
MATMUL = "matmul(x = {}, y = {}, transpose_x = no, transpose_y = no)"


def program(call: str, inputs: str = X, dtype: str = "fp16") -> mil.Program:
    return mil.Program({}, {}, HEADER % (inputs, dtype, call), {})


@pytest.mark.parametrize(
    ("call", "inputs", "said"),
    [
        ("conv(x = x)", X, "conv: argument 'weight' is missing"),
        ("matmul(y = x)", X, "matmul: argument 'x' is missing"),
        ("matmul(x = x)", X, "matmul: argument 'y' is missing"),
        ("relu()", X, "relu: argument 'x' is missing"),
        ("scaled_dot_product_attention(query = x, value = x)", X, "argument 'key' is missing"),
        ("einsum(equation = valid, values = (x, x))", X, "einsum: the engine takes"),
        ("einsum(equation = x, values = x)", X, "'equation' must be a constant"),
        ("max_pool(x = x, kernel_sizes = valid)", X, "'kernel_sizes' is string"),
        (
            "max_pool(x = x, kernel_sizes = wide, strides = ones, pad_type = valid, pad = none)",
            X,
            "kernel_sizes needs a positive integer",
        ),
        (CONV.format("w", "ones", "ones"), f"{X}, tensor<fp16, [4, 4, 1, 1]> w", "must be one integer"),
        (CONV.format("w", "ones", "one"), f"{X}, fp16 w", "with as many axes as x"),
        (CONV.format("w", "x", "one"), f"{X}, tensor<fp16, [4, 4, 1, 1]> w", "'strides' must be a constant"),
        (MATMUL.format("s", "s"), "fp16 s", "must have at least two axes"),
        ("cumsum(x = x, axis = one)", X, "does not accept this operation"),
        ("frobnicate(x = x)", X, "there is no such operation"),
        ("relu(x = x)", "tensor<int32, [1, 4, 8, 8]> x", "port 'x' is int32"),
        ("relu(x = x)", "string x", "port 'x' is string"),
        ("relu(x = x)", "tensor<fp16, [1, 4, 8, 9]> x", "'y' is declared"),
    ],
    ids=lambda value: value[:24],
)
@pytest.mark.parametrize("fp16", [False, True])
def test_what_no_engine_runs_has_no_time(call: str, inputs: str, said: str, fp16: bool) -> None:
    with pytest.raises(ProgramError, match=r"program: line \d+: .*no engine runs this program") as error:
        aneperf.predict(program(call, inputs), "M4", fp16=fp16)
    assert said in str(error.value)


def test_the_other_reasons_are_counted() -> None:
    with pytest.raises(ProgramError, match=r"has no time\. aneperf lint lists all 2 reasons"):
        aneperf.predict(program("frobnicate(x = x)", f"{X}, int32 unused"), "M4")


FP32 = "tensor<fp32, [1, 4, 8, 8]> a, tensor<fp32, [1, 4, 8, 8]> b"


@pytest.mark.parametrize("chip", ["M1", "M4"])
def test_a_program_in_fp32_has_the_time_of_the_same_in_fp16(tmp_path: Path, chip: str) -> None:
    file = tmp_path / "fp32.mil"
    file.write_text(program(MATMUL.format("a", "b"), FP32, "fp32").text)
    found, converted = aneperf.predict(file, chip), aneperf.predict(file, chip, fp16=True)
    notes = " ".join(found.notes)
    assert f"{chip}: the compiler refuses the program: matmul: " in notes
    assert "'x' is fp32, must be fp16" in notes
    assert "The time is that of the same in fp16. Convert the program to fp16: --fp16" in notes
    assert "refuses" not in " ".join(converted.notes)
    assert found.ms == converted.ms


def test_what_the_conversion_shows_is_told_at_its_line_before() -> None:
    text = program(MATMUL.format("a", "b"), FP32.replace("[1, 4, 8, 8]", "[1, 4, 8, 9]"), "fp32").text
    line = text.split("\n").index(next(row for row in text.split("\n") if "matmul" in row)) + 1
    with pytest.raises(ProgramError, match=f"line {line}: matmul: "):
        aneperf.predict(mil.Program({}, {}, text, {}), "M4")


def test_what_one_chip_refuses_is_noted() -> None:
    b = mil.Builder()
    b.output("y", mil.max_pool(b.input("x", (1, 4, 64, 64)), (15, 15)))
    (*_, note) = aneperf.predict(b.build(), "M4").notes
    assert "M4: the compiler refuses the program: max_pool: " in note
    assert "The time is what it would take if the compiler took it." in note
