"""The cost of a call besides the engine's work: the bridge to Apple's framework, and Python's way to it.

The program adds one number to a [1, 32, 1, 32] tensor. On the stand-in for Apple's framework its work is the
emulator's, so that what `ane` takes more is the bridge's and the stand-in's share.
"""

import time

import numpy as np
import pytest

import aneperf
from aneperf import mil

CALLS = 500  # in a round
ROUNDS = 200


def opened(name):
    try:
        return aneperf.open(name, compile_budget=aneperf.CompileBudget(soft=1000, hard=1000))
    except aneperf.DeviceUnavailable as error:
        pytest.skip(str(error))


class Call:
    """The program on one device with its surfaces. Each way to run it gives the nanoseconds of every call."""

    def __init__(self, device):
        b = mil.Builder()
        b.output("y", mil.add(b.input("x", (1, 32, 1, 32)), 1.0))
        self.program = b.build().compile(device)
        self.inputs = {"x": device.make_surface(self.program.inputs[0])}
        self.outputs = {"y": device.make_surface(self.program.outputs[0])}
        self.request = self.program.bind(self.inputs, self.outputs)

    def from_python(self):
        evaluate, clock = self.request.evaluate, time.perf_counter_ns
        durations = []
        for _ in range(CALLS):
            start = clock()
            evaluate()
            durations.append(clock() - start)
        return durations

    def request_time(self):
        return self.request.time(CALLS)

    def program_time(self):
        return self.program.time(self.inputs, self.outputs, CALLS)


@pytest.mark.parametrize("name", ["ane", "emulator"])
def test_evaluate_from_python(benchmark, name):
    benchmark(Call(opened(name)).request.evaluate)


@pytest.mark.parametrize("name", ["ane", "emulator"])
@pytest.mark.parametrize("way", ["request_time", "program_time"])
def test_evaluate_in_native_code(benchmark, name, way):
    benchmark(getattr(Call(opened(name)), way))
    benchmark.extra_info["calls"] = CALLS


def test_shares(benchmark, capsys):
    """Run all ways in turn, so that a change of the machine's speed meets them alike."""
    ane = opened("ane")
    if aneperf.info(ane).device != "stand-in":
        pytest.skip("only the stand-in does the emulator's work")
    through_bridge, alone = Call(ane), Call(opened("emulator"))
    ways = {
        "ane, Request.evaluate from Python": through_bridge.from_python,
        "ane, Request.time": through_bridge.request_time,
        "ane, Program.time": through_bridge.program_time,
        "emulator, Request.evaluate from Python": alone.from_python,
        "emulator, Request.time": alone.request_time,
        "emulator, Program.time": alone.program_time,
    }
    medians = {way: [] for way in ways}

    def measure():
        for way, run in ways.items():
            medians[way].append(np.median(run()))

    benchmark.pedantic(measure, rounds=ROUNDS, warmup_rounds=5)
    shares = {way: float(np.median(medians[way][-ROUNDS:])) for way in ways}
    shares["the bridge and the stand-in"] = shares["ane, Request.time"] - shares["emulator, Request.time"]
    shares["Python and pybind11"] = shares["ane, Request.evaluate from Python"] - shares["ane, Request.time"]
    shares["together"] = shares["the bridge and the stand-in"] + shares["Python and pybind11"]
    benchmark.extra_info["nanoseconds per call"] = shares
    with capsys.disabled():
        print()
        for name, nanoseconds in shares.items():
            print(f"{name:<40}{nanoseconds:>8.0f} ns")
