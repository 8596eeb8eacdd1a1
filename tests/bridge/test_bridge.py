"""Programs through the Neural Engine's bridge, on the stand-in for Apple's framework: the emulator's bits."""

import copy
import random

import numpy as np
import pytest

import aneperf
from aneperf import mil
from aneperf.kernels import PUBLISHED, ConvStack
from support.bridge_programs import WEIGHTS, X, assert_same, product
from support.programs import VARIED, build, input_of

pytest_plugins = ["support.standin"]


STACKS = {
    "conv stack, fp32 ports": ConvStack(channels=48, depth=6, height=2, width=40),
    "conv stack, fp16 ports": ConvStack(channels=48, depth=6, height=2, width=40, port_dtype="fp16"),
    "published conv stack": PUBLISHED[5],
}
FAMILIES = [*VARIED, *STACKS]  # every kernel so far


def family(name):
    """Return the program and its input."""
    if name in STACKS:
        return STACKS[name].build(), {"x": STACKS[name].input()}
    return build(VARIED[name][0], input_of(name)), {"x0": input_of(name)}


@pytest.mark.parametrize("faults", ["", "attributes_missing"])
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_has_the_emulators_bits(engine, emulator, standin, name, faults):
    program, inputs = family(name)
    with standin.faults(faults):
        compiled = program.compile(engine)
    assert standin.alive().loaded_models == 1
    expected = program.compile(emulator)
    assert [repr(port) for port in compiled.inputs] == [repr(port) for port in expected.inputs]
    assert [port.row_pitch for port in compiled.outputs] == [port.row_pitch for port in expected.outputs]
    for _ in range(2):
        assert_same(compiled.run(**inputs), expected.run(**inputs))
    assert standin.evaluations == 2
    compiled.unload()
    assert standin.alive().loaded_models == 0


# ASCII order, numeric order and these orders of declaration all differ, and so do the sizes.
INPUTS = ["x10", "x9", "B", "_a", "a", "Z", "x1", "x100"]
OUTPUTS = ["y2", "y10", "Y", "_y", "y1", "y100", "b", "C"]


def scrambled(seed):
    """Build outputs y<i> = x<i> (i + 2), declared in an order that the seed chooses; and the input arrays."""
    b, shuffle = mil.Builder(), random.Random(seed).shuffle
    order, arrays, tensors = list(range(len(INPUTS))), {}, {}
    shuffle(order)
    for i in order:
        shape, dtype = (1, 3, 2, 11 * i + 1), ("fp16", "fp32")[i % 2]
        arrays[INPUTS[i]] = np.random.default_rng(i).integers(-99, 99, shape).astype(("f2", "f4")[i % 2])
        tensors[i] = b.input(INPUTS[i], shape, dtype)
    shuffle(order)
    for i in order:
        result = mil.mul(mil.cast(tensors[i], "fp16"), i + 2.0)
        b.output(OUTPUTS[i], mil.cast(result, "fp32") if i % 2 else result)
    return b.build(), arrays


@pytest.mark.parametrize("faults", ["", "attributes_missing"])
@pytest.mark.parametrize("seed", range(4))
def test_ports_are_bound_by_name_in_any_order_of_declaration(engine, standin, faults, seed):
    program, arrays = scrambled(seed)
    assert list(program.inputs) != sorted(program.inputs)
    with standin.faults(faults):
        compiled = program.compile(engine)
    assert [port.name for port in compiled.inputs] == sorted(INPUTS)
    assert [port.name for port in compiled.outputs] == sorted(OUTPUTS)
    results = compiled.run(**arrays)
    for i, (name, output) in enumerate(zip(INPUTS, OUTPUTS, strict=True)):
        np.testing.assert_array_equal(results[output], arrays[name] * (i + 2))


def test_ports_follow_the_order_of_the_attributes(engine, standin):
    """List the symbols from the last to the first: the engine may number them as it likes."""

    def reverse(attributes):
        procedure = attributes["ANEFModelDescription"]["ANEFModelProcedures"][0]
        status = attributes["NetworkStatusList"][0]
        for part in (procedure["ANEFModelInputSymbolIndexArray"], status["LiveInputList"]):
            part.reverse()
        return attributes

    program, arrays = scrambled(0)
    with standin.attributes(reverse):
        compiled = program.compile(engine)
    assert [port.name for port in compiled.inputs] == sorted(INPUTS, reverse=True)
    np.testing.assert_array_equal(compiled.run(**arrays)["y10"], arrays["x9"] * 3)


def test_the_row_pitch_of_the_attributes_is_followed(engine, standin):
    def widen(attributes):
        attributes["NetworkStatusList"][0]["LiveInputList"][0]["RowStride"] = 256
        return attributes

    with standin.attributes(widen):
        port = product(WEIGHTS[0]).compile(engine).inputs[0]
    assert (port.row_pitch, port.bytes) == (256, 32 * 256)


def replace(*path):
    """Edit the attributes: the value at the path becomes the last item."""
    *way, key, value = path

    def edit(attributes):
        part = attributes = copy.deepcopy(attributes)
        for step in way:
            part = part[step]
        part[key] = value
        return attributes

    return edit


INDICES = ("ANEFModelDescription", "ANEFModelProcedures", 0, "ANEFModelInputSymbolIndexArray")
NAMES = ("ANEFModelDescription", "kANEFModelInputSymbolsArrayKey")
STRIDE = ("NetworkStatusList", 0, "LiveInputList", 0, "RowStride")
MALFORMED_ATTRIBUTES = {
    "empty": lambda attributes: {},
    "a text": lambda attributes: "attributes",
    "a list": lambda attributes: [attributes],
    "no description": replace("ANEFModelDescription", "none"),
    "no procedures": replace("ANEFModelDescription", "ANEFModelProcedures", []),
    "no status": replace("NetworkStatusList", []),
    "a repeated index": replace(*INDICES, [0] * 8),
    "an index too large": replace(*INDICES, [*range(7), 8]),
    "a huge index": replace(*INDICES, [*range(7), 2**63 - 1]),
    "a negative index": replace(*INDICES, [-1, *range(7)]),
    "an index as text": replace(*INDICES, ["0", *range(1, 8)]),
    "too few indices": replace(*INDICES, [*range(7)]),
    "unknown names": replace(*NAMES, [f"in{i}" for i in range(8)]),
    "names as numbers": replace(*NAMES, [*range(8)]),
    "repeated names": replace(*NAMES, ["B"] * 8),
    "a short list of ports": replace("NetworkStatusList", 0, "LiveInputList", []),
    "ports as text": replace("NetworkStatusList", 0, "LiveInputList", ["port"] * 8),
    "a stride as text": replace(*STRIDE, "128"),
    "a negative stride": replace(*STRIDE, -64),
    "a stride below the row": replace(*STRIDE, 1),
    "a stride beyond memory": replace(*STRIDE, 2**62),
    "a stride that wraps": replace(*STRIDE, 2**62 + 64),
}


@pytest.mark.parametrize("case", MALFORMED_ATTRIBUTES)
def test_malformed_attributes_leave_the_documented_law(ane, standin, case):
    program, arrays = scrambled(1)
    law = program.compile(ane)
    with standin.attributes(MALFORMED_ATTRIBUTES[case]):
        compiled = program.compile(ane)
    assert [(p.name, p.row_pitch) for p in compiled.inputs] == [(p.name, p.row_pitch) for p in law.inputs]
    assert_same(compiled.run(**arrays), law.run(**arrays))


def test_every_qos_works_and_reaches_the_framework(ane, standin):
    name = "-[_ANEInMemoryModel {}]".format
    expected = product(WEIGHTS[0]).compile(ane).run(x=X)
    for qos in range(64):
        received = []

        def note(call, value, *_, received=received):
            received.append(value)
            return call()

        with (
            standin.replaced(name("compileWithQoS:options:error:"), note),
            standin.replaced(name("loadWithQoS:options:error:"), note),
            standin.replaced(name("evaluateWithQoS:options:request:error:"), note),
            standin.replaced(name("unloadWithQoS:error:"), note),
        ):
            compiled = product(WEIGHTS[0]).compile(ane, **({} if qos == 21 else {"qos": qos}))
            assert_same(compiled.run(x=X), expected)
            compiled.unload()
        assert received == [qos] * 4


@pytest.mark.parametrize("qos", [-1, 64, 2**32 + 21, 2**70, 21.0, "21", None])
def test_an_impossible_qos_is_refused_by_every_device(device, qos):
    with pytest.raises(aneperf.ArgumentError, match="qos is "):
        product(WEIGHTS[0]).compile(device, qos=qos)
