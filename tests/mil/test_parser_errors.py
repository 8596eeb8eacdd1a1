"""The place and the words of every error of the parser."""

import pytest

from aneperf import CompileError
from aneperf import _ane_native as native
from support.mil_text import program


def place_of(marked: str) -> tuple[str, int, int]:
    """Take out the "^" that marks the place of the error: return the text, the line and the column."""
    before, mark, after = marked.partition("^")
    assert mark, "no place is marked"
    line_start = before.rfind("\n") + 1
    return before + after, before.count("\n") + 1, len(before[line_start:].encode()) + 1


def refused(text: str) -> CompileError:
    with pytest.raises(CompileError) as caught:
        native.parse(text)
    assert caught.value.kind == "InvalidMILProgram"
    return caught.value


MALFORMED_STATEMENTS = [
    # characters and tokens
    ("fp16 y = relu(x = x); ^// why", "unexpected character '/': MIL text has no comments"),
    ("^# why\nfp16 y = relu(x = x);", "MIL text has no comments"),
    ("fp16 ^é = relu(x = x);", "unexpected byte 0xC3 outside a string"),
    ("fp16 y = relu(x = ^\0x);", "unexpected byte 0x00 outside a string"),
    ("fp16 y = relu(x = x)^\v;", "unexpected byte 0x0B outside a string"),
    ("string s = const()[val = string(^'a')];", "strings are written in double quotes"),
    (
        'string s = const()[val = string("a)];^',
        "control character 0x0A in a string: close the string on its line",
    ),
    ('string s = const()[val = string("a^\tb")];', "control character 0x09 in a string: write \\n or \\t"),
    ('string s = const()[val = string("é^\\d")];', "unknown escape in a string"),
    ("fp16 c = const()[val = fp16(^1.2.3)];", "malformed number '1.2.3'"),
    ("fp16 c = const()[val = fp16(^1e)];", "malformed number '1e'"),
    ("fp16 c = const()[val = fp16(^2.)];", "malformed number '2.'"),
    ("fp16 c = const()[val = fp16(^0x1.8)];", "malformed number '0x1.8'"),
    ("fp16 c = const()[val = fp16(^-0x3c00)];", "malformed number '-0x3c00'"),
    ("int32 c = const()[val = int32(^12ab)];", "malformed number '12ab'"),
    ("fp16 c = const()[val = fp16(^.5)];", "unexpected character '.'"),
    ("fp16 c = const()[val = fp16(^+1)];", "unexpected character '+'"),
    (f"fp16 ^{'n' * 1025} = relu(x = x);", "a name of 1025 characters; at most 1024"),
    (f'string s = const()[val = string(^"{"s" * 65537}")];', "a string of more than 64 KiB"),
    # literals and their ranges
    ("int8 c = const()[val = int8(^300)];", "'300' is outside int8, which holds -128 to 127"),
    ("uint8 c = const()[val = uint8(^-1)];", "'-1' is outside uint8, which holds 0 to 255"),
    ("uint4 c = const()[val = uint4(^16)];", "'16' is outside uint4, which holds 0 to 15"),
    ("int32 c = const()[val = int32(^0xffffffff)];", "outside int32, which holds -2147483648 to 2147483647"),
    (
        "uint64 c = const()[val = uint64(^18446744073709551616)];",
        "outside uint64, which holds 0 to 18446744073709551615",
    ),
    ("fp16 c = const()[val = fp16(^65520)];", "'65520' is outside fp16, whose largest value is 65504"),
    ("fp16 c = const()[val = fp16(^-0x1p16)];", "'-0x1p16' is outside fp16"),
    ("fp32 c = const()[val = fp32(^1e39)];", "'1e39' is outside fp32, whose largest value is 3.4028235e38"),
    ("fp16 c = const()[val = fp16(^-1e50)];", "'-1e50' is outside fp16"),
    ("fp32 c = const()[val = fp32(^1e99999999999999999999)];", "is outside fp32"),
    ("fp16 c = const()[val = fp16(^infinity)];", "expected an fp16 number, found 'infinity'"),
    ("fp16 c = const()[val = fp16(^-infinity)];", "unexpected character '-'"),
    ("int32 c = const()[val = int32(^inf)];", "expected an integer for int32, found 'inf'"),
    ("int32 c = const()[val = int32(^-inf)];", "expected an integer for int32, found '-inf'"),
    ("fp16 y = clip(x = x, alpha = ^-inf);", "literal '-inf' has no type: write it as in fp16(-inf)"),
    ("fp16 c = const()[val = fp16(^0x3c0)];", "a bit pattern has four hexadecimal digits"),
    ("fp32 c = const()[val = fp32(^0x3c00)];", "bit patterns are for fp16 only"),
    ("int32 c = const()[val = int32(^1.5)];", "expected an integer for int32, found '1.5'"),
    ("bool c = const()[val = bool(^1)];", "expected true or false, found '1'"),
    ("string c = const()[val = string(^valid)];", "expected a string in double quotes, found 'valid'"),
    ('fp16 c = const()[val = fp16(^"1")];', "expected an fp16 number, found '\"1\"'"),
    (
        "tensor<int8, [2]> c = const()[val = tensor<int8, [2]>(^1)];",
        "expected '[' to open the 2 elements along axis 0",
    ),
    (
        "tensor<int8, [2]> c = const()[val = tensor<int8, [2]>([1^])];",
        "expected ',' after 1 of 2 elements along axis 0 of tensor<int8, [2]>, found ']'",
    ),
    (
        "tensor<int8, [2]> c = const()[val = tensor<int8, [2]>([1, 2^, 3])];",
        "expected ']' after 2 elements along axis 0 of tensor<int8, [2]>, found ','",
    ),
    (
        "tensor<int8, [1]> c = const()[val = tensor<int8, [1]>([^[1]])];",
        "expected an integer for int8, found '['",
    ),
    (
        "tensor<int8, [2, 1]> c = const()[val = tensor<int8, [2, 1]>([^1, 2])];",
        "expected '[' to open the 1 elements along axis 1",
    ),
    (
        f"tensor<int8, [1]> c = const()[val = tensor<int8, [1]>([^{'[' * 100_000}",
        "expected an integer for int8",
    ),
    # types
    ("^half c = const()[val = half(1)];", "unknown type 'half'"),
    ("int4 c = const()[val = int4(^8)];", "'8' is outside int4, which holds -8 to 7"),
    ("uint3 c = const()[val = uint3(^8)];", "'8' is outside uint3, which holds 0 to 7"),
    ("tensor<^tensor<fp16, []>, [1]> y = relu(x = x);", "unknown type 'tensor'"),
    ("tensor<fp16, [^0]> y = relu(x = x);", "dimension '0' is not in 1 to 2147483647"),
    ("tensor<fp16, [^-4]> y = relu(x = x);", "dimension '-4' is not in 1 to 2147483647"),
    ("tensor<fp16, [^2147483648]> y = relu(x = x);", "dimension '2147483648' is not in 1 to 2147483647"),
    ("tensor<fp16, [^n]> y = relu(x = x);", "expected a dimension, an integer from 1 or ?, found 'n'"),
    ("tensor<fp16, [1, 4^;", "expected ']' to close the shape, found ';'"),
    ("tensor<fp16, [1, 1, 1, 1, 1, 1, 1, ^1]> y = relu(x = x);", "a rank above 7"),
    ("^tensor<fp32, [2147483647, 2147483647]> y = relu(x = x);", "is larger than 2^40 bytes"),
    (
        "tensor<fp16, [1]> c = const()[val = ^tensor<fp16, [?]>([1])];",
        "the shape of a literal has no '?', but this is tensor<fp16, [?]>",
    ),
    (
        "tensor<string, [1]> c = const()[val = tensor<string, [1]>(^1)];",
        "expected '[' to open the strings, found '1'",
    ),
    ("dict ^c = const()[val = fp16(1)];", "expected '<' after 'dict', found 'c'"),
    ("list<tensor<fp16, [1]>^;", "expected '>' to close a type, found ';'"),
    ("state<fp16> c = const()[val = ^fp16(1)];", "constant 'c' is declared state, but its val is fp16"),
    # bare literals
    (
        "fp16 y = matmul(x = x, y = x, transpose_y = ^true);",
        "literal 'true' has no type: write it as in bool(true)",
    ),
    ("fp16 y = softmax(x = x, axis = ^-1);", "literal '-1' has no type: write it as in int32(-1)"),
    ("fp16 y = clip(x = x, alpha = ^0.5);", "literal '0.5' has no type: write it as in fp16(0.5)"),
    ('fp16 y = cast(x = x, dtype = ^"fp32");', 'has no type: write it as in string("...")'),
    (
        "fp16 y = reduce_sum(x = x, axes = ^[1]);",
        "literal '[' has no type: write it as in tensor<int32, [2]>([0, 1])",
    ),
    ("int32 c = const()[val = ^1];", "literal '1' has no type: write it as in int32(1)"),
    # constants
    ("fp16 c = ^const();", "constant 'c' has no val"),
    ('fp16 c = ^const()[name = string("c")];', "constant 'c' has no val"),
    ("fp16 c = const()[val = ^fp32(1)];", "constant 'c' is declared fp16, but its val is fp32"),
    ("fp16 c = const()[val = ^x];", "expected a typed literal such as int32(1), found 'x'"),
    ("fp16 c = const()[val = fp16(1), ^doc = fp16(1)];", "const has no 'doc'"),
    (
        "fp16 c = const(val = fp16(1))[^val = fp16(2)];",
        "duplicate argument 'val' of 'const', first at line 4",
    ),
    ("fp16 c = const()[name = ^int32(1), val = fp16(1)];", "name must be a string, not int32"),
    ("fp16 a, fp16 ^b = const()[val = fp16(1)];", "const has one result"),
    (
        'fp16 c = const()[val = fp16(BLOBFILE(path = string("w"), offset = ^int32(64)))];',
        "the offset of a BLOBFILE must be a uint64",
    ),
    (
        "fp16 c = const()[val = fp16(BLOBFILE(path = ^int32(1), offset = uint64(64)))];",
        "the path of a BLOBFILE must be a string",
    ),
    (
        'fp16 c = const()[val = fp16(BLOBFILE(^offset = uint64(64), path = string("w")))];',
        "expected 'path' as",
    ),
    (
        'fp16 c = const()[val = fp16(BLOBFILE(path = string("w")^))];',
        "expected ',' after the path of a BLOBFILE",
    ),
    ("string c = const()[val = string(^BLOBFILE(path = 1))];", "a string cannot come from a weight file"),
    # names
    ("fp16 y = relu(x = ^z);", "unknown name 'z': nothing before this place defines it"),
    ("fp16 y = relu(x = ^y);", "unknown name 'y'"),
    ("fp16 y = relu(x = ^z);\nfp16 z = relu(x = x);", "unknown name 'z'"),
    ("fp16 y = relu(x = x);\nfp16 ^y = relu(x = x);", "duplicate name 'y', first defined at line 4"),
    ("fp16 ^x = relu(x = x);", "duplicate name 'x', first defined at line 3"),
    ("fp16 y, fp16 ^y = split(x = x);", "duplicate name 'y', first defined at line 4"),
    (
        "fp16 y = relu(x = x);\nfp16 ^y = const()[val = fp16(1)];",
        "duplicate name 'y', first defined at line 4",
    ),
    # operations
    ("fp16 y = relu(x = x^;", "expected ')' to close the arguments of 'relu', found ';'"),
    ("fp16 y = conv(x^, w);", "expected '=' after 'x', found ','"),
    ("fp16 y = conv(x = x, ^);", "expected the name of an argument, found ')'"),
    ("fp16 y = add(x = x, ^x = x);", "duplicate argument 'x' of 'add', first at line 4"),
    (
        "fp16 y = relu(x = x)[^axis = int32(1)];",
        "'relu' has no attribute 'axis': arguments belong in its parentheses",
    ),
    ("fp16 y = relu(x = x)[^];", "expected the name of an attribute, found ']'"),
    (
        'fp16 y = relu(x = x)[name = string("y")^;',
        "expected ']' to close the attributes of 'relu', found ';'",
    ),
    ("fp16 y = relu(x = x)[name = ^y];", "expected a typed literal such as int32(1), found 'y'"),
    ("fp16 y = relu(x = x)\n^fp16 z = relu(x = x);", "expected ';' to end the statement, found 'fp16'"),
    ("fp16 y = concat(values = (^));", "expected a name, since a tuple holds only names, found ')'"),
    ("fp16 y = concat(values = (x, ^1));", "a tuple holds only names, found '1'"),
    ("fp16 y = concat(values = (x, x^;", "expected ')' to close the tuple 'values', found ';'"),
    (f"fp16 y = f({', '.join(f'a{i} = x' for i in range(64))}, ^b = x);", "more than 64 arguments of 'f'"),
    ("fp16 y ^relu(x = x);", "expected '=' after 'y', found 'relu'"),
    ("fp16 ^= relu(x = x);", "expected the name of a result, found '='"),
    ("fp16 y = ^(x = x);", "expected an operation, found '('"),
    ("^;", "expected a type, found ';'"),
]

FUNCTION = "func main<ios18>(fp16 x) { fp16 y = relu(x = x); } -> (y);"

MALFORMED_PROGRAMS = [
    ("^", "unexpected end of text: expected 'program' to begin the text"),
    ("^\ufeffprogram(1.3){}", "a byte order mark"),
    ("^prog(1.3)", "expected 'program' to begin the text, found 'prog'"),
    ("program(^ios18)", "expected a version such as 1.3, found 'ios18'"),
    ("program(^-1.3)", "expected a version such as 1.3, found '-1.3'"),
    ("program(1.3)^", "unexpected end of text: expected '{' to open the program"),
    ("program(1.3){^}", "expected 'func' to begin a function, found '}'"),
    (f"program(1.3){{{FUNCTION}^", "unexpected end of text: expected 'func'"),
    (f"program(1.3){{{FUNCTION}}}\n^{{", "expected the end of the text after the program, found '{'"),
    (
        f"program(1.3){{{FUNCTION}\n{FUNCTION.replace('main', '^main')}}}",
        "duplicate function 'main', first at line 1",
    ),
    (
        f"program(1.3)[^1 = string(1)]{{{FUNCTION}}}",
        "expected the name of an attribute, found '1'",
    ),
    ("program(1.3)[buildInfo = dict<^int32, string>({})]{}", "buildInfo is a dict<string, string>"),
    (
        "program(1.3)[buildInfo = dict<string, string>({{^1, 2}})]{}",
        "expected a key in double quotes, found '1'",
    ),
    (
        'program(1.3)[buildInfo = dict<string, string>({{"a"^}})]{}',
        "expected ',' between a key and its value",
    ),
    ('program(1.3)[buildInfo = dict<string, string>({{"a", "b"}, {^"a", "b"}})]{}', "duplicate key '\"a\"'"),
    (
        'program(1.3)[buildInfo = dict<string, string>({{^{"a", "b"}}})]{}',
        "expected a key in double quotes, found '{'",
    ),
    ("program(1.3){func main^(fp16 x)", "expected '<' to open the opset of 'main', found '('"),
    ("program(1.3){func main<ios18>(^x)", "unknown type 'x'"),
    ("program(1.3){func main<ios18>(fp16 x, fp16 ^x)", "duplicate name 'x', first defined at line 1"),
    ("program(1.3){func main<ios18>(fp16 x) { ^", "unexpected end of text: expected a type"),
    ('program(1.3){func main<ios18>() { string s = const()[val = string(^"abc', "this string has no closing"),
    ("program(1.3){func main<ios18>(fp16 x) { } -> (^y);", "unknown name 'y'"),
    (
        "program(1.3){func main<ios18>(fp16 x) { } -> (^x);",
        "output 'x' must be produced by an operation, but is an input",
    ),
    (
        "program(1.3){func main<ios18>() { fp16 c = const()[val = fp16(1)]; } -> (^c);",
        "output 'c' must be produced by an operation, but is a constant",
    ),
    (f"program(1.3){{{FUNCTION.replace('(y)', '(y, ^y)')}}}", "duplicate output 'y'"),
    (f"program(1.3){{{FUNCTION.replace('(y)', '(^)')}}}", "expected the name of an output, found ')'"),
    (
        f"program(1.3){{{FUNCTION.replace('(y);', '(y)^')}}}",
        "expected ';' to end the function 'main', found '}'",
    ),
    (f"program(1.3){{{FUNCTION.replace('-> ', '^')}}}", "expected '->' after the body of 'main', found '('"),
]


def brief(value: object) -> str | None:
    return value.replace("\0", " ")[:60] if isinstance(value, str) else None


@pytest.mark.parametrize(("marked", "message"), MALFORMED_STATEMENTS, ids=brief)
def test_malformed_statement(marked: str, message: str) -> None:
    text, line, column = place_of(program(marked))
    error = refused(text)
    assert message in str(error)
    assert (error.line, error.column) == (line, column)


@pytest.mark.parametrize(("marked", "message"), MALFORMED_PROGRAMS, ids=brief)
def test_malformed_program(marked: str, message: str) -> None:
    text, line, column = place_of(marked)
    error = refused(text)
    assert message in str(error)
    assert (error.line, error.column) == (line, column)


def test_error_reads_like_a_compilers() -> None:
    error = refused("program(1.3)\n{\n  func main<ios18>(fp16 x) {\n    fp16 y = conv(x = x;\n")
    assert str(error) == (
        "[compile] InvalidMILProgram: line 4, column 24: "
        "expected ')' to close the arguments of 'conv', found ';'"
    )


@pytest.mark.thorough
def test_too_many_statements() -> None:
    body = "\n".join(f"fp16 v{i}=f();" for i in range(1_000_001))
    error = refused(program(body))
    assert "more than 1,000,000 statements" in str(error)
    assert (error.line, error.column) == (1_000_004, 1)
