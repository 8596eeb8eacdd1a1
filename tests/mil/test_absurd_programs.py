"""Programs and weights of absurd sizes: they run, or are refused with the numbers."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import aneperf
from support.absurd_text import X, relus, text

SHAPE = (1, 4, 1, 8)
MANY = 100_000
LONG = 1_000_000
PATH = "@model_path/weight.bin"


@pytest.mark.thorough
def test_a_chain_of_100000_operations(emulator):
    program = emulator.compile(text(relus(["x", *(f"y{i}" for i in range(MANY - 1))]), f"y{MANY - 1}"))
    x = np.arange(-16, 16, dtype=np.float16).reshape(SHAPE)
    assert program.stats.operations == 1  # one chain, the ports included
    np.testing.assert_array_equal(program.run(x=x)[f"y{MANY - 1}"], np.maximum(x, 0))


@pytest.mark.thorough
def test_a_value_that_100000_operations_read(plain):
    """Keep all values alive at once: the last adds them up in reverse."""
    sums = "\n".join(
        f"{X} z{i} = add(x = {f'z{i - 1}' if i else 'x'}, y = y{MANY - 1 - i});" for i in range(MANY)
    )
    program = plain.compile(text(f"{relus(['x'] * MANY)}\n{sums}", f"z{MANY - 1}"))
    x = np.full(SHAPE, 2.0**-10, np.float16)
    got = program.run(x=x)[f"z{MANY - 1}"]
    expected = x.flat[0]
    for _ in range(MANY):
        expected = np.float16(expected + x.flat[0])
    np.testing.assert_array_equal(got, np.full(SHAPE, expected))


def test_a_tuple_of_16384_values(emulator):
    values = ", ".join(["x"] * 16384)
    joined = f"concat(values = ({values}), axis = int32(1), interleave = bool(false))"
    program = emulator.compile(text(f"tensor<fp16, [1, 65536, 1, 8]> y = {joined};"))
    x = np.arange(32, dtype=np.float16).reshape(SHAPE)
    np.testing.assert_array_equal(program.run(x=x)["y"], np.concatenate([x] * 16384, 1))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (f"{X} {'y' * LONG} = relu(x = x);", "a name of 1000000 characters; at most 1024"),
        (f"{X} y = {'q' * LONG}(x = x);", "a name of 1000000 characters"),
        (f"{X} y = relu({'q' * LONG} = x);", "a name of 1000000 characters"),
        (f'{X} y = gelu(x = x, mode = string("{"q" * LONG}"));', "a string of more than 64 KiB"),
        (f"{X} y = relu(x = {'(' * LONG});", "a tuple holds only names"),
        (f"{X} y = relu(x = {'[' * LONG});", "has no type"),
        (f"{X} y = add(x = x, y = tensor<fp16, [1, 1, 1]>({'[' * LONG}));", "expected an fp16 number"),
        (f"tensor<fp16, [{'1, ' * LONG}1]> y = relu(x = x);", "a rank above 7"),
        (
            f"tensor<fp16, [{'9' * LONG}]> y = relu(x = x);",
            "is outside uint64, which holds 0 to 18446744073709551615",
        ),
        ("tensor<fp16, [2147483647, 2147483647]> y = relu(x = x);", r"larger than 2\^40 bytes"),
        (f"{X} y = add(x = x, y = tensor<fp16, [2147483647, 200]>([[1]]));", "after 1 of 200 elements"),
        (f"{X} y = relu({', '.join(f'a{i} = x' for i in range(100))});", "more than 64 arguments"),
        (
            "tensor<fp16, [1, 4, 65536, 65536]> h = tile(x = x, reps = "
            "tensor<int32, [4]>([1, 1, 65536, 8192]));\n"
            f"{X} y = slice_by_size(x = h, begin = tensor<int32, [4]>([0, 0, 0, 0]), "
            "size = tensor<int32, [4]>([1, 4, 1, 8]));",
            "the program needs 32768 MiB",
        ),
        (
            "tensor<fp16, [1, 262144, 1, 8]> h = tile(x = x, reps = tensor<int32, [4]>([1, 65536, 1, 1]));\n"
            f"{X} y = slice_by_size(x = h, begin = tensor<int32, [4]>([0, 0, 0, 0]), "
            "size = tensor<int32, [4]>([1, 4, 1, 8]));",
            "has at most 65536 elements",
        ),
    ],
)
def test_what_is_absurd_is_refused_with_its_numbers(emulator, body, message):
    with pytest.raises(aneperf.CompileError, match=message) as caught:
        emulator.compile(text(body))
    assert len(str(caught.value)) < 2000


def test_more_than_255_ports(emulator):
    with pytest.raises(aneperf.CompileError, match="300 ports; the engine takes at most 255 a side"):
        emulator.compile(text(relus(["x"] * 300), ", ".join(f"y{i}" for i in range(300))))


def blob_program(offset, type=X):
    weight = f'{type}(BLOBFILE(path = string("{PATH}"), offset = uint64({offset})))'
    return text(f"{type} y = add(x = x, y = {weight});", inputs=f"{type} x")


def blob(payload_bytes, payload_offset, length=256):
    data = bytearray(length)
    data[4:8] = (2).to_bytes(4, "little")
    data[64:72] = (0xDEADBEEF).to_bytes(4, "little") + (1).to_bytes(4, "little")
    data[72:80] = payload_bytes.to_bytes(8, "little")
    data[80:88] = payload_offset.to_bytes(8, "little")
    return bytes(data)


@pytest.mark.parametrize("lenient", [False, True])
@pytest.mark.parametrize(
    ("offset", "data", "message"),
    [
        (2**64 - 1, blob(64, 128), "runs past the end of a file of 256 bytes"),
        (2**64 - 64, blob(64, 128), "runs past the end of a file of 256 bytes"),
        (2**63, blob(64, 128), "runs past the end of a file of 256 bytes"),
        (64, blob(64, 2**64 - 1), "the payload of 64 bytes at 18446744073709551615 runs past the end"),
        (64, blob(64, 2**64 - 64), "the payload of 64 bytes at 18446744073709551552 runs past the end"),
        (64, blob(64, 193), "the payload of 64 bytes at 193 runs past the end of a file of 256 bytes"),
        (64, blob(2**64 - 1, 128), "size field 18446744073709551615"),
        (64, blob(64, 127), "payload offset 127, but the chunk header ends at 128"),
        (64, blob(64, 64), "payload offset 64, but the chunk header ends at 128"),
        (0, blob(64, 128), "the offset lies in the 64-byte file header"),
        (63, blob(64, 128), "the offset lies in the 64-byte file header"),
    ],
)
def test_weights_at_absurd_places_are_refused_with_their_numbers(emulator, offset, data, message, lenient):
    with pytest.raises(aneperf.CompileError, match=message) as caught:
        emulator.compile(blob_program(offset), {PATH: data}, lenient_weights=lenient)
    assert caught.value.kind == "InvalidWeights"


def test_a_weight_that_is_larger_than_its_file(emulator):
    with pytest.raises(aneperf.CompileError, match="the payload of 134217728 bytes at 128 runs past the end"):
        emulator.compile(blob_program(64, "tensor<fp16, [128, 65536, 8]>"), {PATH: blob(1 << 27, 128)})


LITTLE_MEMORY = """
import resource
import aneperf
from support.absurd_text import relus, text
device = aneperf.open("emulator")
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * 4096 + 600 * 2**20, -1))
h = "tensor<fp16, [1, 4, 65536, 1024]>"
body = f"{h} h = tile(x = x, reps = tensor<int32, [4]>([1, 1, 65536, 128]));\\n"
body += f"{h} r = reverse(x = h, axes = tensor<int32, [1]>([1]));\\n"
body += f"{h} y = reverse(x = r, axes = tensor<int32, [1]>([2]));"
try:
    device.compile(text(body))
except aneperf.CompileError as error:
    print(error)
print(device.compile(text(relus(["x"]), "y0")).outputs[0].name)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited on Linux only")
def test_memory_that_the_system_refuses_is_named(emulator):
    maps = Path("/proc/self/maps").read_text()
    if "libasan" in maps or "libclang_rt.asan" in maps:
        pytest.skip("AddressSanitizer needs all of the address space")
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{LITTLE_MEMORY}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    refusal, output = done.stdout.splitlines()
    assert (
        refusal == "[compile] CompilationFailure: no memory for 0 MiB of weights and 1024 MiB of activations"
    )
    assert output == "y0"
