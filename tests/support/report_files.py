"""Files for reports: results with stacks of known work, telemetry of training, and texts that mean harm."""

import json
from pathlib import Path
from typing import Any

from aneperf.results import Result, Row
from support.fakes import a_result, a_row, an_environment

HOSTILE = "</title></svg><script>alert(1)</script><img src=x onerror=alert(2)>\x1b[31m]]>'\"&{{7*7}}|`$x$"
TELEMETRY_TIMES = ("ane", "io", "cls")


def stack_row(channels: int, depth: int, ms: float, **changes: Any) -> Row:
    """Return a row as sweep and sram make it, with the work of its stack."""
    gflop = 2 * depth * channels**2 * 64 / 1e9
    params = {"channels": channels, "depth": depth, "height": 1, "width": 64, "ports": "fp32"}
    fields: dict[str, Any] = {
        "key": f"sweep/conv{channels}x{depth}/sp64/fp32-ports",
        "params": {"config": f"{depth}x conv {channels}ch sp64", **params, **changes.pop("params", {})},
        **dict.fromkeys(("median", "mean", "p05", "p95", "ci_low", "ci_high"), ms),
        "metrics": {"weights_mib": 2 * depth * channels**2 / 2**20, "gflop": gflop, "tflops": gflop / ms},
    }
    return a_row(**{**fields, **changes})


def sweep(*rows: Row, **changes: Any) -> Result:
    """Return a result of sweep."""
    return a_result(*rows, **{"probe": "sweep", **changes})


def telemetry_file(path: Path, steps: int = 3) -> str:
    """Write telemetry of steps whose ane takes 2 ms forward and 4 ms backward of a step of 10 ms."""
    environment = an_environment().to_dict()
    lines: list[dict[str, Any]] = [
        {"type": "run", "model": "m", "config": {"pipeline": "static"}, "environment": environment}
    ]
    for step in range(steps):
        forward = {"ane": 2.0, "io": 0.5, "cls": 1.0}
        backward = {"ane": 4.0, "io": 0.5, "cls": 1.0}
        lines.append({"type": "step", "step": step, "loss": 9.0 - step})
        times = {"wall": 10.0, "forward": forward, "backward": backward, "dw": 3.0, "other": 1.0}
        lines.append({"type": "times", "step": step, **times})
    lines.append({"type": "validation", "step": steps - 1, "loss": 7.5, "best_loss": 7.5, "best_step": 1})
    path.write_text("".join(f"{json.dumps(line, separators=(',', ':'))}\n" for line in lines))
    return str(path)
