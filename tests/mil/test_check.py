"""native.check lists all that compile refuses, and nothing that follows from it."""

import numpy as np
import pytest

import aneperf
from aneperf import _ane_native as native
from aneperf import mil
from support.programs import build, normal_halves

HEADER = 'program(1.3)\n[buildInfo = dict<string, string>({{"coremlc-version", "3520.5.1"}})]\n{\n'
T = "tensor<fp16, [1, 4]>"


def text_of(*statements: str, inputs: str = f"{T} x", outputs: str = "y") -> str:
    """Write a program whose statements begin on line 5, one a line."""
    body = "".join(f"{statement}\n" for statement in statements)
    return f"{HEADER}func main<ios18>({inputs}) {{\n{body}}} -> ({outputs});\n}}\n"


def places(text: str, **options: object) -> list[tuple[int, str]]:
    return [(r.line, r.op) for r in native.check(text, **options)]  # type: ignore[arg-type]


GOOD = f"{T} y = relu(x = x);"


def test_a_program_that_compiles_has_no_refusals() -> None:
    assert native.check(text_of(GOOD), {}, "h16") == []


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ("", "program has no buildInfo attribute, which the engine's compiler requires"),
        ("[buildInfo = dict<string, string>({})]", "program's buildInfo has no entry"),
    ],
)
def test_a_build_info_that_is_missing_is_no_empty_one(attributes: str, message: str) -> None:
    text = text_of(GOOD)
    (refusal,) = native.check("program(1.3)\n" + attributes + text[text.index("\n{") :])
    assert message in refusal.message


def test_every_refused_statement_is_listed_with_its_place() -> None:
    refusals = native.check(
        text_of(
            f"{T} a = relu(x = missing);",
            f"{T} b = cumsum(axis = int32(1), exclusive = bool(false), reverse = bool(false), x = x);",
            f"{T} c = frobnicate(x = x);",
            f"{T} d = relu(x = x)) junk;",
            f"{T} e = relu(x = ?);",
            "tensor<fp16, [7, 7]> f = relu(x = x);",
            f"{T} g = add(x = x);",
            'fp16 h = const()[val = fp16("1")];',
            GOOD,
        )
    )
    assert [(r.line, r.kind, r.op) for r in refusals] == [
        (5, "InvalidMILProgram", "relu"),
        (6, "CompilationFailure", "cumsum"),
        (7, "InvalidMILProgram", "frobnicate"),
        (8, "InvalidMILProgram", "relu"),
        (9, "InvalidMILProgram", "relu"),
        (10, "InvalidMILProgram", "relu"),
        (11, "InvalidMILProgram", "add"),
        (12, "InvalidMILProgram", "const"),
    ]
    assert "unknown name 'missing'" in refusals[0].message
    assert refusals[0].column == len(f"{T} a = relu(x = ") + 1
    assert "use matmul with a triangular constant" in refusals[1].message
    assert "'f' is declared tensor<fp16, [7, 7]> but is tensor<fp16, [1, 4]>" in refusals[5].message
    assert not any("\n" in r.message or "[compile]" in r.message for r in refusals)


@pytest.mark.parametrize(
    "refused",
    [
        f"{T} a = relu(x = missing);",
        f"{T} a = cumsum(axis = int32(1), exclusive = bool(false), reverse = bool(false), x = x);",
        "tensor<fp16, [7, 7]> a = relu(x = x);",
        f"{T} a = relu(x = 'x');",
        f'{T} a = relu(x = x)[name = string("a];',
        f"{T} a = relu(x = x]);",
        f"{T} a = relu((x = x);",
        f"{T} a = relu(x = {{x);",
        f"{T} a = ;",
        "fp64 a = relu(x = x);",
        "half a = relu(x = x);",
        f"list<{T}, 2> a = make_list(x = x);",
        f'{T} a = cond(pred = x)[name = string("a")] {{ {T} p = exp(x = x); -> (p) }} {{ -> (x) }};',
        f"{T} a, {T} more = while_loop(loop_vars = (x, x)) {{ {{ ; }} }} -> (a);",
        f"{T} a = relu(x = x) {{ }};",
    ],
)
def test_what_uses_a_refused_name_is_not_refused_for_it(refused: str) -> None:
    text = text_of(
        refused,
        f"{T} b = add(x = a, y = x);",
        f"{T} c = mul(x = b, y = a);",
        f"{T} d = identity(x = c);",
        f"{T} y = relu(x = d);",
    )
    assert places(text) == [(5, places(text)[0][1]), (8, "identity")]


def test_only_the_first_statement_that_misses_its_semicolon_is_refused() -> None:
    text = text_of(f"{T} a = relu(x = x)", f"{T} b = relu(x = a);", f"{T} y = cosh(x = b);")
    assert places(text) == [(6, "relu"), (7, "cosh")]


def test_a_parameter_that_may_be_a_constant_after_a_change_is_not_refused() -> None:
    """Shapes that a model computes are refused where they are computed."""
    text = text_of(
        "tensor<int32, [2]> s = shape(x = x);",
        "tensor<int32, [2]> r = reverse(x = s);",
        f"{T} y = reshape(shape = r, x = x);",
    )
    assert places(text) == [(5, "shape")]


def test_a_mistake_behind_a_refused_operation_is_listed_too() -> None:
    text = text_of(
        f"{T} a = identity(x = x);",
        f"{T} b = relu(x = a);",
        "tensor<fp16, [2, 4]> y = concat(values = (b, b));",
    )
    assert places(text) == [(5, "identity"), (7, "concat")]


@pytest.mark.parametrize("damage", ["", "}", "};", "} -> (y)", "} -> (y", "} -> "])
def test_a_text_that_ends_early_is_refused_once(damage: str) -> None:
    text = text_of(GOOD)
    (refusal,) = native.check(text[: text.rindex("} -> (y)")] + damage)
    assert "expected" in refusal.message


def test_a_text_that_ends_in_a_statement_is_refused_once() -> None:
    text = text_of(GOOD)
    (refusal,) = native.check(text[: text.index("relu(x") + 6])
    assert "unexpected end of text" in refusal.message


def test_the_header_the_inputs_and_the_outputs_are_refused_on_their_own() -> None:
    text = text_of(f"{T} y = cosh(x = x);", inputs="tensor<half, [1, 4]> x", outputs="z, x, y, y")
    refusals = native.check(text.replace("program(1.3)", "program(one)"))
    assert [(r.line, r.op) for r in refusals] == [
        (1, "program"),
        (4, "program"),
        (5, "cosh"),
        (6, "port"),
        (6, "port"),
    ]


def test_inputs_that_were_refused_are_known_by_name() -> None:
    refusals = native.check(text_of(GOOD, inputs="tensor<half, [1, 4]> x"))
    assert [r.message[:19] for r in refusals] == ["unknown type 'half'"]


def test_two_functions() -> None:
    text = text_of(GOOD)
    function = text[text.index("func") : text.rindex("}")]
    both = text[: text.rindex("}")] + function.replace("main", "other") + "}\n"
    assert [r.message for r in native.check(both)] == [
        "program has 2 functions; compile each as a program of its own"
    ]


def test_a_missing_weight_file_is_refused_once_and_each_bad_chunk() -> None:
    program = build(
        lambda t: mil.add(mil.mul(t, np.ones((1, 32), np.float16)), np.ones((1, 32), np.float16)),
        normal_halves(1, (1, 32)),
    )
    assert native.check(program.text) == []
    (missing,) = native.check(program.text, {})
    assert missing.kind == "InvalidWeights"
    assert "no such weight file" in missing.message
    cut = {path: data[:128] for path, data in program.weights.items()}
    assert [r.kind for r in native.check(program.text, cut)] == ["InvalidWeights"] * 2


def test_the_profiles_limits_are_listed_with_and_without_weight_files() -> None:
    wide = np.ones((2, 2, 1, 16), np.float16)
    program = build(
        lambda t: mil.sin(mil.conv(mil.conv(t, wide, pad_type="same"), wide, pad_type="same")),
        normal_halves(1, (1, 2, 1, 20)),
    )
    for weights in (dict(program.weights), None):
        assert [r.op for r in native.check(program.text, weights, "h14")] == ["conv", "conv", "sin"]
        assert native.check(program.text, weights, "none") == []


def test_the_first_refusal_is_the_one_that_compile_raises(emulator: aneperf.Device) -> None:
    for statement in ("fp16 y = relu(x = z);", f"{T} y = cosh(x = x);", "fp16 y = relu(x = x);"):
        text = text_of(statement)
        with pytest.raises(aneperf.CompileError) as caught:
            emulator.compile(text)
        first = native.check(text, {}, "h16")[0]
        assert (first.line, first.column, first.kind) == (
            caught.value.line,
            caught.value.column,
            caught.value.kind,
        )
        assert str(caught.value).endswith(f": {first.message}")


def test_arguments_are_checked() -> None:
    with pytest.raises(aneperf.ArgumentError):
        native.check(text_of(GOOD), profile="h99")
    with pytest.raises(aneperf.ArgumentError, match="weights must be a dict"):
        native.check(text_of(GOOD), [])  # type: ignore[arg-type]


@pytest.mark.parametrize("statement", [f"{T} v{{}} = relu(x = x);", f"{T} v{{}} = cosh(x = x];"])
def test_large_programs_are_checked_statement_by_statement(statement: str, thorough: bool) -> None:
    count = 300_000 if thorough else 20_000
    refusals = native.check(text_of(*(statement.format(i) for i in range(count)), GOOD))
    assert len(refusals) == (count if "cosh" in statement else 0)


@pytest.mark.parametrize("statement", ["relu(x = x);", "add(x = x, y = x);", "softmax(x = x, axis = -1);"])
def test_a_statement_without_a_result_is_refused_once(statement: str) -> None:
    assert places(text_of(GOOD, statement), weights={}, profile="h16") == [(6, statement.partition("(")[0])]


@pytest.mark.parametrize("container", ["dict", "list", "tuple", "state"])
def test_a_result_that_is_no_tensor_is_refused_once(container: str) -> None:
    text = text_of(f"{container}<fp16, [1, 4]> z = add(x = x, y = x);", f"{T} y = relu(x = z);")
    assert places(text, weights={}, profile="h16") == [(5, "add")]
