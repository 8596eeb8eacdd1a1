"""Prepare a run: open and check everything that it reads, and write nothing."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path

from .. import device as devices
from .._ane_native import Device
from ..errors import ArgumentError
from ..kernels import schedule
from ..kernels.presets import model_name
from ..kinds import Kind
from ..outputs import check_outputs, form_of
from ..results import Environment
from ..runner.ranks import Ranks
from .checkpoint import Run
from .compaction import compact
from .config import TrainingConfig
from .data import SYNTHETIC, TokenFile, open_data
from .dynamic import fitting_kernels
from .evaluation import Evaluation
from .events import RunStarted
from .options import TrainOptions
from .resume import Found, check_same_run, kept_options
from .run_checkpoints import Saving
from .start import start_of
from .state import bytes_needed, check_room, part_shapes
from .tensorboard import check_tensorboard


class Preparation:
    """A run that may begin. Raises ArgumentError and CheckpointError for one that may not."""

    def __init__(self, options: TrainOptions, found: Found | None) -> None:
        self.options, self.found = options, found
        self.start = start_of(options, found)
        model = self.start.model
        self.config = options.config(model)
        self.data = open_data(options.data, model.vocab, model.seq, options.seed, self.start.vocabulary)
        # Those of a compact vocabulary.
        self.tokens = compact(self.data) if self.config.compact_vocabulary else None
        self.trained_config = self.config  # with these tokens alone
        if self.tokens is not None:
            self.trained_config = replace(self.config, model=replace(model, vocab=len(self.tokens)))
        self.state_folder = None if options.state_folder is None else Path(options.state_folder)
        shapes = part_shapes(self.trained_config, self.start.separate_classifier)
        check_room(bytes_needed(shapes, model.seq), self.state_folder)
        self.evaluation = self._evaluation()
        if found is not None:
            check_same_run(found.record, options, self.config, self.data.description, self.evaluation)
        self.environment, self.device, self.compile_timeout = _described(options.device)
        self.ranks: Ranks | None = None  # if there are several
        _check_kernels(self.config, self.device)

    def started(self) -> RunStarted:
        """Return the first event of the run."""
        record = None if self.found is None else self.found.record
        return RunStarted(
            model=model_name(self.config.model),
            config=self.config,
            environment=self.environment if self.ranks is None else self.ranks.environment(),
            data=self.data.description,
            unigram_entropy=self.data.unigram_entropy,
            vocab=self.trained_config.model.vocab,
            first_step=0 if record is None else record.step,
            loss=None if record is None else record.loss,
            left=() if self.found is None else self.found.left,
            ranks=self.ranks,
        )

    def saving(self) -> Saving:
        """Describe how the run saves its checkpoints."""
        options, record = self.options, None if self.found is None else self.found.record
        run = Run(
            self.config,
            self.data.description,
            None if self.evaluation is None else self.evaluation.description,
            kept_options(options, self.device, self.compile_timeout),
            self.start.origin,
            self.data.vocabulary,
        )
        return Saving(
            folder=None if options.checkpoints is None else os.path.abspath(os.fsdecode(options.checkpoints)),
            run=run,
            keep=options.keep,
            minutes=options.checkpoint_every,
            first_step=0 if record is None else record.step,
            evaluated=0 if record is None else record.evaluated,
            elsewhere=[str(folder) for folder in _other_folders(options)],
        )

    def _evaluation(self) -> Evaluation | None:
        options, model = self.options, self.config.model
        if options.eval_data is None:
            return None
        data = TokenFile(options.eval_data, model.vocab, model.seq, 0, self.start.vocabulary)
        if self.tokens is not None:
            data.renumber(self.tokens)
        return Evaluation(data, sequences=options.eval_sequences, every=options.eval_every)


def check_written(options: TrainOptions) -> None:
    """Check what a run writes, before anything is read. Raises ArgumentError and ResultFileError."""
    check_outputs(
        {
            "output": (options.output, form_of(options.output, Kind.RESULT)),
            "telemetry": (options.telemetry, Kind.TELEMETRY),
            "trace": (options.trace, Kind.TRACE),
        },
        {
            "data": None if options.data == SYNTHETIC else options.data,
            "eval_data": options.eval_data,
            "weights": options.weights,
        },
        options.checkpoints,
    )
    if options.tensorboard is not None:
        check_tensorboard(options.tensorboard, options.checkpoints)


def _described(device: Device | str | None) -> tuple[Environment, str, float]:
    """Return a device's description, name and timeout. The device itself is closed: the workers own it."""
    opened = devices.opened(device)
    return devices.info(opened), devices.name_of(opened), devices.compile_timeout_of(opened)


def _other_folders(options: TrainOptions) -> list[Path]:
    """List the folders that may take a checkpoint if its own folder takes no more."""
    files = [Path(path) for path in (options.output, options.telemetry, options.trace) if path is not None]
    chosen = [] if options.state_folder is None else [Path(options.state_folder)]
    return [*chosen, *(file.parent for file in files), Path(tempfile.gettempdir())]


def _check_kernels(config: TrainingConfig, device: str) -> None:
    """Raise ArgumentError unless one process may compile all kernels of a step, and the device takes them."""
    kernels = len(schedule(config.model, config.pipeline))
    opened = devices.open(device)
    budget = opened.compile_budget.soft
    if config.pipeline == "dynamic":
        fitting_kernels(opened, config.model, config.as_published)
    if kernels > budget:
        raise ArgumentError(
            f"the pipeline {config.pipeline} compiles {kernels} kernels for {config.model.layers} layers, "
            f"and the device lets a process compile {budget}: choose the pipeline dynamic, or fewer layers"
        )
