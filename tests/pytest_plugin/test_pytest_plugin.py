"""The plugin for pytest, in projects of its users."""

import json
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from aneperf import Result
from aneperf.schema import check_numbers
from support import environment

pytest.importorskip("pytest_benchmark")

# Takes the place of aneperf.bench: a program is the nanoseconds of its calls, or the reason of a refusal.
CONFTEST = """
import os
from aneperf import ArgumentError, Result, Row, device, measure
from aneperf.probes import bench

def constant(program, opened, *, name, **options):
    if isinstance(program, Exception):
        raise program
    row = Row(key=f"bench/{name}", status="unsupported", reason="too negative")
    if program > 0:
        warm_up = int(os.environ.get("WARM_UP", 1))
        calls = (int(program * float(os.environ.get("SLOWER", 1))),) * (warm_up + 19)
        kept = measure.summarize([ns * 1e-6 for ns in calls[warm_up:]]).fields()
        row = Row(key=row.key, status="ok", unit="ms", warm_up=warm_up, error=0.0,
                  durations_ns=calls[:10_000], **kept)
    return Result(probe="bench", environment=device.info(opened), rows=(row,))

bench.bench = constant
"""
ONE = "def test_it(ane_bench):\n    assert ane_bench(1000).n\n"
TIMED = """
import pytest
from aneperf import ArgumentError

@pytest.mark.benchmark(group="mine")
@pytest.mark.parametrize("ns", [1000, 2000])
def test_programs(ane_bench, ns):
    assert ane_bench(ns).n == 19

@pytest.mark.parametrize("program", [-1, ArgumentError("is no program")])
def test_refused(ane_bench, program):
    ane_bench(program)
"""
REAL = """
from aneperf import mil

def test_relu(ane_bench):
    b = mil.Builder()
    b.output("y", mil.relu(b.input("x", (1, 4, 1, 64))))
    assert ane_bench(b, budget=60).error == 0
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    (tmp_path / "conftest.py").write_text(CONFTEST)
    return tmp_path


def run(project: Path, device: str, *options: str, code: int = 0) -> str:
    """Run the tests of a project in a process of its own, and check its exit code."""
    known = {point.value for point in entry_points(group="pytest11")}
    plugin = [] if "aneperf.pytest_plugin" in known else ["-p", "aneperf.pytest_plugin"]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", *plugin]
    variables = environment(COLUMNS=100, PYTHONIOENCODING="utf-8")
    variables.pop("PYTEST_XDIST_WORKER", None)  # this process may be one, and its children are none
    ended = subprocess.run(
        [*command, "--ane-device", device, *options],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=300,
        env=variables,
    )
    output = ended.stdout + ended.stderr
    assert ended.returncode == code, output
    return output


def test_calls_are_those_of_pytest_benchmark(project: Path, device_name: str) -> None:
    (project / "test_it.py").write_text(TIMED)
    files = ["--ane-result", "result.json", "--benchmark-json", "benchmarks.json"]
    output = run(project, device_name, *files, code=1)
    assert "unsupported: too negative" in output
    assert "is no program" in output
    assert "Traceback" not in output
    result = Result.load(project / "result.json")
    assert f"\n{result}\n" in output
    timed = json.loads((project / "benchmarks.json").read_text())["benchmarks"]
    assert [(one["fullname"], one["group"]) for one in timed] == [
        ("test_it.py::test_programs[1000]", "mine"),
        ("test_it.py::test_programs[2000]", "mine"),
    ]
    for row, one in zip(result, timed, strict=True):
        assert row.key == f"bench/{one['fullname']}"
        assert one["stats"]["data"] == pytest.approx([ns * 1e-9 for ns in row.kept], rel=1e-6)
        told = one["extra_info"]["aneperf"]
        assert (told["median"], told["ci_low"], told["ci_high"]) == (row.median, row.ci_low, row.ci_high)
        assert told["device"] == result.environment.label


TWICE = """
import os
from pathlib import Path

def test_twice(ane_bench):
    ane_bench(1000)
    ane_bench(2000)

def test_moves(ane_bench, tmp_path):
    ane_bench(3000)
    os.chdir(tmp_path)
"""
# Runs each test a second time, as plugins do that repeat a failing test.
AGAIN = """
import pytest
from _pytest.runner import runtestprotocol

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    runtestprotocol(item, nextitem=nextitem, log=False)
    item._initrequest()
"""


def test_a_program_a_test_whatever_happens_to_the_test(project: Path, device_name: str) -> None:
    (project / "conftest.py").write_text(CONFTEST + AGAIN)
    (project / "test_it.py").write_text(TWICE)
    output = run(project, device_name, "--ane-result", "result.json", code=1)
    assert "Failed: ane_bench times one program in a test: parametrize the test" in output
    assert "Traceback" not in output
    result = Result.load(project / "result.json")
    assert [(row.key, row.median) for row in result] == [
        ("bench/test_it.py::test_twice", 0.001),
        ("bench/test_it.py::test_moves", 0.003),
    ]


@pytest.mark.thorough
def test_a_result_that_cannot_be_saved_is_told(project: Path, device_name: str) -> None:
    lost = f"import shutil\n{ONE}    shutil.rmtree({str(project / 'folder')!r})\n"
    (project / "test_it.py").write_text(lost)
    (project / "folder").mkdir()
    files = ["--ane-result", "folder/result.json", "--benchmark-json", "benchmarks.json"]
    output = run(project, device_name, *files, code=4)
    assert f"--ane-result {project / 'folder' / 'result.json'}: " in output
    assert "1 passed" in output
    assert "Traceback" not in output
    (timed,) = json.loads((project / "benchmarks.json").read_text())["benchmarks"]
    assert timed["extra_info"]["aneperf"]["error"] == 0.0


@pytest.mark.thorough
def test_calls_that_are_all_warm_up_leave_the_median(
    project: Path, device_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "test_it.py").write_text(ONE)
    monkeypatch.setenv("WARM_UP", "10000")
    run(project, device_name, "--benchmark-json", "benchmarks.json")
    (timed,) = json.loads((project / "benchmarks.json").read_text())["benchmarks"]
    assert timed["stats"]["data"] == pytest.approx([1e-6])


def test_who_uses_no_fixture_pays_for_none(project: Path, device_name: str) -> None:
    (project / "conftest.py").unlink()
    (project / "test_it.py").write_text(
        'import sys\n\ndef test_first():\n    assert not {"numpy", "msgspec"} & set(sys.modules)\n'
        "\ndef test_then(ane_device):\n    assert ane_device.info()\n"
        "\ndef test_last(ane_bench):\n    pass\n"
    )
    output = run(project, device_name, "-p", "no:benchmark", code=1)
    assert "ane_bench needs pytest-benchmark: pip install pytest-benchmark" in output
    assert "2 passed, 1 error" in output


@pytest.mark.thorough
def test_a_program_is_timed_by_the_probe(project: Path, device_name: str) -> None:
    (project / "conftest.py").unlink()
    (project / "test_it.py").write_text(REAL)
    run(project, device_name, "--ane-result", "result.json")
    result = Result.load(project / "result.json")
    check_numbers(result)
    assert [row.key for row in result] == ["bench/test_it.py::test_relu"]


@pytest.mark.thorough
def test_a_gate_of_pytest_benchmark(project: Path, device_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "test_it.py").write_text(ONE)
    run(project, device_name, "--benchmark-autosave")
    gate = ["--benchmark-compare", "--benchmark-compare-fail", "median:5%"]
    for slower, code in (("1.04", 0), ("1.06", 1)):
        monkeypatch.setenv("SLOWER", slower)
        output = run(project, device_name, *gate, code=code)
    assert "Performance has regressed" in output


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--benchmark-disable"], 0, "2 passed"),
        (["--benchmark-disable", "--ane-result", "r"], 4, "with --benchmark-disable nothing is measured"),
        (["--ane-result", "none/r.json"], 4, "none does not exist: create it first"),
        (["--ane-result", "test_it.py"], 4, "test_it.py: is there and is "),
        (["--ane-result", "r.json", "-k", "test_device"], 4, "no test measured anything"),
        (["--ane-device", "gpu"], 1, "no device is called 'gpu': choose ane, emulator"),
    ],
)
def test_options(project: Path, device_name: str, options: list[str], code: int, message: str) -> None:
    (project / "test_it.py").write_text(f"{ONE}\ndef test_device(ane_device):\n    pass\n")
    output = run(project, device_name, *options, code=code)
    assert message in output
    assert "Traceback" not in output
