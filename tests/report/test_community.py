import msgspec
import pytest

from aneperf.errors import ArgumentError
from aneperf.report.community import community_entry
from support.fakes import a_result, a_row, an_environment

MAC = an_environment(
    device="ane", chip="Apple M4 Max", os="macOS 26.3", os_build="25D125", cores=16, memory_bytes=128 * 2**30
)


def test_community_entry_of_a_peak() -> None:
    rows = [
        a_row(
            params={"config": f"{depth}x conv 512ch sp64", "ports": ports},
            metrics={"tflops": rate},
            key=f"peak/conv512x{depth}/sp64/{ports}-ports",
            flags=flags,
        )
        for depth, ports, rate, flags in (
            (96, "fp32", 9.9, ()),
            (128, "fp32", 11.14159, ("noisy",)),
            (128, "fp16", 15.0, ()),
            (7, "fp32", 99.0, ()),
        )
    ]
    failed = a_row(64, status="error", reason="wrong output", metrics={"tflops": 50.0})
    entry = community_entry(a_result(*rows, failed, environment=MAC), contributor="me")
    assert entry["notes"].startswith(
        "aneperf 0.1.0 peak, medians, outputs checked, 2026-01-02, build 25D125, 1 of 5"
    )
    del entry["notes"]
    assert entry == {
        "chip": "M4 Max",
        "cores": "16-core CPU",
        "ram_gb": 128,
        "macos": "26.3",
        "ms_per_step": "unavailable",
        "ane_ms": "unavailable",
        "compile_ms": "unavailable",
        "ane_tflops": "unavailable",
        "peak_tflops_inmem": 11.142,
        "contributor": "me",
    }


def test_community_entry_of_training_steps() -> None:
    step = a_row(
        key="training/static/stories110m/step", median=72.0, p05=71.04321, p95=75.0, ci_low=None, ci_high=None
    )
    bare = an_environment(device="ane", chip="Apple M9", os="Darwin", memory_bytes=None)
    entry = community_entry(a_result(step, environment=bare, probe="training"))
    assert entry["ms_per_step"] == [71.043, 75.0]
    unknown = {name for name, value in entry.items() if value == "unavailable"}
    assert unknown == {
        "ram_gb",
        "macos",
        "ane_ms",
        "compile_ms",
        "ane_tflops",
        "peak_tflops_inmem",
        "contributor",
    }
    assert 0 not in entry.values()
    assert None not in entry.values()
    assert msgspec.json.encode(entry)


@pytest.mark.parametrize("device", ["emulator", "stand-in"])
def test_software_results_are_refused(device: str) -> None:
    with pytest.raises(
        ArgumentError, match=f"measured on the {device}: the community's list holds Neural Engines"
    ):
        community_entry(a_result(environment=an_environment(device=device)))


def test_a_result_without_values_of_an_entry_is_refused() -> None:
    with pytest.raises(
        ArgumentError, match="this int8 result has neither a training step nor a published stack"
    ):
        community_entry(a_result(a_row(key="int8/x"), environment=MAC, probe="int8"))
