"""Compressed weights as Apple's tools write them, in the spellings of ios16 and ios18, against numpy."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import aneperf
from aneperf import CompileError, mil
from aneperf.mil import BlobWriter
from aneperf.reference import evaluate

PATH = "@model_path/weights/weight.bin"
QUOTED = f'"{PATH}"'
Array = NDArray[Any]


class Weights:
    """A weight file, and the spelling of its constants."""

    def __init__(self, dialect: str) -> None:
        self.is_long = dialect == "ios16"
        self.writer = BlobWriter()

    def scalar(self, dtype: str, value: str) -> str:
        return f"tensor<{dtype}, []>({value})" if self.is_long else f"{dtype}({value})"

    def blob(self, array: Array, dtype: Any = None) -> str:
        offset = self.writer.add(array, dtype)
        name = dtype or {"f2": "fp16"}.get(array.dtype.str[1:], array.dtype.name)
        return (
            f"tensor<{name}, {list(array.shape)}>(BLOBFILE(path = {self.scalar('string', QUOTED)}, "
            f"offset = {self.scalar('uint64', str(offset))}))"
        )

    def shape(self, shape: tuple[int, ...]) -> str:
        return f"shape = tensor<uint32, [{len(shape)}]>({list(shape)})"

    def run(self, op: str, shape: tuple[int, ...], parts: list[str], as_arguments: bool = False) -> Array:
        """Return the weight, which a program adds to zeros."""
        string = "tensor<string, []>" if self.is_long else "string"
        version, opset = ("1.0", "ios16") if self.is_long else ("1.3", "ios18")
        name, given = f'[name = {string}("w")', ", ".join(parts)
        call = f"({given}){name}]" if as_arguments else f"(){name}, {given}]"
        kind = f"tensor<fp16, {list(shape)}>"
        text = (
            f"program({version})\n[buildInfo = dict<{string}, {string}>"
            '({{"coremlc-version", "3500.32.1"}})]\n'
            f"{{\n    func main<{opset}>({kind} x) {{\n        {kind} w = {op}{call};\n"
            f"        {kind} y = add(x = x, y = w);\n    }} -> (y);\n}}\n"
        )
        device = aneperf.open("emulator:none")
        zeros, files = np.zeros(shape, np.float16), {PATH: self.writer.bytes()}
        got = device.compile(text, files).run(x=zeros)["y"]
        expected = evaluate(mil.Program({}, {}, text, files), x=zeros)["y"]
        np.testing.assert_array_equal(got, expected.astype(np.float16))
        return got


def halves(*shape: int) -> Array:
    return np.random.default_rng(3).normal(size=shape).astype(np.float16)


def packed(values: Array, bits: int) -> Array:
    """Pack as MILBlob does: the lowest bits first, elements across bytes."""
    as_bits = np.unpackbits(values.astype(np.uint8).reshape(-1, 1), axis=1, count=bits, bitorder="little")
    return np.packbits(as_bits, bitorder="little")


SHAPES = [(32, 32, 1, 1), (3, 5, 1, 7), (13,), (2, 3)]


@pytest.mark.parametrize("bits", [1, 2, 4, 6, 8])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("as_arguments", [False, True])
def test_tables_of_ios16(bits: int, shape: tuple[int, ...], as_arguments: bool) -> None:
    weights, lut = Weights("ios16"), halves(2**bits)
    indices = np.random.default_rng(bits).integers(0, 2**bits, shape)
    parts = [
        f"indices = {weights.blob(packed(indices, bits))}",
        f"lut = {weights.blob(lut)}",
        weights.shape(shape),
    ]
    got = weights.run("constexpr_lut_to_dense", shape, parts, as_arguments)
    np.testing.assert_array_equal(got, lut[indices])


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 8])
@pytest.mark.parametrize("groups", [(1, 1, 1, 1), (4, 1, 1, 1), (1, 2, 1, 1), (2, 4, 1, 1)])
def test_grouped_tables_of_ios18(bits: int, groups: tuple[int, ...]) -> None:
    weights, shape = Weights("ios18"), (8, 12, 1, 1)
    lut = halves(*groups, 2**bits, 1)
    indices = np.random.default_rng(bits).integers(0, 2**bits, shape, np.uint8)
    parts = [f"indices = {weights.blob(indices, f'uint{bits}')}", f"lut = {weights.blob(lut)}"]
    got = weights.run("constexpr_lut_to_dense", shape, parts)
    rows, columns = 8 // groups[0], 12 // groups[1]
    for place in np.ndindex(*shape):
        table = lut[place[0] // rows, place[1] // columns, 0, 0, :, 0]
        assert got[place] == table[indices[place]]


@pytest.mark.parametrize("dialect", ["ios16", "ios18"])
@pytest.mark.parametrize("shape", SHAPES)
def test_sparse_weights(dialect: str, shape: tuple[int, ...]) -> None:
    weights = Weights(dialect)
    mask = np.random.default_rng(5).integers(0, 2, shape).astype(np.uint8)
    mask.flat[0] = 1
    expected = np.where(mask, halves(*shape), np.float16(0))
    parts = [f"nonzero_data = {weights.blob(expected[mask == 1])}"]
    if dialect == "ios16":
        parts += [f"mask = {weights.blob(packed(mask, 1))}", weights.shape(shape)]
    else:
        parts += [f"mask = {weights.blob(mask, 'uint1')}"]
    np.testing.assert_array_equal(weights.run("constexpr_sparse_to_dense", shape, parts), expected)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_affine_weights_of_ios16(dtype: str, axis: int) -> None:
    weights, shape = Weights("ios16"), (6, 4, 1, 5)
    random, limits = np.random.default_rng(7), np.iinfo(dtype)
    data = random.integers(limits.min, limits.max + 1, shape).astype(dtype)
    count = shape[axis]
    scale = np.exp2(random.integers(-6, 2, count)).astype(np.float16)
    zero_point = random.integers(limits.min, limits.max + 1, count).astype(dtype)
    parts = [
        f"axis = {weights.scalar('int32', str(axis))}",
        f"quantized_data = {weights.blob(data)}",
        f"scale = {weights.blob(scale)}",
        f"zero_point = {weights.blob(zero_point)}",
    ]
    along = [-1 if i == axis % 4 else 1 for i in range(4)]
    expected = (data.astype(float) - zero_point.reshape(along)) * scale.reshape(along)
    np.testing.assert_array_equal(weights.run("constexpr_affine_dequantize", shape, parts), expected)


@pytest.mark.parametrize("dtype", ["int4", "uint4", "int8", "uint8"])
@pytest.mark.parametrize("counts", [(1, 1, 1, 1), (6, 1, 1, 1), (6, 2, 1, 1), (1, 4, 1, 5)])
@pytest.mark.parametrize("offset_dtype", [None, "fp16", "data"])
def test_blockwise_weights_of_ios18(dtype: str, counts: tuple[int, ...], offset_dtype: str | None) -> None:
    weights, shape = Weights("ios18"), (6, 4, 1, 5)
    random = np.random.default_rng(9)
    low, high = {"int4": (-8, 8), "uint4": (0, 16), "int8": (-128, 128), "uint8": (0, 256)}[dtype]
    data = random.integers(low, high, shape).astype("i1" if low else "u1")
    scale = np.exp2(random.integers(-6, 2, counts)).astype(np.float16)
    offset = random.integers(low, high, counts)
    parts = [f"data = {weights.blob(data, dtype)}", f"scale = {weights.blob(scale)}"]
    if offset_dtype:
        stored = offset.astype(np.float16 if offset_dtype == "fp16" else data.dtype)
        parts.append(f"offset = {weights.blob(stored, None if offset_dtype == 'fp16' else dtype)}")
    difference = data.astype(float)
    if offset_dtype:
        difference -= np.kron(offset, np.ones([b // a for a, b in zip(counts, shape, strict=True)]))
    expected = difference * np.kron(scale, np.ones([b // a for a, b in zip(counts, shape, strict=True)]))
    np.testing.assert_array_equal(weights.run("constexpr_blockwise_shift_scale", shape, parts), expected)


@pytest.mark.parametrize(
    ("op", "parts", "message"),
    [
        ("lut_to_dense", "indices = {u8:6}, lut = {half:16}, {shape}", r"bits take tensor<uint8, \[5\]>"),
        ("lut_to_dense", "indices = {u8:5}, lut = {half:15}, {shape}", "a vector of 2, 4, 16, 64 or 256"),
        ("lut_to_dense", "indices = {u8:5}, lut = {half:8}, {shape}", "a vector of 2, 4, 16, 64 or 256"),
        ("lut_to_dense", "indices = {u8:5}, lut = {half:16}", "lut must have two axes more than indices"),
        ("sparse_to_dense", "nonzero_data = {half:2}, mask = {u8:1}, {shape}", r"takes tensor<uint8, \[2\]>"),
        ("sparse_to_dense", "nonzero_data = {half:2}, mask = {u8:2}", "without a shape, mask must be uint1"),
    ],
)
def test_forms_that_do_not_fit(op: str, parts: str, message: str) -> None:
    weights = Weights("ios18")
    filled = parts.replace("{shape}", weights.shape((3, 3)))
    for count in (1, 2, 5, 6, 8, 15, 16):
        filled = filled.replace(f"{{u8:{count}}}", weights.blob(np.ones(count, np.uint8)))
        filled = filled.replace(f"{{half:{count}}}", weights.blob(np.ones(count, np.float16)))
    with pytest.raises(CompileError, match=message):
        weights.run(f"constexpr_{op}", (3, 3), [filled])


@pytest.mark.parametrize("shape", [(0, 3), (1, 1, 1, 1, 1, 1), (4294967295, 4294967295)])
def test_absurd_shapes(shape: tuple[int, ...]) -> None:
    weights = Weights("ios18")
    parts = [
        f"indices = {weights.blob(np.ones(2, np.uint8))}",
        f"lut = {weights.blob(halves(2))}",
        weights.shape(shape),
    ]
    with pytest.raises(CompileError, match=r"shape must have at most 5 axes|larger than 2\^40"):
        weights.run("constexpr_lut_to_dense", (1,), parts)


def test_the_forms_of_ios18_need_it() -> None:
    weights = Weights("ios16")
    parts = [
        f"indices = {weights.blob(np.ones((1, 3), np.uint8), 'uint1')}",
        f"lut = {weights.blob(halves(1, 1, 2, 1))}",
    ]
    with pytest.raises(CompileError, match="needs opset ios18, this function declares ios16"):
        weights.run("constexpr_lut_to_dense", (1, 3), parts)
    parts = [
        f"nonzero_data = {weights.blob(halves(1))}",
        f"mask = {weights.blob(np.eye(1, dtype=np.uint8), 'uint1')}",
    ]
    with pytest.raises(CompileError, match="needs opset ios18, this function declares ios16"):
        weights.run("constexpr_sparse_to_dense", (1, 1), parts)
