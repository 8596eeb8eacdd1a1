"""What every test may ask for: a device, and hypothesis settings that give the same examples on every run."""

import pytest
from hypothesis import settings

import aneperf
from support.command import run  # noqa: F401  a fixture
from support.programs import NO_BUDGET

# Compiling and first calls make times uneven, so no example has a deadline.
settings.register_profile("repeatable", deadline=None, derandomize=True, max_examples=100)
settings.register_profile("thorough", deadline=None, max_examples=2000)
settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--device",
        default="emulator:h16",
        help="the device under test: emulator:h16 (default), or ane: the Neural Engine or its stand-in",
    )


@pytest.fixture(scope="session")
def device(pytestconfig: pytest.Config) -> aneperf.Device:
    """The device under test."""
    name = pytestconfig.getoption("--device")
    # The real engine's compiler has a budget of its own, which is not ours to lift.
    is_engine = name == "ane" and aneperf.info(name).device == "ane"
    return aneperf.open(name, compile_budget=None if is_engine else NO_BUDGET)


@pytest.fixture(autouse=True)
def _within_the_compile_budget(request: pytest.FixtureRequest) -> None:
    device = request.getfixturevalue("device") if "device" in request.fixturenames else None
    if isinstance(device, aneperf.Device) and device.compiles_used >= device.compile_budget.soft:
        pytest.skip("this process has used the engine's compiles: run fewer tests at a time, with -k")


@pytest.fixture(scope="session")
def emulator() -> aneperf.Device:
    """The emulator, for tests of what only the emulator does."""
    return aneperf.open("emulator:h16", compile_budget=NO_BUDGET)


@pytest.fixture(scope="session")
def plain() -> aneperf.Device:
    """The emulator without the engine's departures from IEEE fp16."""
    return aneperf.open("emulator:none", compile_budget=NO_BUDGET)


@pytest.fixture(scope="session")
def engine_opens() -> bool:
    """Whether open("ane") gives a device here: a Mac, or a build with the stand-in."""
    try:
        aneperf.open("ane")
    except aneperf.DeviceUnavailable:
        return False
    return True
