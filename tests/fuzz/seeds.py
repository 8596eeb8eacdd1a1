"""Write the fuzz targets' seeds: a program for each group of operations, weight files, and a dictionary.

    python tests/fuzz/seeds.py

Inputs that a fuzzer found stay in the same folder.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aneperf import mil
from aneperf._ane_native import operations

Results = tuple[mil.Tensor, ...]
X = (1, 4, 3, 4)


def halves(*shape: int) -> NDArray[np.float16]:
    return np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float16).reshape(shape)


def functions(*parameters: str) -> list[Callable[..., mil.Tensor]]:
    """Return the functions of these parameters that take an fp16 tensor and broadcast or reduce it."""
    return [
        getattr(mil, name)
        for name, spec in operations().items()
        if spec.family in ("elementwise", "reduction")
        and tuple(spec.parameters) == parameters
        and spec.parameters["x"].dtypes == ("fp16",)
    ]


def unary(x: mil.Tensor) -> Results:
    return tuple(function(x) for function in (*functions("x"), *functions("x", "epsilon")))


def activations(x: mil.Tensor) -> Results:
    return (
        mil.prelu(x, halves(4)),
        *(function(x, 0.25) for function in functions("x", "alpha") if function is not mil.prelu),
        *(function(x, 0.25, 1.5) for function in functions("x", "alpha", "beta")),
    )


def gelus(x: mil.Tensor) -> Results:
    return tuple(mil.gelu(x, mode) for mode in ("EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION"))


def binary(x: mil.Tensor) -> Results:
    y = mil.reduce_mean(x, [1, 3])

    def as_fp16(result: mil.Tensor) -> mil.Tensor:
        if result.dtype == "fp16":
            return result
        return mil.select(mil.logical_not(result), mil.cast(result, "fp16"), x)

    truths = mil.greater(x, y), mil.less(x, y)
    logical = (function(*truths) for function in (mil.logical_and, mil.logical_or, mil.logical_xor))
    return tuple(as_fp16(result) for result in (*(f(x, y) for f in functions("x", "y")), *logical))


def reductions(x: mil.Tensor) -> Results:
    return tuple(function(x, [-1, 1], False) for function in functions("x", "axes", "keep_dims"))


def norms(x: mil.Tensor) -> Results:
    return (
        mil.layer_norm(x, [1], halves(4), halves(4)),
        mil.batch_norm(x, halves(4), np.ones(4, np.float16), halves(4), halves(4)),
        mil.instance_norm(x, halves(4), halves(4)),
        mil.l2_norm(x),
        mil.local_response_norm(x, 3),
    )


def softmaxes(x: mil.Tensor) -> Results:
    return tuple(mil.softmax(x, axis) for axis in (-1, 1))


def convolutions(x: mil.Tensor) -> Results:
    return (
        mil.conv(x, halves(3, 4, 1, 1)),
        mil.conv(x, halves(4, 2, 3, 2), strides=(2, 1), pad_type="custom", pad=(1, 1, 0, 1), groups=2),
        mil.conv(x, halves(2, 4, 2, 2), pad_type="same", dilations=(1, 2)),
        mil.linear(x, halves(5, 4), halves(5)),
        mil.conv(x, halves(3, 4, 1, 1), halves(3)),
        mil.conv_transpose(mil.reshape(x, (1, 4, -1)), halves(4, 2, 2), halves(2), strides=(2,)),
    )


def products(x: mil.Tensor) -> Results:
    return (
        mil.matmul(x, x, transpose_y=True),
        mil.matmul(halves(2, 3), x),
        mil.scaled_dot_product_attention(x, x, x, halves(1, 1, 3, 3)),
    )


def pools(x: mil.Tensor) -> Results:
    return (
        mil.max_pool(x, (2, 2), (2, 2), ceil_mode=True),
        mil.avg_pool(x, (2, 2), pad_type="same", exclude_padding_from_average=True),
        mil.l2_pool(x, (1, 2), pad_type="custom", pad=(0, 0, 1, 0)),
        mil.max_pool(mil.squeeze(x, [0]), (2,), pad_type="custom", pad=(0, 1)),
        mil.avg_pool(mil.expand_dims(x, [0]), (2, 1, 3)),
    )


def resizes(x: mil.Tensor) -> Results:
    return (
        mil.upsample_nearest_neighbor(x, 2, 3),
        mil.resize_nearest_neighbor(x, 5, 2),
        mil.upsample_bilinear(x, 1.5, 2, align_corners=False),
        mil.resize_bilinear(x, 2, 5, "OFFSET_CORNERS"),
    )


def views(x: mil.Tensor) -> Results:
    return (
        mil.transpose(x, [0, 3, 1, 2]),
        mil.reshape(x, (2, -1, 4)),
        mil.expand_dims(mil.squeeze(x, [0]), [-1]),
        mil.flatten2d(x, 2),
        mil.slice_by_size(x, [0, 1, 0, 0], [1, 2, -1, 4]),
        mil.slice_by_index(x, [0, 1, 0, 1], [1, 4, 3, 4], [1, 2, 1, 2], squeeze_mask=[True, *[False] * 3]),
        mil.reverse(x, [1, 3]),
    )


def joins(x: mil.Tensor) -> Results:
    first, second = mil.split(x, 2, 1)
    return (
        mil.concat([second, first, x], 1),
        mil.concat([x, x], 1, interleave=True),
        mil.stack([first, second], 1),
        mil.tile(x, [1, 2, 1, 2]),
        mil.cast(mil.transpose(mil.tile(mil.greater(x, 0), [1, 1, 2, 1]), [0, 2, 1, 3]), "fp16"),
    )


def rearrangements(x: mil.Tensor) -> Results:
    large = mil.pad(x, [1, 0, 0, 2], "reflect")
    return (
        mil.pad(x, [0, 1, 2, 0], constant_val=1.5),
        mil.pad(x, [1, 1], "replicate"),
        mil.crop(x, (1, 0), (0, 2)),
        mil.depth_to_space(x, 2),
        mil.space_to_depth(large, 2),
        mil.pixel_shuffle(x, 2),
        mil.pixel_unshuffle(large, 2),
    )


def images(x: mil.Tensor) -> Results:
    wide = mil.conv_transpose(
        x, halves(4, 2, 3, 2), strides=(2, 1), pad_type="custom", pad=(1, 0, 1, 1), groups=2
    )
    blocks = mil.space_to_batch(x, (1, 2), ((0, 0), (1, 1)))
    return (
        wide,
        mil.batch_to_space(blocks, (1, 2), ((0, 0), (1, 1))),
        mil.affine(x, halves(1, 6), 3, 4),
        mil.einsum([x, mil.transpose(x, [0, 3, 2, 1])]),
    )


def sorted_parts(x: mil.Tensor) -> Results:
    values, indices = mil.topk(x, 2, 1, output_indices_dtype="uint16")
    return (
        values,
        mil.cast(indices, "fp16"),
        mil.gather(x, np.array([[3, -1], [0, 1]]), 1),
        mil.gather_along_axis(x, np.array([2, 0]).reshape(1, 2, 1, 1).repeat(3, 2).repeat(4, 3), 1),
    )


def quantization(x: mil.Tensor) -> Results:
    q = mil.quantize(x, 0.125, np.int8(3), "int8")
    return mil.dequantize(q, 0.125, np.int8(3)), mil.cast(mil.cast(x, "int8"), "fp16")


def compressed(x: mil.Tensor) -> Results:
    data = np.arange(16, dtype=np.int8).reshape(4, 4, 1, 1)
    few = mil.const(data % 16, "uint4")
    mask = mil.const((data % 3 == 0).astype(np.uint8), "uint1")
    weights = (
        mil.constexpr_affine_dequantize(data, np.full(4, 0.01, np.float16), np.int8(1)),
        mil.constexpr_lut_to_dense(few, halves(1, 1, 1, 1, 16, 1)),
        mil.constexpr_sparse_to_dense(halves(6), mask),
        mil.constexpr_blockwise_shift_scale(few, halves(4, 2, 1, 1)),
    )
    return tuple(mil.conv(x, weight) for weight in weights)


def attention(x: mil.Tensor) -> Results:
    q, k, v = mil.split(mil.conv(x, halves(12, 4, 1, 1)), 3, 1)
    scores = mil.softmax(mil.mul(mil.matmul(q, k, transpose_y=True), 0.5))
    h = mil.add(x, mil.matmul(scores, v))
    return (mil.mul(mil.silu(h), mil.layer_norm(h, [1])),)


GROUPS: dict[str, Callable[[mil.Tensor], Results]] = {
    **{
        f.__name__: f
        for f in (
            *(unary, activations, gelus, binary, reductions, norms, softmaxes, convolutions, products),
            *(
                pools,
                resizes,
                views,
                joins,
                rearrangements,
                images,
                sorted_parts,
                quantization,
                compressed,
                attention,
            ),
        )
    },
}


def built(define: Callable[[mil.Tensor], Results], dialect: Any = "ios18", dtype: Any = "fp16") -> str:
    b = mil.Builder(dialect)
    x = b.input("x", X, dtype)
    for i, result in enumerate(define(mil.cast(x, "fp16") if dtype == "fp32" else x)):
        b.output(f"y{i}", result)
    # The fuzz target has one weight file.
    return re.sub(r"weight_\d+\.bin", "weight.bin", b.build(dialect, "separate").text)


def from_a_file(weights: list[tuple[str, str]]) -> str:
    """Return a program whose weights lie in a file, which the builder would write only for large ones."""
    chunks = "".join(
        f'{type} w{i} = const()[val = {type}(BLOBFILE(path = string("@model_path/weights/weight.bin"), '
        f"offset = uint64({64 + 128 * i})))];\n"
        for i, (type, _) in enumerate(weights)
    )
    uses = "".join(f"tensor<fp16, [1, 4, 3, 4]> y{i} = {use};\n" for i, (_, use) in enumerate(weights))
    outputs = ", ".join(f"y{i}" for i in range(len(weights)))
    return (
        'program(1.3)\n[buildInfo = dict<string, string>({{"coremltools-version", "9.0"}})]\n'
        f"{{\nfunc main<ios18>(tensor<fp16, [1, 4, 3, 4]> x) {{\n{chunks}{uses}}} -> ({outputs});\n}}\n"
    )


def apples(attributes: str, statements: str, inputs: str = "tensor<fp16, [1, 4, 3, 4]> x") -> str:
    """Return a program in forms that Apple's tools write and the builder does not."""
    return (
        "program(1.0)\n[buildInfo = dict<tensor<string, []>, tensor<string, []>>"
        '({{"coremlc-version", "3500.32.1"}})]\n'
        f"{{\nfunc main<ios17>({inputs}) {attributes}{{\n{statements}\n}} -> (y);\n}}\n"
    )


APPLES = {
    "flexible": apples(
        "[FlexibleShapeInformation = tuple<tuple<string, dict<string, tensor<int32, [?]>>>, "
        'tuple<string, dict<string, list<tensor<int32, [2]>, ?>>>>((("DefaultShapes", {{"x", [1, 4]}}), '
        '("RangeDims", {{"x", [[1, 1], [4, 8]]}})))] ',
        "tensor<fp16, [1, ?]> y = relu(x = x);",
        "tensor<fp16, [1, ?]> x",
    ),
    "state": apples(
        "",
        "tensor<fp16, [4]> s = read_state(input = c); tensor<fp16, [4]> y = add(x = s, y = x); "
        "write_state(data = y, input = c);",
        "tensor<fp16, [4]> x, state<tensor<fp16, [4]>> c",
    ),
    "blocks": apples(
        "",
        "tensor<fp16, [1, 4, 3, 4]> y = cond(pred = x) { tensor<fp16, [4]> p = exp(x = x); -> (p) } "
        "{ -> (x) };\nlist<tensor<fp16, [4]>, ?> l = make_list(init_length = int32(1));",
    ),
    "special": apples(
        "",
        "tensor<fp16, [4]> m = const()[val = tensor<fp16, [4]>([-inf, 0, inf, nan])];\n"
        "tensor<fp16, [1, 4, 3, 4]> z = add(x = x, y = m);\n"
        "tensor<fp16, [1, 4, 3, 4]> y = leaky_relu(alpha = fp32(0x1p-2), x = z);",
    ),
    "packed": apples(
        "",
        "tensor<fp16, [4, 1, 1]> w = constexpr_lut_to_dense()[indices = tensor<uint8, [2]>([7, 4]), "
        "lut = tensor<fp16, [4]>([1, 2, 3, 4]), shape = tensor<uint32, [3]>([4, 1, 1])];\n"
        "tensor<fp16, [4, 1, 1]> v = constexpr_sparse_to_dense()[mask = tensor<uint8, [1]>([9]), "
        "nonzero_data = tensor<fp16, [2]>([1, 2]), shape = tensor<uint32, [3]>([4, 1, 1])];\n"
        "tensor<fp16, [1, 4, 3, 4]> z = add(x = x, y = w);\n"
        "tensor<fp16, [1, 4, 3, 4]> y = mul(x = z, y = v);",
    ),
    "nibbles": apples(
        "",
        "tensor<fp16, [4, 1, 1]> w = constexpr_blockwise_shift_scale(data = tensor<int4, [4, 1, 1]>"
        "([[[-8]], [[7]], [[1]], [[0]]]), scale = tensor<fp16, [4, 1, 1]>([[[1]], [[2]], [[3]], [[4]]]));\n"
        "tensor<fp16, [1, 4, 3, 4]> y = add(x = x, y = w);",
    ).replace("ios17", "ios18"),
}


def texts() -> dict[str, str]:
    programs = {name: built(define) for name, define in GROUPS.items()}
    programs["ios16"] = built(norms, "ios16")
    programs["fp32"] = built(gelus, dtype="fp32")
    programs["files"] = from_a_file(
        [
            ("tensor<fp16, [4, 4, 1, 1]>", "conv(x = x, weight = w0)"),
            ("tensor<fp16, [4, 1, 1]>", "add(x = x, y = w1)"),
        ]
    )
    return programs | APPLES


def weight_files() -> dict[str, bytes]:
    """Return, for each program of weight_blob.cpp, the file it asks for, with the choices that follow it."""
    integers = np.arange(24, dtype=np.uint8).reshape(6, 4, 1, 1)
    mask, five = (integers < 7).astype(np.uint8), np.arange(5)
    contents: list[list[tuple[NDArray[Any], Any]]] = [
        [(halves(6, 4, 1, 1), None), (halves(6, 1, 1), None)],
        [(integers.astype(np.int8), None), (halves(6) + 2, None), (np.arange(6, dtype=np.int8), None)],
        [(integers % 16, "uint4"), (halves(1, 1, 1, 1, 16, 1), None)],
        [(halves(7), None), (mask, "uint1")],
        [(integers, None), (halves(6, 2, 1, 1), None)],
        [(integers.astype(np.int8) % 16 - 8, "int4"), (halves(6, 1, 1, 1), None)],
        [(integers % 8, "uint3"), (halves(1, 1, 1, 1, 8, 1), None)],
        [(np.arange(18, dtype=np.uint8), None), (halves(64), None)],
        [(halves(7), None), (np.packbits(mask, bitorder="little"), None)],
        [(five.astype(np.int32), None), (five.astype(np.uint16), None), (five.astype(np.float32), None)],
    ]
    files = {}
    for index, arrays in enumerate(contents):
        writer = mil.BlobWriter()
        for array, dtype in arrays:
            writer.add(array, dtype)
        strict = writer.bytes()
        # choices.Consume* reads from the end.
        choices = (64).to_bytes(8, "little")
        files[f"strict_{index}"] = strict + choices + bytes([index, 0])
        unset = bytearray(strict)
        for chunk in range(len(arrays)):
            unset[64 + 128 * chunk + 8 : 64 + 128 * chunk + 24] = bytes(16)
        files[f"unset_{index}"] = bytes(unset) + choices + bytes([index, 1])
    return files


def words(programs: Iterable[str]) -> set[str]:
    """Return the language's own words, without the names of values, and numbers at the limits."""
    names = re.findall(r"[A-Za-z]\w*", "\n".join(programs))
    numbers = {
        "-1",
        "0",
        "2147483647",
        "18446744073709551615",
        "65536",
        "0x1.ffcp+15",
        "0x1p-24",
        "inf",
        "nan",
    }
    return numbers | {name for name in names if not re.search(r"\d{3}|_\d+$", name)}


def main() -> None:
    folder = Path(__file__).parent
    corpus = folder / "corpus"
    for target in ("mil_text", "weight_blob"):
        (corpus / target).mkdir(parents=True, exist_ok=True)
    programs = texts()
    for name, text in programs.items():
        (corpus / "mil_text" / name).write_text(text)
    for name, data in weight_files().items():
        (corpus / "weight_blob" / name).write_bytes(data)
    lines = (f'"{word}"' for word in sorted(words(programs.values())))
    (folder / "mil_text.dict").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
