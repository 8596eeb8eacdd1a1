"""Evaluate programs, and copies of them damaged at random.

    python -m support.mutations COUNT RESULTS.json

saves what each gives, to compare runs under other settings.
"""

import hashlib
import json
import random
import re
import sys

import numpy as np

import aneperf
from aneperf import mil
from support.programs import NO_BUDGET, normal_halves


def attention(b):
    q, k, v = (b.input(name, (1, 2, 8, 16)) for name in "qkv")
    scores = mil.softmax(mil.mul(mil.matmul(q, k, transpose_y=True), 0.25), axis=-1)
    parts = mil.split(mil.matmul(scores, v), num_splits=2, axis=3)
    joined = mil.concat(parts, axis=1, interleave=True)
    b.output("y", mil.transpose(mil.reshape(joined, (1, 4, 8, 8)), (0, 2, 1, 3)))


def fused_attention(b):
    q, k, v = (b.input(name, (1, 2, 8, 16)) for name in "qkv")
    b.output("y", mil.scaled_dot_product_attention(q, k, v))


def convolutions(b):
    rng = np.random.default_rng(0)
    x = b.input("x", (2, 8, 9, 16))
    weight = rng.standard_normal((12, 4, 3, 5)).astype(np.float16)
    h = mil.conv(x, weight, strides=(2, 1), pad_type="custom", pad=(1, 0, 2, 2), dilations=(1, 2), groups=2)
    h = mil.layer_norm(h, axes=[1], gamma=np.ones(12), beta=np.zeros(12), epsilon=1e-3)
    h = mil.gelu(h, mode="TANH_APPROXIMATION")
    b.output("pooled", mil.reduce_mean(h, axes=[2, 3], keep_dims=False))
    b.output("part", mil.slice_by_index(h, begin=(0, 1, 0, 0), end=(2, 9, 2, 4), stride=(1, 2, 1, 1)))


def quantized(b):
    x = mil.cast(b.input("x", (1, 8, 1, 32), "fp32"), "fp16")
    q = mil.quantize(x, scale=0.125, zero_point=np.int8(3), output_dtype="int8")
    h = mil.dequantize(q, scale=0.125, zero_point=np.int8(3))
    data = np.arange(64, dtype=np.int8).reshape(8, 8, 1, 1)
    weight = mil.constexpr_affine_dequantize(data, scale=np.full(8, 0.01), zero_point=np.int8(0), axis=0)
    b.output("y", mil.cast(mil.conv(h, weight), "fp32"))


def images(b):
    rng = np.random.default_rng(0)
    x = b.input("x", (1, 4, 5, 6))
    lut, indices = rng.standard_normal((2, 1, 1, 1, 16, 1)), rng.integers(0, 16, (4, 2, 3, 3))
    weight = mil.constexpr_lut_to_dense(mil.const(indices, "uint4"), lut)
    h = mil.conv_transpose(x, weight, strides=(2, 1), pad_type="custom", pad=(1, 0, 1, 1), groups=2)
    b.output("wide", h)
    h = mil.avg_pool(h, (2, 3), (2, 1), "custom", (0, 0, 1, 1), exclude_padding_from_average=True)
    h = mil.batch_to_space(mil.space_to_batch(h, (2, 3), ((1, 0), (0, 0))), (2, 3), ((0, 1), (1, 2)))
    b.output("mapped", mil.affine(h, rng.standard_normal((1, 6)), 3, 4))
    b.output("product", mil.einsum([h, mil.transpose(h, [0, 3, 2, 1])]))


def built(define, dialect):
    b = mil.Builder(opset="ios16" if dialect == "ios16" else "ios18")
    define(b)
    return b.build(dialect=dialect)


PROGRAMS = {
    "attention": built(attention, "ios18"),
    "fused attention": built(fused_attention, "ios18"),
    "convolutions": built(convolutions, "ios18"),
    "convolutions in ios16": built(convolutions, "ios16"),
    "quantized": built(quantized, "ios18"),
    "images": built(images, "ios18"),
}


def mutate(rng, text):
    tokens = re.findall(r'"[^"]*"|[A-Za-z_]\w*|\d[\w.]*|\s+|.', text)
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        at, other = rng.randrange(len(tokens)), rng.randrange(len(tokens))
        kind = rng.randrange(6)
        if kind == 0:
            del tokens[at]
        elif kind == 1:
            tokens[at], tokens[other] = tokens[other], tokens[at]
        elif kind == 2:
            tokens.insert(at, tokens[other])
        elif kind == 3:
            numbers = [i for i, token in enumerate(tokens) if token.isdecimal()]
            tokens[rng.choice(numbers or [at])] = rng.choice(
                ["0", "1", "2", "3", "7", "65536", "99999999999", "-1"]
            )
        elif kind == 4:
            del tokens[at:]
        else:
            tokens[at] = rng.choice(
                ["\0", "é", "(", ")", "[", "]", "{", "}", "fp32", "int8", "0x7fff", "1e999"]
            )
        if not tokens:
            return ""
    return "".join(tokens)


def outcome(device, text, weights):
    """Return the refusal, or a digest of the outputs. Nothing else may happen."""
    try:
        program = device.compile(text, weights)
        dtypes = {"fp16": np.float16, "fp32": np.float32}
        arrays = {p.name: normal_halves(len(p.name), p.shape).astype(dtypes[p.dtype]) for p in program.inputs}
        outputs = program.run(**arrays)
    except aneperf.AneError as error:
        assert str(error)
        return str(error)
    assert {name: y.shape for name, y in outputs.items()} == {p.name: p.shape for p in program.outputs}
    return hashlib.sha256(b"".join(outputs[name].tobytes() for name in sorted(outputs))).hexdigest()


def is_refusal(outcome):
    return outcome.startswith("[")


def outcomes(device, name, count):
    """Return what the program and `count` damaged ones give, the same on every run."""
    program, rng = PROGRAMS[name], random.Random(name)
    texts = [program.text, *(mutate(rng, program.text) for _ in range(count))]
    return [outcome(device, text, program.weights) for text in texts]


def main(count, path):
    device = aneperf.open("emulator:h16", compile_budget=NO_BUDGET)
    with open(path, "w") as file:
        json.dump({name: outcomes(device, name, count) for name in PROGRAMS}, file)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
