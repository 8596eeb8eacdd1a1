"""Validation losses: on which sequences, after which updates, and the best checkpoint by them."""

import itertools
import json
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import aneperf
from aneperf.report.plots import draw_losses
from aneperf.schema import check_numbers
from aneperf.training.checkpoint import CheckpointError, Checkpoints, load_model
from aneperf.training.data import TokenFile
from aneperf.training.evaluation import Evaluation
from aneperf.training.events import BatchDone, Evaluated, Event, KernelsCompiled, StepDone
from aneperf.training.run_checkpoints import RunCheckpoints, Saving, best_checkpoints, with_step
from aneperf.training.state import RunState
from aneperf.training.trace import ROWS
from aneperf.training.trainer import Trainer
from support.small_model import loss
from support.training_runs import CONFIG, DATA, MODEL, described, random_parameters, worker_pid


@pytest.fixture
def held_out(tmp_path: Path) -> Path:
    """Return a file of tokens that are not trained on."""
    path = tmp_path / "held_out.bin"
    np.random.default_rng(1).integers(0, 8, 100).astype("<u2").tofile(path)
    return path


def opened(path: Path) -> TokenFile:
    return TokenFile(path, MODEL.vocab, MODEL.seq, seed=0)


def test_the_sequences_are_spread_over_the_file(held_out: Path) -> None:
    tokens = np.fromfile(held_out, "<u2")
    for asked, begins in ((1, [0]), (2, [0, 83]), (4, [0, 27, 55, 83]), (20, [0, 16, 33, 49, 66, 83])):
        evaluation = Evaluation(opened(held_out), sequences=asked, every=3)
        assert len(evaluation) == len(begins)
        for found, begin in zip(evaluation, begins, strict=True):
            np.testing.assert_array_equal(found, tokens[begin : begin + 17])
    assert evaluation.description.startswith("6 sequences of 100 tokens, SHA-256 ")
    assert [update for update in range(1, 9) if evaluation.is_due(update, 8)] == [3, 6, 8]
    (held_out.parent / "short").write_bytes(held_out.read_bytes()[:34])
    assert len(Evaluation(opened(held_out.parent / "short"), sequences=20, every=1)) == 1


@pytest.mark.parametrize("pipeline", ["static", "static-ane", "dynamic"])
def test_a_validation_loss_is_that_of_the_model_and_changes_no_bit(
    train: Any, held_out: Path, pipeline: str
) -> None:
    events: list[Event] = []
    plain = train(pipeline=pipeline, steps=6)
    options = {"eval_data": held_out, "eval_every": 1, "progress": events.append}
    result = train(pipeline=pipeline, steps=6, **options)
    assert result.losses == plain.losses
    assert [v.step for v in result.validations] == [3, 6]
    sequences = list(Evaluation(opened(held_out), sequences=20, every=1))
    expected = np.mean([loss(result.parameters, MODEL, tokens) for tokens in sequences])
    assert result.validations[-1].loss == pytest.approx(expected, rel=1e-3)
    assert [v.sequences for v in result.validations] == [6, 6]
    # A compile for an evaluation serves the next batch, which counts it.
    assert [batch.kernels for batch in result.batches] == [batch.kernels for batch in plain.batches]
    last_batch = max(i for i, event in enumerate(events) if isinstance(event, BatchDone))
    compiled = [event for event in events[last_batch:] if isinstance(event, KernelsCompiled)]
    assert len(compiled) == 1
    times = [0, compiled[0].compile_ms + compiled[0].staging_ms]
    assert [validation.compile_ms for validation in result.validations] == times
    spans = [(e.begin, e.end) for e in events if isinstance(e, StepDone | BatchDone | Evaluated)]
    assert spans == sorted(spans)
    assert all(one[1] <= other[0] for one, other in pairwise(spans))


def test_the_best_state_is_kept_beside_the_last(train: Any, held_out: Path, tmp_path: Path) -> None:
    folder = tmp_path / "c"
    (folder / "best").mkdir(parents=True)
    (folder / "best" / "notes").touch()
    options = {"eval_data": held_out, "eval_every": 1, "learning_rate": 3e-2, "steps": 21}
    result = train(**options, checkpoints=folder)
    losses = [v.loss for v in result.validations]
    best = 3 * (1 + int(np.argmin(losses)))
    assert 3 < best < 21
    record = Checkpoints(folder / "best").record()
    assert (record.step, record.best_step, record.best_loss) == (best, best, min(losses))
    assert result.best_checkpoint == folder / "best" / f"step-{best:08d}"
    assert result.checkpoint == folder / "step-00000021"
    assert sorted(p.name for p in (folder / "best").iterdir()) == ["notes", f"step-{best:08d}"]
    assert Checkpoints(folder).steps() == [18, 21]
    config, parameters = load_model(folder / "best")
    windows = Evaluation(opened(held_out), sequences=20, every=1)
    found = np.mean([loss(parameters, config, tokens) for tokens in windows])
    assert found == pytest.approx(min(losses), rel=1e-3)
    text = str(result)
    assert f"Validation loss: {losses[-1]:.4f} at step 21, mean of 6 sequences; the best" in text
    assert text.endswith(f"Best checkpoint: {result.best_checkpoint}")


def test_a_resumed_run_keeps_the_best_so_far(train: Any, held_out: Path, tmp_path: Path) -> None:
    options = {"eval_data": held_out, "eval_every": 1, "learning_rate": 3e-2, "steps": 21}
    whole = train(**options)

    def progress(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 19:
            os.kill(os.getpid(), signal.SIGTERM)

    folder = tmp_path / "c"
    first = train(**options, checkpoints=folder, progress=progress)
    rest = aneperf.train(checkpoints=folder, resume=True)
    found = [(v.step, v.loss, v.best_step) for v in first.validations + rest.validations]
    assert found == [(v.step, v.loss, v.best_step) for v in whole.validations]
    assert whole.validations[-1].best_step < 18
    assert rest.best_checkpoint is None
    assert Checkpoints(folder / "best").steps() == [whole.validations[-1].best_step]
    with pytest.raises(CheckpointError, match=r"eval_data is '5 seq.* of 100 tokens.*', was '6 sequences of"):
        train(**options | {"steps": 24}, eval_sequences=5, checkpoints=folder, resume=True)
    with pytest.raises(aneperf.ArgumentError, match="has checkpoints, the last of step 21: resume, or name"):
        train(checkpoints=folder)


def test_a_worker_lost_before_an_evaluation_is_replaced(device_name: str, held_out: Path) -> None:
    config = replace(CONFIG, steps=6)

    def validations(kill: bool) -> list[tuple[int, float]]:
        evaluation = Evaluation(opened(held_out), sequences=4, every=2)
        found = []
        with Trainer(
            config, random_parameters(MODEL), DATA, device=device_name, evaluation=evaluation
        ) as run:
            for event in run.run():
                if isinstance(event, BatchDone) and kill:
                    os.kill(worker_pid(run), signal.SIGKILL)
                if isinstance(event, Evaluated):
                    found.append((event.step, event.loss))
        return found

    expected = validations(kill=False)
    assert [step for step, _ in expected] == [6]
    assert validations(kill=True) == expected


class Killed(BaseException):
    """Ends a run as SIGKILL does: nothing is saved any more."""


def found(validations: list[Evaluated]) -> list[tuple[Any, ...]]:
    return [(v.step, v.loss, v.best_loss, v.best_step, v.is_best) for v in validations]


def test_a_killed_run_continues_with_the_validation_that_is_due(
    train: Any, held_out: Path, tmp_path: Path, thorough: bool
) -> None:
    """Kill a run after each event of its first updates, and of its end."""
    options = {"eval_data": held_out, "eval_every": 1, "learning_rate": 3e-2, "steps": 4}
    events: list[Event] = []
    whole = train(**options, checkpoints=tmp_path / "whole", progress=events.append)
    names = [type(event).__name__ for event in events]
    boundaries = range(names.index("CheckpointSaved"), len(events))
    for last in boundaries if thorough else boundaries[-4::2]:
        count = itertools.count()

        def progress(event: Event, count: Iterator[int] = count, last: int = last) -> None:
            if next(count) == last:
                raise Killed

        folder = tmp_path / f"{last}"
        with pytest.raises(Killed):
            train(**options, checkpoints=folder, progress=progress)
        record = with_step(folder, None).record()
        done = record.step == options["steps"] and record.evaluated == record.step
        if not done:
            rest = aneperf.train(checkpoints=folder, resume=True)
            assert found(rest.validations) == found(
                [v for v in whole.validations if v.step > record.evaluated]
            )
        for place in (Checkpoints(folder), best_checkpoints(folder)):
            there = Checkpoints(tmp_path / "whole" / place.folder.relative_to(folder))
            assert (end := place.record()).step == there.record().step
            assert (end.evaluated, end.best_loss, end.best_step, end.sha256) == (
                *(there.record().evaluated, there.record().best_loss, there.record().best_step),
                there.record().sha256,
            )


@pytest.mark.parametrize("batch", [0, 1])
def test_a_validation_that_a_signal_prevented_is_the_first_thing_of_the_resumed_run(
    train: Any, held_out: Path, tmp_path: Path, batch: int
) -> None:
    """Also where nothing else is left to do: the last batch is short, and no further one begins after it."""
    options = {"eval_data": held_out, "eval_every": 1, "steps": 4}
    whole = train(**options)

    def progress(event: Event) -> None:
        if isinstance(event, BatchDone) and event.batch == batch:
            os.kill(os.getpid(), signal.SIGTERM)

    first = train(**options, checkpoints=tmp_path, progress=progress)
    assert first.end_step == [3, 4][batch]
    rest = aneperf.train(checkpoints=tmp_path, resume=True)
    assert found(first.validations + rest.validations) == found(whole.validations)
    assert rest.losses == whole.losses[first.end_step :]
    assert f"Validation loss: {whole.validations[-1].loss:.4f} at step 4" in str(rest)
    with pytest.raises(CheckpointError, match="step 4 has the 4 steps of this run: ask for more"):
        aneperf.train(checkpoints=tmp_path, resume=True)
    assert Checkpoints(tmp_path).record().evaluated == 4


def test_a_run_that_goes_back_knows_the_best_of_that_step(train: Any, held_out: Path, tmp_path: Path) -> None:
    options = {"eval_data": held_out, "eval_every": 1, "learning_rate": 3e-2, "steps": 9}
    whole = train(**options, keep=3, checkpoints=tmp_path)
    assert whole.validations[-1].best_step > 3
    rest = aneperf.train(checkpoints=tmp_path, resume=3)
    assert found(rest.validations) == found(whole.validations[1:])


@pytest.mark.parametrize("keep", [1, 3])
def test_the_best_of_an_abandoned_continuation_makes_way(tmp_path: Path, keep: int) -> None:
    values = {name: abs(value) for name, value in random_parameters(MODEL).items()}
    parts = {"parameters": values, "mean": values, "variance": values}
    run = replace(described(CONFIG), evaluation="6 sequences")

    def save(step: int, best_step: int) -> None:
        state = RunState(1.0, step, 1, evaluated=step, best_loss=1.0, best_step=best_step)
        checkpoints = RunCheckpoints(
            Saving(folder=str(tmp_path), run=run, keep=keep, minutes=0, first_step=0)
        )
        if step == best_step:
            checkpoints.save_best(state, parts, 1.0)
        checkpoints.save(state, parts, 1.0)

    for step, best_step in ((3, 3), (6, 3), (9, 9)):
        save(step, best_step)
    best = best_checkpoints(tmp_path)
    assert best.steps() == [9]
    save(6, 3)  # resumed after step 3
    assert best.steps() == ([3] if keep == 3 else [])
    assert Checkpoints(tmp_path).steps() == ([3, 6] if keep == 3 else [6])


def test_a_run_without_validation_in_between_knows_the_best(
    train: Any, held_out: Path, tmp_path: Path
) -> None:
    options = {"eval_data": held_out, "eval_every": 1, "learning_rate": 3e-2}
    first = train(**options, steps=3, checkpoints=tmp_path)
    aneperf.train(checkpoints=tmp_path, resume=True, steps=6, eval_data=None)
    assert Checkpoints(tmp_path).record().best_loss is None
    rest = aneperf.train(
        checkpoints=tmp_path, resume=True, steps=9, eval_data=held_out, eval_every=1, eval_sequences=20
    )
    best = min([*first.validations, *rest.validations], key=lambda validation: validation.loss)
    assert [v.step for v in rest.validations] == [6, 9]
    assert (rest.validations[-1].best_step, rest.validations[-1].best_loss) == (best.step, best.loss)
    assert rest.validations[0].is_best == (rest.validations[0].loss < first.validations[0].loss)


def test_a_signal_when_nothing_is_left_interrupts_nothing(train: Any, held_out: Path, tmp_path: Path) -> None:
    def progress(event: Event) -> None:
        if isinstance(event, Evaluated) and event.step == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    result = train(steps=6, eval_data=held_out, eval_every=1, checkpoints=tmp_path, progress=progress)
    assert (result.end_step, result.interrupted) == (6, False)


def test_the_best_is_written_once_and_resumed_from_the_folder_of_its_run(
    train: Any, held_out: Path, tmp_path: Path
) -> None:
    options = {"eval_data": held_out, "eval_every": 1, "learning_rate": 3e-2, "checkpoint_every": 10}
    folder = tmp_path / "c"
    train(**options, steps=6, checkpoints=folder)
    last, best = (place.path(6) for place in (Checkpoints(folder), best_checkpoints(folder)))
    assert [name for name in sorted(os.listdir(best)) if (best / name).samefile(last / name)] == [
        "arrays.safetensors"
    ]
    for place in (folder / "best", best, best / "new"):
        for resume in (False, True):
            with pytest.raises(aneperf.ArgumentError, match=r"belongs to the run in .*: resume that one"):
                train(checkpoints=place, resume=resume)
    shutil.rmtree(last)
    assert aneperf.train(checkpoints=folder, resume=6, steps=9).first_step == 6
    shutil.rmtree(folder / "step-00000009")
    shutil.copytree(folder / "best", tmp_path / "best")
    assert aneperf.train(checkpoints=tmp_path / "best", resume=True, steps=12).end_step == 12


def test_a_damaged_best_is_no_obstacle(train: Any, held_out: Path, tmp_path: Path) -> None:
    options = {"eval_data": held_out, "eval_every": 1, "learning_rate": 3e-2}
    train(**options, steps=3, checkpoints=tmp_path)
    (tmp_path / "best" / "step-00000003" / "checkpoint.json").write_text("{")
    rest = aneperf.train(checkpoints=tmp_path, resume=True, steps=6)
    assert [(v.step, v.is_best) for v in rest.validations] == [(6, True)]
    assert best_checkpoints(tmp_path).record().best_step == 6


@pytest.mark.parametrize(("at", "number"), [(BatchDone, 1), (KernelsCompiled, 6)])
def test_a_signal_before_an_evaluation_or_in_it_ends_the_run(
    train: Any, held_out: Path, tmp_path: Path, at: type[Event], number: int
) -> None:
    def progress(event: Event) -> None:
        if isinstance(event, at) and getattr(event, "batch", getattr(event, "step", None)) == number:
            os.kill(os.getpid(), signal.SIGTERM)

    folder = tmp_path / "c"
    result = train(eval_data=held_out, eval_every=1, checkpoints=folder, progress=progress)
    assert (result.end_step, [v.step for v in result.validations]) == (6, [3])
    assert Checkpoints(folder).steps()[-1] == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eval_data": "none"}, "none: cannot read: No such file"),
        ({"eval_data": "held_out.bin", "eval_every": 0}, "eval_every must be an integer from 1 to 99999999"),
        ({"eval_data": "held_out.bin", "eval_sequences": -1}, "eval_sequences must be an integer from 1"),
        ({"eval_every": 5}, r"eval_every needs eval_data \(--eval-data\)"),
        ({"eval_data": "short.bin"}, "short.bin has 16 tokens; sequences of 16 need at least 17"),
        ({"eval_data": "held_out.bin", "telemetry": "held_out.bin"}, "is also read, as eval_data"),
        ({"eval_data": "held_out.bin", "checkpoints": "taken"}, "taken/best is not a folder"),
    ],
)
def test_what_cannot_be_validated(
    train: Any,
    held_out: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    message: str,
) -> None:
    monkeypatch.chdir(held_out.parent)
    Path("short.bin").write_bytes(bytes(32))
    Path("taken").mkdir()
    Path("taken/best").write_text("mine")
    with pytest.raises(aneperf.AneError, match=message):
        train(**options)
    assert sorted(str(path) for path in Path().rglob("*")) == [
        *("held_out.bin", "short.bin", "taken", "taken/best")
    ]


def test_a_validation_loss_is_in_everything_that_records_a_run(
    train: Any, held_out: Path, tmp_path: Path
) -> None:
    log, trace, output = tmp_path / "log", tmp_path / "trace", tmp_path / "result"
    result = train(steps=6, eval_data=held_out, eval_every=1, telemetry=log, trace=trace, output=output)
    told = [line for line in map(json.loads, log.read_text().splitlines()) if line["type"] == "validation"]
    assert [line["step"] for line in told] == [3, 6]
    for line, found in zip(told, result.validations, strict=True):
        assert line["loss"] == pytest.approx(found.loss, abs=1e-6)
        assert (line["sequences"], line["best_step"]) == (6, found.best_step)
    events = json.loads(trace.read_text())["traceEvents"]
    spans = [event for event in events if event["ph"] == "X" and event["tid"] == ROWS.index("evaluation")]
    assert [(event["name"], event["args"]["loss"]) for event in spans] == [
        (f"step {found.step}", found.loss) for found in result.validations
    ]
    saved = aneperf.Result.load(output)
    check_numbers(saved)
    (row,) = (row for row in saved if row.key.endswith("/evaluation"))
    assert row.metrics["validation_loss"] == result.validations[-1].loss
    assert row.n == 2
    pytest.importorskip("matplotlib")
    draw_losses(result, tmp_path / "curve.svg")
    assert "<!-- validation -->" in (tmp_path / "curve.svg").read_text()


def test_a_folder_of_the_best_that_is_a_link_leads_to_no_write(
    train: Any, held_out: Path, tmp_path: Path
) -> None:
    """Checkpoints may come from anyone, and the best before is deleted."""
    options = {"eval_data": held_out, "eval_every": 1, "learning_rate": 3e-2}
    folder, other = tmp_path / "c", tmp_path / "other"
    train(**options, steps=3, checkpoints=folder)
    (folder / "best").rename(other)
    (folder / "best").symlink_to(other)
    for resume in (False, True):
        with pytest.raises(CheckpointError, match="best: is a link, and a run writes nowhere but in its own"):
            aneperf.train(checkpoints=folder, resume=resume, steps=6)
    assert Checkpoints(other).steps() == [3]
    (folder / "best").unlink()
    assert aneperf.train(checkpoints=folder, resume=True, steps=6).end_step == 6
