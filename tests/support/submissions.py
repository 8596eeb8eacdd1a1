"""Made-up results that look like those of engines, in a folder as a community submits them."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from aneperf.measure import summarize
from aneperf.results import Environment, Result, Row
from support.fakes import a_measured_row, a_result, a_row, an_environment


def an_engine(chip: str = "M4 Max", subtype: str = "h16g", **changes: Any) -> Environment:
    facts = {
        "device": "ane",
        "chip": f"Apple {chip}",
        "cpu": f"Apple {chip}",
        "subtype": subtype,
        "properties": {"route": "memory"},
        "os": "macOS 26.3",
        "os_build": "25D125",
        "model": "Mac16,5",
    }
    return an_environment(**{**facts, **changes})


def engine_rows(seed: int = 0, ms: float = 0.4, depths: tuple[int, ...] = (64, 128)) -> list[Row]:
    """Return rows of peak whose deepest stack takes about `ms`."""
    rows = []
    for place, depth in enumerate(depths):
        work = 2 * depth * 512**2 * 64 / 1e9
        row = a_measured_row(400, seed=10 * seed + place, factor=ms / 10 * depth / max(depths))
        rates = {"tflops": row.median, "tflops_low": row.ci_high, "tflops_high": row.ci_low}
        metrics = {
            **row.metrics,
            "gflop": work,
            **{name: work / time for name, time in rates.items() if time},
        }
        metrics["first_ms"] = row.durations_ns[0] * 1e-6
        fields = {name: getattr(row, name) for name in row.__struct_fields__ if name not in ("key", "params")}
        rows.append(a_row(depth, **{**fields, "metrics": metrics}))
    return rows


def a_training_row(name: str, ms: float, seed: int = 0) -> Row:
    """Return a row of a component of 40 training steps."""
    random = np.random.default_rng(seed)
    ns = np.round(1e6 * ms * random.normal(1, 0.01, 40)).astype(np.int64)
    return Row(
        key=f"training/static/stories110m/{name}",
        status="ok",
        params={"config": name, "batch": 10},
        unit="ms",
        warm_up=0,
        durations_ns=tuple(ns.tolist()),
        **summarize(ns / 1e6).fields(),
    )


def an_engine_result(seed: int = 0, ms: float = 0.4, **changes: Any) -> Result:
    return a_result(*engine_rows(seed, ms), **{"environment": an_engine(), **changes})


def submitted(folder: Path, name: str, result: Result) -> Path:
    """Save a result as a submission of the folder, and return its path."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    result.save(path)
    return path


def doctor(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the JSON of a saved result."""
    tree = json.loads(path.read_text())
    change(tree)
    path.write_text(re.sub(r"\n *", "\n", json.dumps(tree, indent=1)))


def three_submissions(folder: Path) -> None:
    """Fill a folder with two good submissions and a doctored one."""
    submitted(folder, "alice/m4-max-peak.json", an_engine_result())
    steps = [a_training_row(name, ms) for name, ms in (("step", 88.0), ("ane", 9.0), ("compile", 3300.0))]
    m5 = an_engine("M5", "h17", os="macOS 26.4", os_build="25E200", model="Mac17,2")
    submitted(folder, "bob/m5.json", a_result(*engine_rows(1, 0.36), *steps, probe="suite", environment=m5))
    doctored = submitted(folder, "mallory/fast.json", an_engine_result(2, 0.5))
    doctor(
        doctored,
        lambda tree: tree["rows"][1].update(median=tree["rows"][1]["median"] / 2, p05=0.1, ci_low=0.1),
    )
