"""Every rule of lint fires on what it is about, and on nothing else."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import aneperf
from aneperf import CompileError, mil
from aneperf.linter import lint as lint_function
from support.linting import findings, ones, program

ENGINES = ("h13", "h14", "h15", "h16", "h17", "h18", "h18g", "h19")


W = (1, 64, 1, 64)


def test_the_package_has_the_function_and_not_its_module() -> None:
    assert aneperf.lint is lint_function


def test_a_clean_program_has_no_findings() -> None:
    def layer(x: mil.Tensor) -> mil.Tensor:
        return mil.relu(mil.conv(x, ones(32, 64, 1, 1)))

    for chip in (*ENGINES, "none"):
        assert findings(layer, W, chip=chip) == []


def test_several_weight_files_fail_on_macos_27() -> None:
    builder = mil.Builder()
    x = builder.input("x", (1, 64, 1, 64))
    for _ in range(2):
        x = mil.conv(x, ones(64, 64, 1, 1))
    builder.output("y", x)
    for files in ("single", "separate"):
        for written in (builder.build(weight_files=files), builder.build(weight_files=files).text):
            found = aneperf.lint(written, "M4")
            assert [(each.op, each.severity) for each in found] == [("program", "fails")] * (
                files != "single"
            )
    assert "in 2 weight files; macOS 27, and no system before it" in found[0].reason
    assert aneperf.lint(written, "M4", macos=26) == []
    assert "one file" in found[0].remedy


def test_the_stored_form_of_compressed_weights_is_not_checked() -> None:
    def define(x: mil.Tensor) -> mil.Tensor:
        return mil.conv(x, mil.constexpr_sparse_to_dense(ones(70000), np.ones((1100, 64, 1, 1), np.uint8)))

    text = program(define, W).text
    attributes = re.search(r"constexpr_sparse_to_dense\(\)\[(mask.*), (name.*), nonzero_data = (.*)\];", text)
    assert attributes
    mask, name, data = attributes.groups()
    spelled = text.replace(attributes[0], f"constexpr_sparse_to_dense({mask}, nonzero_data = q)[{name}];")
    spelled = spelled.replace(
        "x0) {\n", f"x0) {{\n        tensor<fp16, [70000]> q = const()[val = {data}];\n"
    )
    assert aneperf.lint(spelled) == []


def test_a_finding_tells_line_operation_reason_and_remedy() -> None:
    text = program(lambda x: mil.relu(mil.tile(x, [1, 1, 1, 2])), W).text
    (finding,) = aneperf.lint(text)
    assert finding.line is not None
    assert " = tile(" in text.splitlines()[finding.line - 1]
    assert (finding.op, finding.severity) == ("tile", "wrong numbers")
    assert "M3 Max" in finding.reason
    assert "concat" in finding.remedy
    assert str(finding) == (f"line {finding.line}: tile wrong numbers: {finding.reason}. {finding.remedy}.")


@pytest.mark.parametrize("chip", ["M4", "M6"])
@pytest.mark.parametrize("weight", ["port", "constant"])
def test_a_convolution_with_a_number_for_its_weight_is_refused(chip: str, weight: str) -> None:
    text = program(lambda x: mil.conv(x, np.ones((4, 64, 1, 1), np.float16)), W).text
    head, _, tail = text.partition("weight = ")
    text = f"{head}weight = w{tail[tail.index(',') :]}"
    if weight == "port":
        text = text.replace(" x0) {", " x0, fp16 w) {")
    else:
        text = text.replace(
            " x0) {\n", ' x0) {\n        fp16 w = const()[name = string("w"), val = fp16(1.0)];\n'
        )
    assert "with as many axes as x" in " ".join(finding.reason for finding in aneperf.lint(text, chip))


SLICES = {
    "slice_by_size": (lambda x: mil.slice_by_size(x, [0, 0, 0, 32], [1, 64, 1, 32]), True),
    "slice_by_size from 0": (lambda x: mil.slice_by_size(x, [0, 32, 0, 0], [1, 32, 1, 32]), False),
    "slice_by_index": (lambda x: mil.slice_by_index(x, [0, 0, 0, -32], [1, 64, 1, 64]), True),
    "slice_by_index from 0": (lambda x: mil.slice_by_index(x, [0, 0, 0, -64], [1, 64, 1, 32]), False),
    "slice_by_index with a mask": (
        lambda x: mil.slice_by_index(x, [0, 0, 0, 7], [1, 64, 1, 32], begin_mask=[False, False, False, True]),
        False,
    ),
    "crop": (lambda x: mil.crop(x, [0, 0], [32, 0]), True),
    "crop at the end": (lambda x: mil.crop(x, [0, 0], [0, 32]), False),
}


@pytest.mark.parametrize("case", SLICES)
@pytest.mark.parametrize("chip", ENGINES)
def test_slices_inside_the_last_axis(case: str, chip: str) -> None:
    define, inside = SLICES[case]
    op = case.split()[0]
    expected = [(op, "wrong numbers")] if inside and chip in ("h13", "h14") else []
    assert findings(define, W, chip=chip) == expected


CASES: dict[str, tuple[Any, ...]] = {
    # what, inputs, findings
    "run-time weights": (mil.conv, [W, (32, 64, 1, 1)], [("port", "slow"), ("conv", "wrong numbers")]),
    "of a batch": (mil.conv, [(2, *W[1:]), (32, 64, 1, 1)], [("port", "slow"), ("conv", "fails")]),
    "mask": (
        mil.scaled_dot_product_attention,
        [(1, 32, 32)] * 4,
        [("scaled_dot_product_attention", "wrong numbers")],
    ),
    "no mask": (mil.scaled_dot_product_attention, [(1, 32, 32)] * 3, []),
    "round times a scalar": (lambda x: mil.mul(mil.round(x), 2.0), [W], [("mul", "wrong numbers")]),
    "scalar times floor": (lambda x: mil.mul(2.0, mil.floor(x)), [W], [("mul", "wrong numbers")]),
    "ceil times a tensor": (lambda x: mil.mul(mil.ceil(x), ones(*W)), [W], []),
    "round plus a scalar": (lambda x: mil.add(mil.round(x), 2.0), [W], []),
    "relu times a scalar": (lambda x: mil.mul(mil.relu(x), 2.0), [W], []),
    "reduction times 0": (lambda x: mil.mul(mil.reduce_sum(x, [1]), 0.0), [W], [("mul", "fails")]),
    "reduction times zeros": (
        lambda x: mil.mul(mil.reduce_max(x, [1]), 0 * ones(64)),
        [W],
        [("mul", "fails")],
    ),
    "reduction times 1": (lambda x: mil.mul(mil.reduce_sum(x, [1]), 1.0), [W], []),
    "square of width 96": (lambda x: mil.relu(mil.square(x)), [(1, 8, 1, 96)], [("square", "fails")]),
    "square of width 64": (lambda x: mil.relu(mil.square(x)), [W], []),
    "square of width 96 alone": (lambda x: mil.add(mil.square(x), 1), [(1, 8, 1, 96)], []),
    "product with itself": (lambda x: mil.relu(mil.mul(x, x)), [(1, 8, 1, 96)], []),
    "matmul by a constant": (lambda x: mil.matmul(x, ones(64, 32)), [W], [("matmul", "slow")]),
    "matmul": (mil.matmul, [(1, 64, 32), (1, 32, 64)], []),
    "kernel of 16": (lambda x: mil.conv(x, ones(32, 64, 1, 16), pad_type="same"), [W], [("conv", "fails")]),
    "transposed kernel of 16": (
        lambda x: mil.conv_transpose(x, ones(64, 32, 1, 16), pad_type="same"),
        [W],
        [("conv_transpose", "fails")],
    ),
    "kernel of 15": (
        lambda x: mil.conv(x, ones(32, 64, 1, 15), pad_type="same"),
        [W],
        [("conv", "slow")],
    ),
    "kernel of 8": (lambda x: mil.conv(x, ones(32, 64, 1, 8), pad_type="same"), [W], []),
    "kernel of 31 x 8": (lambda x: mil.conv(x, ones(2, 64, 31, 8), pad_type="same"), [W], []),
    "kernel of 16 x 16": (
        lambda x: mil.conv(x, ones(1, 64, 16, 16), pad_type="same"),
        [W],
        [("conv", "slow")],
    ),
    "1-D kernel of 9": (
        lambda x: mil.conv(x, ones(32, 64, 9), pad_type="same"),
        [(1, 64, 64)],
        [("conv", "slow")],
    ),
    "window of 9": (lambda x: mil.max_pool(x, (1, 9), pad_type="same"), [W], [("max_pool", "fails")]),
    "width of 33": (mil.relu, [(1, 8, 1, 33)], [("port", "slow")] * 2),
    "axis of 65536": (mil.relu, [(1, 65536, 1, 32)], []),
    "axis of 65537": (mil.relu, [(1, 65537, 1, 32)], [("port", "fails")] * 2),
    "32 MiB": (lambda x: mil.add(x, ones(1, 4, 4096, 1024)), [(1, 1, 1, 1024)], []),
    "64 MiB": (lambda x: mil.add(x, ones(1, 8, 4096, 1024)), [(1, 1, 1, 1024)], [("program", "slow")]),
}


@pytest.mark.parametrize("case", CASES)
def test_rules(case: str) -> None:
    define, shapes, expected = CASES[case]
    assert sorted(findings(define, *shapes)) == sorted(expected)


def product(op: str, out: int, rest: tuple[int, ...]) -> str:
    """Write a product with a weight, in a file that is not there."""
    weight, ones = f"tensor<fp16, {[out, *rest]}>", "tensor<int32, [2]>([1, 1])"
    place = 'BLOBFILE(path = string("@model_path/w.bin"), offset = uint64(64))'
    x, y, more = f"[1, {rest[0]}]", f"[1, {out}]", ""
    if op == "conv":
        x, y = f"[1, {rest[0]}, {rest[1]}, 32]", f"[1, {out}, 1, {33 - rest[2]}]"
        more = f', strides = {ones}, dilations = {ones}, pad_type = string("valid"), groups = int32(1)'
        more += ", pad = tensor<int32, [4]>([0, 0, 0, 0])"
    if op == "matmul":
        weight = f"tensor<fp16, {[*rest, out]}>"
        more = ", transpose_x = bool(false), transpose_y = bool(false)"
    return f"""program(1.3)
[buildInfo = dict<string, string>({{{{"coremlc-version", "3505.4.1"}}}})]
{{
    func main<ios18>(tensor<fp16, {x}> x) {{
        tensor<fp16, {y}> y = {op}(x = x, {"y" if op == "matmul" else "weight"} = {weight}({place}){more});
    }} -> (y);
}}
"""


STALLS = {  # with the mebibytes of a core: whether they stall, measured on M4 or by the model of its source
    (2048, 4096, 1, 1): True,  # 1
    (2016, 4096, 1, 1): False,  # 1 and 16 KiB less
    (2032, 4096, 1, 1): True,  # rounded up to 127 channels
    (4096, 4096, 1, 1): True,  # 2
    (4096, 14336, 1, 1): True,  # 7
    (11008, 4096, 1, 1): False,  # 5.375
    (512, 16384, 1, 1): True,  # 1
    (3072, 5461, 1, 1): True,  # 2 less 1 KiB
    (2048, 2048, 1, 1): False,  # 0.5
    (64, 64, 1, 1): False,  # next to 0
    (2048, 512, 2, 4): True,  # 1
    (241, 32768, 1, 1): True,  # 1, rounded up to 16 channels
}


@pytest.mark.parametrize("weight", STALLS)
@pytest.mark.parametrize("op", ["conv", "linear", "matmul"])
def test_weights_that_stall(weight: tuple[int, ...], op: str) -> None:
    out, *rest = weight
    if op != "conv":
        rest = [int(np.prod(rest))]
    found = aneperf.lint(product(op, out, tuple(rest)))
    found = [f for f in found if (f.op, f.severity) == (op, "slow") and "1x1 conv" not in f.reason]
    assert len(found) == STALLS[weight]
    assert all("for each of 16 cores, near a multiple of 1 MiB, stall" in finding.reason for finding in found)


@pytest.mark.parametrize("chip", ["M5", "M6"])
def test_no_weights_stall_from_m5_on(chip: str) -> None:
    assert not [f for f in aneperf.lint(product("linear", 2048, (4096,)), chip) if "stall" in f.reason]


@pytest.mark.parametrize(("inputs", "parts"), [(4096, 2), (8192, 3), (28672, 2)])
def test_the_remedy_for_a_stall_does_not_stall(inputs: int, parts: int) -> None:
    (found,) = [f for f in aneperf.lint(product("linear", 2048, (inputs,))) if f.op == "linear"]
    assert f"Split the input channels into {parts} and add" in found.remedy
    for size in {inputs // parts, -(-inputs // parts)}:
        assert not [f for f in aneperf.lint(product("linear", 2048, (size,))) if f.op == "linear"]


@pytest.mark.parametrize(("batch", "stalls"), [((), True), ((1,), True), ((1, 1), True), ((2,), False)])
def test_matrices_of_a_batch_do_not_stall(batch: tuple[int, ...], stalls: bool) -> None:
    found = findings(lambda x: mil.matmul(x, ones(*batch, 4096, 2048)), (*batch, 32, 4096))
    assert found.count(("matmul", "slow")) == 1 + stalls


def test_compressed_weights_do_not_stall() -> None:
    def define(x: mil.Tensor) -> mil.Tensor:
        return mil.conv(x, mil.constexpr_affine_dequantize(np.ones((2048, 4096, 1, 1), np.int8), 0.5))

    assert ("conv", "slow") not in findings(define, (1, 4096, 1, 32))


@pytest.mark.parametrize(("count", "severity"), [(7, "slow"), (9, "fails")])
def test_more_constants_than_the_compiler_takes(count: int, severity: str) -> None:
    """Each constant has 256 MiB, in a file that is not there; one is used twice."""
    one = product("conv", 8192, (16384, 1, 1))
    line = one.splitlines()[4]
    copies = (line.replace("y =", f"y{i} =").replace("64)))", f"{128 + i})))") for i in range(count - 1))
    lines = "\n".join([*copies, line.replace("y =", "again =")])
    text = one.replace(line, f"{lines}\n{line}")
    found = [f for f in aneperf.lint(text) if f.op == "program"]
    assert [(f.severity, f.line) for f in found] == [(severity, None)]
    assert f"{256 * count} MiB of constants" in found[0].reason
    files = [f for f in aneperf.lint(text.replace("w.bin", "v.bin", 1)) if f.op == "program"]
    assert len(files) == 2
    assert "2 weight files" in files[0].reason + files[1].reason
    # The compiler says so before it reads a file.
    refusal = "MiB of constants in one program" if severity == "fails" else "w.bin"
    with pytest.raises(CompileError, match=refusal):
        aneperf.open("emulator").compile(text)
    with pytest.raises(CompileError, match=r"w\.bin"):
        aneperf.open("emulator:none").compile(text)


def requantized(scale: float, clip: bool = False) -> Callable[[mil.Tensor], mil.Tensor]:
    """Multiply by an operand quantized with 1/16, and quantize the product with `scale`."""

    def define(x: mil.Tensor) -> mil.Tensor:
        y = mil.mul(x, mil.dequantize(mil.quantize(mil.relu(x), 1 / 16), 1 / 16))
        return mil.dequantize(mil.quantize(mil.clip(y, -8, 8) if clip else y, scale), scale)

    return define


def test_products_of_dequantized_operands() -> None:
    for chip in ENGINES:
        expected = [("mul", "wrong numbers")] if chip in ENGINES[3:] else []
        assert findings(requantized(1 / 8), W, chip=chip) == expected
        assert findings(requantized(1 / 16), W, chip=chip) == []
        assert findings(requantized(1 / 8, clip=True), W, chip=chip) == []


def test_a_scale_for_each_channel_may_be_the_same_for_all() -> None:
    def define(x: mil.Tensor) -> mil.Tensor:
        scales, zeros = ones(64) / 16, np.zeros(64, np.int8)
        y = mil.dequantize(mil.quantize(mil.relu(x), 1 / 16), 1 / 16)
        return mil.dequantize(mil.quantize(mil.mul(x, y), scales, zeros, axis=1), scales, zeros, axis=1)

    assert findings(define, W, chip="h17") == []


def test_products_of_two_dequantized_operands() -> None:
    def define(scale: float) -> Callable[[mil.Tensor, mil.Tensor], mil.Tensor]:
        return lambda x, y: mil.mul(
            mil.dequantize(mil.quantize(x, 0.5), 0.5), mil.dequantize(mil.quantize(y, scale), scale)
        )

    assert findings(define(2.0), W, W, chip="h17") == [("mul", "wrong numbers")]
    assert findings(define(0.5), W, W, chip="h17") == []


@pytest.mark.parametrize(("shape", "fails"), [((64, 2, 1, 1), True), ((64, 1, 1, 1), False)])
def test_scales_along_the_inputs_of_a_weight(shape: tuple[int, ...], fails: bool) -> None:
    def define(x: mil.Tensor) -> mil.Tensor:
        weight = mil.constexpr_blockwise_shift_scale(np.ones((64, 64, 1, 1), np.int8), ones(*shape))
        return mil.conv(x, weight)

    assert findings(define, W) == [("conv", "fails")] * fails


@pytest.mark.parametrize("chip", ENGINES)
def test_what_depends_on_the_generation(chip: str) -> None:
    older = {generation: ENGINES.index(chip) < ENGINES.index(generation) for generation in ENGINES}
    assert findings(mil.sin, W, chip=chip) == [("sin", "fails")] * older["h15"]
    assert findings(lambda x: mil.topk(x, 32)[0], W, chip=chip) == [("topk", "fails")] * older["h14"]
    ports = [("port", "fails"), ("cast", "fails")] if older["h15"] else [("port", "slow")]
    assert findings(lambda x: mil.cast(x, "fp16"), W, chip=chip, dtype="fp32") == ports
    wide = [("port", "fails"), ("port", "fails")] * older["h16"]
    assert findings(mil.relu, (1, 1, 1, 16416), chip=chip) == wide
    assert findings(mil.relu, (1, 1, 1, 16384), chip=chip) == []
    heavy = [("program", "fails" if chip == "h15" else "slow")]
    assert findings(lambda x: mil.add(x, ones(1, 8, 4096, 1024)), (1, 1, 1, 1024), chip=chip) == heavy
    kernel = [("conv", "fails" if older["h15"] else "slow")]
    define = lambda x: mil.conv(x, ones(32, 64, 1, 15), pad_type="same")  # noqa: E731
    assert findings(define, W, chip=chip) == kernel


def test_fp32_ports_are_whole_from_16_elements_on() -> None:
    define = lambda x: mil.cast(mil.add(mil.cast(x, "fp16"), 1), "fp32")  # noqa: E731
    assert findings(define, (1, 8, 1, 16), dtype="fp32") == [("port", "slow")] * 2
    assert findings(define, (1, 8, 1, 24), dtype="fp32") == [("port", "slow")] * 4


def test_matrices_of_two_axes_are_spatial_where_matmul_takes_them() -> None:
    define = lambda x: mil.matmul(x, x, transpose_x=True)  # noqa: E731
    assert findings(define, (16416, 32), chip="h13") == [("port", "fails")]
    assert findings(mil.relu, (16416, 32), chip="h13") == []


@pytest.mark.parametrize("weight_files", ["separate", "single"])
def test_weights_in_files_count_and_are_read(weight_files: Any) -> None:
    builder = mil.Builder()
    x = builder.input("x", W)
    builder.output("y", mil.mul(mil.reduce_sum(x, [3]), 0 * ones(1, 64, 1, 1)))
    built = builder.build(weight_files=weight_files)
    assert built.weights
    assert [(f.op, f.severity) for f in aneperf.lint(built)] == [("port", "slow"), ("mul", "fails")]
    assert [(f.op, f.severity) for f in aneperf.lint(built.text)] == [("port", "slow")]


def test_profile_none_has_no_hazards() -> None:
    assert findings(lambda x: mil.tile(mil.sin(x), [1, 1, 1, 3]), (1, 1, 1, 33), chip="none") == []


def test_a_chip_is_its_generation() -> None:
    for name in ("M2", "m2 max", "h14g"):
        assert findings(mil.sin, W, chip=name) == findings(mil.sin, W, chip="h14") == [("sin", "fails")]


def test_lint_refuses() -> None:
    with pytest.raises(aneperf.ArgumentError, match="MIL text or a path, not 7"):
        aneperf.lint(7)  # type: ignore[arg-type]
    with pytest.raises(aneperf.ArgumentError, match="no chip is called 'm9'"):
        aneperf.lint(program(mil.relu, W), "m9")


REFUSED = """program(1.3)
[buildInfo = dict<string, string>({{"coremlc-version", "3505.4.1"}})]
{
    func main<ios18>(tensor<fp16, [1, 8, 1, 32]> x) {
        tensor<fp16, [1, 8, 1, 32]> a = cumsum(x = x, axis = int32(1), exclusive = bool(false));
        tensor<fp16, [1, 8, 1, 32]> b = frobnicate(x = a);
        tensor<fp16, [7, 7]> c = relu(x = x);
        tensor<fp16, [1, 8, 1, 64]> d = tile(x = x, reps = tensor<int32, [4]>([1, 1, 1, 2]));
        tensor<fp16, [1, 8, 1, 64]> e = gelu(x = d, mode = string("SOFT");
        tensor<fp16, [1, 8, 1, 64]> y = relu(x = d);
    } -> (y);
}
"""


def test_all_that_the_compiler_refuses_is_listed(emulator: aneperf.Device) -> None:
    found = aneperf.lint(REFUSED)
    assert [(f.line, f.column, f.op) for f in found] == [
        (5, 41, "cumsum"),
        (6, 41, "frobnicate"),
        (7, 30, "relu"),
        (9, 74, "gelu"),
    ]
    assert {f.severity for f in found} == {"fails"}
    assert str(found[1]) == "line 6, column 41: frobnicate fails: there is no such operation in MIL."
    with pytest.raises(aneperf.CompileError, match="line 9, column 74"):
        emulator.compile(REFUSED)


def test_hazards_are_listed_beside_refusals() -> None:
    """Text that can be parsed is looked at by the rules too."""
    text = REFUSED.replace('"SOFT")', '"SOFT"))')
    found = [(f.line, f.op, f.severity) for f in aneperf.lint(text)]
    assert (8, "tile", "wrong numbers") in found
    assert (5, "cumsum", "fails") in found
    assert (9, "gelu", "fails") in found


@pytest.mark.parametrize("text", ["", "program(1.3)", "once upon a time", "program(1.3)\n{\n}\n"])
def test_text_that_is_no_program_fails(text: str) -> None:
    (finding,) = aneperf.lint(text)
    assert (finding.op, finding.severity) == ("program", "fails")


def test_what_is_known_twice_is_said_once() -> None:
    (finding,) = aneperf.lint(program(mil.sin, W), "h13")
    assert (finding.line, finding.op, finding.column is None) == (5, "sin", False)


def test_weights_that_are_not_what_the_text_says_fail() -> None:
    builder = mil.Builder()
    builder.output("y", mil.conv(builder.input("x", W), ones(64, 64, 1, 1)))
    built = builder.build()
    (path,) = built.weights
    for weights, message in (({}, "no such weight file"), ({path: b"junk" * 99}, "version")):
        (finding,) = aneperf.lint(replace(built, weights=weights))
        assert (finding.op, finding.severity) == ("const", "fails")
        assert message in finding.reason


def test_every_failure_that_lint_foresees_is_one_on_the_emulator() -> None:
    """Expect a refusal at a limit of the profile; the emulator does not imitate the compiler's own faults."""
    cases = [
        (mil.sin, W),
        (lambda x: mil.topk(x, 3)[0], W),
        (mil.relu, (1, 1, 1, 16416)),
        (lambda x: mil.conv(x, ones(32, 64, 1, 14), pad_type="same"), W),
    ]
    device = aneperf.open("emulator", chip="h13")
    for define, shape in cases:
        built = program(define, shape)
        assert any(finding.severity == "fails" for finding in aneperf.lint(built, "h13"))
        with pytest.raises(aneperf.CompileError):
            built.compile(device)


def test_a_refusal_of_fp32_names_the_conversion() -> None:
    text = REFUSED.replace("fp16", "fp32")
    found = {f.op: f.remedy for f in aneperf.lint(text) if "is fp32" in f.reason}
    assert found
    assert set(found.values()) == {"Convert the program to fp16: --fp16, or mil.to_fp16"}
    assert all(not f.remedy for f in aneperf.lint(REFUSED) if f.severity == "fails" and f.column)
