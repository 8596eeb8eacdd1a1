import pytest

import aneperf
from aneperf.probes.doctor_checks import run_checks
from aneperf.probes.doctor_framework import IN_MEMORY, find_methods
from aneperf.runner.progress import silent
from support.programs import NO_BUDGET

pytest_plugins = ["support.standin"]
pytestmark = pytest.mark.usefixtures("standin")  # skips without it


def test_the_doctor_lists_the_classes_and_methods_that_are_there() -> None:
    items = ["framework/in-memory", "route/in-memory", "weights/one file", "ports/order", "ports/row pitch"]
    result = run_checks(
        aneperf.open("ane", compile_budget=NO_BUDGET), items=items, budget=60.0, progress=silent
    )
    assert [(row.params["check"], row.params["verdict"]) for row in result] == [
        (item, "ok") for item in items
    ]
    methods = str(result.rows[0].params["_ANEInMemoryModel"]).split()
    assert "+inMemoryModelWithDescriptor:" in methods
    assert "-evaluateWithQoS:options:request:error:" in methods
    assert set(IN_MEMORY) <= set(result.rows[0].params)


@pytest.mark.parametrize(
    ("system", "status", "reason"),
    [("26", "unsupported", "no -[_ANEInMemoryModelDescriptor perFileHashes]"), ("27", "ok", None)],
)
def test_only_macos27_hashes_each_file(
    monkeypatch: pytest.MonkeyPatch, system: str, status: str, reason: str | None
) -> None:
    monkeypatch.setenv("ANE_STANDIN_OS", system)
    device = aneperf.open("ane")
    (row,) = run_checks(device, items=["framework/file hashes"], budget=60.0, progress=silent)
    assert (row.status, row.reason) == (status, reason)


def test_the_doctor_names_what_is_missing() -> None:
    aneperf.open("ane", compile_budget=NO_BUDGET)  # loads the framework
    needed = {"_ANERequest": ("-perfStats", "+flyWith:"), "_ANEMissing": ("-x",)}
    found = find_methods(needed, required=True)
    assert (found.status, found.reason) == ("error", "no +[_ANERequest flyWith:], _ANEMissing")
    assert find_methods(needed, required=False).status == "unsupported"
