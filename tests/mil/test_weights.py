"""Weight files: what the compiler reads from them, and what it refuses."""

import struct
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import aneperf
from aneperf import ArgumentError, CompileError
from aneperf import _ane_native as native

PATH = "@model_path/weights/w.bin"
N = 32  # channels, and columns of x
FP16_BYTES = N * N * 2
INT8_BYTES = N * N


@pytest.fixture(scope="module")
def device() -> aneperf.Device:
    return aneperf.open("emulator")


def weight_file(
    payload: bytes,
    *,
    code: int = 1,
    size: int | None = None,
    start: int = 128,
    sentinel: int = 0xDEADBEEF,
    version: int = 2,
    count: int = 1,
    length: int | None = None,
) -> bytes:
    """Make a file of one chunk, cut to `length` bytes. The fields are as they should be unless given."""
    size = len(payload) if size is None else size
    file_header = struct.pack("<II56x", count, version)
    chunk_header = struct.pack("<IIQQ40x", sentinel, code, size, start)
    return (file_header + chunk_header + payload)[:length]


def program(constants: str) -> str:
    """Write y = w x, a 1x1 convolution with the constant w, defined on line 5."""
    return f"""program(1.3)
[buildInfo = dict<string, string>({{{{"coremlc-version", "3505.4.1"}}}})]
{{
    func main<ios18>(tensor<fp16, [1, {N}, 1, {N}]> x) {{
        {constants}
        string pad_type = const()[val = string("valid")];
        tensor<int32, [2]> ones = const()[val = tensor<int32, [2]>([1, 1])];
        tensor<int32, [4]> pad = const()[val = tensor<int32, [4]>([0, 0, 0, 0])];
        tensor<fp16, [1, {N}, 1, {N}]> y = conv(x = x, weight = w, strides = ones, dilations = ones,
            pad_type = pad_type, pad = pad, groups = int32(1))[name = string("y")];
    }} -> (y);
}}
"""


def blob(dtype: str, offset: int = 64, path: str = PATH) -> str:
    text = path.replace("\\", "\\\\")
    return f'tensor<{dtype}, [{N}, {N}, 1, 1]>(BLOBFILE(path = string("{text}"), offset = uint64({offset})))'


def fp16_program(offset: int = 64, path: str = PATH) -> str:
    return program(f"tensor<fp16, [{N}, {N}, 1, 1]> w = const()[val = {blob('fp16', offset, path)}];")


def int8_program() -> str:
    return program(
        f"tensor<fp16, [{N}, {N}, 1, 1]> w = constexpr_affine_dequantize()[axis = int32(0), "
        f'name = string("w"), quantized_data = {blob("int8")}, scale = fp16(1), zero_point = int8(0)];'
    )


def matrix(dtype: str) -> NDArray[Any]:
    return (np.arange(N * N).reshape(N, N) % 251 - 125).astype(dtype)


def compiled_matrix(compiled: aneperf.Program) -> NDArray[Any]:
    """Return the matrix that a compiled program multiplies with: its output for the unit matrix."""
    unit = np.eye(N, dtype=np.float16).reshape(1, N, 1, N)
    return compiled.run(x=unit)["y"].reshape(N, N)


FP16 = matrix("<f2")
INT8 = matrix("i1")


@pytest.mark.parametrize("lenient", [False, True])
def test_correct_file(device: aneperf.Device, lenient: bool) -> None:
    compiled = device.compile(fp16_program(), {PATH: weight_file(FP16.tobytes())}, lenient_weights=lenient)
    np.testing.assert_array_equal(compiled_matrix(compiled), FP16)
    assert compiled.notes == []


@pytest.mark.parametrize("lenient", [False, True])
def test_correct_int8_file(device: aneperf.Device, lenient: bool) -> None:
    compiled = device.compile(
        int8_program(), {PATH: weight_file(INT8.tobytes(), code=4)}, lenient_weights=lenient
    )
    np.testing.assert_array_equal(compiled_matrix(compiled), INT8.astype("f2"))
    assert compiled.notes == []


@pytest.mark.parametrize("count", [0, 1, 7])
def test_chunks_are_found_by_offset_alone(device: aneperf.Device, count: int) -> None:
    """Ignore the file's blob count and alignment: the second chunk begins at 64 + 64 + 3."""
    first = weight_file(b"abc", code=3, count=count)
    second = weight_file(FP16.tobytes(), start=len(first) + 64)[64:]
    compiled = device.compile(fp16_program(offset=len(first)), {PATH: first + second})
    np.testing.assert_array_equal(compiled_matrix(compiled), FP16)


MALFORMED_FILES: list[tuple[dict[str, int], str]] = [
    ({"length": 0}, f"{PATH}: the file is empty"),
    ({"length": 63}, "a file of 63 bytes has no room for its 64-byte header"),
    ({"version": 1}, "file version 1, where 2 is expected"),
    ({"version": 0x02000000}, "file version 33554432, where 2 is expected"),
    ({"length": 64}, "the 64-byte chunk header runs past the end of a file of 64 bytes"),
    ({"length": 127}, "the 64-byte chunk header runs past the end of a file of 127 bytes"),
    ({"sentinel": 0}, "no chunk header here: 0x00000000 where 0xDEADBEEF is expected"),
    ({"sentinel": 0xEFBEADDE}, "no chunk header here: 0xEFBEADDE where 0xDEADBEEF is expected"),
    ({"code": 0}, "dtype code 0, but fp16 is declared, whose code is 1"),
    ({"code": 2}, "dtype code 2, but fp16 is declared, whose code is 1"),
    ({"code": 5}, "dtype code 5, but fp16 is declared, whose code is 1"),
    ({"code": 0x10001}, "dtype code 65537, but fp16 is declared, whose code is 1"),
    ({"size": 0}, "size field 0, but tensor<fp16, [32, 32, 1, 1]> takes 2048 bytes"),
    ({"size": FP16_BYTES - 1}, "size field 2047, but tensor<fp16, [32, 32, 1, 1]> takes 2048 bytes"),
    ({"size": 0x080000}, "size field 524288, but tensor<fp16, [32, 32, 1, 1]> takes 2048 bytes"),
    ({"size": 2**32 + FP16_BYTES}, "size field 4294969344, but"),
    ({"start": 0}, "payload offset 0, but the chunk header ends at 128; lenient_weights reads"),
    ({"start": 127}, "payload offset 127, but the chunk header ends at 128"),
    ({"start": 129}, "the payload of 2048 bytes at 129 runs past the end of a file of 2176 bytes"),
    ({"start": 2**63}, "the payload of 2048 bytes at 9223372036854775808 runs past the end"),
    ({"start": 2**64 - 1}, "the payload of 2048 bytes at 18446744073709551615 runs past the end"),
    ({"length": 128}, "the payload of 2048 bytes at 128 runs past the end of a file of 128 bytes"),
    ({"length": 128 + FP16_BYTES - 1}, "at 128 runs past the end of a file of 2175 bytes"),
]


@pytest.mark.parametrize(("fields", "message"), MALFORMED_FILES, ids=str)
def test_malformed_file(device: aneperf.Device, fields: dict[str, int], message: str) -> None:
    with pytest.raises(CompileError) as caught:
        device.compile(fp16_program(), {PATH: weight_file(FP16.tobytes(), **fields)})
    assert caught.value.kind == "InvalidWeights"
    assert PATH in str(caught.value)
    assert message in str(caught.value)
    assert (caught.value.line, caught.value.column) == (5, 9 + len("tensor<fp16, [32, 32, 1, 1]> "))


MALFORMED_REFERENCES = [
    (0, PATH, "the offset lies in the 64-byte file header"),
    (63, PATH, "the offset lies in the 64-byte file header"),
    (65, PATH, "no chunk header here: 0x01DEADBE where"),
    (128, PATH, "no chunk header here"),
    (128 + FP16_BYTES, PATH, "the 64-byte chunk header runs past the end"),
    (2**63, PATH, "the 64-byte chunk header runs past the end"),
    (2**64 - 1, PATH, "the 64-byte chunk header runs past the end"),
    (64, "@model_path/weights/v.bin", f"no such weight file; the files given are '{PATH}'"),
    (64, "weights/w.bin", "weight path 'weights/w.bin': it must begin with @model_path/"),
    (64, "@model_path/../w.bin", "one of its parts is . or .."),
    (64, "@model_path//etc/passwd", "one of its parts is empty"),
    (64, "@model_path/weights\\w.bin", "it holds a backslash or a control character"),
]


@pytest.mark.parametrize(("offset", "path", "message"), MALFORMED_REFERENCES)
def test_malformed_reference(device: aneperf.Device, offset: int, path: str, message: str) -> None:
    with pytest.raises(CompileError) as caught:
        device.compile(fp16_program(offset, path), {PATH: weight_file(FP16.tobytes())})
    assert caught.value.kind == "InvalidWeights"
    assert message in str(caught.value)
    assert caught.value.line == 5


def test_missing_file_names_at_most_five(device: aneperf.Device) -> None:
    names = [f"@model_path/{i}.bin" for i in range(7)]
    with pytest.raises(CompileError, match=r"'@model_path/4\.bin' and 2 more"):
        device.compile(fp16_program(), dict.fromkeys(names, b""))
    with pytest.raises(CompileError, match="no weight files were given"):
        device.compile(fp16_program())


def test_int8_file_with_the_code_of_fp16(device: aneperf.Device) -> None:
    with pytest.raises(CompileError, match="dtype code 1, but int8 is declared, whose code is 4") as caught:
        device.compile(int8_program(), {PATH: weight_file(INT8.tobytes(), code=1)})
    assert caught.value.kind == "InvalidWeights"


def test_type_that_files_cannot_hold(device: aneperf.Device) -> None:
    flags = f"tensor<bool, [{N}, {N}, 1, 1]> flags = const()[val = {blob('bool')}];"
    text = fp16_program().replace("string pad_type", f"{flags} string pad_type")
    with pytest.raises(CompileError, match="weight files cannot hold bool"):
        device.compile(text, {PATH: weight_file(FP16.tobytes())})


@pytest.mark.parametrize("size", [0, 0x080000, 0x100000])
def test_lenient_reads_the_published_fp16_form(device: aneperf.Device, size: int) -> None:
    file = weight_file(FP16.tobytes(), size=size, start=0)
    compiled = device.compile(fp16_program(), {PATH: file}, lenient_weights=True)
    np.testing.assert_array_equal(compiled_matrix(compiled), FP16)
    assert compiled.notes == [
        f"{PATH} at 64: size field {size} ignored, read {FP16_BYTES} bytes that follow the chunk header"
    ]


@pytest.mark.parametrize("code", [0, 1])
def test_lenient_reads_the_published_int8_form(device: aneperf.Device, code: int) -> None:
    file = weight_file(INT8.tobytes(), code=code, size=0x080000, start=0)
    compiled = device.compile(int8_program(), {PATH: file}, lenient_weights=True)
    np.testing.assert_array_equal(compiled_matrix(compiled), INT8.astype("f2"))
    assert compiled.notes == [
        f"{PATH} at 64: dtype code {code} ignored, read as int8; size field 524288 ignored, "
        f"read {INT8_BYTES} bytes that follow the chunk header"
    ]


STILL_REFUSED: list[tuple[dict[str, int], str]] = [
    ({"sentinel": 0}, "no chunk header here"),
    ({"version": 0}, "file version 0"),
    ({"code": 2}, "dtype code 2, but fp16 is declared"),
    ({"length": 127}, "the 64-byte chunk header runs past the end"),
    ({"length": 128 + FP16_BYTES - 1}, "the payload of 2048 bytes at 128 runs past the end"),
    ({"start": 128}, "size field 524288, but tensor<fp16, [32, 32, 1, 1]> takes 2048 bytes"),
    ({"start": 1, "size": FP16_BYTES}, "payload offset 1, but the chunk header ends at 128"),
]


@pytest.mark.parametrize(("fields", "message"), STILL_REFUSED, ids=str)
def test_lenient_still_refuses(device: aneperf.Device, fields: dict[str, int], message: str) -> None:
    file = weight_file(FP16.tobytes(), **{"size": 0x080000, "start": 0, **fields})
    with pytest.raises(CompileError) as caught:
        device.compile(fp16_program(), {PATH: file}, lenient_weights=True)
    assert caught.value.kind == "InvalidWeights"
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "path", [PATH, "@model_path/w", "@model_path/a/b/c.d", "@model_path/..a/b..", "@model_path/é"]
)
def test_weight_path(path: str) -> None:
    native.check_weight_path(path)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "it must begin with @model_path/"),
        ("@model_path", "it must begin with @model_path/"),
        ("/etc/passwd", "it must begin with @model_path/"),
        ("@model_paths/w", "it must begin with @model_path/"),
        ("@model_path/", "one of its parts is empty"),
        ("@model_path//w", "one of its parts is empty"),
        ("@model_path/a/", "one of its parts is empty"),
        ("@model_path/.", "one of its parts is . or .."),
        ("@model_path/a/../../w", "one of its parts is . or .."),
        ("@model_path/a\\w", "it holds a backslash or a control character"),
        ("@model_path/a\0w", "it holds a backslash or a control character"),
        ("@model_path/a\nw", "it holds a backslash or a control character"),
        ("@model_path/" + "w" * 1013, "it is longer than 1024 bytes"),
    ],
)
def test_unusable_weight_path(path: str, message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        native.check_weight_path(path)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n",
            "a Git LFS pointer: fetch the file with git lfs pull",
        ),
        (b"<!DOCTYPE html>\n<html><head>" + b" " * 100, "an HTML page: download the file itself"),
        (b"\xef\xbb\xbf\n <HTML>", "an HTML page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "an XML document"),
        (b"\x1f\x8b\x08\x00" + bytes(100), "compressed with gzip: decompress it"),
        (b"PK\x03\x04" + bytes(range(100)), "a zip archive: extract the weight file from it"),
        (b"BZh91AY&SY" + bytes(100), "compressed with bzip2"),
        (b"\xfd7zXZ\x00" + bytes(100), "compressed with xz"),
        (b"\x28\xb5\x2f\xfd" + b"\x24" * 100, "compressed with zstd"),
        (b"\x93NUMPY\x01\x00v\x00" + b" " * 100, "a NumPy array"),
        (struct.pack("<Q", 100) + b'{"w":{}}' + b" " * 100, "a safetensors file"),
        (b"GGUF\x03\x00\x00\x00" + bytes(100), "a GGUF model"),
        (b"program(1.3)\n[buildInfo = " + b" " * 100, "MIL text"),
    ],
)
def test_a_file_of_another_kind_is_named(device: aneperf.Device, content: bytes, kind: str) -> None:
    with pytest.raises(CompileError) as caught:
        device.compile(fp16_program(), {PATH: content}, lenient_weights=True)
    assert caught.value.kind == "InvalidWeights"
    assert f"{PATH}: not a weight file, but {kind}" in str(caught.value)


def test_an_empty_file_is_named(device: aneperf.Device) -> None:
    with pytest.raises(CompileError, match="the file is empty"):
        device.compile(fp16_program(), {PATH: b""})
