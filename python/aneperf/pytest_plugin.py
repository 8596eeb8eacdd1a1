"""The plugin for pytest: a device, and programs timed as benchmarks of pytest-benchmark.

pytest loads this file in every run of an environment that has aneperf. So it imports nothing that a test does
not ask for, and pytest-benchmark is needed by the fixture `ane_bench` alone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._ane_native import Device
    from .mil.template import Source
    from .results import Result, Row

_RESULT = "--ane-result"
_SHORT_S = 0.1  # for a program whose time nobody wants
_LEFT_OUT = {"durations_ns", "key", "status"}  # of a row: pytest-benchmark has them


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("aneperf")
    group.addoption(
        "--ane-device",
        metavar="DEVICE",
        help="Device of the fixtures: ane, emulator or emulator:CHIP; by default ane where there is one.",
    )
    group.addoption(
        _RESULT,
        metavar="FILE",
        help="Save what ane_bench measured as a result, for aneperf gate and aneperf compare.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Offer `ane_bench`, and check that the result can be written."""
    path = config.getoption(_RESULT)
    plugin = _Bench(path) if config.pluginmanager.hasplugin("benchmark") else _WithoutBench()
    if path is not None and not hasattr(config, "workerinput"):
        from .errors import AneError
        from .kinds import Kind
        from .outputs import check_output

        options = ("numprocesses", "benchmark_disable", "benchmark_skip")
        if wrong := [name for name in options if config.getoption(name, None)]:
            raise pytest.UsageError(f"{_RESULT}: with --{wrong[0].replace('_', '-')} nothing is measured")
        try:
            check_output(path, Kind.RESULT)
        except AneError as error:
            raise pytest.UsageError(f"{_RESULT}: {error}") from None
    config.pluginmanager.register(plugin, "aneperf-bench")


@pytest.fixture(scope="session")
def ane_device(pytestconfig: pytest.Config) -> Device:
    """Open the device that --ane-device names: by default the Neural Engine, or else the emulator."""
    import aneperf

    try:
        return aneperf.open(pytestconfig.getoption("--ane-device"))
    except aneperf.AneError as error:
        reason = str(error)
    pytest.fail(reason, pytrace=False)


class AneBench:
    """Times a program, and tells pytest-benchmark the duration of each call."""

    def __init__(self, benchmark: Any, device: Device, key: str, results: dict[str, Result]) -> None:
        self._benchmark, self._device, self._key, self._results = benchmark, device, key, results
        self._is_used = False

    def __call__(
        self,
        program: Source,
        *,
        inputs: Mapping[str, NDArray[Any]] | str | os.PathLike[str] | None = None,
        check: bool = True,
        budget: float = 10.0,
    ) -> Row:
        """Time a program as `aneperf.bench` does, within `budget` seconds, and return its row.

        The test fails for a wrong output, and for a program that the device refuses. With
        --benchmark-disable the program runs for its output.
        """
        from msgspec import to_builtins

        from .errors import AneError
        from .probes.bench import bench

        if self._is_used:
            pytest.fail("ane_bench times one program in a test: parametrize the test", pytrace=False)
        self._is_used = True
        self._results.pop(self._key, None)  # of a test that runs again
        is_timed = bool(self._benchmark.enabled)
        seconds = budget if is_timed else min(budget, _SHORT_S)
        try:
            result = bench(program, self._device, inputs=inputs, check=check, name=self._key, budget=seconds)
            (row,) = result.rows
            reason = None if row.status == "ok" else f"{row.status}: {row.reason}"
        except AneError as error:
            reason = str(error)
        if reason is not None:
            pytest.fail(reason, pytrace=False)
        if is_timed:
            self._results[self._key] = result
        told = {
            name: value
            for name, value in to_builtins(row).items()
            if name not in _LEFT_OUT and (value or value == 0)
        }
        self._benchmark.extra_info["aneperf"] = {**told, "device": result.environment.label}
        durations = row.kept or [round(1e6 * (row.median or 0))]  # those that are kept may all be warm-up
        remaining = iter(durations)

        def call() -> None:
            _counted_ns[0] += next(remaining)

        self._benchmark.pedantic(call, rounds=len(durations))
        return row


_counted_ns = [0]


def clock_of_calls() -> float:
    """Return the seconds of all calls so far: pytest-benchmark's timer, since the calls are timed already."""
    return _counted_ns[0] * 1e-9


class _Bench:
    """The part of the plugin that needs pytest-benchmark."""

    def __init__(self, path: str | None) -> None:
        self._path = None if path is None else os.path.abspath(path)  # a test may change the folder
        self._results: dict[str, Result] = {}
        self._unsaved = ""

    @pytest.fixture
    def ane_bench(self, benchmark: Any, ane_device: Device, request: pytest.FixtureRequest) -> AneBench:
        """Return what times a program, once in a test: call it with the program."""
        return AneBench(benchmark, ane_device, request.node.nodeid, self._results)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Have pytest-benchmark read our clock in the tests that use `ane_bench`."""
        for item in items:
            if "ane_bench" in getattr(item, "fixturenames", ()):
                marker = item.get_closest_marker("benchmark")
                options = {} if marker is None else marker.kwargs
                item.add_marker(pytest.mark.benchmark(**{**options, "timer": clock_of_calls}), append=False)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Save the result. A run that measured nothing fails, since a gate would read an older file."""
        if self._path is None or hasattr(session.config, "workerinput"):
            return
        from .errors import AneError

        try:
            if self._results:
                self._result().save(self._path)
            else:
                self._unsaved = f"{self._path}: no test measured anything: the file is as it was"
        except AneError as error:
            self._unsaved = str(error)
        if self._unsaved and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print the table of what was measured, with the intervals that pytest-benchmark lacks."""
        if self._results:
            terminalreporter.section("aneperf")
            terminalreporter.write_line(str(self._result()))
        if self._path is not None:
            terminalreporter.write_line(f"{_RESULT} {self._unsaved or self._path}")

    def _result(self) -> Result:
        from msgspec.structs import replace

        results = list(self._results.values())
        notes = dict.fromkeys(note for result in results for note in result.notes)
        rows = [row for result in results for row in result.rows]
        return replace(results[0], rows=tuple(rows), notes=tuple(notes))


class _WithoutBench:
    """Says what `ane_bench` needs."""

    @pytest.fixture
    def ane_bench(self) -> None:
        """Fail: pytest-benchmark is missing, or switched off."""
        pytest.fail("ane_bench needs pytest-benchmark: pip install pytest-benchmark", pytrace=False)
