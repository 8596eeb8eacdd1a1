"""Programs of the user's own, timed and checked."""

import itertools
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import aneperf
from aneperf import AneError, ArgumentError, CompileError, ResultFileError, mil
from aneperf.probes import bench
from aneperf.probes.bench import Axes, bench_file, parse_axes
from aneperf.runner import own_program
from aneperf.runner.arrays import read_arrays
from aneperf.runner.in_child import run_in_child
from aneperf.runner.operations import CASES
from support.command import assert_refused

SHAPE = (2, 8, 1, 32)
BUDGET = 0.01
IN_CHILD = 0.2  # seconds of a true clock
TEMPLATE = """
from aneperf import mil

def net(n, function="relu"):
    b = mil.Builder()
    x, other = b.input("x", (2, n, 1, 32)), b.input("other", (2, n, 1, 32), "fp32")
    b.output("y", getattr(mil, function)(x) * mil.cast(other, "fp16"))
    b.output("sum", mil.reduce_sum(x, [1], True))
    return b
"""


@pytest.fixture
def template(tmp_path: Path) -> str:
    file = tmp_path / "net.py"
    file.write_text(TEMPLATE)
    return str(file)


def program(define: Callable[[mil.Tensor], mil.Tensor]) -> mil.Program:
    b = mil.Builder()
    b.output("y", define(b.input("x", SHAPE)))
    return b.build()


EMULATOR = aneperf.open("emulator")


def benched(
    *arguments: Any, budget: float = BUDGET, tick: float = BUDGET / 4, **options: Any
) -> aneperf.Result:
    """Time every program, however busy the machine is: only looks at the clock take time."""
    return aneperf.bench(*arguments, budget=budget, clock=itertools.count(0, tick).__next__, **options)


def measured(template: str, axes: Axes) -> aneperf.Result:
    return benched(template, EMULATOR, axes=axes, budget=0.02, tick=3e-4)


def only(*arguments: Any, **options: Any) -> aneperf.Row:
    (row,) = benched(*arguments, EMULATOR, **options)
    return row


def test_a_row_for_each_combination(template: str) -> None:
    result = measured(template, {"n": [8, 16], "function": ["tanh", "relu"]})
    assert [row.key for row in result] == [
        f"bench/net.py:net/n={n}/function={function}" for n in (8, 16) for function in ("tanh", "relu")
    ]
    assert {row.status for row in result} == {"ok"}
    assert len({row.params["digest"] for row in result}) == 4
    row = result.rows[0]
    assert {**row.params, "digest": ""} == {
        "config": "n=8 function=tanh",
        "program": "net.py:net",
        "axis_n": 8,
        "axis_function": "tanh",
        "digest": "",
    }
    ports = 2 * 8 * 32 * (2 + 4 + 2) + 2 * 32 * 2
    assert (row.metrics["bytes"], row.metrics["gflop"]) == (ports, 3 * 2 * 8 * 32 / 1e9)
    assert row.error is not None
    assert 0 < row.error < 0.03
    assert row.median is not None
    assert row.metrics["calls_per_s"] == pytest.approx(1000 / row.median)
    assert row.metrics["items_per_s"] == pytest.approx(2000 / row.median)
    assert row.metrics["gb_per_s"] == pytest.approx(ports / row.median / 1e6)
    assert len(result.compare(result)) == 4


def test_a_program_a_builder_and_a_function_are_taken() -> None:
    made = program(mil.relu)
    assert only(made).key == "bench/program"
    assert only(lambda: made, name="mine").key == "bench/mine"

    def net(n: int = 8) -> mil.Builder:
        b = mil.Builder()
        b.output("y", mil.relu(b.input("x", (1, n, 1, 32))))
        return b

    assert only(net(16)).status == "ok"
    assert only(net, axes={"n": [4]}).key == "bench/net/n=4"
    with pytest.raises(ArgumentError, match=r"not 3$"):
        aneperf.bench(3, "emulator")  # type: ignore[arg-type]


def test_random_inputs_are_the_same_in_every_run(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    evaluate = own_program.evaluate
    monkeypatch.setattr(own_program, "evaluate", lambda p, **a: seen.append(a["x"]) or evaluate(p, **a))
    for _ in range(2):
        assert only(program(mil.relu)).status == "ok"
    np.testing.assert_array_equal(*seen)
    assert seen[0].dtype == np.float16
    assert 0.5 < np.std(seen[0]) < 2


def test_a_wrong_output_is_told_from_a_rounded_one() -> None:
    kernel = own_program.OwnProgram(lambda: program(mil.relu))
    x = kernel.build() and kernel.inputs()["x"]
    right = np.maximum(x, 0)
    largest = float(right.max())
    rounded, wrong = right + 0.0015 * largest, right.copy()
    wrong[1, 7, 0, 31] += 0.02 * largest
    for y, error in ((right, 0.0), (rounded, 0.0015), (wrong, 0.02)):
        judged = kernel.judge({"y": y})
        assert judged.error == pytest.approx(error, rel=0.4)
        assert (judged.error > judged.tolerance) == (y is wrong)
    assert kernel.judge({"y": right * np.nan}).error == np.inf


@pytest.mark.thorough
def test_no_operation_is_called_wrong_for_random_inputs() -> None:
    unchecked = 0
    for name, case in CASES.items():
        kernel = own_program.OwnProgram(case.build)
        try:
            judged = kernel.judge(kernel.build().compile(EMULATOR).run(**kernel.inputs()))
        except CompileError:  # of a generation that the emulator imitates by default
            continue
        assert judged.unchecked or judged.error <= judged.tolerance, name
        unchecked += bool(judged.unchecked)
    assert unchecked < len(CASES) / 4


@pytest.mark.parametrize(
    ("define", "reason"),
    [
        (mil.log, "fp16 does not hold the right values for these inputs: give others (--inputs)"),
        (lambda x: mil.inverse(x, 1e-5) * 1e4, "fp16 does not hold the right values"),
        (lambda x: mil.round(mil.round(x * 2.0) * 0.5), "rounding explains an error of"),
        (lambda x: mil.sin(x * 3000.0), "rounding explains an error of"),
    ],
)
def test_an_output_that_cannot_be_judged_says_why(define: Any, reason: str) -> None:
    result = benched(program(define), EMULATOR)
    (row,) = result
    assert row.status == "ok"
    assert row.error is None
    assert str(row.params["output"]).startswith(f"not checked: {reason}")
    assert f"program: output not checked: {reason}" in result.notes[-1]


def test_no_check_is_told(template: str, run: Any) -> None:
    outcome = run("bench", template, "--axis", "n=8", "--no-check", "--budget", "0.2", "--device", "emulator")
    assert outcome.code == 0
    assert "unchecked" in outcome.out
    assert "n=8: output not checked: the check was left out" in outcome.out


def encrypted(content: bytes) -> bytes:
    """Say in an archive's directory that its first file is encrypted."""
    flags = content.index(b"PK\x01\x02") + 8
    return content[:flags] + b"\x01" + content[flags + 1 :]


def saved(file: Path, **arrays: Any) -> str:
    np.savez(file, **arrays)
    return str(file)


def test_inputs_come_from_a_file(tmp_path: Path) -> None:
    for array in (np.full(SHAPE, 2.0, np.float16), np.asfortranarray(np.full(SHAPE, 3.0, np.float16))):
        file = saved(tmp_path / "inputs.npz", x=array)
        assert only(program(mil.log), inputs=file).error is not None
        assert only(program(mil.log), inputs={"x": array}).error is not None


class Trap:
    """An object whose unpickling fails the test."""

    def __reduce__(self) -> Any:
        return pytest.fail, ("unpickled",)


HALVES = np.zeros(SHAPE, np.float16)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": HALVES.astype(np.float32)}, "x is float32 [2, 8, 1, 32], and the program takes tensor<fp16, "),
        ({"x": HALVES[:1]}, "x is float16 [1, 8, 1, 32], and the program takes tensor<fp16, [2, 8, 1, 32]>"),
        ({"z": HALVES}, "holds no array 'x', which the program takes as tensor<fp16, [2, 8, 1, 32]>"),
        ({"x": HALVES, "z": HALVES}, "holds 'z', and the program has the inputs x"),
        ({"x": np.array([Trap()], dtype=object)}, "x is object [1], and the program takes"),
    ],
)
def test_inputs_that_do_not_fit_are_an_error_of_the_row(tmp_path: Path, arrays: Any, message: str) -> None:
    file = saved(tmp_path / "inputs.npz", **arrays)
    row = only(program(mil.relu), inputs=file)
    assert row.status == "error"
    assert f"{file}: {message}" in str(row.reason)


def test_a_header_that_promises_too_much_allocates_nothing(tmp_path: Path) -> None:
    file = rewritten(tmp_path, b"(2, 8, 1, 32), ", b"(2000000000,), ")
    row = only(program(mil.relu), inputs=file)
    assert "x is float16 [2000000000], and the program takes" in str(row.reason)


def rewritten(folder: Path, old: bytes, new: bytes) -> str:
    """Save an array whose bytes are changed, and return the file."""
    np.save(folder / "x.npy", HALVES)
    content = (folder / "x.npy").read_bytes()
    assert old in content
    with zipfile.ZipFile(folder / "inputs.npz", "w") as archive:
        archive.writestr("x.npy", content.replace(old, new))
    return str(folder / "inputs.npz")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"NUMPY\x01", b"NUMPY\x07", "x is of version (7, 0): save it with numpy.savez"),
        (b"'shape'", b"'shaqe'", "cannot read: Header does not contain the correct keys"),
        (bytes(64), b"", "x does not have the bytes of its shape"),
        (bytes(1024), bytes(1025), "x does not have the bytes of its shape"),
    ],
)
def test_a_broken_array_is_refused(tmp_path: Path, old: bytes, new: bytes, message: str) -> None:
    file = rewritten(tmp_path, old, new)
    with pytest.raises(AneError, match=re.escape(message)):
        read_arrays(file, program(mil.relu).inputs)


def test_a_large_file_of_inputs_is_refused_before_it_is_read(tmp_path: Path) -> None:
    file = saved(tmp_path / "inputs.npz", x=HALVES, other=np.zeros(1 << 20))
    with pytest.raises(AneError, match=r"more than arrays of the inputs take"):
        read_arrays(file, program(mil.relu).inputs)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-30], r"inputs\.npz: cannot read: "),
        (lambda content: content[:200], r"inputs\.npz: cannot read: "),
        (lambda content: encrypted(content), r"inputs\.npz: cannot read: .* is encrypted"),
        (lambda content: b"text " * 40, r"is text, not an \.npz file of NumPy arrays"),
        (lambda content: b"", r"is empty, not an \.npz file"),
    ],
)
def test_a_broken_file_of_inputs_is_refused(tmp_path: Path, damage: Any, message: str) -> None:
    file = Path(saved(tmp_path / "inputs.npz", x=HALVES))
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ResultFileError, match=message):
        only(program(mil.relu), inputs=str(file))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--axis", "n"], "--axis 'n' is no axis: give n=64,128 or n=64..512"),
        (["--axis", "n=8", "--axis", "n=9"], "--axis n is given twice"),
        (["--axis", "n=8,8"], "axis n has a value twice: [8, 8]"),
        (["--axis", "n=8..x"], "--axis n: '8..x' is no value"),
        (["--axis", "m=8"], "net.py:net has no parameter 'm' for an axis: it has n, function"),
        ([], "net.py:net needs a value of n: --axis n=64,128"),
        (["--axis", f"n={','.join(map(str, range(1, 2002)))}"], "the axes make 2001 rows, and a result has"),
    ],
)
def test_a_bad_axis_is_one_line(template: str, run: Any, arguments: list[str], message: str) -> None:
    assert_refused(run("bench", template, *arguments, "--device", "emulator"), message)


def test_axes_are_numbers_where_they_can_be() -> None:
    assert parse_axes(["a=1,2.5,x,nan", "b=8..32"]) == {"a": [1, 2.5, "x", "nan"], "b": [8, 16, 32]}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.mil", "func", "m.mil: [compile] InvalidMILProgram: line 1"),
        ("m.py", "x = (", "m.py: line 1: SyntaxError"),
        ("gone.mil", None, "gone.mil: cannot read: No such file"),
        ("gone.py", None, "gone.py: cannot read: No such file"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(
    tmp_path: Path, run: Any, name: str, content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    assert_refused(run("bench", str(tmp_path / name), "--device", "emulator"), message)


def test_what_does_not_compile_is_a_row(template: str) -> None:
    rows = measured(template, {"n": [8], "function": ["asin"]}).rows
    assert [row.status for row in rows] == ["error"]
    assert "line 7: AttributeError" in str(rows[0].reason)
    text = program(mil.relu).text.replace("relu", "cosh")
    row = only(mil.Program({}, {}, text, {}))
    assert row.status == "unsupported"
    assert "cosh" in str(row.reason)
    row = only(mil.Program({}, {}, text.replace("cosh(x = x)", "conv()"), {}))  # whose work cannot be counted
    assert row.status == "unsupported"
    assert "conv: argument 'x' is missing" in str(row.reason)


def test_a_child_process_measures_from_arguments_that_json_holds(template: str) -> None:
    arguments = {"file": f"{template}:net", "axis": ["n=8"], "budget": IN_CHILD}
    outcome = run_in_child(bench_file, "emulator", time_limit=600, **json.loads(json.dumps(arguments)))
    assert outcome.result is not None
    assert [row.key for row in outcome.result] == ["bench/net.py:net/n=8"]


def test_a_text_that_is_no_mil_names_its_file(tmp_path: Path) -> None:
    (tmp_path / "m.mil").write_text("program(1.3)\n{ nonsense")
    with pytest.raises(ResultFileError, match=r"m\.mil: .*line 2"):
        aneperf.bench(tmp_path / "m.mil", "emulator")


FP32 = """program(1.3)
[buildInfo = dict<string, string>({{"coremlc-version", "3505.4.1"}})]
{
    func main<ios18>(tensor<fp32, [2, 8, 1, 32]> x) {
        tensor<fp32, [2, 8, 1, 32]> y = mul(x = x, y = fp32(0.5));
    } -> (y);
}
"""


@pytest.mark.parametrize("verb", ["bench", "profile"])
def test_a_program_in_fp32_is_refused_and_converted_on_request(tmp_path: Path, run: Any, verb: str) -> None:
    (tmp_path / "m.mil").write_text(FP32)
    output = str(tmp_path / "r.json")
    arguments = [verb, str(tmp_path / "m.mil"), "--device", "emulator", "--budget", "0.2", "-o", output]
    refused = run(*arguments)
    assert refused.code == 1
    assert "Convert the program to fp16: --fp16, or mil.to_fp16." in " ".join(refused.out.split())
    row = aneperf.Result.load(output).rows[-1]
    assert row.status == "unsupported"
    assert "line 5, column 45: mul: 'x' is fp32, must be fp16" in str(row.reason)
    converted = run(*arguments, "--fp16")
    assert converted.code == 0
    row = aneperf.Result.load(output).rows[-1]
    changes = "1 operations and 1 constants to fp16; 2 casts added and 0 removed"
    assert row.params["fp16"] == changes
    assert changes in " ".join(converted.out.split())


def test_ports_are_converted_for_a_device_that_does_not_cast(tmp_path: Path) -> None:
    (tmp_path / "m.mil").write_text(FP32)
    old = aneperf.open("emulator:h13")
    (row,) = benched(tmp_path / "m.mil", old, fp16=True)
    assert row.status == "ok"
    assert str(row.params["fp16"]).endswith("fp16 ports now: x, y")


def test_processes_convert_too(tmp_path: Path) -> None:
    (tmp_path / "m.mil").write_text(FP32)
    arguments = {"file": str(tmp_path / "m.mil"), "fp16": True, "budget": IN_CHILD}
    outcome = run_in_child(bench_file, "emulator", time_limit=600, **arguments)
    assert outcome.result is not None
    assert "casts added" in str(outcome.result.rows[0].params["fp16"])
    repeat = bench._repeat(3, arguments["file"], None, None, "m", check=True, fp16=True)
    assert repeat.arguments["fp16"] is True
