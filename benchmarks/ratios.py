"""The emulator against the machine it runs on and against PyTorch, as ratios measured in one run.

    python benchmarks/ratios.py [--peer PYTHON | --peer-folder DIR | --no-peer] [--rounds N] [--only TEXT]...
                                [--json FILE] [--check]

Each round measures a case of the emulator and everything it is compared with, one after the other and in
turned order every other round, so that what else the machine does weighs on all of them; the table has
medians over the rounds of the ratios within a round. What PyTorch does with the same case counts as the same
work, whatever its dtype. The emulator and PyTorch are processes of their own that wait idle while another
measures. Without --peer, PyTorch is installed from PyPI into --peer-folder, which keeps it for later runs, or
into a temporary folder. The figures are the emulator's, not a Neural Engine's.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from child import Child, Unavailable
from ratios_peer import SETTINGS, Peers, installed
from ratios_table import Row, flat_table, grouped_table, spread

OURS = "the emulator"
SLOWING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # they may halve numpy's products
STEERING = ("GOMP_", "KMP_", "MALLOC_", "MKL_", "OMP_")  # what PyTorch's settings are about


@dataclass(frozen=True)
class Against:
    """The other side of a comparison: a limit of the machine, another case, or PyTorch's fastest way."""

    name: str
    target: float | None = None  # of our speed over its speed
    limit: str = ""
    case: str = ""
    ways: str | None = None  # the pattern of the ways' names
    settings: tuple[str, ...] = tuple(SETTINGS)


GEMM = "fp32 product 4096^3"
STOCK = Against("PyTorch fp32, stock", 1.0, ways="fp32 conv2d", settings=("stock",))
BEST = Against("PyTorch fp32, best", 1.0, ways="fp32 *")
BF16 = Against("PyTorch bf16, best", ways="bf16 *")
COPY = Against("copy", 0.7, limit="copy")
OPERATION = Against("PyTorch, best", 1.0, ways="*")
REGISTERS = Against("FMA in registers", limit="registers")

# By case: the unit of 1e9 of its work, and what it is compared with.
COMPARISONS: dict[str, tuple[str, list[Against]]] = {
    "stack sp64": ("GFLOP/s", [Against(GEMM, 0.7, limit="product"), REGISTERS, STOCK, BEST, BF16]),
    "stack 64x64": ("GFLOP/s", [Against(GEMM, 0.85, limit="product"), REGISTERS, STOCK, BEST, BF16]),
    "int8 stack 64x64": (
        "Gop/s",
        [Against("our fp16", 2.5, case="stack 64x64"), Against("PyTorch int8, best", ways="int8 *")],
    ),
    "silu(a) b + a": ("GB/s", [COPY, OPERATION]),
    "softmax 12x256x256": ("GB/s", [COPY, OPERATION]),
    "RMSNorm 768x256": ("GB/s", [COPY, OPERATION]),
    "Stories110M training step": (
        "GFLOP/s",
        [
            Against(GEMM, limit="product"),
            replace(STOCK, target=1 / 0.35, ways="fp32 *"),
            replace(BEST, target=1 / 0.80),
            BF16,
        ],
    ),
    "Stories110M dynamic step": (
        "GFLOP/s",
        [Against("static", case="Stories110M training step"), replace(BEST, target=1.0)],
    ),
    # The work of a LoRA step is that of a whole one: the ratio is that of the times.
    "Stories110M LoRA step": ("GFLOP/s", [Against("dynamic", 1.25, case="Stories110M dynamic step")]),
    "h16 stack sp64": ("GFLOP/s", [Against(GEMM, 0.35, limit="product"), Against("none", case="stack sp64")]),
    "h16 stack 64x64": (
        "GFLOP/s",
        [Against(GEMM, 0.35, limit="product"), Against("none", case="stack 64x64")],
    ),
    "h16 Stories110M training step": (
        "GFLOP/s",
        [Against("none", 1 / 1.6, case="Stories110M training step")],
    ),
    "fp32 to fp16": ("GB/s", [COPY, OPERATION]),
    "fp16 to fp32": ("GB/s", [COPY, OPERATION]),
}
ADD, COMPILE = "add [1,32,1,32]", "compile Stories110M, 60 kernels"


def compared(case: str, ours: Child, peers: Peers, rounds: int) -> list[Row]:
    """Return the rows of one case."""
    unit, references = COMPARISONS[case]
    work = ours.ask(measure="native", case=case)[1]

    def own(**request: str) -> float:
        seconds, amount = ours.ask(**request)
        return float(amount / seconds / 1e9)

    def other(seconds: Callable[[], float]) -> float:
        return float(work / seconds() / 1e9)

    # By row, what it may be compared with; by name, since rows share some of it.
    candidates: list[list[str]] = []
    measures: dict[str, Callable[[], float]] = {OURS: partial(own, measure="native", case=case)}
    reasons = {}
    for against in references:
        found: dict[str, Callable[[], float]] = {}
        try:
            if against.ways is None:
                measure = "native" if against.case else against.limit
                found[against.name] = partial(own, measure=measure, case=against.case)
                found[against.name]()
            else:
                for name, seconds in peers.fastest(case, against.ways, against.settings).items():
                    found[name] = partial(other, seconds)
        except Unavailable as error:
            found, reasons[against.name] = {}, str(error)
        candidates.append(list(found))
        measures.update(found)

    speeds: dict[str, list[float]] = {name: [] for name in measures}
    for turn in range(rounds + 1):
        for name in list(measures)[:: -1 if turn % 2 else 1]:
            speed = measures[name]()
            if turn > 0:  # the first round warms up
                speeds[name].append(speed)
    rows = []
    for against, names in zip(references, candidates, strict=True):
        row = Row(case, unit=unit, reference=against.name, target=against.target)
        if not names:
            rows.append(replace(row, note=reasons[against.name]))
            continue
        best = max(names, key=lambda name: statistics.median(speeds[name]))
        ratio, low, high = spread([a / b for a, b in zip(speeds[OURS], speeds[best], strict=True)])
        rows.append(
            replace(
                row,
                ours=statistics.median(speeds[OURS]),
                reference_value=statistics.median(speeds[best]),
                ratio=ratio,
                low=low,
                high=high,
                note=best if against.ways else "",
            )
        )
    return rows


def unavailable(case: str, reason: str) -> list[Row]:
    return [Row(case, reference=a.name, target=a.target, note=reason) for a in COMPARISONS[case][1]]


def absolute(case: str, unit: str, values: list[float], target: float | None, note: str = "") -> Row:
    median, low, high = spread(values)
    return Row(case, median, unit, low=low, high=high, target=target, at_most=True, note=note)


def call_costs(ours: Child, rounds: int) -> list[Row]:
    """Return the microseconds of the smallest program's evaluation."""
    values: dict[str, list[float]] = {"native": [], "python": []}
    for _ in range(rounds + 1):
        for measure, column in values.items():
            column.append(ours.ask(measure=measure, case="add")[0] * 1e6)
    return [
        absolute(ADD, "us", values["native"][1:], 2, "evaluate in native code"),
        absolute(ADD, "us", values["python"][1:], 4, "evaluate from Python"),
    ]


def compile_costs(environment: dict[str, str], rounds: int) -> list[Row]:
    """Run each round in a new process, whose memory has held nothing else."""
    runs = []
    for _ in range(rounds):
        child = Child(sys.executable, "ratios_emulator.py", environment)
        try:
            runs.append(child.ask(measure="compile"))
        finally:
            child.close()
    first = runs[0]
    note = f"{first['parameters'] / 1e6:.1f} M parameters in {first['file_bytes'] / 1e6:.0f} MB of fp16 files"
    stages: dict[str, tuple[float | None, str]] = {
        "compile": (1.0, note),
        "bake": (None, "new weights into the file"),
        "weights": (None, "fp32 to fp16, and transposed for the backward kernels"),
        "build": (None, "graph, text and files, once"),
    }
    rows = [
        absolute(COMPILE, "s", [run["seconds"][stage] for run in runs], target, f"{stage}: {what}")
        for stage, (target, what) in stages.items()
    ]
    if first["evaluated_peak_bytes"] is None:
        return [*rows, Row(COMPILE, target=3, at_most=True, note="peak memory: only Linux tells")]
    weights, activations = first["file_bytes"], first["activation_bytes"]
    peaks = [run["evaluated_peak_bytes"] for run in runs]
    ratio, low, high = spread([(peak - activations) / weights for peak in peaks])
    compile_peak = statistics.median(run["compile_peak_bytes"] for run in runs)
    return [
        *rows,
        Row(
            COMPILE,
            (statistics.median(peaks) - activations) / 1e6,
            "MB",
            "fp16 weights",
            weights / 1e6,
            ratio,
            low,
            high,
            3,
            True,
            f"peak without {activations / 1e6:.0f} MB of activations, each kernel evaluated once; "
            f"{compile_peak / 1e6:.0f} MB after compiling",
        ),
    ]


def heading(facts: dict[str, Any], peers: Peers, ignored: dict[str, str], rounds: int) -> list[str]:
    properties = ", ".join(f"{k} {v}" for k, v in facts["properties"].items())
    lines = [
        f"device: {facts['device']} (figures of the emulator, not of a Neural Engine), {properties}",
        f"cpu: {facts['cpu']}, {facts['cores']} cores; {facts['os']} {facts['os_build']}",
        f"aneperf {facts['aneperf']}, Python {facts['python']}",
        f"numpy {facts['numpy']}, whose products are the reference: {facts['numpy_blas']}",
        f"medians of {rounds} rounds; power: {facts['power']}, thermal: {facts['thermal']}",
    ]
    if facts["variables"]:
        lines.append("variables: " + ", ".join(f"{k}={v}" for k, v in facts["variables"].items()))
    if ignored:
        given = ", ".join(f"{k}={v}" for k, v in ignored.items())
        lines.append(f"left out of this run, since it slows OpenBLAS: {given}")
    for name, settings in peers.facts.items():
        facts_of = {k: v for k, v in settings.items() if k != "variables"} | settings["variables"]
        lines.append(f"PyTorch, {name}: " + ", ".join(f"{k} {v}" for k, v in facts_of.items()))
    if not peers.facts:
        lines.append(f"peer unavailable: {peers.reason}")
    return lines


def environment_of_children() -> tuple[dict[str, str], dict[str, str]]:
    """Return the variables for the processes that measure, and those left out."""
    ignored = {name: os.environ[name] for name in SLOWING if name in os.environ}
    variables = {k: v for k, v in os.environ.items() if k not in ignored and not k.startswith(STEERING)}
    if threads := variables.get("ANEPERF_THREADS"):
        variables["OPENBLAS_NUM_THREADS"] = threads
    return variables, ignored


def main() -> int:
    parser = argparse.ArgumentParser(description="The emulator as ratios of the machine and of PyTorch.")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--peer", metavar="PYTHON", help="interpreter of an environment with PyTorch")
    group.add_argument("--peer-folder", metavar="DIR", help="where to make that environment, and keep it")
    group.add_argument("--no-peer", action="store_true", help="leave PyTorch out")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument(
        "--only", action="append", metavar="TEXT", help="cases whose name has this in it; may be repeated"
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the rows and the environment")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target was missed")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")

    def is_wanted(case: str) -> bool:
        return options.only is None or any(text in case for text in options.only)

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `timeout` ends a run like Ctrl-C
    environment, ignored = environment_of_children()
    progress = Console(stderr=True)
    given = options.peer or options.no_peer
    chosen = (options.peer, "" if options.peer else "--no-peer")
    with contextlib.nullcontext(chosen) if given else installed(options.peer_folder) as (python, reason):
        ours = Child(sys.executable, "ratios_emulator.py", environment)
        facts = ours.ask(measure="environment")
        peers = Peers(python, reason, environment, facts["threads"])
        rows: list[Row] = []
        interrupted = False
        try:
            for case in filter(is_wanted, COMPARISONS):
                with progress.status(case) if progress.is_terminal else contextlib.nullcontext():
                    try:
                        rows += compared(case, ours, peers, options.rounds)
                    except Unavailable as error:
                        rows += unavailable(case, str(error))
                    ours.ask(measure="forget")
                    peers.forget()
            if is_wanted(ADD):
                rows += call_costs(ours, options.rounds)
            if is_wanted(COMPILE):
                rows += compile_costs(environment, min(options.rounds, 5))
        except KeyboardInterrupt:
            interrupted = True
            progress.print("interrupted: the rows until now")
        peers.close()
        ours.close()
    console = Console()
    if not console.is_terminal:
        console.width = 1000  # wrapped lines cannot be searched
    for line in heading(facts, peers, ignored, options.rounds):
        console.print(line, markup=False, highlight=False)
    console.print(grouped_table(rows) if console.is_terminal else flat_table(rows))
    if options.json:
        data = {
            "environment": facts,
            "peers": peers.facts,
            "peer_unavailable": peers.reason or None,
            "left_out": ignored,
            "rounds": options.rounds,
            "rows": [{**asdict(row), "verdict": row.verdict} for row in rows],
        }
        options.json.write_text(json.dumps(data, indent=2) + "\n")
    if interrupted:
        return 130
    return 1 if options.check and any(row.verdict == "missed" for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
