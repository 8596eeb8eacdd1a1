"""Predict the engine's part of a training step from the kernels of its schedule."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from ..chips import Chip, find_chip
from ..chips.cost import Term
from ..chips.parameters import parameters_of
from ..kernels import Kernel, TransformerConfig, schedule
from ..kernels.presets import model_config
from ..kernels.schedule import Pipeline
from ..kernels.shared import SHARED_KERNELS
from .notes import training_notes
from .predict import OperationTime, Prediction, Predictor, bound_of
from .taken import kernel_note

# The widest input by generation; see docs/emulator.md.
_NARROW = {"h13", "h14", "h15"}
_WIDEST, _WIDEST_NARROW = 65536, 16384


def predict_training(
    model: str | TransformerConfig,
    chip: str | Chip,
    pipeline: Pipeline = "static",
    *,
    as_published: bool = False,
) -> Prediction:
    """Predict the engine's part of a training step: a row for each kernel, with its number of calls.

    `model` is a preset, such as "stories110m", or its sizes. The pipelines are those of `aneperf.train`. What
    the host computes and copies is not predicted. Raises ArgumentError.
    """
    config = model_config(model)
    found = find_chip(chip.name if isinstance(chip, Chip) else chip)
    predictor = Predictor(parameters_of(found))
    rows, terms = list[OperationTime](), list[Term]()
    for name, kernel, count in _kernels(config, found, pipeline, as_published):
        _, own = predictor.call(kernel.program)
        repeated = [replace(term, ms=term.ms * count) for term in own]
        terms += repeated
        ms = predictor.parameters.interval(repeated)
        rows.append(OperationTime(name, "call", ms, bound_of(own), kernel.flops * count, count=count))
        predictor.add_note(kernel_note(name, kernel.program.text, found))
    programs = len(rows) if pipeline == "dynamic" else sum(row.count for row in rows)
    predictor.notes += training_notes(programs)
    return predictor.join(f"training step, {pipeline}", rows, terms, "step")


def _kernels(
    config: TransformerConfig, chip: Chip, pipeline: Pipeline, as_published: bool
) -> list[tuple[str, Kernel, int]]:
    """Return every kernel with its calls in a step. All layers have the same."""
    if pipeline == "dynamic":
        widest = _WIDEST_NARROW if chip.profile in _NARROW else _WIDEST
        fitting = [
            (family.name, *family.fitting(config, widest, as_published=as_published))
            for family in SHARED_KERNELS
        ]
        return [(name, kernel, chunks * config.layers) for name, kernel, chunks in fitting]
    scheduled = schedule(config, pipeline)
    counts = Counter(one.name.rpartition(".")[2] for one in scheduled)
    first = {one.name.rpartition(".")[2]: one for one in reversed(scheduled)}
    return [(name, first[name].template(config, as_published), count) for name, count in counts.items()]
