"""Python's share of training time: between the components of a step, for its data, and for messages.

    python benchmarks/python_share.py [DEVICE]

Medians over the steps of a run, as ratios to the time of a step: the smaller the model, the larger the share.
"""

from __future__ import annotations

import statistics
import sys
from dataclasses import replace

import aneperf
from aneperf.kernels.presets import PRESETS
from aneperf.training.events import Event, StepDone

STORIES = PRESETS["stories260k"]
MODELS = {f"stories260k, sequences of {seq}": replace(STORIES, seq=seq) for seq in (64, 256)}
MODELS["stories15m"] = PRESETS["stories15m"]


def shares(model: aneperf.kernels.TransformerConfig, device: str | None) -> tuple[float, float]:
    """Return the share of a step's time in Python between the components, and in data and messages."""
    between, around = [], []

    def progress(event: Event) -> None:
        if isinstance(event, StepDone):
            whole = event.times.wall + event.overhead_ms
            between.append(event.times.other / whole)
            around.append(event.overhead_ms / whole)

    aneperf.train(model, device=device, steps=40, accumulation=20, progress=progress)
    return statistics.median(between), statistics.median(around)


if __name__ == "__main__":
    print(f"{'':34}between components  data and messages")
    for name, model in MODELS.items():
        between, around = shares(model, sys.argv[1] if len(sys.argv) > 1 else None)
        print(f"{name:34}{between:18.1%}  {around:17.1%}")
