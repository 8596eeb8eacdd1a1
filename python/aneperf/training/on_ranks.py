"""Begin a run on several ranks: what each is given, and what must be the same on all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import msgspec

from .. import _ane_native as native
from ..cluster.communicator import Communicator
from ..cluster.cores import narrow_binding
from ..cluster.together import check_same
from ..errors import ArgumentError
from ..kernels.presets import model_name
from ..results import Environment
from ..runner.ranks import Ranks
from .compaction import Rows
from .config import TrainingConfig
from .options import TrainOptions
from .preparation import Preparation
from .record import CheckpointError, Record
from .resume import Found
from .saved_state import UntoldState
from .strict_json import decode_strictly
from .trainer import Trainer

_OF_RANK_0 = ("output", "telemetry", "trace", "tensorboard", "checkpoints", "resume", "progress")


def options_of_rank(given: Mapping[str, Any], communicator: Communicator) -> dict[str, Any]:
    """Return the options of this rank: rank 0 alone reads checkpoints, writes and shows.

    `accumulation` is given for each rank, and becomes that of the batch of all. A resumed run keeps the batch
    of its checkpoint.
    """
    asked = TrainOptions(**given)
    if asked.energy and communicator.size > 1:
        raise ArgumentError(
            "energy: several ranks train, and no meter reads all their machines: leave out --energy, or "
            "train in one process"
        )
    options = dict(given)
    if communicator.size > 1 and ("accumulation" in given or asked.resume is False):
        options["accumulation"] = asked.accumulation * communicator.size
    if communicator.rank > 0:
        options = {name: value for name, value in options.items() if name not in _OF_RANK_0}
        options["progress"] = lambda event: None  # instead of a notebook's view
    return options


def check_batch(given: Mapping[str, Any], found: Found | None, communicator: Communicator) -> None:
    """Raise CheckpointError if ranks are given another batch than that of the run they resume."""
    if found is None or communicator.size == 1 or "accumulation" not in given:
        return
    asked, was = given["accumulation"], found.record.config.accumulation
    if asked != was:
        raise CheckpointError(
            f"the checkpoint of step {found.record.step} is of another run: its batch has {was} steps, and "
            f"{communicator.size} ranks of {asked // communicator.size} have {asked}: leave out "
            "--accumulation, and the ranks divide its batch"
        )


def shared_checkpoint(found: Found | None, communicator: Communicator) -> Found | None:
    """Return the checkpoint that rank 0 found. The other ranks get its record, and later its arrays."""
    record = communicator.gather(b"" if found is None else msgspec.json.encode(found.record))[0]
    if communicator.rank == 0 or not record:
        return found
    return Found(UntoldState(decode_strictly(record, Record)), None)


def ranks_of(communicator: Communicator, environment: Environment) -> Ranks | None:
    """Describe the ranks and their machines; None of a run with one."""
    if communicator.size == 1:
        return None
    told = communicator.gather(msgspec.json.encode(environment))
    environments = tuple(msgspec.json.decode(each, type=Environment) for each in told)
    binding = narrow_binding(communicator)
    return Ranks(tuple(communicator.hosts), environments, communicator.library, binding)


def facts_of(prepared: Preparation) -> dict[str, str]:
    """Return what must be the same on all ranks, by name, in the order in which to tell a difference."""
    config: TrainingConfig = prepared.config
    evaluation = prepared.evaluation
    return {
        "version": native.__version__,
        **{field.name: repr(getattr(config, field.name)) for field in fields(config)},
        "model": model_name(config.model),
        "data": prepared.data.description,
        "eval_data": "none" if evaluation is None else evaluation.description,
        "eval_every": str(prepared.options.eval_every),
    }


def begin_alike(trainer: Trainer, rows: Rows, prepared: Preparation, communicator: Communicator) -> None:
    """Give all ranks the state of rank 0 if it resumes a checkpoint; else check that the weights are equal.

    Raises ArgumentError if they are not.
    """
    if communicator.size == 1:
        return
    if prepared.found is not None:
        trainer.take_over()
        rows.take_over(communicator)
    facts = {
        "initial weights": trainer.checksum(),
        "set of initial weights for tokens outside the data": rows.checksum(),
    }
    check_same(communicator, {name: f"checksum {fact:08x}" for name, fact in facts.items()})
