"""Write a run's figures to an event file, which TensorBoard shows during the run.

The messages and their frames are those of tensorboardX, without its SummaryWriter: that one writes in a
thread, whose failure nobody learns of, and then waits for the thread without end.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ArgumentError, ResultFileError
from ..outputs import check_log_folder, make_folder
from .events import BatchDone, Evaluated, Event, RunStarted

if TYPE_CHECKING:
    from tensorboardX.record_writer import RecordWriter

_PATTERN = "events.out.tfevents.*"
_VERSION = "brain.Event:2"


class TensorBoard:
    """An event file in a folder, whose files TensorBoard shows as one run. Raises ResultFileError."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._seq = 0
        path = make_folder(folder) / _PATTERN.replace("*", f"{time.time_ns()}.{os.getpid()}")
        try:
            self._file = _record_writer()(os.fspath(path))
            self._write(file_version=_VERSION)
        except OSError as error:
            raise ResultFileError(f"{path}: cannot write: {error.strerror}") from error

    def close(self, *, keep: bool) -> None:
        """Close the file, whose figures stay."""
        self._file.close()

    def record(self, event: Event) -> None:
        """Write an event's figures."""
        if isinstance(event, RunStarted):
            self._seq = event.config.model.seq
            if event.first_step:
                self._drop_later(event.first_step)
        elif isinstance(event, BatchDone):
            self._batch(event)
        elif isinstance(event, Evaluated):
            self._scalars(event.step, {"loss/validation": event.loss})

    def _batch(self, done: BatchDone) -> None:
        """Write the means over a batch at the number of steps that are trained with it."""
        steps, exchange = done.steps, done.communication

        def mean(values: list[float]) -> float:
            return sum(values) / len(steps)

        times = [step.times for step in steps]
        self._scalars(
            steps[0].step + len(done.losses),
            {
                "loss/training": sum(done.losses) / len(done.losses),
                "optimizer/learning_rate": done.update.learning_rate,
                "optimizer/gradient_norm": done.update.gradient_norm,
                "rate/tokens_per_s": done.tokens_per_s(self._seq),
                **{f"ms_forward/{name}": mean([t.forward[name] for t in times]) for name in times[0].forward},
                **{
                    f"ms_backward/{name}": mean([t.backward[name] for t in times])
                    for name in times[0].backward
                },
                "ms_step/wall": mean([t.wall for t in times]),
                "ms_step/other": mean([t.other for t in times]),
                "ms_step/dw": mean([t.dw for t in times]),
                "ms_batch/update": done.update_ms,
                "ms_batch/staging": done.staging_ms,
                "ms_batch/compile": done.compile_ms,
                **(
                    {}
                    if exchange is None
                    else {
                        "ms_batch/allreduce": exchange.ms,
                        "ms_batch/allreduce_exposed": exchange.exposed_ms,
                    }
                ),
            },
        )

    def _scalars(self, step: int, values: Mapping[str, float]) -> None:
        from tensorboardX.proto.summary_pb2 import Summary

        found = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        self._write(step=step, summary=Summary(value=found))

    def _drop_later(self, step: int) -> None:
        """Let TensorBoard drop what an earlier file of the run has after this step."""
        from tensorboardX.proto.event_pb2 import SessionLog

        self._write(step=step + 1, session_log=SessionLog(status=SessionLog.START))

    def _write(self, **fields: object) -> None:
        from tensorboardX.proto.event_pb2 import Event as Message

        self._file.write(Message(wall_time=time.time(), **fields).SerializeToString())
        self._file.flush()


def check_tensorboard(
    folder: str | os.PathLike[str], checkpoints: str | os.PathLike[str] | None = None
) -> None:
    """Check that an event file can be written to a folder, before long work.

    Raises ArgumentError, also where the package is missing, and ResultFileError.
    """
    _record_writer()
    check_log_folder(folder, checkpoints)


def has_events(folder: str) -> bool:
    """Tell if a folder has an event file."""
    try:
        return next(Path(folder).glob(_PATTERN), None) is not None
    except OSError:  # a name that is too long, or no permission
        return False


def _record_writer() -> type[RecordWriter]:
    try:
        from tensorboardX.record_writer import RecordWriter
    except ImportError as error:
        raise ArgumentError(
            f"event files need tensorboardX: pip install '.[tensorboard]' in a checkout of aneperf ({error})"
        ) from error
    found: type[RecordWriter] = RecordWriter
    return found
