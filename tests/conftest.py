"""Provide the device under test, and settings that give the same examples on every run."""

import gc
import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

import aneperf
from aneperf import device as devices
from aneperf.signals import STOPS
from support.command import run  # noqa: F401  a fixture
from support.programs import NO_BUDGET
from support.selection import depends_on_device, depends_on_thorough

DEVICE = "emulator:h16"
own_budget = devices._budget

# Compiling and first calls make times uneven, so no example has a deadline.
settings.register_profile("default", deadline=None, derandomize=True, max_examples=20)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=100)


def on_engine(config: pytest.Config) -> bool:
    """Tell whether the device under test is the Neural Engine itself, not its stand-in."""
    try:
        return config.getoption("--device") == "ane" and aneperf.info("ane").device == "ane"
    except aneperf.DeviceUnavailable:
        return False


def lent_budget(budget: aneperf.CompileBudget | int | None, kind: str) -> aneperf.CompileBudget:
    """Return a device's budget; it has no end for an emulator that was opened without one.

    The engine allows a process about 100 compiles, and all tests of a process share them.
    """
    return NO_BUDGET if budget is None and kind == "emulator" else own_budget(budget, kind)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--device",
        default=DEVICE,
        help=f"the device under test: {DEVICE} (default), or ane: the Neural Engine or its stand-in",
    )
    parser.addoption(
        "--thorough", action="store_true", help="run the slow tests too, and five times the random examples"
    )
    parser.addoption(
        "--affected",
        action="store_true",
        help="run only the tests that --device and --thorough change: the others pass as without them",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Run the tests in as many processes as there are cores, each file in one, unless told otherwise.

    A debugger and -s need the terminal, and there is one engine.
    """
    options = config.option
    if options.affected and not options.thorough and options.device == DEVICE:
        raise pytest.UsageError("--affected needs --thorough, or a --device other than the default")
    if not config.pluginmanager.hasplugin("xdist") or hasattr(config, "workerinput"):
        return
    alone = options.usepdb or options.capture == "no" or on_engine(config)
    if options.numprocesses is None and not alone:
        options.numprocesses = min(os.cpu_count() or 1, 4)
    if options.numprocesses:
        options.dist = "loadfile"
        options.loadscopereorder = False  # long files have few tests


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "thorough: a slow test, which only --thorough runs")
    config.addinivalue_line(
        "markers", "own_budget: a test of the budget of compiles, which the emulator has as in the product"
    )
    devices._budget = lent_budget
    settings.load_profile("thorough" if config.getoption("--thorough") else "default")
    # Background jobs ignore SIGINT, and nohup's SIGHUP, and so would the processes that tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    thorough, another_device = config.getoption("--thorough"), config.getoption("--device") != DEVICE

    def is_wanted(item: pytest.Item) -> bool:
        if item.get_closest_marker("thorough") and not thorough:
            return False
        changed = (thorough and depends_on_thorough(item)) or (another_device and depends_on_device(item))
        return changed or not config.getoption("--affected")

    wanted = {item: is_wanted(item) for item in items}
    config.hook.pytest_deselected(items=[item for item in items if not wanted[item]])
    items[:] = [item for item in items if wanted[item]]


def pytest_collection_finish() -> None:
    """Spare tests that collect garbage the objects of this run, which live to its end."""
    gc.freeze()


@pytest.fixture(autouse=True)
def _signal_handlers() -> Iterator[None]:
    """Restore the handlers: a command that is interrupted leaves its own, as it ends its process."""
    before = {number: signal.getsignal(number) for number in STOPS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def _own_budget(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.get_closest_marker("own_budget"):
        monkeypatch.setattr(devices, "_budget", own_budget)


@pytest.fixture(scope="session")
def thorough(pytestconfig: pytest.Config) -> bool:
    """Tell whether tests repeat what they check more often than usual."""
    return bool(pytestconfig.getoption("--thorough"))


@pytest.fixture(scope="session")
def device_name(pytestconfig: pytest.Config) -> str:
    """Return the name of the device under test."""
    return str(pytestconfig.getoption("--device"))


@pytest.fixture(scope="session")
def device(pytestconfig: pytest.Config) -> aneperf.Device:
    """Open the device under test."""
    # The real engine's compiler has a budget of its own, which is not ours to lift.
    budget = None if on_engine(pytestconfig) else NO_BUDGET
    return aneperf.open(pytestconfig.getoption("--device"), compile_budget=budget)


@pytest.fixture(autouse=True)
def _within_the_compile_budget(request: pytest.FixtureRequest) -> None:
    device = request.getfixturevalue("device") if "device" in request.fixturenames else None
    if isinstance(device, aneperf.Device) and device.compiles_used >= device.compile_budget.soft:
        pytest.skip("this process has used the engine's compiles: run fewer tests at a time, with -k")


@pytest.fixture(scope="session")
def emulator() -> aneperf.Device:
    """Open the emulator, for tests of what only the emulator does."""
    return aneperf.open("emulator:h16")


@pytest.fixture(scope="session")
def plain() -> aneperf.Device:
    """Open the emulator without the engine's departures from IEEE fp16."""
    return aneperf.open("emulator:none")


@pytest.fixture(scope="session")
def engine_opens() -> bool:
    """Tell whether open("ane") gives a device here: a Mac, or a build with the stand-in."""
    try:
        aneperf.open("ane")
    except aneperf.DeviceUnavailable:
        return False
    return True
