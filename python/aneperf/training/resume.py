"""Resume a run: its checkpoint, its options, and which of them a continuation may change."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from .. import device as devices
from ..errors import AneError, ArgumentError
from ..files import file_kind
from ..kinds import Kind
from .checkpoint import Checkpoints
from .compaction import Rows
from .config import Hyperparameters, TrainingConfig, differences
from .data import SYNTHETIC
from .evaluation import Evaluation
from .folder_lock import FolderLock
from .hugging_face import Origin
from .models import Parameters
from .options import TrainOptions
from .record import CheckpointError, Record, RunOptions
from .run_checkpoints import best_checkpoints, check_apart, with_step
from .saved_state import SavedState, UntoldState
from .state import RunState
from .tensorboard import has_events

_Path = str | os.PathLike[str]
# The options of a run that name places to write to, and what tells that one is there.
_WRITTEN: dict[str, Callable[[str], bool]] = {
    "state_folder": os.path.isdir,
    "telemetry": lambda path: file_kind(path) is Kind.TELEMETRY,
    "tensorboard": has_events,
}


@dataclass
class Found:
    """The checkpoint that a run continues."""

    saved: SavedState | UntoldState
    origin: Origin | None
    best: Record | None = None  # of the run's best checkpoint, if that is another one
    left: Sequence[str] = ()  # see `left_options`

    @property
    def record(self) -> Record:
        """Return everything but the arrays."""
        return self.saved.record

    def restore(
        self, state: RunState, parts: Mapping[str, Parameters], rows: Rows, evaluation: Evaluation | None
    ) -> None:
        """Read the checkpoint's numbers, and its arrays but the weights, into a state, and close it.

        Of another validation than the run's it keeps no loss, and the best checkpoint's where it has none.
        """
        record = self.record
        state.step, state.applied_updates = record.step, record.applied_updates
        state.loss_scale = record.loss_scale
        known = record
        if record.evaluation is None and self.best is not None and self.best.step <= record.step:
            known = self.best
        if evaluation is not None and known.evaluation == evaluation.description:
            state.evaluated, state.best_step = known.evaluated, known.best_step
            state.best_loss = math.inf if known.best_loss is None else known.best_loss
        for part, arrays in self.saved.parts.items():
            if arrays is not self.saved.weights:
                for name, value in rows.gather(arrays).items():
                    parts[part][name][:] = value
        self.saved.close()


@contextlib.contextmanager
def checkpoint_to_resume(
    folder: _Path | None, resume: bool | int
) -> Iterator[tuple[Found | None, FolderLock | None]]:
    """Return the checkpoint to resume, if any, and the lock on the folder of the run's checkpoints.

    Raises ArgumentError for a folder with checkpoints that are not resumed, and CheckpointError.
    """
    if folder is None:
        if resume is not False:
            raise ArgumentError("resume needs the folder of the checkpoints (--checkpoints)")
        yield None, None
        return
    checkpoints = Checkpoints(folder)
    check_apart(checkpoints.folder)
    if resume is not False and not checkpoints.folder.is_dir():
        raise CheckpointError(f"{checkpoints.folder} has no checkpoint")
    with contextlib.closing(FolderLock(checkpoints.folder)) as lock:
        if resume is not False:
            step = None if resume is True else resume
            source = with_step(folder, step)
            best = None
            with contextlib.suppress(CheckpointError):
                best = best_checkpoints(folder).record()
            with source.open(step) as saved:
                yield Found(saved, source.origin(saved.record), best), lock
            return
        for there in (checkpoints, best_checkpoints(folder)):
            if steps := there.steps():
                raise ArgumentError(
                    f"{there.folder} has checkpoints, the last of step {steps[-1]}: resume, or name another "
                    "folder"
                )
        yield None, lock


def kept_options(options: TrainOptions, device: str, compile_timeout: float) -> RunOptions:
    """Return the options that a checkpoint keeps for a run that resumes it."""
    return RunOptions(
        device=device,
        compile_timeout=compile_timeout,
        data=SYNTHETIC if options.data == SYNTHETIC else absolute_path(options.data),
        weights=absolute_path(options.weights),
        state_folder=absolute_path(options.state_folder),
        eval_data=absolute_path(options.eval_data),
        eval_every=options.eval_every,
        eval_sequences=options.eval_sequences,
        telemetry=absolute_path(options.telemetry),
        tensorboard=absolute_path(options.tensorboard),
        checkpoint_every=options.checkpoint_every,
        keep=options.keep,
        peak_tflops=options.peak_tflops,
    )


def resumed_options(record: Record, given: Mapping[str, Any]) -> TrainOptions:
    """Return the options of a checkpoint's run, and of those that are given their new values.

    A checkpoint may come from anyone, so it leads to no write but in its own folder: see `left_options`.
    Raises CheckpointError for a device that does not open.
    """
    kept, config = record.options, record.config
    options: dict[str, Any] = {f.name: getattr(config, f.name) for f in fields(Hyperparameters)}
    taken = ["weights", "eval_data", "eval_every", "eval_sequences", "checkpoint_every", "keep"]
    taken += ["peak_tflops"]
    options |= {"model": config.model} | {name: getattr(kept, name) for name in taken}
    if kept.data is not None:
        options["data"] = kept.data
    untold = {
        "data": kept.data is None,
        "eval_data": kept.eval_data is None and record.evaluation is not None,
    }
    for name in ("data", "eval_data"):
        if untold[name] and name not in given:
            raise CheckpointError(
                f"the checkpoint of step {record.step} cannot tell the path of its {name}: "
                f"name it with --{name.replace('_', '-')}"
            )
        path = options.get(name)
        if path not in (None, SYNTHETIC) and name not in given and not os.path.exists(path):
            raise CheckpointError(
                f"{path}: is not there, and the checkpoint's run read it: "
                f"name it with --{name.replace('_', '-')}"
            )
    if given.get("lora_rank", record.config.lora_rank) is None:  # what the run had of adapters goes with it
        options |= dict.fromkeys(("lora_alpha", "lora_targets"))
    options |= _paths_inside(kept, given.get("checkpoints"))
    if "device" not in given:
        try:
            options["device"] = devices.open(kept.device, compile_timeout=kept.compile_timeout)
        except AneError as error:
            raise CheckpointError(
                f"the device of the checkpoint's run does not open: {error}; name another one (--device)"
            ) from error
    return TrainOptions(**{**options, **given})


def left_options(record: Record, given: Mapping[str, Any]) -> list[str]:
    """Name the options of the checkpoint's run that lead to a write elsewhere, and were not given again."""
    taken = {*given, *_paths_inside(record.options, given.get("checkpoints"))}
    kept = [(name, getattr(record.options, name)) for name in _WRITTEN if name not in taken]
    reason = "not taken over from the checkpoint, since it leads out of its folder"
    left = [(name, path) for name, path in kept if path and _WRITTEN[name](path)]
    return [f"{reason}: --{name.replace('_', '-')} {path}" for name, path in left]


def _paths_inside(kept: RunOptions, folder: _Path | None) -> dict[str, str]:
    """Return the places to write to that are in the folder of the checkpoints, and still there."""
    paths = {name: getattr(kept, name) for name in _WRITTEN}
    home = None if folder is None else os.path.realpath(folder)
    return {
        name: path
        for name, path in paths.items()
        if path and home and Path(os.path.realpath(path)).is_relative_to(home) and _WRITTEN[name](path)
    }


def check_same_run(
    record: Record,
    options: TrainOptions,
    config: TrainingConfig,
    data: str,
    evaluation: Evaluation | None,
) -> None:
    """Raise CheckpointError unless a run continues that of the checkpoint, with validation or without."""
    found = differences(config, record.config)
    pairs = [("data", data, record.data), ("weights", absolute_path(options.weights), record.options.weights)]
    owed = False
    if evaluation is not None:
        evaluated = 0 if record.evaluation is None else record.evaluated
        owed = evaluation.is_owed(record.step, evaluated, config)
        if record.evaluation is not None:
            pairs.append(("eval_data", evaluation.description, record.evaluation))
    found += [f"{name} is {new!r}, was {old!r}" for name, new, old in pairs if new != old]
    if found:
        raise CheckpointError(f"the checkpoint of step {record.step} is of another run: {'; '.join(found)}")
    if record.step > config.steps or (record.step == config.steps and not owed):
        raise CheckpointError(
            f"the checkpoint of step {record.step} has the {config.steps} steps of this run: "
            "ask for more (--steps)"
        )
    if record.step < config.steps and record.step % config.accumulation:
        raise CheckpointError(
            f"the checkpoint of step {record.step} ends within a batch of {config.accumulation} steps, "
            "and a resumed run begins with a whole one: resume an earlier one, or begin from its weights"
        )


def absolute_path(path: _Path | None) -> str | None:
    """Return an absolute path, or None for one that is no line of text."""
    found = None if path is None else os.path.abspath(os.fsdecode(path))
    return found if found is not None and found.isprintable() else None
