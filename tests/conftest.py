"""What every test may ask for: a device, and hypothesis settings that give the same examples on every run."""

import pytest
from hypothesis import settings

import aneperf
from programs import NO_BUDGET

# Compiling and first calls make times uneven, so no example has a deadline.
settings.register_profile("repeatable", deadline=None, derandomize=True, max_examples=200)
settings.register_profile("thorough", deadline=None, max_examples=2000)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def device() -> aneperf.Device:
    """The device under test."""
    return aneperf.open("emulator:h16", compile_budget=NO_BUDGET)


@pytest.fixture(scope="session")
def plain() -> aneperf.Device:
    """The emulator without the engine's departures from IEEE fp16."""
    return aneperf.open("emulator:none", compile_budget=NO_BUDGET)
