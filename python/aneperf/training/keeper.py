"""The keeper: a child of a rank that makes its updates and saves its checkpoints, and that no launcher kills.

A launcher ends its ranks when one of them has died, and after Ctrl-C: Open MPI's mpiexec sends SIGTERM and,
250 ms later, SIGKILL. That is too short to save a checkpoint, and may tear an update. The keeper has a
session of its own, so the signals do not reach it. It finishes its update, and when its rank is gone, it
saves the state.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from ..cluster.communicator import Communicator
from ..cluster.together import together
from ..cluster.watch import RankError
from ..errors import AneError, ArgumentError
from ..files import one_line
from ..runner.child import Child, ChildLost, above_standard_streams
from ..runner.child_process import Parent
from .checkpoint import Checkpoints
from .compaction import Rows
from .folder_lock import FolderLock
from .models import Parameters
from .optimizer import Update, update
from .record import CheckpointError
from .run_checkpoints import RunCheckpoints, Saving
from .state import SAVED_PARTS, RunState, SharedState, part_shapes
from .worker import Setup, TrainingError

_KEEP = "aneperf.training.keeper:keep"
_PATIENCE_S = 1e6  # for a disk
_LOCKED_S = 600.0  # for rank 0's keeper, which saves first
_LOOK_S = 0.5


class _Setup(msgspec.Struct, frozen=True):
    """The first message to a keeper."""

    rank: int
    saving: bytes
    worker: Setup
    rows_descriptor: int
    lock_descriptor: int | None
    error_descriptor: int


class _Apply(msgspec.Struct, frozen=True, tag="update"):
    """Asks for an update by a batch's sum of gradients, which is in the set of this number."""

    state: bytes  # RunState, as msgpack: JSON has no infinity
    gradients: int
    sequences: int
    loss: float | None


class _Save(msgspec.Struct, frozen=True, tag="save"):
    """Asks for a checkpoint."""

    state: bytes
    loss: float | None
    best: bool


class _Inherit(msgspec.Struct, frozen=True, tag="inherit"):
    """Tells that all ranks below this one are lost: when this one ends too, its keeper saves."""


class _Updated(msgspec.Struct, frozen=True, tag="updated"):
    """Answers _Apply."""

    state: bytes
    update: bytes


class _Saved(msgspec.Struct, frozen=True, tag="saved"):
    """Answers _Save."""

    folder: str


class _Refused(msgspec.Struct, frozen=True, tag="refused"):
    """Answers both: it cannot be done."""

    message: str


_Command = _Apply | _Save | _Inherit
_Answer = _Updated | _Saved | _Refused


class Keeper:
    """A keeper, as its rank sees it. Raises TrainingError where its process is lost.

    `saving` is a Saving as msgpack. The `lock` is that of rank 0. Where it `is_lost`, the rank can save the
    state itself unless it `is_torn`: the keeper was at an update.
    """

    is_lost = is_torn = False

    def __init__(self, rank: int, saving: bytes, worker: Setup, rows: Rows, lock: FolderLock | None) -> None:
        answers: msgspec.json.Decoder[_Answer] = msgspec.json.Decoder(_Answer)
        with contextlib.ExitStack() as stack:
            rows_file = stack.enter_context(rows.to_file())
            error_descriptor = above_standard_streams(2)
            stack.callback(os.close, error_descriptor)
            descriptors = [worker.state_descriptor, rows_file.fileno(), error_descriptor]
            if lock is not None:
                descriptors.append(lock.descriptor)
            setup = _Setup(
                rank=rank,
                saving=saving,
                worker=worker,
                rows_descriptor=rows_file.fileno(),
                lock_descriptor=None if lock is None else lock.descriptor,
                error_descriptor=error_descriptor,
            )
            try:
                self._child = Child(_KEEP, answers, descriptors=descriptors)
            except OSError as error:
                raise TrainingError(f"the process that saves cannot be started: {error}") from error
            self._send(setup)

    def update(self, state: RunState, gradients: int, sequences: int, loss: float) -> Update:
        """Update parameters and moments, and `state`, as `optimizer.update` does."""
        answer = self._ask(_Apply(msgspec.msgpack.encode(state), gradients, sequences, _finite(loss)))
        if isinstance(answer, _Refused):
            raise AneError(answer.message)
        assert isinstance(answer, _Updated)
        _copy(msgspec.msgpack.decode(answer.state, type=RunState), state)
        return msgspec.msgpack.decode(answer.update, type=Update)

    def save(self, state: RunState, loss: float, *, best: bool) -> Path:
        """Save the state after the last update, and return the checkpoint's folder."""
        answer = self._ask(_Save(msgspec.msgpack.encode(state), _finite(loss), best))
        if isinstance(answer, _Refused):
            raise CheckpointError(answer.message)
        assert isinstance(answer, _Saved)
        return Path(answer.folder)

    def inherit(self) -> None:
        """Let the keeper save when this rank ends, since all ranks below are lost."""
        with contextlib.suppress(TrainingError):
            self._send(_Inherit())

    def release(self) -> None:
        """Let the keeper save what is not saved, and end."""
        self._child.release()

    def wait(self) -> None:
        """Wait until the keeper has ended after its release."""
        self._child.wait()

    def _ask(self, command: _Apply | _Save) -> _Answer:
        self._send(command)
        try:
            return self._child.receive(_PATIENCE_S)
        except ChildLost as lost:
            self.is_torn = isinstance(command, _Apply)
            raise self._lost(lost) from None

    def _send(self, message: msgspec.Struct) -> None:
        try:
            self._child.send(message)
        except ChildLost as lost:
            raise self._lost(lost) from None

    def _lost(self, lost: ChildLost) -> TrainingError:
        self.is_lost = True
        return TrainingError(f"the process that makes the updates and saves them was lost: {lost}")


@contextlib.contextmanager
def kept(
    worker: Setup, saving: Saving, rows: Rows, lock: FolderLock | None, communicator: Communicator
) -> Iterator[Keeper | None]:
    """Start the keeper of each rank, if there are several and the run saves checkpoints.

    All ranks call this. At the end of the block, and also if it raises, the keeper saves what is not saved.
    Where ranks are lost, that continues while this process ends.
    """
    if communicator.size == 1:
        yield None
        return
    mine = together(communicator, lambda: _encoded(saving))
    told = communicator.gather(mine if communicator.rank == 0 else b"")[0]
    if msgspec.msgpack.decode(told, type=Saving).folder is None:
        yield None
        return
    keeper = Keeper(communicator.rank, told, worker, rows, lock)
    atexit.register(keeper.wait)
    try:
        yield keeper
    except BaseException as error:
        if isinstance(error, RankError) and error.is_mine:
            keeper.inherit()
            if communicator.rank > 0:  # it waits for rank 0's, whose rank hangs until this one has ended
                atexit.unregister(keeper.wait)
        raise
    else:
        keeper.release()
        keeper.wait()
        atexit.unregister(keeper.wait)
    finally:
        if lock is not None and not keeper.is_lost:
            lock.hand_over()
        keeper.release()


def _encoded(saving: Saving) -> bytes:
    try:
        return msgspec.msgpack.encode(saving)
    except UnicodeEncodeError as error:
        raise ArgumentError(
            f"several ranks take only paths in UTF-8, not {error.object!a}: rename it"
        ) from None


class _Keeping:
    """The state of a rank, inside its keeper."""

    def __init__(self, setup: _Setup) -> None:
        self._setup, self._saving = setup, msgspec.msgpack.decode(setup.saving, type=Saving)
        self._config = setup.worker.config
        shapes = part_shapes(self._config, setup.worker.separate_classifier)
        self._parts = SharedState(shapes, self._config.model.seq, setup.worker.state_descriptor).parts
        with open(setup.rows_descriptor, "rb") as file:
            self._rows = Rows.of_file(file)
        self._checkpoints = RunCheckpoints(self._saving)
        assert self._saving.folder is not None
        self._folder = Path(self._saving.folder)
        self._state = RunState(0.0, self._saving.first_step, evaluated=self._saving.evaluated)
        self._loss = float("nan")
        self._inherits = setup.rank == 0

    def answer(self, command: _Command) -> _Answer | None:
        """Do what the rank asks."""
        if isinstance(command, _Inherit):
            self._inherits = True
            return None
        self._state = msgspec.msgpack.decode(command.state, type=RunState)
        self._loss = float("nan") if command.loss is None else command.loss
        if isinstance(command, _Save):
            return self._save(best=command.best)
        try:
            done = update(
                self._config,
                self._state,
                self._parts,
                self._parts[f"gradients_{command.gradients}"],
                command.sequences,
            )
        except AneError as error:
            return _Refused(str(error))
        return _Updated(msgspec.msgpack.encode(self._state), msgspec.msgpack.encode(done))

    def end(self) -> None:
        """Save what is not saved, where this is the keeper to do it: the rank is gone."""
        lock = self._setup.lock_descriptor
        with contextlib.ExitStack() as stack:
            if lock is not None:
                stack.callback(FolderLock.inherited(self._folder, lock).close)
            if not self._inherits or not self._checkpoints.is_behind(self._state):
                return
            if lock is None:
                self._wait_for_folder(stack)
                if any(step >= self._state.step for step in Checkpoints(self._folder).steps()):
                    return  # rank 0's keeper was there
            answer = self._save(best=False)
            step, host = self._state.step, socket.gethostname()
            if isinstance(answer, _Saved):
                did = f" saved the last update, of step {step}, in {answer.folder}"
            else:
                did = f": {answer.message}"
            self._say(f"rank {self._setup.rank} on {host}{did}")

    def _wait_for_folder(self, stack: contextlib.ExitStack) -> None:
        """Lock the folder of the checkpoints, if this host reaches it, after the keeper of rank 0."""
        deadline = time.monotonic() + _LOCKED_S
        while time.monotonic() < deadline:
            try:
                stack.callback(FolderLock(self._folder).close)
                return
            except CheckpointError as error:
                if error.__cause__ is not None:
                    return  # it cannot be written, and the checkpoint goes elsewhere
                time.sleep(_LOOK_S)

    def _save(self, *, best: bool) -> _Saved | _Refused:
        parts: Mapping[str, Parameters] = {
            part: self._rows.scatter(part, self._parts[part]) for part in SAVED_PARTS
        }
        save = self._checkpoints.save_best if best else self._checkpoints.save
        try:
            return _Saved(str(save(self._state, parts, self._loss)))
        except CheckpointError as error:
            return _Refused(str(error))

    def _say(self, text: str) -> None:
        with contextlib.suppress(OSError):  # the launcher may be gone
            os.write(self._setup.error_descriptor, f"aneperf: {one_line(text)}\n".encode())


def keep(parent: Parent) -> None:
    """Serve a rank until it is gone, then save what is left to save."""
    parent.outlives = True
    try:
        keeping = _Keeping(parent.receive(msgspec.json.Decoder(_Setup)))
    except EOFError:
        return
    commands: msgspec.json.Decoder[_Command] = msgspec.json.Decoder(_Command)
    with contextlib.suppress(EOFError):
        while True:
            answer = keeping.answer(parent.receive(commands))
            if answer is not None:
                with contextlib.suppress(OSError):  # the rank is gone: its last command counts
                    parent.send(answer)
    keeping.end()


def _copy(source: RunState, target: RunState) -> None:
    vars(target).update(vars(source))


def _finite(loss: float) -> float | None:
    return loss if abs(loss) < float("inf") else None
