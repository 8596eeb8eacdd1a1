"""The sources of published figures, and the known faults that figures have."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """A place where figures were published."""

    name: str
    url: str


SOURCES: Mapping[str, Source] = {
    "community": Source(
        "maderix/ANE, benchmarks/community_results.json",
        "https://github.com/maderix/ANE/blob/main/benchmarks/community_results.json",
    ),
    "fork-benchmarks": Source(
        "dev-erik's fork of maderix/ANE, docs/BENCHMARKS.md",
        "https://github.com/dev-erik/ANE/blob/main/docs/BENCHMARKS.md",
    ),
    "fork-chaining": Source(
        "dev-erik's fork of maderix/ANE, docs/ANE_CHAINING_RESEARCH.md",
        "https://github.com/dev-erik/ANE/blob/main/docs/ANE_CHAINING_RESEARCH.md",
    ),
    "fork-json": Source(
        "dev-erik's fork of maderix/ANE, apple_m4_max_*.json of the figure's date",
        "https://github.com/dev-erik/ANE/tree/main/community_benchmarks",
    ),
    "fork-probes": Source(
        "dev-erik's fork of maderix/ANE, PROBE_RESULTS.md",
        "https://github.com/dev-erik/ANE/blob/main/PROBE_RESULTS.md",
    ),
    "fork-results": Source(
        "dev-erik's fork of maderix/ANE, docs/BENCHMARK_RESULTS.md",
        "https://github.com/dev-erik/ANE/blob/main/docs/BENCHMARK_RESULTS.md",
    ),
    "m3-ultra": Source(
        "maderix/ANE PR #28, benchmarks/submissions/m3-ultra-mac-studio-2026-03-03",
        "https://github.com/maderix/ANE/pull/28",
    ),
    "m5": Source("maderix/ANE PR #2, training/m5result.md", "https://github.com/maderix/ANE/pull/2"),
    "m5max": Source("maderix/ANE PR #50, m5max_result.md", "https://github.com/maderix/ANE/pull/50"),
    "readme": Source("maderix/ANE, README.md", "https://github.com/maderix/ANE/blob/main/README.md"),
    "report": Source(
        "maderix/ANE, benchmarks/ANE_BENCHMARK_REPORT.md",
        "https://github.com/maderix/ANE/blob/main/benchmarks/ANE_BENCHMARK_REPORT.md",
    ),
    "training-readme": Source(
        "maderix/ANE, training/README.md",
        "https://github.com/maderix/ANE/blob/main/training/README.md",
    ),
}

CAVEATS: Mapping[str, str] = {
    "assumed-chip": "The source names no chip; its project's own machine is an M4.",
    "assumed-ports": "The source does not say the data type of the ports; fp16 is assumed.",
    "coreml": "Run through Core ML, according to the source, not through the private framework.",
    "forward-only": "Forward evaluations only: the published pipeline does not time backward ones.",
    "from-rate": "A time computed from the published TFLOPS, not published itself.",
    "gqa-order": "The published forward and backward passes pair query and key heads differently.",
    "half-area": "At half the positions of its neighbors in the published table (32 instead of 64).",
    "no-rope": "The published static pipeline leaves out rotary embeddings, and so does less work.",
    "nominal-flops": "Nominal operations of a step over all of its time, including the CPU's share.",
    "percent": "Published with a percentage of the peak that is 1,000 times the share of 19 TFLOPS.",
    "range": "The middle of a published range, from `low` to `high`.",
    "rounded": "Published as approximate.",
    "shared-weights": (
        "The tool leaves the payload offsets of its weight file at 0, so all layers may read the same "
        "weights; where the declared sizes are checked, it does not compile."
    ),
    "swapped": (
        "m5max_result.md swaps the two M5 machines: 12.17 TFLOPS belong to the one with 32 GB, 12.44 to the "
        "one with 16 GB."
    ),
    "ten-calls": "The mean of 10 calls.",
    "unchecked": "The mean of 50 calls after 10; the outputs were not checked.",
    "untimed-wait": "Without the longest wait, which the published pipeline does not time.",
}
