"""Reloads, weights buffers and counters on the bridge: what it asks of the framework, what may go wrong."""

import os
from pathlib import Path

import pytest

import aneperf
from support.bridge_programs import PATH, PROGRAM, WEIGHTS, X, assert_same, product
from support.standin import MODEL

pytest_plugins = ["support.standin"]

OTHER = product(WEIGHTS[1])


def test_a_reload_writes_the_files_twice_and_compiles_nothing(ane, standin, monkeypatch):
    """Write over files that are there, and again after the unload, which removed the folder."""
    monkeypatch.setenv("ANE_STANDIN_OS", "26")
    seen = []

    def note(call, *_):
        files = {
            str(path.relative_to(text.parent)): path.read_bytes()
            for text in Path(os.environ["TMP"]).rglob("model.mil")
            for path in text.parent.rglob("*")
            if path.is_file()
        }
        seen.append(files)
        return call()

    program = PROGRAM.compile(ane)
    expected, compiles = program.run(x=X), standin.compiles
    with (
        standin.replaced(MODEL("unloadWithQoS:error:"), note),
        standin.replaced(MODEL("loadWithQoS:options:error:"), note),
    ):
        program.reload(OTHER.weights)
    for files in seen:
        assert files["model.mil"] == PROGRAM.text.encode()
        assert files["weights/weight.bin"] == OTHER.weights[PATH]
    assert len(seen) == 2
    assert standin.compiles == compiles
    assert standin.alive().loaded_models == 1
    assert_same(program.run(x=X), expected)
    program.unload()


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("load_fails", "[compile] LoadFailure: "),
        ("unload_fails", "[evaluate] cannot unload the program: "),
    ],
)
def test_a_failed_reload_leaves_an_unloaded_program(engine, standin, fault, error):
    program = PROGRAM.compile(engine)
    with standin.faults(fault), pytest.raises(aneperf.AneError) as failure:
        program.reload(OTHER.weights)
    assert str(failure.value).startswith(error)
    assert not program.loaded
    with pytest.raises(aneperf.EvaluateError, match="the program is unloaded"):
        program.run(x=X)
    program.unload()


def test_a_load_that_fails_once_is_tried_again(engine, standin, emulator):
    program = PROGRAM.compile(engine)
    with standin.faults("load_fails_once"):
        program.reload()
    assert_same(program.run(x=X), PROGRAM.compile(emulator).run(x=X))
    program.unload()


def test_a_wrong_path_changes_nothing(engine, emulator):
    program = PROGRAM.compile(engine)
    for path in ("@model_path/weights/none.bin", "../escape", "@model_path/model.mil", ""):
        with pytest.raises(aneperf.ArgumentError, match="the program has no weight file of this name"):
            program.reload({path: b"outside"})
    assert_same(program.run(x=X), PROGRAM.compile(emulator).run(x=X))
    program.unload()


def test_counters_that_the_system_does_not_give(engine, standin):
    program = PROGRAM.compile(engine)
    source, result = engine.make_surface(program.inputs[0]), engine.make_surface(program.outputs[0])
    bound = {"x": source}, {program.outputs[0].name: result}
    found = {counter.name: counter for counter in program.counters(*bound)}
    assert found["statistics mask kept"].value == 0
    assert found["queue depth"].value == 127
    assert found["intermediate buffer handle"].value == 0
    assert found["hardware execution time"].value is None
    assert "boot argument anedebug=1" in found["performance counters"].reason
    with standin.faults("evaluate_fails"), pytest.raises(aneperf.EvaluateError):
        program.counters(*bound)
    program.unload()
    with pytest.raises(aneperf.EvaluateError, match="the program is unloaded"):
        program.counters(*bound)


@pytest.mark.parametrize(
    ("missing", "without"),
    [
        ("_ANEInMemoryModel.perfStatsMask", "statistics mask kept"),
        ("_ANEInMemoryModel.queueDepth", "queue depth"),
        ("_ANEInMemoryModel.intermediateBufferHandle", "intermediate buffer handle"),
        ("_ANERequest.perfStats", "hardware execution time"),
    ],
)
def test_a_counter_that_the_framework_lacks_is_unavailable(ane, standin, missing, without):
    program = PROGRAM.compile(ane)
    source, result = ane.make_surface(program.inputs[0]), ane.make_surface(program.outputs[0])
    with standin.faults(f"missing_selector={missing}"):
        found = program.counters({"x": source}, {program.outputs[0].name: result})
    counter = next(counter for counter in found if counter.name == without)
    assert counter.value is None
    assert counter.reason
    program.unload()


def test_a_weights_buffer_lives_as_long_as_its_request(engine, standin):
    program = PROGRAM.compile(engine)
    source, result = engine.make_surface(program.inputs[0]), engine.make_surface(program.outputs[0])
    source.write(X)
    before = standin.alive().surfaces
    request = program.bind(
        {"x": source}, {program.outputs[0].name: result}, weights_buffer=engine.make_surface(4096)
    )
    assert standin.alive().surfaces == before + 1
    request.evaluate()
    del request
    assert standin.alive().surfaces == before
    program.unload()


def test_a_weights_buffer_of_another_device_is_refused(ane, emulator):
    program = PROGRAM.compile(ane)
    source, result = ane.make_surface(program.inputs[0]), ane.make_surface(program.outputs[0])
    with pytest.raises(aneperf.EvaluateError, match="belongs to another device"):
        program.bind(
            {"x": source},
            {program.outputs[0].name: result},
            weights_buffer=emulator.make_surface(4096),
        )
    program.unload()
