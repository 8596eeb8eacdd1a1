import getpass
import json
import platform
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

import aneperf
from aneperf.device import info
from aneperf.machine import without_names
from aneperf.power import reading
from aneperf.probes import doctor_checks
from aneperf.probes.doctor import _anonymous, system_findings
from aneperf.probes.doctor_checks import CHECKS, QUESTIONS, doctor_row, run_checks
from aneperf.report.result_table import lay_out_result
from aneperf.results import Result, Row
from aneperf.runner.measured import Measured
from aneperf.runner.progress import silent
from support.recorded_power import RecordedMachine
from support.terminals import widest_line


def findings(result: Result) -> dict[Any, tuple[Any, Any]]:
    rows = [row for row in result if row.key.startswith("doctor/")]
    return {
        row.params["check"]: (row.params["verdict"], row.params.get("finding", row.reason)) for row in rows
    }


def test_the_checks_on_the_emulator() -> None:
    emulator = aneperf.open("emulator")
    items = [name for name in CHECKS if not name.startswith("route/")]
    found = findings(run_checks(emulator, items=items, budget=60.0, progress=silent))
    assert {name: verdict for name, (verdict, _) in found.items()} == {
        **{name: "unavailable" for name in items if name.startswith(("framework/", "power/"))},
        **{name: "ok" for name in items if name.startswith(("weights/", "ports/"))},
        "attention/mask": "differs",
    }
    assert found["ports/order"][1] == "by name"
    assert found["ports/row pitch"][1] == "64/128/128 bytes for rows of 24/66/128"
    assert found["attention/mask"][1] == "the mask is ignored"


def test_what_reads_power(monkeypatch: pytest.MonkeyPatch) -> None:
    emulator = aneperf.open("emulator")
    items = [name for name in CHECKS if name.startswith("power/")]

    def told(file: str) -> dict[str, tuple[Any, Any]]:
        machine = RecordedMachine(file)
        monkeypatch.setattr(doctor_checks, "time", SimpleNamespace(sleep=machine.sleep))
        monkeypatch.setattr(doctor_checks, "_READING_S", 0.5)
        with reading(*machine.providers(monkeypatch)):
            return findings(run_checks(emulator, items=items, budget=9.0, progress=silent))

    live = told("energy_model_live")
    assert live["power/energy-model"] == ("ok", "918.412 J so far")
    assert live["power/smc-minus-cpu"] == ("unavailable", "this machine has no sensor PP0b")
    assert live["power/whole-mac"][0] == "ok"
    assert live["power/whole-mac"][1].endswith(" W now")
    dead = told("energy_model_dead")
    assert dead["power/energy-model"] == ("differs", "0 J so far")
    assert dead["power/smc-minus-cpu"][0] == "ok"
    refused = told("refused")
    assert {verdict for verdict, _ in refused.values()} == {"unavailable"}


def test_ports_bound_in_the_order_of_declaration_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    question = doctor_checks.compat.ITEMS["ports/q, k, v, mask"]()
    assert question.departure is not None
    inputs = question.inputs[0]
    swapped = dict(zip(("q", "k", "v", "mask"), (inputs[name] for name in sorted(inputs)), strict=True))
    as_declared = replace(question, inputs=[swapped])
    monkeypatch.setitem(doctor_checks.compat.ITEMS, "ports/q, k, v, mask", lambda: as_declared)
    emulator = aneperf.open("emulator")
    found = findings(run_checks(emulator, items=["ports/order"], budget=9.0, progress=silent))
    assert found == {"ports/order": ("differs", "ports are bound in the order of declaration")}


def test_a_finding_is_the_cause_of_a_refusal() -> None:
    told = (
        "[compile] InvalidMILProgram: com.apple.appleneuralengine.compiler 1: _ANECompiler : ANECCompile() "
        "FAILED; caused by com.apple.appleneuralengine.compiler 1: InvalidMILProgram: no type"
    )
    refused = "refused: [compile] LoadFailure: com.apple.appleneuralengine 10: hash mismatch for w.bin"
    rows = (
        doctor_row("text/bare literal", Measured("unsupported", told)),
        doctor_row("weights/reload", Measured("ok", params={"finding": refused})),
        doctor_row("ports/fp32", Measured("error", told)),
    )
    result = Result(probe="doctor", environment=info("emulator"), rows=rows)
    assert [row[-1] for row in lay_out_result(result).rows] == [
        "InvalidMILProgram: no type",
        "refused: hash mismatch for w.bin",
        told,  # of a failure, whole
    ]
    trial = Row(key="weights/x", status="ok", params={"trial": "x", "verdict": refused})
    tried = Result(probe="weights", environment=info("emulator"), rows=(trial,))
    assert lay_out_result(tried).rows == (("x", "refused: hash mismatch for w.bin"),)


def test_without_time_every_check_is_a_row() -> None:
    result = aneperf.doctor("emulator", budget=1e-9)
    assert set(findings(result)) >= {
        *CHECKS,
        *QUESTIONS,
        "system/os",
        "peak/fp16",
        "budget/compiles",
        "arithmetic/conformance",
    }
    assert {row.status for row in result if row.key.partition("/")[2] in CHECKS} == {"skipped"}
    assert widest_line(result) <= 80


def test_an_engine_that_did_not_open_is_a_failure() -> None:
    note = "The emulator stands in, since the Neural Engine did not open: no class _ANERequest"
    environment = msgspec.structs.replace(info("emulator"), device_note=note, power="Battery Power")
    _, engine, power, _ = system_findings(environment)
    assert (engine.status, engine.reason) == ("error", note)
    assert power.params["verdict"] == "differs"


def test_rows_name_no_person_machine_or_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "jdoe")
    monkeypatch.setattr(platform, "node", lambda: "jdoes-mac.local")
    monkeypatch.setenv("HOME", "/Users/jdoe")
    folder = "/private/var/folders/zz/abc0000gn/T/9A2F_model"
    told = f"at {folder}: /Users/jdoe/x and /Volumes/jdoe/y of jdoe on jdoes-mac, jdoes-mac.local"
    lost = _anonymous(doctor_row("ports/fp32", Measured("error", told)))
    found = _anonymous(doctor_row("ports/fp32", Measured("ok", params={"finding": told})))
    for text in (lost.reason, found.params["finding"], without_names(told)):
        assert "jdoe" not in str(text)
        assert "abc0000gn" not in str(text)
        assert "9A2F_model" in str(text)
    monkeypatch.setenv("ANEPERF_CACHE", "/Users/jdoe/cache")
    assert "jdoe" not in json.dumps(info("emulator").variables)


@pytest.mark.parametrize(("code", "says"), [(0, True), (1, True), (143, False)])
def test_a_file_of_all_checks_is_to_be_sent(
    run: Any, monkeypatch: pytest.MonkeyPatch, code: int, says: bool
) -> None:
    monkeypatch.setattr("aneperf.cli.measuring.measure", lambda *_, **__: code)
    outcome = run("doctor", "--device", "emulator")
    assert outcome.code == code
    assert ("please send that file" in outcome.err) is says


@pytest.mark.thorough
def test_the_whole_of_it(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give all checks the time that they need on a busy machine; only peak uses up what it is given."""
    monkeypatch.setattr(
        "aneperf.probes.doctor.default_budget", lambda probe: 10.0 if probe == "peak" else 900.0
    )
    file = tmp_path / "mac.json"
    outcome = run("doctor", "--device", "emulator", "--budget", "900", "-o", str(file))
    assert (outcome.code, outcome.err) == (0, f"aneperf: {file} holds all of it: please send that file\n")
    assert run("validate", str(file)).code == 0
    result = Result.load(file)
    assert widest_line(result) <= 80
    assert findings(result)["budget/compiles"] == ("ok", "119 programs: the next was refused")
    assert {"peak", "limits", "conformance", "doctor"} == {row.key.partition("/")[0] for row in result}
