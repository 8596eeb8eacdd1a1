"""Memory is planned at compile: whatever is reused, aliased, folded or dropped, no value may change."""

import dataclasses
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aneperf import mil
from support import oracle
from support.oracle import engine
from support.programs import (
    CHAINS,
    PRODUCTS,
    VECTORS,
    any_halves,
    build,
    evaluate,
    input_of,
    normal_halves,
    run,
)

SEEDS = st.integers(0, 2**32 - 1)
MOST_ELEMENTS = 3000


class Graph:
    """Random operations on random earlier values, evaluated one by one as they are drawn.

    All of them round exactly, so that the program must give the same bits.
    """

    def __init__(self, seed, length):
        self.random = np.random.default_rng(seed)
        shapes = [(1, 6, 4, 10), (1, 6, 1, 10), (4, 10), (2, 12, 1, 5)][: self.random.integers(2, 5)]
        self.inputs = [any_halves(seed + i, shape) for i, shape in enumerate(shapes)]
        self.values = list(self.inputs)
        self.steps = []  # (function of tensors, the values that it takes, how many it gives)
        kinds = [self.binary, self.unary, self.transpose, self.reshape, self.slice, self.concat, self.split]
        kinds += [self.reduce, self.select, self.expand, self.binary, self.constant]
        while len(self.steps) < length:
            kinds[self.random.integers(len(kinds))]()
        computed = np.arange(len(self.inputs), len(self.values))
        self.outputs = self.random.choice(computed, min(len(computed), 5), replace=False).tolist()

    def define(self, *tensors):
        values = list(tensors)
        for function, operands, _ in self.steps:
            results = function(*(values[i] for i in operands))
            values += results if isinstance(results, tuple) else (results,)
        return tuple(values[i] for i in self.outputs)

    def expected(self):
        return [self.values[i] for i in self.outputs]

    def check(self, program):
        for got, expected in zip(run(program, *self.inputs), self.expected(), strict=True):
            oracle.assert_same(got, expected)

    def pick(self):
        # The latest values more often, or chains would stay short.
        age = min(int(self.random.exponential(6)), len(self.values) - 1)
        index = len(self.values) - 1 - age
        return index, self.values[index]

    def add(self, function, operands, *results):
        if all(0 < result.size <= MOST_ELEMENTS and result.ndim for result in results):
            self.steps.append((function, operands, len(results)))
            self.values += results

    def binary(self):
        (i, x), (j, y) = self.pick(), self.pick()
        try:
            np.broadcast_shapes(x.shape, y.shape)
        except ValueError:
            return
        op = self.random.choice(list(oracle.ENGINE_BINARY))
        self.add(getattr(mil, op), (i, j), oracle.engine_binary(op, x, y))

    def constant(self):
        i, x = self.pick()
        c = normal_halves(int(self.random.integers(1 << 30)), x.shape[-1:], 3)
        op = self.random.choice(["add", "mul", "maximum"])
        self.add(lambda t: getattr(mil, op)(c, t), (i,), oracle.engine_binary(op, c, x))

    def unary(self):
        i, x = self.pick()
        op = self.random.choice(list(oracle.EXACT_UNARY))
        self.add(getattr(mil, op), (i,), oracle.engine_unary(op, x))

    def transpose(self):
        i, x = self.pick()
        perm = self.random.permutation(x.ndim).tolist()
        self.add(lambda t: mil.transpose(t, perm), (i,), x.transpose(perm))

    def reshape(self):
        i, x = self.pick()
        first = int(self.random.choice([d for d in range(1, x.size + 1) if x.size % d == 0]))
        shape = [(first, -1), (1, first, 1, -1), (1, -1, first, 1)][self.random.integers(3)]
        self.add(lambda t: mil.reshape(t, shape), (i,), x.reshape(shape))

    def expand(self):
        i, x = self.pick()
        if x.ndim < 5:
            axis = int(self.random.integers(x.ndim + 1))
            self.add(lambda t: mil.expand_dims(t, [axis]), (i,), np.expand_dims(x, axis))
        else:
            self.add(mil.squeeze, (i,), np.squeeze(x))

    def slice(self):
        i, x = self.pick()
        begin = [int(self.random.integers((extent + 1) // 2)) for extent in x.shape]
        stride = self.random.integers(1, 3, x.ndim).tolist()
        taken = x[tuple(slice(b, None, s) for b, s in zip(begin, stride, strict=True))]
        self.add(lambda t: mil.slice_by_index(t, begin, x.shape, stride), (i,), taken)

    def concat(self):
        (i, x), (j, y) = self.pick(), self.pick()
        if x.ndim != y.ndim or sum(a != b for a, b in zip(x.shape, y.shape, strict=True)) > 1:
            j, y = i, x
        differing = [axis for axis in range(x.ndim) if x.shape[axis] != y.shape[axis]]
        axis = differing[0] if differing else int(self.random.integers(x.ndim))
        self.add(lambda *t: mil.concat(t, axis), (i, j, i), np.concatenate([x, y, x], axis))

    def split(self):
        i, x = self.pick()
        axis = int(self.random.integers(x.ndim))
        if x.shape[axis] % 2 == 0:
            self.add(lambda t: mil.split(t, 2, axis), (i,), *np.split(x, 2, axis))

    def reduce(self):
        i, x = self.pick()
        axes = self.random.permutation(x.ndim)[: self.random.integers(1, x.ndim + 1)].tolist()
        extreme = oracle.engine_rounded(oracle.decoded(x).max(tuple(axes), keepdims=True))
        self.add(lambda t: mil.reduce_max(t, axes), (i,), extreme)

    def select(self):
        """Pick columns by a matrix product: one term of each sum is not zero."""
        i, x = self.pick()
        if x.ndim < 2 or x.shape[-1] < 2:
            return
        columns = self.random.integers(0, x.shape[-1], self.random.integers(1, 9))
        choice = np.zeros((x.shape[-1], columns.size), np.float16)
        choice[columns, np.arange(columns.size)] = self.random.choice([1, -1, 0.5], columns.size)
        self.add(
            lambda t: mil.add(mil.matmul(t, choice), 0.0),
            (i,),
            oracle.engine_binary("add", engine.matmul(x, choice), np.float16(0)),
        )


@given(SEEDS, st.integers(1, 60))
def test_random_graphs(device, seed, length):
    graph = Graph(seed, length)
    graph.check(build(graph.define, *graph.inputs).compile(device))


def test_evaluations_leave_nothing_behind(emulator):
    graph, other = Graph(1, 80), [any_halves(2, x.shape) for x in Graph(1, 80).inputs]
    program = build(graph.define, *graph.inputs).compile(emulator)
    first = run(program, *other)
    graph.check(program)
    for got, expected in zip(run(program, *other), first, strict=True):
        oracle.assert_same(got, expected)


def with_constants(program, arrays):
    """Return the program with some inputs replaced by constants of their name."""
    text, weights, inputs = program.text, dict(program.weights), dict(program.inputs)
    signature = re.search(r"func main<ios18>\((.*)\) \{\n", text)
    ports = re.findall(r"tensor<fp16, \[[\d, ]*\]> \w+", signature[1])
    statements = ""
    for port in list(ports):
        kind, name = port.rsplit(" ", 1)
        if name in arrays:
            path = f"@model_path/weights/constant_{name}.bin"
            weights[path], (offset,) = mil.write_blob([arrays[name]])
            blob = f'BLOBFILE(path = string("{path}"), offset = uint64({offset}))'
            statements += f'{kind} {name} = const()[name = string("{name}"), val = {kind}({blob})];\n'
            ports.remove(port)
            del inputs[name]
    changed = f"func main<ios18>({', '.join(ports)}) {{\n{statements}"
    return dataclasses.replace(
        program, text=text.replace(signature[0], changed), weights=weights, inputs=inputs
    )


@given(SEEDS, st.integers(10, 60))
def test_what_is_constant_is_computed_at_compile(emulator, seed, length):
    """Make some inputs constants: what depends on them alone is folded, and outputs may be."""
    graph = Graph(seed, length)
    program = build(graph.define, *graph.inputs)
    fixed = {f"x{i}": array for i, array in enumerate(graph.inputs) if i != seed % len(graph.inputs)}
    free = f"x{seed % len(graph.inputs)}"
    outputs = (
        with_constants(program, fixed).compile(emulator).run(**{free: graph.inputs[seed % len(graph.inputs)]})
    )
    for i, expected in enumerate(graph.expected()):
        oracle.assert_same(outputs[f"y{i}"], expected)


@pytest.mark.parametrize("name", {**PRODUCTS, **CHAINS, **VECTORS})
def test_folding_gives_the_bits_of_running(emulator, name):
    define, _ = {**PRODUCTS, **CHAINS, **VECTORS}[name]
    x = input_of(name)
    unused = np.zeros((1, 1), np.float16)
    program = build(lambda t, _: define(t), x, unused)
    folded = with_constants(program, {"x0": x}).compile(emulator)
    assert folded.stats.activation_bytes == 0
    outputs = folded.run(x1=unused)
    for i, expected in enumerate(evaluate(emulator, define, x)):
        oracle.assert_same(outputs[f"y{i}"], expected)


def test_outputs_that_are_other_views_of_inputs_and_of_outputs(device):
    x = any_halves(1, (1, 4, 1, 33))

    def define(t):
        flat = mil.reshape(t, (4, 33))
        root = mil.sqrt(flat)
        return flat, mil.expand_dims(t, [0]), root, mil.reshape(root, (33, 4)), mil.squeeze(t), mil.abs(flat)

    root = oracle.engine_unary("sqrt", x)
    expected = [x.reshape(4, 33), x[None], root.reshape(4, 33), root.reshape(33, 4), x.reshape(4, 33)]
    for got, array in zip(evaluate(device, define, x), [*expected, np.abs(x).reshape(4, 33)], strict=True):
        oracle.assert_same(got, array)


def test_the_same_operand_twice(device):
    x = normal_halves(2, (1, 3, 16, 16))

    def define(t):
        return mil.add(t, t), mil.concat([t, t, t], 1), mil.real_div(t, t), mil.matmul(t, t)

    total, joined, ones, product = evaluate(device, define, x)
    oracle.assert_same(total, oracle.engine_binary("add", x, x))
    oracle.assert_same(joined, np.concatenate([x, x, x], 1))
    oracle.assert_same(ones, oracle.engine_binary("real_div", x, x))
    oracle.assert_same(product, engine.matmul(x, x))


def test_values_of_different_times_share_memory(emulator):
    shape = (1, 64, 32, 32)
    size = 2 * math.prod(shape)

    def chain(length):
        def define(t):
            for _ in range(length):
                t = mil.add(mil.transpose(t, [0, 1, 3, 2]), 1.0)
            return t

        return build(define, np.zeros(shape, np.float16)).compile(emulator)

    assert chain(50).stats.activation_bytes == chain(3).stats.activation_bytes <= 3 * size
    (got,) = run(chain(50), np.zeros(shape, np.float16))
    assert np.all(got == 50)


def test_values_that_stay_alive_keep_their_memory(device):
    """Keep twenty values, all used at the end in reverse: none may be overwritten before."""
    x = normal_halves(3, (1, 8, 8, 64))

    def define(t):
        values = [mil.mul(t, float(i)) for i in range(20)]
        total = values[-1]
        for value in reversed(values[:-1]):
            total = mil.sub(value, total)
        return total

    (got,) = evaluate(device, define, x)
    values = [oracle.engine_binary("mul", x, np.float16(i)) for i in range(20)]
    total = values[-1]
    for value in reversed(values[:-1]):
        total = oracle.engine_binary("sub", value, total)
    oracle.assert_same(got, total)


def test_what_no_output_needs_is_dropped(emulator):
    x = normal_halves(4, (1, 64, 1, 64))
    weight = normal_halves(5, (64, 64, 1, 1))

    def define(t, with_unused):
        if with_unused:
            mil.exp(mil.conv(mil.relu(t), weight))
            mil.split(t, 2, 1)
        return mil.tanh(t)

    lean, heavy = (build(lambda t, u=unused: define(t, u), x).compile(emulator) for unused in (False, True))
    for stat in ("operations", "activation_bytes", "weight_bytes"):
        assert getattr(heavy.stats, stat) == getattr(lean.stats, stat)
    oracle.assert_same(run(heavy, x)[0], run(lean, x)[0])


def test_a_constant_that_a_product_packs_is_kept_only_packed(plain):
    x, matrix = normal_halves(4, (1, 70, 600)), normal_halves(5, (600, 260))
    program = build(lambda t: mil.matmul(t, matrix), x).compile(plain)
    assert program.stats.weight_bytes == 600 * 288 * 4  # fp32, in whole strips
    oracle.assert_within(run(program, x)[0], oracle.matmul(x, matrix))


def test_one_result_of_several_may_be_unused(device):
    x = any_halves(6, (1, 6, 2, 5))
    (got,) = evaluate(device, lambda t: mil.split(t, 3, 1)[1], x)
    oracle.assert_same(got, x[:, 2:4])
