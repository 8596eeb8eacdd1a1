"""The table of a run's telemetry: its updates, with their loss and time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from .. import bounds
from ..errors import ResultFileError
from ..files import LONGEST_QUOTE, one_line, read_input
from ..kinds import Kind
from ..results import Environment
from .columns import UNKNOWN, significant
from .result_table import heading
from .table import Table
from .thinning import stride, thinned

_MOST = 20  # updates in a table; a longer run shows as many of its own, evenly spaced


class _Config(msgspec.Struct):
    pipeline: str = UNKNOWN


class _Line(msgspec.Struct):
    """A line of any type: each has some of the fields."""

    type: str
    model: str = ""
    config: _Config | None = None
    environment: Environment | None = None
    event: str = ""
    reason: str = ""
    step: int | None = None
    loss: float | None = None
    best_loss: float | None = None
    best_step: int | None = None
    compile_ms: float | None = None
    ms_per_step: float | None = None
    tokens_per_s: float | None = None
    update: int | None = None
    sequences: int | None = None  # of all ranks; earlier versions, which had one, did not tell it
    hidden_ms: float | None = None
    exposed_ms: float | None = None
    applied: bool = True
    wall: float | None = None
    forward: dict[str, float] = {}
    backward: dict[str, float] = {}
    other: float | None = None
    dw: float | None = None


@dataclass
class Update:
    """An update: the last of its steps, the mean of their losses, and its times."""

    number: int | None
    step: int | None
    loss: float | None
    compile_ms: float | None
    ms_per_step: float | None
    tokens_per_s: float | None
    applied: bool
    allreduce_ms: float | None = None  # of several ranks
    exposed_ms: float | None = None  # that part of it which steps did not hide

    @property
    def hidden_share(self) -> float | None:
        """Return the share of the allreduce that steps hid; None if it is not known."""
        if not self.allreduce_ms or self.exposed_ms is None:
            return None
        return 1 - self.exposed_ms / self.allreduce_ms


@dataclass
class Telemetry:
    """A file of telemetry; where runs were resumed into one file, `run` is the last."""

    run: _Line | None = None
    updates: list[Update] = field(default_factory=list)
    steps: int = 0  # of all ranks
    losses: list[tuple[int, float]] = field(default_factory=list)  # by step
    validations: list[tuple[int, float]] = field(default_factory=list)
    times: list[_Line] = field(default_factory=list)  # of steps, with their components
    validation: _Line | None = None
    lost: list[str] = field(default_factory=list)

    def records(self) -> list[dict[str, str | int | float | None]]:
        """Return a record for each update."""
        left = {"number"} if self.has_ranks else {"number", "allreduce_ms", "exposed_ms"}
        return [
            {"key": f"update/{update.number}", **{k: v for k, v in vars(update).items() if k not in left}}
            for update in self.updates
        ]

    @property
    def has_ranks(self) -> bool:
        """Tell whether several ranks made an update."""
        return any(update.allreduce_ms is not None for update in self.updates)


def read_telemetry(path: str | os.PathLike[str]) -> Telemetry:
    """Read the lines of a file. Raises ResultFileError, naming the line."""
    found, losses, batch = Telemetry(), list[float](), _Line("batch")
    own: list[int | None] = []  # steps of the update so far, on this rank
    for line in _lines(path):
        if line.type == "run":
            found.run = line
            own, losses = [], []  # a run that ended within a batch lost its steps
        elif line.type == "step":
            found.steps += 1
            own.append(line.step)
            losses += [] if line.loss is None else [line.loss]
            if line.step is not None and line.loss is not None:
                found.losses.append((line.step, line.loss))
        elif line.type == "times":
            found.times.append(line)
        elif line.type == "batch":
            batch = line
        elif line.type == "update":
            loss = line.loss  # of all ranks
            if loss is None and losses:  # an earlier version does not tell it
                loss = sum(losses) / len(losses)
            step = own[-1] if own else None
            if line.sequences is not None and own and own[0] is not None:  # ranks share the batch's steps
                found.steps += max(0, line.sequences - len(own))
                step = own[0] + line.sequences - 1
            own = []
            times = (batch.compile_ms, batch.ms_per_step, line.tokens_per_s)
            found.updates.append(Update(line.update, step, loss, *times, line.applied))
            losses, batch = [], _Line("batch")
        elif line.type == "allreduce" and None not in (line.hidden_ms, line.exposed_ms) and found.updates:
            update, update.exposed_ms = found.updates[-1], line.exposed_ms
            update.allreduce_ms = (line.hidden_ms or 0.0) + (line.exposed_ms or 0.0)
        elif line.type == "validation":
            found.validation = line
            if line.step is not None and line.loss is not None:
                found.validations.append((line.step, line.loss))
        elif line.type == "worker" and line.event == "lost":
            found.lost.append(line.reason)
    return found


def _lines(path: str | os.PathLike[str]) -> Iterator[_Line]:
    text = read_input(path, Kind.TELEMETRY, bounds.JSON_BYTES)
    if text.count(b"\n") > bounds.TELEMETRY_LINES:  # before the list of them takes memory
        raise ResultFileError(f"{path}: has more than {bounds.TELEMETRY_LINES} lines, the most that are read")
    lines = text.split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield msgspec.json.decode(line, type=_Line)
        except (ValueError, RecursionError) as error:
            if number < len(lines):  # the last line may be cut short: the run is still writing, or was killed
                raise ResultFileError(
                    f"{path}: line {number} is no telemetry: {one_line(error, LONGEST_QUOTE)}"
                ) from error


def lay_out_telemetry(telemetry: Telemetry) -> Table:
    """Lay out the updates, of a long run some of them, and the last losses below."""
    run = telemetry.run or _Line("run", model="?")
    title = f"aneperf train {run.model}, pipeline {run.config.pipeline if run.config else UNKNOWN}: telemetry"
    updates = telemetry.updates
    every, shown = stride(len(updates), _MOST), thinned(updates, _MOST)
    lines = [f"Steps: {telemetry.steps}, in {len(updates)} updates."]
    if every > 1:
        lines.append(f"One of {every} updates is shown.")
    if skipped := sum(not update.applied for update in updates):
        lines.append(f"Updates skipped, since gradients were not finite: {skipped}.")
    if (last := telemetry.validation) is not None:
        lines.append(
            f"Validation loss: {significant(last.loss, 5)} at step {last.step}; the best "
            f"{significant(last.best_loss, 5)} at step {last.best_step}."
        )
    if telemetry.lost:
        lines.append(f"Workers lost: {len(telemetry.lost)}; {telemetry.lost[-1]}.")
    exchanged = telemetry.has_ranks
    header = ["Update", "Step", "Loss", "ms/step", "Compile (ms)", "Tokens/s"]
    header += ["Allreduce (ms)", "Hidden"] if exchanged else []
    return Table(
        heading=heading(title, run.environment) if run.environment else (title,),
        header=(*header, ""),
        align=tuple("right" if name else "left" for name in (*header, "")),
        rows=tuple(_row(update, exchanged) for update in shown),
        lines=tuple(lines),
    )


def _row(update: Update, exchanged: bool) -> tuple[str, ...]:
    share = update.hidden_share
    allreduce = (significant(update.allreduce_ms, 4), UNKNOWN if share is None else f"{share:.0%}")
    return (
        UNKNOWN if update.number is None else str(update.number),
        UNKNOWN if update.step is None else str(update.step),
        significant(update.loss, 5),
        significant(update.ms_per_step, 4),
        significant(update.compile_ms, 4),
        significant(update.tokens_per_s, 4),
        *(allreduce if exchanged else ()),
        "" if update.applied else "skipped",
    )
