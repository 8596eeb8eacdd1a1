"""MIL text to graph: both dialects, the bits of literals, and the place and words of every refusal."""

import random
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest

from aneperf import CompileError
from aneperf import _ane_native as native
from support.mil_text import program

MODERN = """\
program(1.3)
[buildInfo = dict<string, string>({{"coremlc-component-MIL", "3510.2.1"}, {"coremltools-version", "9.0"}})]
{
    func main<ios18>(tensor<fp16, [1, 4, 1, 32]> x) {
        string mode = const()[name = string("mode"), val = string("valid")];
        tensor<int32, [2]> ones = const()[name = string("ones"), val = tensor<int32, [2]>([1, 1])];
        fp16 scale = const()[name = string("scale"), val = fp16(0x1p-3)];
        bool no = const()[name = string("no"), val = bool(false)];
        tensor<fp16, [4, 4, 1, 1]> w = const()[name = string("w"), val = tensor<fp16, [4, 4, 1, 1]>(
            BLOBFILE(path = string("@model_path/weights/w.bin"), offset = uint64(64)))];
        tensor<fp16, [1, 4, 1, 32]> c =
            conv(x = x, weight = w, strides = ones, pad_type = mode)[name = string("c")];
        tensor<fp16, [1, 2, 1, 32]> a, tensor<fp16, [1, 2, 1, 32]> b =
            split(x = c, num_splits = int32(2), axis = int32(1))[name = string("halves")];
        tensor<fp16, [1, 4, 1, 32]> y =
            concat(axis = int32(1), interleave = no, values = (b, a))[name = string("y")];
        tensor<fp16, [1, 4, 1, 32]> z = mul(x = y, y = scale);
    } -> (z, y);
}
"""

OLD = """\
program(1.0)
[buildInfo=dict<tensor<string,[]>,tensor<string,[]>>({{"coremlc-version","3505.4.1"}})]{
func main<ios16>(tensor<fp16,[1,4,1,32]> x){
tensor<string,[]> mode=const()[name=tensor<string,[]>("mode"),val=tensor<string,[]>("valid")];
tensor<int32,[2]> ones=const()[name=tensor<string,[]>("ones"),val=tensor<int32,[2]>([1,1])];
tensor<fp16,[]> scale=const()[name=tensor<string,[]>("scale"),val=tensor<fp16,[]>(0x1p-3)];
tensor<bool,[]> no=const()[name=tensor<string,[]>("no"),val=tensor<bool,[]>(false)];
tensor<fp16,[4,4,1,1]> w=const()[name=tensor<string,[]>("w"),val=tensor<fp16,[4,4,1,1]>(BLOBFILE(path=
tensor<string,[]>("@model_path/weights/w.bin"),offset=tensor<uint64,[]>(64)))];
tensor<fp16,[1,4,1,32]> c=conv(x=x,weight=w,strides=ones,pad_type=mode)[name=tensor<string,[]>("c")];
tensor<fp16,[1,2,1,32]> a,tensor<fp16,[1,2,1,32]> b=split(x=c,num_splits=tensor<int32,[]>(2),
axis=tensor<int32,[]>(1))[name=tensor<string,[]>("halves")];
tensor<fp16,[1,4,1,32]> y=concat(axis=tensor<int32,[]>(1),interleave=no,values=(b,a))[name=
tensor<string,[]>("y")];
tensor<fp16,[1,4,1,32]> z=mul(x=y,y=scale);}->(z,y);}
"""


def parse_body(body: str) -> dict[str, Any]:
    function: dict[str, Any] = native.parse(program(body))["functions"][0]
    return function


def literal(dtype: str, text: str) -> dict[str, Any]:
    """Return the value that `dtype(text)` gives as a constant."""
    function = parse_body(f"{dtype} c = const()[val = {dtype}({text})]; fp16 y = relu(x = x);")
    value: dict[str, Any] = next(value for value in function["values"] if value["name"] == "c")
    return value


def elements(dtype: str, texts: list[str], numpy_dtype: str) -> np.ndarray[Any, np.dtype[Any]]:
    value = literal(f"tensor<{dtype}, [{len(texts)}]>", f"[{', '.join(texts)}]")
    return np.frombuffer(value["constant"], numpy_dtype)


def error_of(text: str) -> CompileError | None:
    try:
        native.parse(text)
    except CompileError as error:
        return error
    return None


def test_graph() -> None:
    parsed = native.parse(MODERN)
    assert parsed["version"] == "1.3"
    assert parsed["build_info"] == [("coremlc-component-MIL", "3510.2.1"), ("coremltools-version", "9.0")]
    (function,) = parsed["functions"]
    assert (function["name"], function["opset"]) == ("main", "ios18")
    values = function["values"]
    ids = {value["name"]: i for i, value in enumerate(values) if value["name"]}
    assert function["inputs"] == [ids["x"]]
    assert function["outputs"] == [ids["z"], ids["y"]]
    conv, split, concat, mul = function["operations"]
    assert conv["op"] == "conv"
    assert conv["arguments"] == [
        ("x", [ids["x"]], False),
        ("weight", [ids["w"]], False),
        ("strides", [ids["ones"]], False),
        ("pad_type", [ids["mode"]], False),
    ]
    assert split["results"] == [ids["a"], ids["b"]]
    assert concat["arguments"][2] == ("values", [ids["b"], ids["a"]], True)
    assert mul["results"] == [ids["z"]]
    (num_splits,) = split["arguments"][1][1]
    assert MODERN.splitlines()[split["line"] - 1].count("split(") == 1
    assert values[num_splits] == {
        "name": "",
        "line": split["line"],
        "dtype": "int32",
        "shape": (),
        "constant": b"\x02\0\0\0",
        "blob": None,
    }
    assert values[ids["w"]]["blob"] == ("@model_path/weights/w.bin", 64)
    assert values[ids["w"]]["constant"] is None
    assert values[ids["w"]]["shape"] == (4, 4, 1, 1)
    assert values[ids["mode"]]["constant"] == "valid"
    assert values[ids["x"]]["constant"] is None


def test_dialects_give_the_same_graph() -> None:
    modern, old = (native.parse(text)["functions"][0] for text in (MODERN, OLD))
    for function in (modern, old):  # whose text has other lines
        for part in (*function["values"], *function["operations"]):
            del part["line"]
    assert old["opset"] == "ios16"
    assert {**old, "opset": "ios18"} == modern


def test_windows_line_ends() -> None:
    assert native.parse(MODERN.replace("\n", "\r\n")) == native.parse(MODERN)


def test_several_functions_have_their_own_names() -> None:
    function = "func {}<ios18>(fp16 x) {{ fp16 y = relu(x = x); }} -> (y);"
    parsed = native.parse(f"program(1.3){{{function.format('first')}{function.format('second')}}}")
    assert [function["name"] for function in parsed["functions"]] == ["first", "second"]


def test_const_spellings_agree() -> None:
    spellings = [
        'fp16 c = const()[name = string("c"), val = fp16(2.0)];',
        'fp16 c = const()[val = tensor<fp16, []>(2.0), name = string("c")];',
        'tensor<fp16, []> c = const(val = fp16(2.0))[name = string("c")];',
        "fp16 c = const(val = fp16(2.0));",
    ]
    graphs = [parse_body(spelling + "fp16 y = mul(x = x, y = c);") for spelling in spellings]
    assert all(graph == graphs[0] for graph in graphs)


def test_constexpr_attributes_are_arguments() -> None:
    parts = (
        "axis = int32(0), quantized_data = tensor<int8, [2]>([1, 2]), scale = fp16(0.5), zero_point = int8(0)"
    )
    result = "tensor<fp16, [2]> y = constexpr_affine_dequantize"
    as_attributes = parse_body(f'{result}()[{parts}, name = string("y")];')
    as_arguments = parse_body(f'{result}({parts})[name = string("y")];')
    assert as_attributes == as_arguments
    names = [name for name, _, _ in as_attributes["operations"][0]["arguments"]]
    assert names == ["axis", "quantized_data", "scale", "zero_point"]


def test_words_of_the_grammar_are_names_too() -> None:
    function = parse_body(
        "fp16 func = relu(x = x); fp16 tensor = relu(x = func); fp16 int32 = relu(x = tensor);"
        "fp16 true = relu(x = int32); fp16 y = add(x = true, y = tensor);"
    )
    assert [op["arguments"][0][1] for op in function["operations"]] == [[0], [1], [2], [3], [4]]


def test_string_escapes() -> None:
    assert literal("string", r'"a\"b\\c\nd\te é"')["constant"] == 'a"b\\c\nd\te é'


@pytest.mark.parametrize(
    ("dtype", "text", "expected"),
    [
        ("bool", "true", "01"),
        ("int8", "-128", "80"),
        ("uint8", "255", "ff"),
        ("int16", "-2", "feff"),
        ("uint16", "0xbeef", "efbe"),
        ("int32", "-2147483648", "00000080"),
        ("int32", "0x10", "10000000"),
        ("uint32", "4294967295", "ffffffff"),
        ("uint64", "18446744073709551615", "ff" * 8),
        ("fp16", "1", "003c"),
        ("fp16", "-0.0", "0080"),
        ("fp16", "0x3c00", "003c"),
        ("fp16", "0xFC00", "00fc"),
        ("fp16", "0x1p-3", "0030"),
        ("fp16", "0x1.0cp-17", "8600"),
        ("fp16", "-0x1.ff8p+15", "fefb"),
        ("fp16", "2049", "0068"),
        ("fp16", "2049.00000001", "0168"),
        ("fp16", "65519.999", "ff7b"),
        ("fp16", "1e-30", "0000"),
        ("fp32", "0x1.8p+1", "00004040"),
        ("fp32", "-1e-45", "01000080"),
        ("fp32", "3.4028235e38", "ffff7f7f"),
        ("fp16", "inf", "007c"),
        ("fp16", "-inf", "00fc"),
        ("fp16", "nan", "007e"),
        ("fp16", "-nan", "00fe"),
        ("fp32", "inf", "0000807f"),
        ("fp32", "-inf", "000080ff"),
        ("fp32", "nan", "0000c07f"),
        ("tensor<fp16, [2, 2]>", "[[-inf, 0x0p+0], [nan, -0x0p+0]]", "00fc0000007e0080"),
        ("tensor<fp32, [2]>", "[-inf, 0x1p+0]", "000080ff0000803f"),
        ("tensor<int4, [3]>", "[-8, 7, -1]", "780f"),
        ("tensor<uint2, [5]>", "[0, 1, 2, 3, 2]", "e402"),
        ("tensor<uint3, [3]>", "[1, 2, 7]", "d101"),
        ("tensor<uint6, [3]>", "[63, 1, 33]", "7f1002"),
        ("tensor<uint4, [3]>", "[1, 15, 2]", "f102"),
        ("tensor<uint1, [9]>", "[1, 0, 1, 0, 0, 0, 0, 1, 1]", "8501"),
        ("tensor<bool, [2]>", "[false, true]", "0001"),
        ("tensor<fp16, [2, 2]>", "[[0x3c00, -65504.0], [0x1.8p+1, 1e-3]]", "003cfffb00421914"),
        ("tensor<int8, [1, 2, 1, 3, 1]>", "[[[[[1], [2], [3]]], [[[4], [5], [6]]]]]", "010203040506"),
    ],
)
def test_literal_bits(dtype: str, text: str, expected: str) -> None:
    assert literal(dtype, text)["constant"].hex() == expected


def test_every_half_survives_both_notations() -> None:
    halves = np.arange(1 << 16, dtype="<u2").view("<f2")
    halves = halves[np.isfinite(halves)]
    for texts in ([float(x).hex() for x in halves], [repr(float(x)) for x in halves]):
        np.testing.assert_array_equal(elements("fp16", texts, "<u2"), halves.view("<u2"))


def test_halves_round_once_to_nearest_even() -> None:
    """Return midpoints of neighbors, exact and off by less than a double can tell."""
    bits = np.arange(0x7BFF, dtype="<u2")
    lower, upper = bits.view("<f2").astype(float), (bits + np.uint16(1)).view("<f2").astype(float)
    with localcontext() as context:
        context.prec = 80
        middles = [(Decimal(a) + Decimal(b)) / 2 for a, b in zip(lower, upper, strict=True)]
        offset = Decimal("1e-40")
        below, above = ([f"{middle + sign * offset:f}" for middle in middles] for sign in (-1, 1))
    exact = [f"{middle:f}" for middle in middles]
    np.testing.assert_array_equal(elements("fp16", below, "<u2"), bits)
    np.testing.assert_array_equal(elements("fp16", exact, "<u2"), bits + bits % 2)
    np.testing.assert_array_equal(elements("fp16", above, "<u2"), bits + np.uint16(1))


def test_hexadecimal_halves_round_once_to_nearest_even() -> None:
    texts = ["0x1.002p0", "0x1.00200000000000000000001p0", "0x1.006p0", "0x1.005ffffffffffffffffffp0"]
    assert elements("fp16", texts, "<u2").tolist() == [0x3C00, 0x3C01, 0x3C02, 0x3C01]


def test_fp32_rounds_as_numpy_does() -> None:
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 0x7F800000, 20_000, dtype=np.uint32)
    texts = [
        f"{x:.{digits}g}"
        for x, digits in zip(bits.view("f4").tolist(), rng.integers(1, 17, bits.size), strict=True)
    ]
    np.testing.assert_array_equal(elements("fp32", texts, "<f4"), np.array(texts, "f4"))


def test_damaged_text_is_parsed_or_refused() -> None:
    rng = random.Random(0)
    pieces = [
        "(",
        ")",
        "[",
        "]",
        "{",
        "<",
        ">",
        ",",
        ";",
        "=",
        '"',
        "\\",
        "-",
        "0x",
        "tensor",
        "const",
        "\n",
        "é",
        "1e99",
    ]
    outcomes = []
    for _ in range(3000):
        text = rng.choice([MODERN, OLD])
        for _ in range(rng.randint(1, 3)):
            at, end = sorted(rng.randrange(len(text)) for _ in range(2))
            text = (
                rng.choice(
                    [
                        text[:at],
                        text[:at] + rng.choice(pieces) + text[at:],
                        text[:at] + text[min(end, at + 9) :],
                        text[:at] + chr(ord(text[at]) ^ 1 << rng.randrange(7)) + text[at + 1 :],
                        text[:at] + text[end : end + 30] + text[at:],
                    ]
                )
                or " "
            )
        outcomes.append(error_of(text))
    errors = [error for error in outcomes if error]
    assert 0 < len(errors) < len(outcomes)
    assert {error.kind for error in errors} <= {"InvalidMILProgram", "CompilationFailure"}
    assert all(error.line and error.column for error in errors)
