"""Hand the engine's compiler a text that the bridge does not read."""

import numpy as np
import pytest

import aneperf
from aneperf import mil
from aneperf.probes import compat
from support.bridge_programs import PROGRAM, X, assert_same
from support.programs import NO_BUDGET

pytest_plugins = ["support.standin"]
pytestmark = pytest.mark.usefixtures("standin")  # skips without it


def ports(program):
    return [
        (port.name, port.dtype, port.shape, port.row_pitch) for port in (*program.inputs, *program.outputs)
    ]


def test_the_loaded_program_tells_its_ports():
    engine = aneperf.open("ane", compile_budget=NO_BUDGET)
    read = PROGRAM.compile(engine)
    unread = PROGRAM.compile(engine, strict=False)
    assert ports(unread) == ports(read)
    assert_same(unread.run(x=X), read.run(x=X))


def test_ports_have_four_axes_or_five():
    b = mil.Builder()
    b.output("deep", mil.add(b.input("volume", (1, 2, 3, 4, 5)), 1.0))
    b.output("flat", mil.cast(b.input("row", (7,), "fp32"), "fp16"))
    program = b.build().compile(aneperf.open("ane", compile_budget=NO_BUDGET), strict=False)
    assert ports(program) == [
        ("row", "fp32", (1, 1, 1, 7), 64),
        ("volume", "fp16", (1, 2, 3, 4, 5), 64),
        ("deep", "fp16", (1, 2, 3, 4, 5), 64),
        ("flat", "fp16", (1, 1, 1, 7), 64),
    ]
    volume, row = np.ones((1, 2, 3, 4, 5), np.float16), np.arange(7, dtype=np.float32).reshape(1, 1, 1, 7)
    outputs = program.run(volume=volume, row=row)
    assert_same(outputs, {"deep": volume + 1, "flat": row.astype(np.float16)})


def test_a_refusal_is_the_compilers_own():
    with pytest.raises(aneperf.CompileError) as strict:
        aneperf.open("ane", compile_budget=NO_BUDGET).compile("no program")
    with pytest.raises(aneperf.CompileError, match=r"com\.apple\.appleneuralengine"):
        aneperf.open("ane", compile_budget=NO_BUDGET).compile("no program", strict=False)
    assert "com.apple" not in str(strict.value)


@pytest.mark.parametrize("item", [name for name in compat.ITEMS if name.startswith("text/")])
def test_compat_asks_the_engines_compiler(item):
    measured = compat.ITEMS[item]().ask(aneperf.open("ane", compile_budget=NO_BUDGET))
    assert measured.status == "unsupported"
    assert "com.apple.appleneuralengine" in str(measured.reason)


@pytest.mark.parametrize(("system", "status"), [("26", "ok"), ("27", "unsupported")])
def test_several_weight_files_stay_as_they_are(monkeypatch, system, status):
    monkeypatch.setenv("ANE_STANDIN_OS", system)
    measured = compat.ITEMS["weights/a file each, as they are"]().ask(
        aneperf.open("ane", compile_budget=NO_BUDGET)
    )
    assert measured.status == status
    assert (measured.reason or "hash mismatch").count("hash mismatch") == 1


def test_a_program_that_does_not_tell_its_ports_is_refused_and_unloaded(standin):
    engine, before = aneperf.open("ane", compile_budget=NO_BUDGET), standin.alive()
    with (
        standin.faults("attributes_missing"),
        pytest.raises(aneperf.CompileError, match="the loaded program does not tell its ports"),
    ):
        PROGRAM.compile(engine, strict=False)
    assert standin.alive() == before


def test_hostile_paths_of_weight_files_are_refused():
    with pytest.raises(aneperf.ArgumentError, match="must begin with @model_path/"):
        aneperf.open("ane", compile_budget=NO_BUDGET).compile(
            PROGRAM.text, {"/tmp/escape": b""}, strict=False
        )
