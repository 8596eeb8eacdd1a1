"""The device contract: surfaces, ports, binding, the compile budget, unloading."""

import subprocess
import sys
import threading

import numpy as np
import pytest

import aneperf
from aneperf import Layout, mil


def scale_program(**inputs):
    """Build the output `y`, the sum of all inputs, weighted by position in ASCII order of the names."""
    b = mil.Builder()
    tensors = {name: b.input(name, shape) for name, shape in inputs.items()}
    total = None
    for position, name in enumerate(sorted(tensors), start=1):
        term = mil.mul(tensors[name], float(position))
        total = term if total is None else mil.add(total, term)
    b.output("y", total)
    return b.build()


SHAPE = (1, 4, 1, 32)


@pytest.fixture
def program(device):
    return scale_program(x=SHAPE).compile(device)


def bindings(device, program):
    return (
        {port.name: device.make_surface(port) for port in program.inputs},
        {port.name: device.make_surface(port) for port in program.outputs},
    )


def test_ports_are_in_ascii_order_and_say_what_they_take(device):
    program = scale_program(b=SHAPE, a10=SHAPE, a2=SHAPE, B=SHAPE).compile(device)
    assert [port.name for port in program.inputs] == ["B", "a10", "a2", "b"]
    port = program.inputs[0]
    assert (port.dtype, port.shape, port.row_pitch, port.bytes) == ("fp16", SHAPE, 64, 4 * 64)


def test_inputs_are_bound_by_name_whatever_their_order(device):
    names = ["z", "a", "m"]
    program = scale_program(**dict.fromkeys(names, SHAPE)).compile(device)
    arrays = {name: np.full(SHAPE, 10.0**i, np.float16) for i, name in enumerate(names)}
    y = program.run(**arrays)["y"]
    assert np.all(y == 1 * arrays["a"] + 2 * arrays["m"] + 3 * arrays["z"])


@pytest.mark.parametrize(
    ("dtype", "width", "pitch"), [("fp16", 32, 64), ("fp16", 33, 128), ("fp32", 4, 64), ("int8", 65, 128)]
)
def test_rows_start_on_64_byte_boundaries(device, dtype, width, pitch):
    layout = Layout(dtype, (2, 3, width))
    assert (layout.row_pitch, layout.bytes) == (pitch, 6 * pitch)
    surface = device.make_surface(layout)
    numpy_dtype = {"fp16": np.float16, "fp32": np.float32, "int8": np.int8}[dtype]
    array = np.arange(6 * width).reshape(2, 3, width).astype(numpy_dtype)
    surface.write(array)
    np.testing.assert_array_equal(surface.read(), array)
    raw = surface.read(Layout("uint8", (6, pitch)))
    packed = array.reshape(6, width).view(np.uint8)
    np.testing.assert_array_equal(raw[:, : packed.shape[1]], packed)
    assert not raw[:, packed.shape[1] :].any()


def test_a_narrow_port_is_read_and_written_by_its_pitch(device):
    program = scale_program(x=(1, 5, 2, 3)).compile(device)
    x = np.arange(30, dtype=np.float16).reshape(1, 5, 2, 3)
    np.testing.assert_array_equal(program.run(x=x)["y"], x)


def test_a_larger_surface_is_fine_and_a_smaller_one_is_status_0x1d(device, program):
    x = np.ones(SHAPE, np.float16)
    large_in, large_out = device.make_surface(4096), device.make_surface(4096)
    large_in.write(x, program.inputs[0].layout)
    program.evaluate({"x": large_in}, {"y": large_out})
    np.testing.assert_array_equal(large_out.read(program.outputs[0].layout), x)
    for inputs, outputs in ((255, 256), (256, 255)):
        with pytest.raises(aneperf.EvaluateError, match="255 bytes, the port needs 256") as caught:
            program.bind({"x": device.make_surface(inputs)}, {"y": device.make_surface(outputs)})
        assert caught.value.status == 0x1D


def test_one_surface_chains_two_programs(device, program):
    x, between, y = (device.make_surface(program.inputs[0]) for _ in range(3))
    double = mil.Builder()
    double.output("y", mil.mul(double.input("x", SHAPE), 2.0))
    second = double.build().compile(device)
    x.write(np.full(SHAPE, 3, np.float16))
    program.evaluate({"x": x}, {"y": between})
    second.evaluate({"x": between}, {"y": y})
    assert np.all(y.read() == 6)


def test_time_returns_each_calls_duration(device, program):
    durations = program.time(*bindings(device, program), 7)
    assert durations.dtype == np.int64
    assert durations.shape == (7,)
    assert np.all(durations > 0)


def test_surfaces_with_equal_rows_may_have_other_outer_axes(device, program):
    x, y = device.make_surface(Layout("fp16", (2, 2, 1, 32))), device.make_surface(Layout("fp16", (4, 32)))
    x.write(np.ones((2, 2, 1, 32), np.float16))
    program.evaluate({"x": x}, {"y": y})
    assert np.all(y.read() == 1)


def test_two_outputs_cannot_share_a_surface(device):
    b = mil.Builder()
    x = b.input("x", SHAPE)
    b.output("y", mil.relu(x))
    b.output("z", mil.abs(x))
    program = b.build().compile(device)
    surface = device.make_surface(program.outputs[0])
    with pytest.raises(aneperf.EvaluateError, match="outputs 'y' and 'z' have the same surface"):
        program.bind({"x": device.make_surface(program.inputs[0])}, {"y": surface, "z": surface})


def test_a_program_is_unloaded_at_the_end_of_its_with_block(device):
    with scale_program(x=SHAPE).compile(device) as program:
        assert program.loaded
        assert repr(program) == "<Program x -> y>"
    assert not program.loaded
    assert repr(program) == "<Program x -> y, unloaded>"


def test_layouts_compare_by_value():
    assert Layout("fp16", (1, 2)) == Layout("fp16", (1, 2))
    assert Layout("fp16", (1, 2)) != Layout("fp32", (1, 2))


def test_ctrl_c_interrupts_time():
    code = """
import os, signal, threading
import aneperf
from aneperf import mil
b = mil.Builder()
x = b.input("x", (1, 256, 1, 2048))
b.output("y", mil.exp(x))
program = b.build().compile(aneperf.open("emulator"))
surfaces = [aneperf.open("emulator").make_surface(program.inputs[0]) for _ in range(2)]
try:
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    program.time({"x": surfaces[0]}, {"y": surfaces[1]}, 10**8)
except KeyboardInterrupt:
    print("interrupted")
"""
    assert in_new_process(code) == "interrupted\n"


def test_binding_while_another_thread_unloads(device):
    b = mil.Builder()
    y = b.input("x", (1, 4, 1, 32))
    for _ in range(500):
        y = mil.relu(y)
    b.output("y", y)
    built = b.build()

    errors = []

    def bind_until_unloaded(program, inputs, outputs):
        try:
            while True:
                program.bind(inputs, outputs)
        except aneperf.EvaluateError as error:
            errors.append(str(error))

    for _ in range(20):
        program = built.compile(device)
        thread = threading.Thread(target=bind_until_unloaded, args=(program, *bindings(device, program)))
        thread.start()
        program.unload()
        thread.join(timeout=60)
        assert "unloaded" in errors.pop()


def test_unload_ends_a_program_and_its_requests(device, program):
    request = program.bind(*bindings(device, program))
    request.evaluate()
    assert program.loaded
    program.unload()
    program.unload()
    assert not program.loaded
    for call in (request.evaluate, lambda: request.time(1), lambda: program.bind(*bindings(device, program))):
        with pytest.raises(aneperf.EvaluateError, match="unloaded"):
            call()


def test_a_request_keeps_its_program_and_surfaces_alive(device):
    program = scale_program(x=SHAPE).compile(device)
    inputs, outputs = bindings(device, program)
    inputs["x"].write(np.ones(SHAPE, np.float16))
    y = outputs["y"]
    request = program.bind(inputs, outputs)
    del program, inputs, outputs
    request.evaluate()
    assert np.all(y.read() == 1)


def test_requests_of_one_program_from_many_threads(device):
    program = scale_program(x=(1, 64, 1, 512)).compile(device)
    wrong = []

    def evaluate(value):
        x = np.full((1, 64, 1, 512), value, np.float16)
        for _ in range(50):
            if not np.array_equal(program.run(x=x)["y"], x):
                wrong.append(value)

    threads = [threading.Thread(target=evaluate, args=(float(i),)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_unloading_while_other_threads_evaluate(device):
    program = scale_program(x=(1, 64, 1, 512)).compile(device)
    request = program.bind(*bindings(device, program))
    outcomes = []

    def evaluate():
        try:
            while True:
                request.time(10)
        except aneperf.EvaluateError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=evaluate) for _ in range(3)]
    for thread in threads:
        thread.start()
    program.unload()
    for thread in threads:
        thread.join(timeout=60)
    assert len(outcomes) == 3


def in_new_process(code):
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout


BUDGET = """
import aneperf
from aneperf import CompileBudget, mil
b = mil.Builder()
b.output("y", mil.relu(b.input("x", (1, 1, 1, 32))))
program = b.build()
device = aneperf.open("emulator", compile_budget=%s)
try:
    while True:
        program.compile(device)
except aneperf.AneError as error:
    print(type(error).__name__, device.compiles_used, error)
"""


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        ("None", "CompileBudgetError 100 [compile] this process has used its 100 compiles"),
        ("3", "CompileBudgetError 3 [compile] this process has used its 3 compiles"),
        (
            "CompileBudget(1000, 119)",
            "CompileError 119 [compile] CompilationFailure: the engine's compiler fails",
        ),
    ],
)
def test_the_compile_budget_holds_for_the_process(budget, expected):
    assert in_new_process(BUDGET % budget).startswith(expected)


def test_programs_see_no_nan_from_a_port(device):
    y = scale_program(x=SHAPE).compile(device).run(x=np.full(SHAPE, np.nan, np.float16))["y"]
    assert np.all(np.isposinf(y))


def test_info_describes_the_emulator(emulator):
    info = emulator.info()
    assert info["kind"] == "emulator"
    assert info["chip"] == "h16"
    assert info["simd"] in {"baseline", "avx2", "avx512", "avx512vnni", "neon"}
    assert int(info["threads"]) >= 1
    assert info["gemm"]


@pytest.mark.parametrize("threads", ["0", "-1", "many", "1000", "2 "])
def test_a_malformed_thread_count_is_refused(threads):
    code = (
        f"import os; os.environ['ANEPERF_THREADS'] = {threads!r}\n"
        "import aneperf\n"
        "try:\n    aneperf.open('emulator')\n"
        "except aneperf.ArgumentError as error:\n    print(error)\n"
    )
    assert "ANEPERF_THREADS" in in_new_process(code)
