"""Programs at the limits of numbers, memory and threads: an error or a right answer, in bounded memory."""

import os
import subprocess
import sys

import numpy as np
import pytest

import aneperf
from aneperf import mil
from support.programs import build


@pytest.mark.parametrize(
    "shape",
    [(1 << 30, 512, 1 << 25, -1), (1 << 31, 1 << 31, 1 << 2), (-1, -1), (0, 4), (-2, 4), (1 << 40,), ()],
)
def test_reshapes_whose_product_overflows_or_is_undefined(shape):
    b = mil.Builder()
    x = b.input("x", (1 << 20, 1 << 19))
    with pytest.raises(aneperf.AneError):
        mil.reshape(x, shape)


def test_a_split_into_absurdly_many_parts_is_refused_before_they_are_counted():
    b = mil.Builder()
    x = b.input("x", (1, 1_000_000_000))
    with pytest.raises(aneperf.CompileError, match="1000000000 splits; at most 65536"):
        mil.split(x, 1_000_000_000, 1)


def test_memory_that_is_used_again_is_counted_once(emulator):
    elements = (1, 1024, 1, 65536)  # 128 MiB; 400 of them would be 50 GiB

    def chain(x):
        for _ in range(400):
            x = mil.reverse(x, [3])
        return x

    b = mil.Builder()
    b.output("y", chain(b.input("x", elements)))
    program = b.build().compile(emulator)
    assert program.stats.activation_bytes == 2 * 2 * np.prod(elements)


def test_a_program_larger_than_the_machines_memory_is_refused_with_its_size(emulator):
    b = mil.Builder()
    x, y = b.input("x", (65536, 1, 1, 64)), b.input("y", (1, 65536, 1, 1))
    b.output("z", mil.add(x, y))
    with pytest.raises(aneperf.CompileError, match="the program needs 524288 MiB"):
        b.build().compile(emulator)


def test_a_norm_over_everything_needs_one_row_of_scratch(emulator):
    x = np.zeros((1, 16, 64, 256), np.float16)
    program = build(lambda t: mil.layer_norm(t, axes=[1, 2, 3]), x).compile(emulator)
    assert program.stats.activation_bytes <= 2 * x.nbytes + 2 * x.nbytes + 4096


@pytest.mark.parametrize("axes", [np.int32(1), 1.5, [[1]]])
def test_axes_are_a_list_of_integers(axes):
    b = mil.Builder()
    x = b.input("x", (1, 4, 1, 8))
    with pytest.raises(aneperf.AneError):
        mil.reduce_sum(x, axes)


@pytest.mark.parametrize(
    ("scalar", "list_of_one"),
    [
        ("axis = int32(1)", "axis = tensor<int32, [1]>([1])"),
        ("keep_dims = bool(true)", "keep_dims = tensor<bool, [1]>([true])"),
        ("groups = int32(1)", "groups = tensor<int32, [1, 1]>([[1]])"),
        ("epsilon = fp16(1)", "epsilon = tensor<fp16, [1, 1]>([[1]])"),
    ],
)
def test_scalars_are_scalars_in_the_text(emulator, scalar, list_of_one):
    name = scalar.split()[0]
    operation = {
        "axis": "tensor<fp16, [1, 4, 1, 32]> y = softmax(x = x, axis = int32(1))",
        "keep_dims": "tensor<fp16, [1, 1, 1, 32]> y = "
        "reduce_sum(x = x, axes = tensor<int32, [1]>([1]), keep_dims = bool(true))",
        "groups": "tensor<fp16, [1, 1, 1, 32]> y = conv(x = x, weight = "
        "tensor<fp16, [1, 4, 1, 1]>([[[[1]],[[1]],[[1]],[[1]]]]), groups = int32(1))",
        "epsilon": "tensor<fp16, [1, 4, 1, 32]> y = log(x = x, epsilon = fp16(1))",
    }[name]
    text = (
        'program(1.3)\n[buildInfo = dict<string, string>({{"coremltools-version", "9.0"}})]\n'
        f"{{ func main<ios18>(tensor<fp16, [1, 4, 1, 32]> x) {{\n{operation};\n}} -> (y); }}"
    )
    emulator.compile(text)
    with pytest.raises(aneperf.CompileError, match=f"'?{name}'?") as caught:
        emulator.compile(text.replace(scalar, list_of_one))
    assert caught.value.line == 4


def outcome(code, **environment):
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True, text=True, timeout=120, env={**os.environ, **environment},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited on Linux only")
def test_threads_that_the_system_refuses_are_done_without():
    code = """
import resource, signal
import numpy as np
import aneperf
from aneperf import mil
device = aneperf.open("emulator")
b = mil.Builder()
b.output("y", mil.exp(b.input("x", (1, 256, 1, 1024))))
program = b.build().compile(device)
array = np.ones((1, 256, 1, 1024), np.float16)
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * 4096 + 200 * 2**20, -1))
y = program.run(x=array)["y"]
print(np.all(y == np.exp(array)), signal.pthread_sigmask(signal.SIG_BLOCK, []))
"""
    assert outcome(code, ANEPERF_THREADS="200") == "True set()\n"
