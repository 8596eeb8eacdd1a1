"""Each failure of Apple's framework becomes an exception that tells it whole, and leaves nothing behind."""

import itertools
import re

import numpy as np
import pytest

import aneperf
from aneperf import CompileBudget, mil
from support.bridge_programs import PROGRAM, X
from support.standin import ATTRIBUTES, MODEL

pytest_plugins = ["support.standin"]

DOMAIN = "com.apple.appleneuralengine"


def surfaces(device, program):
    """Return surfaces for the input x, which holds X, and the output y of `program`."""
    x, y = (device.make_surface(ports[0]) for ports in (program.inputs, program.outputs))
    x.write(X)
    return x, y


COMPILE_FAULTS = {
    "compile_fails": (
        "CompilationFailure",
        f"{DOMAIN}.compiler 1: _ANECompiler : ANECCompile() FAILED; "
        f"caused by {DOMAIN}.compiler 1: CompilationFailure: a test asked for it",
    ),
    "compile_fails,without_error": ("CompilationFailure", "the framework gave no reason"),
    "load_fails": ("LoadFailure", f"{DOMAIN} 6: _ANEProgramLoad: Program load failure (0xe00002bc)"),
    "load_fails,without_error": ("LoadFailure", "the framework gave no reason"),
    "descriptor_nil": ("CompilationFailure", "the framework made no descriptor of this program"),
    "model_nil": ("CompilationFailure", "the framework made no model of this program"),
}


@pytest.mark.parametrize("faults", COMPILE_FAULTS)
def test_a_failed_compile(ane, standin, faults):
    kind, message = COMPILE_FAULTS[faults]
    with standin.faults(faults), pytest.raises(aneperf.CompileError) as caught:
        PROGRAM.compile(ane)
    assert str(caught.value) == f"[compile] {kind}: {message}"
    assert (caught.value.kind, caught.value.line) == (kind, None)
    assert standin.alive() == (0, 0, 0, 0, 0)
    assert PROGRAM.compile(ane).loaded


@pytest.mark.parametrize("faults", ["", "load_fails_once", "load_fails"])
def test_a_load_is_tried_twice(ane, standin, faults):
    loads = []
    name = MODEL("loadWithQoS:options:error:")
    with standin.faults(faults), standin.replaced(name, lambda call, *_: loads.append(call()) or loads[-1]):
        if faults == "load_fails":
            with pytest.raises(aneperf.CompileError, match="LoadFailure"):
                PROGRAM.compile(ane)
        else:
            assert np.isfinite(PROGRAM.compile(ane).run(x=X)["y"]).all()
    assert loads == {"": [1], "load_fails_once": [0, 1], "load_fails": [0, 0]}[faults]


@pytest.mark.parametrize(
    ("system", "kind", "message"),
    [
        ("26", "InvalidMILProgram", r"has no model\.mil"),
        ("27", "CompilationFailure", f"{DOMAIN} 10: verifyBundleAtPath: invalid model"),
    ],
)
def test_a_program_that_the_framework_refuses(ane, standin, monkeypatch, system, kind, message):
    """Keep the text out of the folder, so that the framework misses it."""
    monkeypatch.setenv("ANE_STANDIN_OS", system)
    bad = standin.to_object("0" * 64)
    calls = itertools.count()
    with (
        standin.replaced(MODEL("hexStringIdentifier"), lambda call: bad if next(calls) == 1 else call()),
        pytest.raises(aneperf.CompileError, match=message) as caught,
    ):
        PROGRAM.compile(ane)
    assert caught.value.kind == kind


EVALUATE_FAULTS = {
    "evaluate_fails": (
        f"{DOMAIN} 8: ANEProgramProcessRequestDirect() Failed with status=0x16 : "
        "statusType=0x9: Program Inference error",
        0x16,
    ),
    "evaluate_fails,without_error": ("the framework gave no reason", None),
    "raise_exception": (
        "the framework raised NSInternalInconsistencyException: a test asked for it",
        None,
    ),
}


@pytest.mark.parametrize("call", ["evaluate", "time", "run"])
@pytest.mark.parametrize("faults", EVALUATE_FAULTS)
def test_a_failed_evaluation_raises_and_leaves_the_output(engine, standin, faults, call):
    message, status = EVALUATE_FAULTS[faults]
    compiled = PROGRAM.compile(engine)
    x, y = surfaces(engine, compiled)
    request = compiled.bind({"x": x}, {"y": y})
    request.evaluate()
    old = y.read()
    x.write(-X)
    calls = {"evaluate": request.evaluate, "time": lambda: request.time(5), "run": lambda: compiled.run(x=X)}
    with standin.faults(faults), pytest.raises(aneperf.EvaluateError) as caught:
        calls[call]()
    assert str(caught.value) == f"[evaluate] {message}"
    assert caught.value.status == status
    assert standin.evaluations == 2  # not one more after the failure
    np.testing.assert_array_equal(y.read(), old)
    request.evaluate()
    np.testing.assert_array_equal(y.read(), -old)


def test_a_failure_among_timed_calls_ends_them(ane, standin):
    compiled = PROGRAM.compile(ane)
    x, y = surfaces(ane, compiled)
    request = compiled.bind({"x": x}, {"y": y})
    with standin.faults("evaluate_fails_after=3"), pytest.raises(aneperf.EvaluateError, match="0x16"):
        request.time(10)
    assert standin.evaluations == 4
    assert len(request.time(10)) == 10


def test_a_failed_unload_is_reported_once(ane, standin):
    compiled = PROGRAM.compile(ane)
    x, y = surfaces(ane, compiled)
    request = compiled.bind({"x": x}, {"y": y})
    with standin.faults("unload_fails"), pytest.raises(aneperf.EvaluateError) as caught:
        compiled.unload()
    assert str(caught.value) == (
        f"[evaluate] cannot unload the program: {DOMAIN} 23: _ANEModel: a test asked for it"
    )
    assert not compiled.loaded
    compiled.unload()
    with pytest.raises(aneperf.EvaluateError, match="unloaded"):
        request.evaluate()
    assert standin.alive().folders == 0


def test_a_failed_unload_of_a_forgotten_program_is_silent(ane, standin):
    with standin.faults("unload_fails"):
        PROGRAM.compile(ane)
        assert standin.alive() == (0, 0, 0, 0, 0)


def test_a_request_that_is_not_made(ane, standin):
    compiled = PROGRAM.compile(ane)
    x, y = surfaces(ane, compiled)
    with standin.faults("request_nil"), pytest.raises(aneperf.EvaluateError, match="no request of these"):
        compiled.bind({"x": x}, {"y": y})
    assert standin.alive().requests == 0


def test_a_surface_that_is_not_made(ane, standin):
    compiled = PROGRAM.compile(ane)
    with standin.faults("surface_create_fails"):
        with pytest.raises(aneperf.SurfaceError, match="IOSurfaceCreate gave no surface of 4096 bytes"):
            ane.make_surface(4096)
        with pytest.raises(aneperf.SurfaceError):
            compiled.run(x=X)


def test_a_surface_that_is_not_locked(ane, standin):
    surface = ane.make_surface(aneperf.Layout("fp16", X.shape))
    surface.write(X)
    with standin.faults("lock_fails"):
        for call in (surface.read, lambda: surface.write(-X)):
            with pytest.raises(aneperf.SurfaceError, match="IOSurfaceLock failed"):
                call()
    np.testing.assert_array_equal(surface.read(), X)


RAISING = {
    MODEL("compileWithQoS:options:error:"): aneperf.CompileError,
    MODEL("loadWithQoS:options:error:"): aneperf.CompileError,
    ATTRIBUTES: aneperf.CompileError,
    MODEL("evaluateWithQoS:options:request:error:"): aneperf.EvaluateError,
}


@pytest.mark.parametrize("method", RAISING)
def test_an_exception_of_any_method_names_itself(ane, standin, method):
    expected = f"the framework raised NSInvalidArgumentException: .*{method[2:-1].split()[1]}"
    with standin.raising(method), pytest.raises(RAISING[method], match=expected):
        PROGRAM.compile(ane).run(x=X)


def test_exceptions_of_a_model_that_is_given_up(standin):
    """Report the first failure, though the unload that follows fails too and leaves the model loaded."""
    assert standin.child("fail_to_give_up()").splitlines() == [
        "[compile] CompilationFailure: the framework raised NSInvalidArgumentException: "
        "[_ANEModel-modelAttributes] should be overridden by subclass",
        "[evaluate] the framework raised NSInvalidArgumentException: "
        "[_ANEInMemoryModel-unloadWithQoS:error:] should be overridden by subclass",
        "0",
    ]


def test_a_model_without_attributes_works(ane, standin):
    with standin.faults(
        "missing_selector=_ANEModel.modelAttributes,missing_selector=_ANEInMemoryModel.modelAttributes"
    ):
        assert np.isfinite(PROGRAM.compile(ane).run(x=X)["y"]).all()


def test_the_frameworks_own_budget(ane, standin):
    standin.set_compile_budget(119)
    for _ in range(119):
        PROGRAM.compile(ane).unload()
    with pytest.raises(aneperf.CompileError, match="this process has used its compiles") as caught:
        PROGRAM.compile(ane)
    assert caught.value.kind == "CompilationFailure"
    assert standin.alive() == (0, 0, 0, 0, 0)


def test_our_budget_ends_before_the_framework_is_asked(ane, standin):
    limited = aneperf.open("ane", compile_budget=CompileBudget(ane.compiles_used + 1, 10**9))
    PROGRAM.compile(limited)
    with pytest.raises(aneperf.CompileBudgetError, match=re.escape("[compile] this process has used its")):
        PROGRAM.compile(limited)
    assert standin.compiles == 1


def test_surfaces_of_another_device(ane, emulator):
    compiled, reference = PROGRAM.compile(ane), PROGRAM.compile(emulator)
    x, y = surfaces(ane, compiled)
    foreign_x, foreign_y = surfaces(emulator, reference)
    for inputs, outputs in (({"x": foreign_x}, {"y": y}), ({"x": x}, {"y": foreign_y})):
        with pytest.raises(aneperf.EvaluateError, match="a surface belongs to another device"):
            compiled.bind(inputs, outputs)
    # The emulator computes in any memory.
    reference.evaluate({"x": x}, {"y": y})
    np.testing.assert_array_equal(y.read(), reference.run(x=X)["y"])


@pytest.mark.parametrize(
    ("system", "message", "status"),
    [("26", "8: ANEProgramProcessRequestDirect() Failed with status=0x1d", 0x1D), ("27", "42: ", None)],
)
def test_a_small_surface_is_refused(ane, standin, monkeypatch, system, message, status):
    monkeypatch.setenv("ANE_STANDIN_OS", system)
    compiled = PROGRAM.compile(ane)
    with pytest.raises(aneperf.EvaluateError, match="the port needs 2048") as caught:
        compiled.bind({"x": ane.make_surface(2047)}, {"y": ane.make_surface(2048)})
    assert caught.value.status == 0x1D

    def understate(attributes):
        attributes["NetworkStatusList"][0]["LiveInputList"][0]["RowStride"] = 2 * 33
        return attributes

    # Where the attributes say less than the engine needs, it is the engine that notices.
    b = mil.Builder()
    b.output("y", mil.relu(b.input("x", (1, 4, 1, 33))))
    with standin.attributes(understate):
        understated = b.build().compile(ane)
    with pytest.raises(aneperf.EvaluateError, match=re.escape(f"{DOMAIN} {message}")) as caught:
        understated.run(x=np.ones((1, 4, 1, 33), np.float16))
    assert caught.value.status == status
