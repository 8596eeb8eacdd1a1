"""`aneperf.train`: a run, from its options to its result."""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Generator, Iterator, Mapping
from functools import partial
from typing import Any

from ..cluster.communicator import CommunicationError, Communicator
from ..cluster.launch import open_communicator
from ..cluster.together import check_same, together
from ..cluster.watch import RankError, Watch, watched
from ..errors import ArgumentError
from ..signals import Interrupted, at_first_signal
from .arrays import handed_over
from .compaction import Rows
from .energy import RunMeter, choose_run_meter
from .events import (
    BatchDone,
    CheckpointSaved,
    EnergyMetered,
    Evaluated,
    Event,
    Observer,
    RankLost,
    RunStarted,
    StepDone,
)
from .folder_lock import FolderLock
from .keeper import kept
from .logs import Logs
from .notebook_view import notebook_view
from .on_ranks import begin_alike, check_batch, facts_of, options_of_rank, ranks_of, shared_checkpoint
from .options import TrainOptions, takes
from .preparation import Preparation, check_written
from .record import CheckpointError
from .result import TrainingResult
from .resume import Found, checkpoint_to_resume, left_options, resumed_options
from .run_checkpoints import RunCheckpoints
from .state import SAVED_PARTS
from .telemetry import Telemetry
from .tensorboard import TensorBoard
from .trace import Trace
from .trainer import Trainer


@takes(TrainOptions)
def train(given: Mapping[str, Any]) -> TrainingResult:
    """Train a model: a preset, a shape, or the model of a file of weights or a checkpoint.

    Worker processes own the device; this process never opens a program. A worker that spends more than the
    device's `compile_timeout` on a kernel is killed; see `aneperf.open`. A resumed run has the options of the
    checkpoint's run, except for those that are given, and computes the same bits as one that never stopped.
    `progress` is called with every event of `aneperf.training.events`.

    Where `mpiexec` started this process as one of several ranks, all of them call this, and each does its
    share of every batch, which has `accumulation` steps for each rank. All return the same losses and
    parameters. Rank 0 alone reads and saves checkpoints, writes files and calls `progress`.

    Ctrl-C, SIGTERM or SIGHUP ends the run at its last update, saves a checkpoint if it has a folder for them,
    and returns the result so far with `stopped_by` set; a second signal, half a second later, has its usual
    effect. Where the launcher ends the other ranks at once, KeyboardInterrupt may be raised instead, and the
    checkpoint is saved all the same. Raises ArgumentError, CheckpointError, ResultFileError, TrainingError
    where the device or its workers fail, and CommunicationError where the ranks lose each other.
    """
    communicator = open_communicator()
    check_same(communicator, {"verb": "train"})
    given = together(communicator, partial(options_of_rank, given, communicator))
    with watched(communicator) as watch, contextlib.ExitStack() as stack:

        def find() -> tuple[Found | None, FolderLock | None]:
            options = TrainOptions(**given)
            check_written(options)
            return stack.enter_context(checkpoint_to_resume(options.checkpoints, options.resume))

        local, lock = together(communicator, find)
        found = shared_checkpoint(local, communicator)
        together(communicator, partial(check_batch, given, found, communicator))
        prepared = together(communicator, lambda: _prepared(given, found))
        check_same(communicator, facts_of(prepared))
        prepared.ranks = ranks_of(communicator, prepared.environment)
        result = _train(prepared, communicator, watch, lock)
    if prepared.options.output is not None:
        result.save(prepared.options.output)
    return result


def _prepared(given: Mapping[str, Any], found: Found | None) -> Preparation:
    options = TrainOptions(**given)
    if found is not None:
        options = resumed_options(found.record, given)
        found.left = left_options(found.record, given)
        check_written(options)
    if options.eval_data is None and (alone := {"eval_every", "eval_sequences"} & given.keys()):
        raise ArgumentError(f"{min(alone)} needs eval_data (--eval-data)")
    return Preparation(options, found)


def _train(
    prepared: Preparation, communicator: Communicator, watch: Watch | None, lock: FolderLock | None
) -> TrainingResult:
    started = prepared.started()
    result = TrainingResult.of(started, prepared.options.peak_tflops)
    result.origin, result.base = prepared.start.origin, prepared.start.base
    saving = prepared.saving()
    checkpoints = RunCheckpoints(saving)
    parameters = prepared.start.parameters(prepared.options.seed)
    rows = Rows(parameters, prepared.tokens)
    with contextlib.ExitStack() as stack:

        def make() -> Trainer:
            trainer = stack.enter_context(
                Trainer(
                    prepared.trained_config,
                    rows.gather(handed_over(parameters)),
                    prepared.data,
                    device=prepared.device,
                    state_folder=prepared.state_folder,
                    compile_timeout=prepared.compile_timeout,
                    evaluation=prepared.evaluation,
                    communicator=communicator,
                )
            )
            if prepared.found is not None:
                prepared.found.restore(trainer.state, trainer.parts, rows, prepared.evaluation)
            return trainer

        trainer = together(communicator, make)
        begin_alike(trainer, rows, prepared, communicator)

        trainer.keeper = stack.enter_context(kept(trainer.setup, saving, rows, lock, communicator))

        def stop(number: signal.Signals) -> None:
            if watch is not None and watch.has_lost:
                return  # a launcher sends this because of the loss, which is told
            result.stopped_by = number
            trainer.stop(number)
            if watch is not None:
                watch.tell_stop(number)

        if watch is not None:
            watch.on_stop, watch.on_end = trainer.stop, trainer.abandon
            watch.check()  # for what came before

        with at_first_signal(stop), contextlib.ExitStack() as recorders:
            recorder = _recorded(prepared, result, started)
            tell = together(communicator, lambda: recorders.enter_context(recorder))
            if not prepared.options.energy:
                _run(trainer, trainer.run(), rows, checkpoints, result, tell, started.loss)
            else:
                meter = choose_run_meter(prepared.device, tell, lambda: result.interrupted)
                metered = RunMeter(meter, prepared.config.model.seq, started.flops)
                _run(trainer, metered.follow(trainer.run()), rows, checkpoints, result, tell, started.loss)
                tell(EnergyMetered(metered.energy()))
        trainer.end_workers()
        weights = rows.scatter("parameters", trainer.weights)
        # Those that are no part of the state were made just now, and outlive it.
        result.parameters = {n: w if w.flags.owndata else w.copy() for n, w in weights.items()}
        if prepared.config.lora is not None:
            result.adapters = {name: value.copy() for name, value in trainer.parts["parameters"].items()}
    return result


@contextlib.contextmanager
def _recorded(prepared: Preparation, result: TrainingResult, started: RunStarted) -> Iterator[Observer]:
    """Return what tells an event to everything that records or shows the run, and tell that it begins."""
    options = prepared.options
    show = options.progress or notebook_view()

    def tell_others(event: Event) -> None:
        result.record(event)
        if show is not None:
            show(event)

    tell_others(started)  # first: who refuses the run leaves no file
    with Logs(tell_others) as logs:
        if options.telemetry is not None:
            resumed = prepared.found is not None
            telemetry = Telemetry(options.telemetry, peak_tflops=options.peak_tflops, append=resumed)
            logs.add(options.telemetry, telemetry)
        if options.trace is not None:
            logs.add(options.trace, Trace(options.trace))
        if options.tensorboard is not None:
            logs.add(options.tensorboard, TensorBoard(options.tensorboard))

        def tell(event: Event) -> None:
            logs.record(event)
            tell_others(event)

        logs.record(started)
        yield tell


def _run(
    trainer: Trainer,
    events: Generator[Event, None, None],
    rows: Rows,
    checkpoints: RunCheckpoints,
    result: TrainingResult,
    tell: Observer,
    loss_before: float | None,
) -> None:
    """Train to the end or to a signal; tell every event, and save checkpoints, also when training fails."""
    start, steps_in_batch = time.monotonic(), 0

    def save(*, best: bool = False) -> CheckpointSaved:
        begin, loss = time.monotonic_ns(), math.nan if loss_before is None else loss_before
        if result.batches:
            loss = result.batches[-1].mean_loss
        if trainer.keeper is not None and not trainer.keeper.is_lost:
            if not best:
                checkpoints.note(trainer.state)
            folder = trainer.keeper.save(trainer.state, loss, best=best)
        else:
            parts = {part: rows.scatter(part, trainer.parts[part]) for part in SAVED_PARTS}
            save_state = checkpoints.save_best if best else checkpoints.save
            folder = save_state(trainer.state, parts, loss)
        return CheckpointSaved(trainer.state.step, folder, loss, begin, time.monotonic_ns(), is_best=best)

    def follow(event: Event) -> None:
        nonlocal steps_in_batch
        tell(event)
        if isinstance(event, StepDone):
            steps_in_batch += 1
        elif isinstance(event, BatchDone):
            steps_in_batch = 0
        best = isinstance(event, Evaluated) and event.is_best and checkpoints.keeps_best
        if best:
            tell(save(best=True))
        # A validation loss that is due comes first, so that the checkpoint has it.
        ended = isinstance(event, BatchDone | Evaluated) and trainer.owed_evaluation is None
        if best or (ended and checkpoints.is_due):
            tell(save())

    try:
        for event in events:
            try:
                follow(event)
            except Exception as error:
                events.throw(error)  # the other ranks are told
    except CommunicationError as error:  # the keeper saves: a launcher soon ends this process
        if trainer.stopped_by:  # as it ends others that got the same signal
            raise Interrupted(signal.Signals(trainer.stopped_by)) from None
        if isinstance(error, RankError) and error.is_mine:
            error.is_told = True
            tell(RankLost(str(error)))
        raise
    except Exception:
        # Whatever failed, the state is that of the last update.
        torn = trainer.keeper is not None and trainer.keeper.is_torn
        if checkpoints.is_behind(trainer.state) and not torn:
            with contextlib.suppress(CheckpointError):
                save()
        raise
    if checkpoints.is_behind(trainer.state):
        tell(save())
    result.seconds, result.steps_lost = time.monotonic() - start, steps_in_batch
    if trainer.stopped_by:
        result.stopped_by = signal.Signals(trainer.stopped_by)
    if trainer.is_done:
        result.stopped_by = None  # a signal came when nothing was left to end
