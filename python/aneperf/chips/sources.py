"""The sources of published figures, and the known faults that figures have."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """A place where figures were published.

    `license` is that of its project; for an issue or a fork, of the project it belongs to.
    """

    name: str
    url: str | None  # None: it is known without its address
    license: str | None  # None: none was found


_GITHUB = "https://github.com/"

# The sources by the names that figures have for them.
SOURCES: Mapping[str, Source] = {
    "ane-rules": Source(
        "a project that runs Qwen on an M5 Max, notes on what the engine accepts and rejects",
        None,
        None,
    ),
    "anecapacity": Source(
        "freedomtan/measure_ane_capacity, reports in docs",
        _GITHUB + "freedomtan/measure_ane_capacity/tree/main/docs",
        "BSD-3-Clause",
    ),
    "aneforge": Source(
        "sbryngelson/ANEForge, bench/results/rooflines",
        _GITHUB + "sbryngelson/ANEForge/tree/main/bench/results/rooflines",
        "MIT",
    ),
    "anemll-1": Source("Anemll/anemll-bench, issue 1", _GITHUB + "Anemll/anemll-bench/issues/1", None),
    "anemll-2": Source("Anemll/anemll-bench, issue 2", _GITHUB + "Anemll/anemll-bench/issues/2", None),
    "anemll-5": Source("Anemll/anemll-bench, issue 5", _GITHUB + "Anemll/anemll-bench/issues/5", None),
    "anemll-8": Source("Anemll/anemll-bench, issue 8", _GITHUB + "Anemll/anemll-bench/issues/8", None),
    "anemon": Source(
        "751K/apple-neural-engine-monitor, calibration/README.md",
        _GITHUB + "751K/apple-neural-engine-monitor/blob/main/calibration/README.md",
        None,
    ),
    "community": Source(
        "maderix/ANE, benchmarks/community_results.json",
        _GITHUB + "maderix/ANE/blob/main/benchmarks/community_results.json",
        "MIT",
    ),
    "fork-benchmarks": Source(
        "dev-erik's fork of maderix/ANE, docs/BENCHMARKS.md",
        _GITHUB + "dev-erik/ANE/blob/main/docs/BENCHMARKS.md",
        "MIT",
    ),
    "fork-chaining": Source(
        "dev-erik's fork of maderix/ANE, docs/ANE_CHAINING_RESEARCH.md",
        _GITHUB + "dev-erik/ANE/blob/main/docs/ANE_CHAINING_RESEARCH.md",
        "MIT",
    ),
    "fork-json": Source(
        "dev-erik's fork of maderix/ANE, apple_m4_max_*.json of the figure's date",
        _GITHUB + "dev-erik/ANE/tree/main/community_benchmarks",
        "MIT",
    ),
    "fork-probes": Source(
        "mgkcloud's fork of maderix/ANE, PROBE_RESULTS.md",
        _GITHUB + "mgkcloud/ANE/blob/main/PROBE_RESULTS.md",
        "MIT",
    ),
    "fork-results": Source(
        "dev-erik's fork of maderix/ANE, docs/BENCHMARK_RESULTS.md",
        _GITHUB + "dev-erik/ANE/blob/main/docs/BENCHMARK_RESULTS.md",
        "MIT",
    ),
    "h3-bridge": Source(
        "loading-awesome/MiniMax-H3-Swift, docs/ANE*.md",
        _GITHUB + "loading-awesome/MiniMax-H3-Swift/tree/main/docs",
        "Apache-2.0",
    ),
    "issue-3": Source("maderix/ANE, issue 3", _GITHUB + "maderix/ANE/issues/3", "MIT"),
    "issue-42": Source("maderix/ANE, issue 42", _GITHUB + "maderix/ANE/issues/42", "MIT"),
    "m3-ultra": Source(
        "maderix/ANE PR #28, benchmarks/submissions/m3-ultra-mac-studio-2026-03-03",
        _GITHUB + "maderix/ANE/pull/28",
        "MIT",
    ),
    "m5": Source("maderix/ANE PR #2, training/m5result.md", _GITHUB + "maderix/ANE/pull/2", "MIT"),
    "m5max": Source("maderix/ANE PR #50, m5max_result.md", _GITHUB + "maderix/ANE/pull/50", "MIT"),
    "m6-study": Source(
        "751K/Apple-Neural-Engine-Microarchitecture-Study-M6, notes",
        _GITHUB + "751K/Apple-Neural-Engine-Microarchitecture-Study-M6/tree/main/notes",
        "MIT",
    ),
    "omlx-docs": Source(
        "jundot/omlx, docs/experimental/qwen35_ane_prefill.md",
        _GITHUB + "jundot/omlx/blob/main/docs/experimental/qwen35_ane_prefill.md",
        "Apache-2.0",
    ),
    "readme": Source("maderix/ANE, README.md", _GITHUB + "maderix/ANE/blob/main/README.md", "MIT"),
    "report": Source(
        "maderix/ANE, benchmarks/ANE_BENCHMARK_REPORT.md",
        _GITHUB + "maderix/ANE/blob/main/benchmarks/ANE_BENCHMARK_REPORT.md",
        "MIT",
    ),
    "rustane-12": Source("ncdrone/rustane, issue 12", _GITHUB + "ncdrone/rustane/issues/12", "MIT"),
    "rustane-16": Source("ncdrone/rustane, issue 16", _GITHUB + "ncdrone/rustane/issues/16", "MIT"),
    "training-readme": Source(
        "maderix/ANE, training/README.md",
        _GITHUB + "maderix/ANE/blob/main/training/README.md",
        "MIT",
    ),
}

# The known faults of figures by name, each in a sentence.
CAVEATS: Mapping[str, str] = {
    "above-peak": "More than the chip is rated at, so the figure or the rating is wrong.",
    "assumed-chip": "The source names no chip; its project's own machine is an M4.",
    "assumed-ports": "The source does not say the data type of the ports; fp16 is assumed.",
    "batch10": (
        "One batch, the tenth, of ten steps. The run's means are 107.0 ms a step, 3,385 ms of compiling, "
        "0.869 TFLOPS."
    ),
    "coreml": "Run through Core ML, according to the source, not through the private framework.",
    "e5rt": (
        "Run through the system's e5rt library, not through the private framework: its handling of ports is "
        "in the time."
    ),
    "firmware-timestamps": (
        "A time or a clock by the firmware's own marks of start and end, without the host."
    ),
    "first-call": "One call after the pause that the key names. A call in a stream takes 1.6 ms.",
    "forward-only": "Forward evaluations only: the published pipeline does not time backward ones.",
    "from-rate": "A time computed from the published TFLOPS, not published itself.",
    "gemv": "Measured with products of a matrix and one column.",
    "gpu-beside": "The GPU computed the rest of the layer at the same time.",
    "gqa-order": "The published forward and backward passes pair query and key heads differently.",
    "half-area": "At half the positions of its neighbors in the published table (32 instead of 64).",
    "host-wakeup": (
        "The CPU's wake-up adds up to 195 us to calls of 230 to 400 us and more: the differences count, not "
        "the values."
    ),
    "mpsgraph": "Run through MPSGraph, not through the private framework.",
    "no-rope": "The published static pipeline leaves out rotary embeddings, and so does less work.",
    "nominal-flops": "Nominal operations of a step over all of its time, including the CPU's share.",
    "one-engine": "One of the chip's two engines worked.",
    "one-weight-set": "All layers share one weight tensor on purpose, to keep weights out of the time.",
    "padding-counted": "Operations on padding are counted as work.",
    "percent": "Published with a percentage of the peak that is 1,000 times the share of 19 TFLOPS.",
    "powermetrics": "Apple's own estimate for the engine, read as root, above idle.",
    "range": "The middle of a published range, from `low` to `high`.",
    "rounded": "Published as approximate.",
    "running-mean": "A running mean after five steps, still falling.",
    "runtime-weights": "The weights are a second input of the program, not constants.",
    "seq512": "Sequences of 512 tokens, not 256.",
    "shared-by-engines": "Both engines together; one alone reaches the same.",
    "shared-weights": (
        "The tool leaves the payload offsets of its weight file at 0, so all layers may read the same "
        "weights; where the declared sizes are checked, it does not compile."
    ),
    "smc-minus-cpu": "The sensor PP0b less the CPU clusters' power and an idle offset: 0.5 W more or less.",
    "swapped": (
        "m5max_result.md swaps the two M5 machines: 12.17 TFLOPS belong to the one with 32 GB, 12.44 to the "
        "one with 16 GB."
    ),
    "ten-calls": "The mean of 10 calls.",
    "tenth-percentile": "The time that a tenth of the calls stayed below, as the source's text has it.",
    "two-engines": "Both engines worked.",
    "unchecked": (
        "The outputs were not checked. A figure of maderix/ANE's tools is the mean of 30 or 50 calls after 5 "
        "or 10."
    ),
    "untimed-wait": "Without the longest wait, which the published pipeline does not time.",
    "winograd": (
        "Kernels 3 wide, computed by Winograd's transform with 2/3 of the products: TFLOPS may pass the "
        "peak of direct ones."
    ),
    "zero-inputs": (
        "The inputs were zero, because the tool never writes them. On M4 and M6, zeros change the time by "
        "5 % at most and take less than half of the power (751K)."
    ),
}
