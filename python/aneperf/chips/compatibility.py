"""Published findings of what compiles, or does not, on the generations of the engine, with their sources.

An item is named as `aneperf compat` names it, where that tries the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["works", "partly", "fails", "wrong numbers"]

_REPORT = "maderix/ANE, benchmarks/ANE_BENCHMARK_REPORT.md"
_CATALOG = "ANEForge, docs/op-catalog.md"
_SINCE_M3 = ("h15", "h16", "h17")


@dataclass(frozen=True)
class Finding:
    """A verdict on an item on the engines of a profile, such as "h13"."""

    item: str
    profile: str
    verdict: Verdict
    source: str


def _found(item: str, source: str, **verdicts: tuple[str, ...]) -> Iterator[Finding]:
    """Make findings of profiles by verdict; `wrong` is short for wrong numbers."""
    names: dict[str, Verdict] = {
        "works": "works",
        "partly": "partly",
        "fails": "fails",
        "wrong": "wrong numbers",
    }
    for verdict, profiles in verdicts.items():
        for profile in profiles:
            yield Finding(item, profile, names[verdict], source)


FINDINGS: tuple[Finding, ...] = (
    *_found("compat/dialect/ios18", _REPORT, partly=("h13",), works=_SINCE_M3),
    *_found("compat/weights/published header", _REPORT, fails=("h13",), works=_SINCE_M3),
    *_found("compat/weights/a file each", _REPORT, works=("h13", *_SINCE_M3)),
    *_found("compat/weights/chunks of one file", _REPORT, fails=("h13",), works=_SINCE_M3),
    *_found("channels other than 512", _REPORT, fails=("h15",), works=("h16", "h17")),
    *_found("compat/ports/fp32", "maderix/ANE issue 6, on M1 Pro", fails=("h13", "h14")),
    *_found("compat/ports/fp32", "maderix/ANE, whose tools have fp32 ports", works=_SINCE_M3),
    *_found("compat/op/sin", _CATALOG, fails=("h13", "h14"), works=_SINCE_M3),
    *_found("compat/op/cos", _CATALOG, fails=("h13", "h14"), works=_SINCE_M3),
    *_found("compat/op/topk", _CATALOG, fails=("h13",), works=("h14", *_SINCE_M3)),
    *_found(
        "height or width of 16,385 to 65,536",
        "ANEForge on M1, M2 and M5; rustane issue 13 on M3 Ultra",
        fails=("h13", "h14", "h15"),
        works=("h17",),
    ),
    *_found(
        "a slice inside the last axis, of magnitudes above 4,094",
        "ANEForge, bench/results/ROOFLINES.md",
        wrong=("h13", "h14"),
        works=("h16", "h17"),
    ),
    *_found(
        "compat/semantics/attention mask",
        "maderix/ANE on M4, Orion on M4 Max: the mask is ignored",
        wrong=("h16",),
    ),
)
