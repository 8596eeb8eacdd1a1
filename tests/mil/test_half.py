"""Programs in fp32 are converted to fp16, as coremltools converts models, and the changes are told."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import aneperf
from aneperf import ArgumentError, mil
from aneperf.mil.half import round_to_half

X = np.linspace(-2, 2, 8, dtype=np.float32).reshape(1, 8)


def text(body: str, ports: str = "tensor<fp32, [1, 8]> x", outputs: str = "y") -> str:
    """Write a function whose body begins on line 5."""
    info = '[buildInfo = dict<string, string>({{"coremlc-version", "3520.5.1"}})]'
    return f"program(1.3)\n{info}\n{{\n    func main<ios18>({ports}) {{\n{body}\n    }} -> ({outputs});\n}}\n"


def read(tmp_path: Path, *arguments: str, weights: bytes | None = None, **more: str) -> mil.Program:
    (tmp_path / "p.mil").write_text(text(*arguments, **more))
    if weights is not None:
        (tmp_path / "w.bin").write_bytes(weights)
    return mil.read(tmp_path / "p.mil")


def statements(program: mil.Program) -> list[str]:
    return [line.strip().partition("[name")[0] for line in program.text.splitlines()[4:-2]]


def test_operations_and_constants_become_fp16_between_casts_of_the_ports(
    tmp_path: Path, emulator: aneperf.Device
) -> None:
    program = read(
        tmp_path,
        """tensor<fp32, [8]> c = const()[val = tensor<fp32, [8]>([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.5])];
        tensor<fp32, [1, 8]> s = add(x = x, y = c);
        tensor<fp32, [1, 8]> y = mul(x = s, y = fp32(2.0));""",
    )
    with pytest.raises(aneperf.CompileError, match="fp32"):
        program.compile(emulator)
    half = mil.to_fp16(program)
    assert statements(half) == [
        'tensor<fp16, [1, 8]> x_fp16 = cast(x = x, dtype = string("fp16"))',
        "tensor<fp16, [8]> c = const()",
        "tensor<fp16, [1, 8]> s = add(x = x_fp16, y = c)",
        "tensor<fp16, [1, 8]> y_fp16 = mul(x = s, y = fp16(0x1p+1))",
        'tensor<fp32, [1, 8]> y = cast(x = y_fp16, dtype = string("fp32"))',
    ]
    y = half.compile(emulator).run(x=X)["y"]
    c = np.array([1, 2, 3, 4, 5, 6, 7, 8.5], np.float16)
    np.testing.assert_array_equal(y, ((X.astype(np.float16) + c) * 2).astype(np.float32))
    assert half.changes == mil.Fp16Changes(operations=2, constants=2, casts_added=2)
    assert str(half.changes) == "2 operations and 2 constants to fp16; 2 casts added and 0 removed"
    assert (half.inputs, half.outputs) == (program.inputs, program.outputs)


@pytest.mark.parametrize("chip", ["M1", "h14"])
def test_ports_become_fp16_where_the_engine_does_not_cast(tmp_path: Path, chip: str) -> None:
    program = read(tmp_path, "tensor<fp32, [1, 8]> y = relu(x = x);")
    half = mil.to_fp16(program, chip)
    assert statements(half) == ["tensor<fp16, [1, 8]> y = relu(x = x)"]
    assert half.inputs["x"].dtype == half.outputs["y"].dtype == "fp16"
    assert half.changes.ports == ["x", "y"]
    assert str(half.changes).endswith("; fp16 ports now: x, y")
    device = aneperf.open("emulator", chip=chip)
    y = half.compile(device).run(x=X.astype(np.float16))["y"]
    np.testing.assert_array_equal(y, np.maximum(X.astype(np.float16), 0))


CAST = 'tensor<{to}, [1, 8]> {name} = cast(x = {x}, dtype = string("{to}"));'


def cast(name: str, x: str, to: str) -> str:
    return CAST.format(name=name, x=x, to=to)


def test_casts_between_fp16_and_fp32_go_away(tmp_path: Path, plain: aneperf.Device) -> None:
    """As in a model that coremltools converted, but for one operation that it left in fp32."""
    body = [
        cast("h", "x", "fp16"),
        "tensor<fp16, [1, 8]> a = relu(x = h);",
        cast("w", "a", "fp32"),
        "tensor<fp32, [1, 8]> b = square(x = w);",
        cast("c", "b", "fp16"),
        "tensor<fp16, [1, 8]> d = add(x = c, y = h);",
        cast("y", "d", "fp32"),
    ]
    half = mil.to_fp16(read(tmp_path, "\n".join(body)))
    assert statements(half) == [
        'tensor<fp16, [1, 8]> x_fp16 = cast(x = x, dtype = string("fp16"))',
        "tensor<fp16, [1, 8]> a = relu(x = x_fp16)",
        "tensor<fp16, [1, 8]> b = square(x = a)",
        "tensor<fp16, [1, 8]> d = add(x = b, y = x_fp16)",
        'tensor<fp32, [1, 8]> y = cast(x = d, dtype = string("fp32"))',
    ]
    assert half.changes == mil.Fp16Changes(operations=1, casts_removed=2)
    h = X.astype(np.float16)
    np.testing.assert_array_equal(
        half.compile(plain).run(x=X)["y"], (np.maximum(h, 0) ** 2 + h).astype(np.float32)
    )


def test_an_output_keeps_its_name_when_its_cast_goes(tmp_path: Path, emulator: aneperf.Device) -> None:
    ports = "tensor<fp16, [1, 8]> x"
    body = ["tensor<fp16, [1, 8]> a = relu(x = x);", cast("b", "a", "fp32"), cast("y", "b", "fp16")]
    one = mil.to_fp16(read(tmp_path, "\n".join(body), ports))
    assert statements(one) == ["tensor<fp16, [1, 8]> y = relu(x = x)"]
    # An output or an input keeps its own name.
    for extra, outputs in (("", "a, y"), (cast("z", "x", "fp32") + cast("v", "z", "fp16"), "v, y")):
        two = mil.to_fp16(read(tmp_path, "\n".join([*body, extra]), ports, outputs))
        found = two.compile(emulator).run(x=X.astype(np.float16))
        assert sorted(found) == outputs.split(", ")
        np.testing.assert_array_equal(found["y"], np.maximum(X, 0).astype(np.float16))


def test_an_unchanged_program_computes_the_same(emulator: aneperf.Device) -> None:
    b = mil.Builder()
    b.output("y", mil.conv(b.input("x", (1, 8, 1, 32)), np.eye(8, dtype=np.float16).reshape(8, 8, 1, 1)))
    program = b.build()
    half = mil.to_fp16(program)
    assert half.changes == mil.Fp16Changes()
    x = np.arange(256, dtype=np.float16).reshape(1, 8, 1, 32)
    np.testing.assert_array_equal(half.compile(emulator).run(x=x)["y"], x)


def test_weight_files_are_written_anew(tmp_path: Path, emulator: aneperf.Device) -> None:
    weight = np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32)
    content, (offset,) = mil.write_blob([weight])
    place = f'BLOBFILE(path = string("@model_path/w.bin"), offset = uint64({offset}))'
    body = f"""tensor<fp32, [8, 8]> w = const()[val = tensor<fp32, [8, 8]>({place})];
        tensor<fp32, [1, 8]> y = matmul(x = x, y = w);"""
    half = mil.to_fp16(read(tmp_path, body, weights=content))
    (stored,) = half.weights.values()
    np.testing.assert_array_equal(
        mil.read_blob(stored, 64, mil.TensorType("fp16", (8, 8))), weight.astype(np.float16)
    )
    y = half.compile(emulator).run(x=X)["y"]
    np.testing.assert_allclose(y, X @ weight, atol=2**-7)


def test_values_beyond_fp16_are_clamped_and_told(tmp_path: Path) -> None:
    body = """tensor<fp32, [4]> mask = const()[val = tensor<fp32, [4]>([-1e9, 65520.0, 65504.0, 1.0])];
        tensor<fp32, [3]> tiny = const()[val = tensor<fp32, [3]>([1e-9, -1e-9, 0.0])];
        tensor<fp32, [1, 4]> a = add(x = x, y = mask);
        tensor<fp32, [1, 3]> b = add(x = z, y = tiny);
        tensor<fp32, [1, 4]> y = rsqrt(x = a, epsilon = fp32(0x1p-40));"""
    ports = "tensor<fp32, [1, 4]> x, tensor<fp32, [1, 3]> z"
    changes = mil.to_fp16(read(tmp_path, body, ports, "b, y")).changes
    assert changes.clamped == {"mask": 2}
    assert changes.vanished == {"tiny": 2, "rsqrt's epsilon": 1}
    assert "2 values (mask) beyond fp16 became 65504 or -65504" in str(changes)
    assert "3 values (tiny, rsqrt's epsilon) too small" in str(changes)


def test_rounding_to_half() -> None:
    array = np.array([-np.inf, np.inf, 1e9, -65520, 65519, 1e-9, 0.1], np.float32)
    half, clamped, vanished = round_to_half(array)
    np.testing.assert_array_equal(half, np.array([-np.inf, np.inf, 65504, -65504, 65504, 0, 0.1], np.float16))
    assert (clamped, vanished) == (2, 1)
    for value, expected in ((1e-12, 2.0**-24), (-1e-12, -(2.0**-24)), (0.0, 0.0), (2.0**-24, 2.0**-24)):
        half, _, vanished = round_to_half(np.array(value, np.float32))
        assert (half, vanished) == (expected, abs(value) == 1e-12)


def test_a_factor_of_upsampling_stays_fp32(tmp_path: Path, emulator: aneperf.Device) -> None:
    body = """tensor<fp32, [1, 1, 4, 8]> y = upsample_nearest_neighbor(
            x = x, scale_factor_height = fp32(2.0), scale_factor_width = fp32(1.0));"""
    half = mil.to_fp16(read(tmp_path, body, "tensor<fp32, [1, 1, 2, 8]> x"))
    assert "scale_factor_height = fp32(0x1p+1)" in half.text
    x = np.arange(16, dtype=np.float32).reshape(1, 1, 2, 8)
    np.testing.assert_array_equal(half.compile(emulator).run(x=x)["y"], x.repeat(2, axis=2))


def test_lines_lead_back_to_the_program(tmp_path: Path) -> None:
    body = """
        tensor<fp32, [8]> c = const()[val = tensor<fp32, [8]>([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.5])];

        tensor<fp32, [1, 8]> s = add(x = x, y = c);"""
    half = mil.to_fp16(read(tmp_path, body, outputs="s"))
    lines = half.text.splitlines()
    found = {lines[new - 1].split(" = ")[0].split()[-1]: old for new, old in half.origins.items()}
    assert found == {"{": 4, "x_fp16": 8, "c": 6, "s_fp16": 8, "s": 8}


def test_control_flow_is_not_converted(tmp_path: Path) -> None:
    """Its blocks would be lost."""
    body = "tensor<fp32, [1, 8]> y = cond(pred = x);"
    with pytest.raises(ArgumentError, match="line 5: cond: programs with control flow cannot be converted"):
        mil.to_fp16(read(tmp_path, body))


def test_what_is_no_program_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"to_fp16 takes a mil\.Program, not 'p\.mil': mil\.read makes"):
        mil.to_fp16("p.mil")  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [[], ["--fp16"]])
def test_an_operation_without_a_result_is_refused_in_a_line(
    tmp_path: Path, run: Any, options: list[str]
) -> None:
    body = "write_state(input = x, data = x);\n        tensor<fp32, [1, 8]> y = relu(x = x);"
    program = read(tmp_path, body)
    for take in (mil.to_fp16, lambda program: mil.parse(program.text)):
        with pytest.raises(ArgumentError, match="line 5: write_state: has no result to compute"):
            take(program)
    outcome = run("lint", str(tmp_path / "p.mil"), *options)
    assert (outcome.code, outcome.err) == (1, "")
    assert ": fails: write_state: " in outcome.out
