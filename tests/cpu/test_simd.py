"""ANEPERF_SIMD chooses the emulator's vector instructions, and is checked when the device is opened."""

import os
import platform
import subprocess
import sys

OPEN = """
import aneperf
try:
    aneperf.open("emulator")
except aneperf.ArgumentError as error:
    print(error)
else:
    print("opened")
"""


def open_with(level: str) -> str:
    environment = {**os.environ, "ANEPERF_SIMD": level}
    process = subprocess.run(
        [sys.executable, "-c", OPEN], env=environment, capture_output=True, text=True, check=True
    )
    return process.stdout.strip()


def narrowest() -> str:
    return "neon" if platform.machine() in ("arm64", "aarch64") else "baseline"


def test_unknown_level_is_refused() -> None:
    message = open_with("bogus")
    assert message.startswith("ANEPERF_SIMD=bogus: ")
    assert narrowest() in message, "the message does not say which levels there are"


def test_level_of_another_architecture_is_refused() -> None:
    foreign = "avx2" if narrowest() == "neon" else "neon"
    assert open_with(foreign).startswith(f"ANEPERF_SIMD={foreign}: ")


def test_narrowest_level_runs_everywhere() -> None:
    assert open_with(narrowest()) == "opened"


def test_empty_means_unset() -> None:
    assert open_with("") == "opened"
