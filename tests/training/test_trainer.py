"""The training loop, with workers that die, hang, fail and run out of compiles."""

import os
import re
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import aneperf
from aneperf.kernels.schedule import Pipeline
from aneperf.training import worker
from aneperf.training.config import TrainingConfig
from aneperf.training.data import TokenFile
from aneperf.training.events import BatchDone, KernelsCompiled, StepDone, WorkerReplaced
from aneperf.training.models import random_parameters
from aneperf.training.state import SharedState, part_shapes
from aneperf.training.trainer import Trainer
from aneperf.training.worker import TrainingError
from support.training_runs import CONFIG, DATA, MODEL, copied, trainer, undisturbed, worker_pid


def test_a_run(device_name: str) -> None:
    with trainer(device_name) as run:
        events = list(run.run())
        kinds = [type(event) for event in events]
        assert kinds == [KernelsCompiled, StepDone, StepDone, StepDone, BatchDone] * 3
        steps = [event for event in events if isinstance(event, StepDone)]
        batches = [event for event in events if isinstance(event, BatchDone)]
        assert [event.step for event in steps] == list(range(9))
        assert all(np.isfinite(event.loss) for event in steps)
        assert [batch.kernels for batch in batches] == [12, 10, 10]
        assert all(batch.update.applied and batch.update.gradient_norm > 0 for batch in batches)
        for event in steps:
            times = event.times
            assert times.wall == pytest.approx(
                sum(times.forward.values()) + sum(times.backward.values()) + times.other
            )
            assert times.other >= 0
        assert worker_pid(run) is not None


@pytest.mark.thorough
def test_training_learns_what_repeats(device_name: str, tmp_path: Path) -> None:
    file = tmp_path / "tokens.bin"
    np.tile(np.arange(8, dtype="<u2"), 50).tofile(file)
    config = replace(CONFIG, steps=60, accumulation=2, learning_rate=3e-2)
    with Trainer(
        config, random_parameters(MODEL), TokenFile(file, MODEL.vocab, MODEL.seq, seed=0), device=device_name
    ) as run:
        losses = [event.loss for event in run.run() if isinstance(event, StepDone)]
    assert losses[0] > 3
    assert np.mean(losses[-4:]) < 0.5


@pytest.mark.parametrize(
    ("when", "pipeline"),
    [
        ("after_step", "static"),
        ("after_step", "dynamic"),
        pytest.param("after_batch", "static", marks=pytest.mark.thorough),
    ],
)
def test_killed_workers_leave_no_trace(
    device_name: str, when: str, pipeline: Pipeline, thorough: bool
) -> None:
    config = replace(CONFIG, pipeline=pipeline)
    expected, weights = undisturbed(device_name, config)
    with trainer(device_name, config) as run:
        losses, replaced = [], 0
        for event in run.run():
            if isinstance(event, StepDone):
                losses.append(event.loss)
            replaced += isinstance(event, WorkerReplaced)
            if when == "after_batch":
                fatal = isinstance(event, BatchDone)
            else:
                fatal = isinstance(event, StepDone) and (thorough or event.step % 4 == 0)
            if fatal and worker_pid(run):
                os.kill(worker_pid(run), signal.SIGKILL)
        assert losses == expected
        assert replaced >= 2
        for name, value in run.parts["parameters"].items():
            np.testing.assert_array_equal(value, weights[name])


def test_a_step_that_no_worker_survives_ends_the_run(
    device_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with (
        trainer(device_name) as run,
        pytest.raises(
            TrainingError, match=r"step 0: 3 workers were lost; the last: its process ended with exit code 1"
        ),
    ):
        list(run.run())


def test_a_hanging_worker_is_replaced(device_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, _ = undisturbed(device_name)
    with trainer(device_name) as run:
        losses, reasons = [], []
        for event in run.run():
            if isinstance(event, StepDone):
                losses.append(event.loss)
                if event.step == 1 and worker_pid(run):
                    os.kill(worker_pid(run), signal.SIGSTOP)
                    monkeypatch.setattr("aneperf.training.workers._LEAST_TIMEOUT", 0.5)
            if isinstance(event, WorkerReplaced):
                monkeypatch.undo()  # healthy workers get the usual timeout
                reasons.append(event.reason)
        assert losses == expected
        (reason,) = reasons
        assert re.fullmatch(r"it did not answer within \d+ s", reason)


@pytest.mark.parametrize(
    ("pipeline", "kernels"),
    [("static", 72), pytest.param("static-ane", 99, marks=pytest.mark.thorough)],
)
def test_every_batch_has_a_worker_with_compiles_left(
    device_name: str, pipeline: Pipeline, kernels: int
) -> None:
    """Count compiles: a batch of 12 layers takes 72 or 99, as published; a process has 100."""
    config = TrainingConfig(replace(MODEL, layers=12), pipeline=pipeline, steps=6, accumulation=2)
    with trainer(device_name, config) as run:
        pids, batches, compiled = [], [], []
        for event in run.run():
            assert not isinstance(event, WorkerReplaced)
            if isinstance(event, KernelsCompiled):
                compiled.append(event.compiled)
            elif isinstance(event, BatchDone):
                pids.append(worker_pid(run))
                batches.append(event)
                assert (run._workers.next is None) == (event.batch == 2)  # none after the last batch
        assert [batch.kernels for batch in batches] == [kernels] * 3
        assert [batch.compile_ms for batch in batches] == [event.ms for event in compiled]
        assert len(set(pids)) == 3


def test_one_worker_stages_the_weights_of_all_updates(device_name: str) -> None:
    config = replace(CONFIG, pipeline="dynamic")
    with trainer(device_name, config) as run:
        pids, batches, compiled = set(), [], []
        for event in run.run():
            assert not isinstance(event, WorkerReplaced)
            if isinstance(event, KernelsCompiled):
                compiled.append(event)
            elif isinstance(event, BatchDone):
                pids.add(worker_pid(run))
                batches.append(event)
                assert run._workers.next is None
        assert len(pids) == 1
        assert [event.compiled.compiles_used for event in compiled] == [10, 10, 10]
        assert [batch.kernels for batch in batches] == [10, 0, 0]
        assert [batch.compile_ms for batch in batches] == [compiled[0].prepared.ms, 0, 0]
        assert [batch.staging_ms for batch in batches] == [event.compiled.ms for event in compiled]
        for batch in batches:
            steps = sum(step.overhead_ms + step.times.wall for step in batch.steps)
            assert batch.train_ms == pytest.approx(steps + batch.update_ms + batch.staging_ms)


class SlowPipeline:
    """Loads kernels in times that its own clock shows."""

    def __init__(self) -> None:
        self.clock = 7_000_000

    def monotonic_ns(self) -> int:
        return self.clock

    def load_fixed(self) -> int:
        self.clock += 3_000_000
        return 2

    def load(self) -> int:
        self.clock += 5_000_000
        return 10


def test_a_worker_times_what_it_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = SlowPipeline()
    monkeypatch.setattr(worker, "open_pipeline", lambda *arguments, **options: pipeline)
    monkeypatch.setattr(worker, "time", pipeline)
    shared = SharedState.create(part_shapes(CONFIG, False), MODEL.seq)
    setup = worker.Setup(CONFIG, False, "emulator", shared.descriptor)
    inside = worker.Worker(setup, parent=None)  # type: ignore[arg-type]
    loads = [inside.compile(with_weights=with_weights) for with_weights in (False, True)]
    assert [(load.kernels, load.ms) for load in loads] == [(2, 3.0), (10, 5.0)]
    shared.close()


def test_what_the_device_refuses_is_no_reason_to_try_again() -> None:
    with (
        Trainer(CONFIG, random_parameters(MODEL), DATA, device="emulator:h99") as run,
        pytest.raises(TrainingError, match="h99"),
    ):
        list(run.run())


def test_a_folder_without_room(device_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with trainer(device_name, state_folder=tmp_path) as run:
        assert next(run.run())
        assert list(tmp_path.iterdir()) == []
    full = os.statvfs_result((4096, 4096, 100, 1, 1, 10, 10, 10, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: full)
    with pytest.raises(aneperf.ArgumentError, match=r"takes \d+ MiB, and .* has 0 MiB free: name a folder"):
        trainer(device_name)


def test_an_infinite_gradient_skips_the_update(device_name: str) -> None:
    config = replace(CONFIG, steps=3, loss_scale=1e30)
    with trainer(device_name, config) as run:
        before = copied(run.parts["parameters"])
        (batch,) = (event for event in run.run() if isinstance(event, BatchDone))
        assert not batch.update.applied
        assert run.state.loss_scale == 5e29
        for name, value in run.parts["parameters"].items():
            np.testing.assert_array_equal(value, before[name])
