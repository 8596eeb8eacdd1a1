"""Weight files, read back by a reader of the published layout that shares nothing with the writer."""

import struct
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from aneperf import mil
from aneperf.errors import ArgumentError
from aneperf.kernels import ConvStack
from aneperf.mil import BlobWriter, TensorType, read_blob, weights, write_blob

# coremltools, mlmodel/src/MILBlob/Blob/BlobDataType.hpp
CODES = {
    "fp16": 1,
    "fp32": 2,
    "uint8": 3,
    "int8": 4,
    "int16": 6,
    "uint16": 7,
    "int4": 8,
    "uint1": 9,
    "uint2": 10,
    "uint4": 11,
    "uint3": 12,
    "uint6": 13,
    "int32": 14,
    "uint32": 15,
}
BITS = {"int4": 4, "uint1": 1, "uint2": 2, "uint3": 3, "uint4": 4, "uint6": 6}
NUMPY = {"fp16": "f2", "fp32": "f4", **dict.fromkeys(BITS, "u1"), "int4": "i1"}


def elements_of(dtype: str, shape: Any) -> st.SearchStrategy[NDArray[Any]]:
    low = -8 if dtype == "int4" else 0
    bounded = st.integers(low, low + 2 ** BITS[dtype] - 1) if dtype in BITS else None
    return npst.arrays(np.dtype(NUMPY.get(dtype, dtype)), shape, elements=bounded)


@st.composite
def chunks(draw: st.DrawFn) -> list[tuple[Any, NDArray[Any]]]:
    dtypes = draw(st.lists(st.sampled_from(sorted(CODES)), min_size=1, max_size=5))
    shapes = npst.array_shapes(min_dims=0, max_dims=4, max_side=9)
    return [(dtype, draw(elements_of(dtype, shapes))) for dtype in dtypes]


def read_chunk(data: bytes, offset: int) -> tuple[int, bytes, int]:
    """Return (dtype code, payload, padding bits). Assert everything that the layout promises."""
    sentinel, code, size, start, padding = struct.unpack_from("<IIQQQ", data, offset)
    assert sentinel == 0xDEADBEEF
    assert data[offset : offset + 4] == bytes.fromhex("efbeadde")
    assert offset % 64 == 0
    assert start == offset + 64
    assert data[offset + 32 : start] == bytes(32)
    assert start + size <= len(data)
    return code, data[start : start + size], padding


def decode(payload: bytes, dtype: str, count: int) -> NDArray[Any]:
    if bits := BITS.get(dtype):
        whole = int.from_bytes(payload, "little")  # the lowest bits come first
        found = [whole >> bits * i & 2**bits - 1 for i in range(count)]
        return np.array([n - 16 if dtype == "int4" and n > 7 else n for n in found], NUMPY[dtype])
    return np.frombuffer(payload, np.dtype(NUMPY.get(dtype, dtype)).newbyteorder("<"))


@given(chunks())
def test_an_independent_reader_finds_every_element(items: list[tuple[Any, NDArray[Any]]]) -> None:
    writer = BlobWriter()
    offsets = [writer.add(array, dtype) for dtype, array in items]
    data = writer.bytes()

    count, version = struct.unpack_from("<II", data)
    assert (count, version) == (len(items), 2)
    assert data[8:64] == bytes(56)
    assert offsets[0] == 64
    assert offsets == sorted(set(offsets))
    for (dtype, array), offset in zip(items, offsets, strict=True):
        code, payload, padding = read_chunk(data, offset)
        assert code == CODES[dtype]
        bits = BITS.get(dtype, 8 * array.itemsize)
        assert 8 * len(payload) == array.size * bits + padding
        assert 0 <= padding < 8
        assert decode(payload, dtype, array.size).tobytes() == array.tobytes()


@given(chunks())
def test_read_blob_returns_what_was_added(items: list[tuple[Any, NDArray[Any]]]) -> None:
    writer = BlobWriter()
    offsets = [writer.add(array, dtype) for dtype, array in items]
    for (dtype, array), offset in zip(items, offsets, strict=True):
        found = read_blob(writer.bytes(), offset, TensorType(dtype, array.shape))
        assert found.shape == array.shape
        assert found.tobytes() == array.tobytes()


def test_chunk_headers_are_aligned_after_odd_sizes() -> None:
    data, offsets = write_blob([np.zeros(3, np.int8), np.zeros(65, np.int8), np.zeros(1, np.float16)])
    assert offsets == [64, 192, 384]
    assert struct.unpack_from("<Q", data, 192 + 8) == (65,)
    assert len(data) % 64 == 0


def test_sub_byte_elements_are_packed_low_bits_first() -> None:
    writer = BlobWriter()
    nibbles = writer.add(np.array([1, 2, 3], np.uint8), "uint4")
    bits = writer.add(np.array([1, 0, 0, 0, 0, 0, 0, 0, 1, 1]), "uint1")
    assert read_chunk(writer.bytes(), nibbles) == (11, b"\x21\x03", 4)
    assert read_chunk(writer.bytes(), bits) == (9, b"\x01\x03", 6)


def test_elements_are_stored_as_they_are() -> None:
    array = np.array([np.nan, np.inf, -0.0, 5.9604645e-08], np.float16)
    data, (offset,) = write_blob([array])
    assert read_chunk(data, offset)[1] == array.tobytes()


def test_byte_order_and_strides_do_not_matter() -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    expected = write_blob([array.T.copy()])
    assert write_blob([array.T]) == expected
    assert write_blob([array.T.astype(">f4")]) == expected


def test_later_chunks_leave_earlier_ones_alone() -> None:
    writer = BlobWriter()
    writer.add(np.ones(7, np.float16))
    first = writer.bytes()
    writer.add(np.ones(7, np.float16))
    assert writer.bytes()[64 : len(first)] == first[64:]


@pytest.mark.parametrize(
    ("array", "dtype", "message"),
    [
        (np.zeros(4, np.float64), None, "cannot hold float64"),
        (np.zeros(4, np.int64), None, "cannot hold int64"),
        (np.zeros(4, bool), None, "cannot hold bool"),
        (np.zeros(4, np.uint64), "uint64", "cannot hold uint64"),
        (np.zeros(4), "string", "cannot hold string"),
        (np.array(["a"]), None, "cannot hold <U1"),
        (np.zeros(4), "bf16", "unknown dtype 'bf16'"),
        (np.zeros(4, np.float32), "fp16", "float32, not fp16"),
        (np.array([16], np.uint8), "uint4", "uint4 takes integers from 0 to 15"),
        (np.array([-1], np.int8), "uint4", "uint4 takes integers from 0 to 15"),
        (np.array([2], np.uint8), "uint1", "uint1 takes integers from 0 to 1"),
        (np.array([0.5]), "uint4", "uint4 takes integers"),
        (np.zeros((2, 0), np.float16), None, "no elements"),
    ],
)
def test_what_a_weight_file_cannot_hold(array: NDArray[Any], dtype: Any, message: str) -> None:
    writer = BlobWriter()
    before = writer.bytes()
    with pytest.raises(ArgumentError, match=message):
        writer.add(array, dtype)
    assert writer.bytes() == before


def damaged(at: int, value: int) -> bytes:
    data = bytearray(write_blob([np.arange(8, dtype=np.float16)])[0])
    struct.pack_into("<Q", data, at, value)
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "offset", "message"),
    [
        (b"", 64, "not a weight file"),
        (damaged(0, 1), 64, "not a weight file"),
        (damaged(0, 1 | 2 << 32), 0, "no chunk header fits"),
        (damaged(0, 1 | 2 << 32), 128, "no chunk starts at 128"),
        (damaged(0, 1 | 2 << 32), 1 << 63, "no chunk header fits"),
        (damaged(0, 1 | 2 << 32), -64, "no chunk header fits"),
        (damaged(64, 0xDEADBEEF | 2 << 32), 64, "dtype code 2"),
        (damaged(72, 0x080000), 64, "524288 bytes"),
        (damaged(80, 0xFFFFFFFFFFFFFFF0), 64, "lie outside"),
        (damaged(80, 192 - 15), 64, "16 bytes at 177 lie outside"),
        (damaged(80, 0), 64, "payload at 0, which is not behind its header"),
        (damaged(80, 64), 64, "payload at 64, which is not behind its header"),
        (damaged(80, 127), 64, "payload at 127, which is not behind its header"),
    ],
)
def test_read_blob_refuses_damaged_files(data: bytes, offset: int, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        read_blob(data, offset, TensorType("fp16", (8,)))


@pytest.mark.parametrize("copies", [True, False])
def test_an_array_may_be_changed_after_it_was_copied(copies: bool) -> None:
    writer, array = BlobWriter(), np.arange(8, dtype=np.float16)
    offset = writer.add(array, copy=copies)
    array[:] = 9
    assert (read_chunk(writer.bytes(), offset)[1] == array.tobytes()) == (not copies)


def test_payloads_begin_where_offsets_of_32_bits_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_OFFSETS", 320)
    writer = BlobWriter()
    assert writer.add(np.zeros(64, np.uint8)) == 64
    assert writer.add(np.zeros(640, np.uint8)) == 192  # its payload begins at 256
    before = writer.bytes()
    with pytest.raises(ArgumentError, match=r"begin at byte 960 .* below 320: make several programs"):
        writer.add(np.zeros(1, np.uint8))
    assert writer.bytes() == before


def test_a_program_with_more_weights_than_offsets_reach_is_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    assert weights._OFFSETS == 2**32
    monkeypatch.setattr(weights, "_OFFSETS", 320)
    builder = mil.Builder()
    y = builder.input("x", (1, 8, 1, 8))
    for layer in range(2):
        y = mil.conv(y, np.full((8, 8, 1, 1), layer + 1.0))
    builder.output("y", y)
    with pytest.raises(ArgumentError, match="would begin at byte 320 of the weight file"):
        builder.build()


def test_coremltools_reads_the_same(tmp_path: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        storage = pytest.importorskip("coremltools.libmilstoragepython", exc_type=ImportError)
    random = np.random.default_rng(0)
    arrays: dict[str, NDArray[Any]] = {
        "fp16": random.standard_normal(37).astype(np.float16),
        "float": random.standard_normal(5).astype(np.float32),
        "int8": random.integers(-128, 128, 129, np.int8),
        "uint8": random.integers(0, 256, 3, np.uint8),
        "int16": random.integers(-(2**15), 2**15, 64, np.int16),
        "uint16": random.integers(0, 2**16, 33, np.uint16),
        "int32": random.integers(-(2**31), 2**31, 7, np.int32),
        "uint32": random.integers(0, 2**32, 7, np.uint32),
        "uint4": random.integers(0, 16, 33, np.uint8),
        "uint1": random.integers(0, 2, 77, np.uint8),
        "uint2": random.integers(0, 4, 77, np.uint8),
        "uint3": random.integers(0, 8, 77, np.uint8),
        "uint6": random.integers(0, 64, 77, np.uint8),
        "int4": random.integers(-8, 8, 77, np.int8),
    }
    writer = BlobWriter()
    sub_byte = ("int4", "uint6", "uint4", "uint3", "uint2", "uint1")
    offsets = {n: writer.add(a, n if n in sub_byte else None) for n, a in arrays.items()}  # type: ignore[arg-type]
    path = tmp_path / "weights.bin"
    path.write_bytes(writer.bytes())
    reader = storage._BlobStorageReader(str(path))
    for name, array in arrays.items():
        found = np.asarray(getattr(reader, f"read_{name}_data")(offsets[name]))
        assert found.tobytes() == array.tobytes(), name
    program = ConvStack(channels=8, depth=5).build()
    path.write_bytes(program.weights[weights.WEIGHT_FILE])
    reader = storage._BlobStorageReader(str(path))
    graph = mil.parse(program.text, program.weights)
    for tensor, blob in graph.blobs.items():
        found = np.asarray(reader.read_fp16_data(blob.offset))
        assert found.tobytes() == np.asarray(tensor.constant).tobytes()
    assert len(graph.blobs) == 5
