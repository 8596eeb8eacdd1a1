"""The route by the client of the engine's service: its folder, its files, its needs, and its limits."""

import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import aneperf
from aneperf import mil
from support.bridge_programs import PATH, PROGRAM, WEIGHTS, X, assert_same, product
from support.processes import in_a_fork, needs_fork
from support.programs import NO_BUDGET
from support.standin import CLIENT, Standin

pytest_plugins = ["support.standin"]

COMPILE, LOAD = CLIENT("compileModel:options:qos:error:"), CLIENT("loadModel:options:qos:error:")
EVALUATE = CLIENT("evaluateWithModel:options:request:qos:error:")
UNLOAD = CLIENT("unloadModel:options:qos:error:")
NEEDED = {
    "_ANEClient": [
        "sharedConnection",
        *(name.split()[1].rstrip("]") for name in (COMPILE, LOAD, EVALUATE, UNLOAD)),
    ],
    "_ANEModel": ["modelAtURL:key:"],
}


def folders() -> list[Path]:
    return [text.parent for text in Path(os.environ["TMP"]).rglob("model.mil")]


def two_weights() -> mil.Program:
    b = mil.Builder()
    b.output("y", mil.conv(mil.conv(b.input("x", X.shape), WEIGHTS[0]), WEIGHTS[1]))
    return b.build(weight_files="separate")


@pytest.mark.parametrize("system", ["26", "27"])
def test_the_folder_is_private_and_has_the_files_as_they_are(
    client: aneperf.Device,
    emulator: aneperf.Device,
    standin: Standin,
    monkeypatch: pytest.MonkeyPatch,
    system: str,
) -> None:
    monkeypatch.setenv("ANE_STANDIN_OS", system)
    program, seen = two_weights(), {}

    def look(call: Any, *_: Any) -> Any:
        (folder,) = folders()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        seen.update({f"@model_path/{path.relative_to(folder)}": path for path in folder.rglob("*.*")})
        assert {name: path.read_bytes() for name, path in seen.items()} == {
            "@model_path/model.mil": program.text.encode(),
            **program.weights,
        }
        return call()

    with standin.replaced(COMPILE, look):
        compiled = program.compile(client)
    assert len(seen) == 3
    assert_same(compiled.run(x=X), program.compile(emulator).run(x=X))
    compiled.unload()
    assert folders() == []
    (note,) = compiled.notes or ["nobody has published it"]
    assert note.endswith("nobody has published it")
    assert bool(compiled.notes) == (system == "27")


def test_equal_programs_have_folders_of_their_own(client: aneperf.Device) -> None:
    programs = [PROGRAM.compile(client) for _ in range(2)]
    assert len(set(folders())) == 2
    programs[0].unload()
    assert len(folders()) == 1
    assert np.isfinite(programs[1].run(x=X)["y"]).all()


def test_every_call_has_the_qos(client: aneperf.Device, standin: Standin) -> None:
    received: list[int] = []

    def note(call: Any, *arguments: Any) -> Any:
        received.append(arguments[-2])
        return call()

    with (
        standin.replaced(COMPILE, note),
        standin.replaced(LOAD, note),
        standin.replaced(EVALUATE, note),
        standin.replaced(UNLOAD, note),
    ):
        compiled = PROGRAM.compile(client, qos=33)
        compiled.run(x=X)
        compiled.unload()
    assert received == [33] * 4


@pytest.mark.parametrize(
    "missing",
    [
        *(f"missing_class={name}" for name in NEEDED),
        *(f"missing_selector={name}.{method}" for name in NEEDED for method in NEEDED[name]),
    ],
)
def test_what_the_route_lacks_is_named_and_the_other_route_works(standin: Standin, missing: str) -> None:
    name, _, method = missing.partition("=")[2].partition(".")
    lacks = f"{name} has no method {method}: " if method else f"has no class {name}: "
    with standin.faults(missing):
        with pytest.raises(aneperf.DeviceUnavailable) as caught:
            aneperf.open("ane", route="client")
        memory = aneperf.open("ane:memory", compile_budget=NO_BUDGET)
        assert np.isfinite(PROGRAM.compile(memory).run(x=X)["y"]).all()
    assert lacks in str(caught.value)


@pytest.mark.parametrize("name", ["_ANEInMemoryModel", "_ANEInMemoryModelDescriptor"])
def test_the_route_does_without_models_from_memory(standin: Standin, name: str) -> None:
    with standin.faults(f"missing_class={name}"):
        compiled = PROGRAM.compile(aneperf.open("ane", route="client", compile_budget=NO_BUDGET))
        assert np.isfinite(compiled.run(x=X)["y"]).all()


def test_no_connection_is_unavailable(standin: Standin) -> None:
    with (
        standin.replaced("+[_ANEClient sharedConnection]", lambda call: None),
        pytest.raises(aneperf.DeviceUnavailable, match="_ANEClient gave no connection"),
    ):
        aneperf.open("ane:client")


@pytest.mark.parametrize(
    ("fault", "kind"), [("compile_fails", "CompilationFailure"), ("load_fails", "LoadFailure")]
)
def test_a_failed_compile_leaves_nothing(
    client: aneperf.Device, standin: Standin, fault: str, kind: str
) -> None:
    with standin.faults(fault), pytest.raises(aneperf.CompileError) as caught:
        PROGRAM.compile(client)
    assert caught.value.kind == kind
    assert standin.alive() == (0, 0, 0, 0, 0)
    assert folders() == []


@pytest.mark.parametrize("system", ["26", "27"])
def test_a_reload_writes_the_files_and_compiles_nothing(
    client: aneperf.Device, standin: Standin, monkeypatch: pytest.MonkeyPatch, system: str
) -> None:
    monkeypatch.setenv("ANE_STANDIN_OS", system)
    compiled, other = PROGRAM.compile(client), product(WEIGHTS[1])
    expected = compiled.run(x=X)
    compiled.reload(other.weights)
    (folder,) = folders()
    assert (folder / PATH.removeprefix("@model_path/")).read_bytes() == other.weights[PATH]
    assert standin.client_compiles == 1
    assert_same(compiled.run(x=X), expected)  # the stand-in's service has the program by the folder's name


@needs_fork
def test_a_forked_child_leaves_the_folder_to_its_parent(client: aneperf.Device) -> None:
    held = [PROGRAM.compile(client)]

    def work() -> None:
        held.clear()
        assert len(folders()) == 1

    assert in_a_fork(work) == 0
    assert np.isfinite(held[0].run(x=X)["y"]).all()


def test_info_tells_the_route(ane: aneperf.Device, client: aneperf.Device) -> None:
    assert ane.info()["route"] == "memory"
    assert client.info() == {**ane.info(), "route": "client"}
