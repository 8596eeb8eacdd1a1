"""The table of a training run: the time and rate of a step's components."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from .columns import UNKNOWN, significant
from .energy_table import energy_line
from .result_table import heading
from .table import Table

if TYPE_CHECKING:
    from ..training.result import TrainingResult

_LEGEND = (
    "Means over the steps. dw, the gradients of weights, runs in parallel and is not in the sum; cblas_wait "
    "is the wait for it. other: Python between the components."
)


def lay_out_training(result: TrainingResult) -> Table:
    """Lay out the components of both phases with their shares of a step, and the totals below."""
    config = result.config
    title = f"aneperf train {result.model}, pipeline {config.pipeline}"
    return Table(
        heading=heading(f"{title}, as published" if config.as_published else title, result.environment),
        header=("Component", "Forward (ms)", "Backward (ms)", "Both (ms)", "Share") if result.times else (),
        align=("left", "right", "right", "right", "right"),
        rows=tuple(_components(result)),
        lines=(*((_legend(result), "") if result.times else ()), *_totals(result), *result.notes),
        paths=tuple(_checkpoints(result)),
        width=100,
    )


def _components(result: TrainingResult) -> list[tuple[str, ...]]:
    """Make rows of means in ms, which add up to the step's; dw is not in the sum."""
    steps = result.times
    if not steps:
        return []

    def mean(values: Iterable[float]) -> float:
        return sum(values) / len(steps)

    def row(name: str, forward: float, backward: float, other: float = 0.0) -> tuple[str, ...]:
        both = forward + backward + other
        return name, f"{forward:.3f}", f"{backward:.3f}", f"{both:.3f}", f"{both / wall:.1%}"

    def without_phase(name: str, value: float, share: str) -> tuple[str, ...]:
        return name, "", "", f"{value:.3f}", share

    wall, other = mean(step.wall for step in steps), mean(step.other for step in steps)
    names = steps[0].forward
    forward = {name: mean(step.forward[name] for step in steps) for name in names}
    backward = {name: mean(step.backward[name] for step in steps) for name in names}
    told = []
    if (allreduce := result.allreduce) is not None:
        told = [without_phase("allreduce", allreduce.ms / len(steps), f"{allreduce.hidden_share:.0%} hidden")]
    return [
        *(row(name, forward[name], backward[name]) for name in names),
        without_phase("other", other, f"{other / wall:.1%}"),
        row("step", sum(forward.values()), sum(backward.values()), other),
        without_phase("dw", mean(step.dw for step in steps), UNKNOWN),
        *told,
    ]


def _legend(result: TrainingResult) -> str:
    if result.allreduce is None:
        return _LEGEND
    return (
        f"{_LEGEND} allreduce, the sums of gradients over {result.ranks} ranks, is not in the sum either: an "
        "update's time is divided by its steps, and hidden as far as steps were running. All times are of "
        "one rank."
    )


def _totals(result: TrainingResult) -> list[str]:
    """Write the totals that the published training prints at its end, and those it leaves out."""
    wall = result.seconds * 1e3
    batches = len(result.batches)
    lines = [
        f"Total steps: {len(result.losses)}" + (f" of {result.ranks} ranks" if result.ranks > 1 else ""),
        f"Wall time: {wall:.0f} ms ({result.seconds:.1f} s)",
    ]
    if not batches:  # a resumed run may have an evaluation left and nothing else
        saving = [_spent("Checkpoints", result.checkpoint_ms, wall)] if result.checkpoint_ms else []
        return [*lines, *saving, *_evaluation_times(result, wall), *_validation(result)]
    update = sum(batch.update_ms for batch in result.batches)
    staging = sum(batch.staging_ms for batch in result.batches)
    compiled = sum(batch.kernels > 0 for batch in result.batches)
    measured = result.compile_ms + result.train_ms + result.checkpoint_ms + result.evaluation_ms
    rest = max(0.0, wall - measured)
    lost = f", {len(result.lost)} of them lost" if result.lost else ""
    share = result.utilization
    of_peak = "unavailable" if share is None else f"{share:.1%} of {result.peak_tflops:g} TFLOPS"
    device = {"ane": "", "emulator": " (emulator)"}.get(result.environment.device, " (stand-in)")
    device += " of one rank" if result.ranks > 1 else ""
    flops, averaged = result.flops, result.averaged_steps
    last = sum(result.losses[-averaged:]) / averaged
    return [
        *lines,
        _spent("Compile time", result.compile_ms, wall),
        f"{_spent('Train time', result.train_ms, wall)}, updates {update:.0f} ms of it"
        + (f", staging of weights {staging:.0f} ms" if staging else "")
        + (f", exposed allreduce {result.allreduce.exposed_ms:.0f} ms" if result.allreduce else ""),
        *_allreduce(result),
        _spent("Checkpoints", result.checkpoint_ms, wall),
        *_evaluation_times(result, wall),
        f"{_spent('Elsewhere', rest, wall)}, nearly all of it waiting for workers to start"
        + (" and for other ranks" if result.ranks > 1 else ""),
        f"Avg compile: {result.compile_ms / compiled:.0f} ms per batch"
        + ("" if compiled == batches else f" with a compile; {compiled} of {batches} had one"),
        f"Avg train: {_per_step(result)} ms/step, {significant(result.tokens_per_s, 4)} tokens/s"
        + (f" of {result.ranks} ranks together" if result.ranks > 1 else ""),
        f"Python's share: {result.python_share or 0:.1%} of train time",
        f"ANE TFLOPS: {significant(result.device_tflops, 3)}{device}, {flops.device / 1e6:,.0f}M FLOPs/step",
        f"Total TFLOPS: {significant(result.total_tflops, 3)}, {flops.total / 1e6:,.0f}M FLOPs/step",
        f"ANE utilization: {of_peak}",
        f"Workers: {result.workers}{lost}",
        f"Loss: {result.losses[0]:.4f} at step {result.first_step}, {last:.4f} over the last {averaged} "
        f"steps; unigram entropy of the data {result.unigram_entropy:.4f}",
        *_validation(result),
        *_energy(result),
    ]


def _per_step(result: TrainingResult) -> str:
    """Write the train time of a step on this rank; one without a step in the run has none."""
    return f"{result.train_ms / len(result.times):.1f}" if result.times else UNKNOWN


def _allreduce(result: TrainingResult) -> list[str]:
    """Say how long an update's gradients were summed over the ranks, and what of it the steps hid."""
    done, updates = result.allreduce, len(result.batches)
    if done is None:
        return []
    return [
        f"Allreduce: {done.ms / updates:.1f} ms an update, {done.hidden_ms / updates:.1f} ms hidden behind "
        f"steps, {done.waited_ms / updates:.1f} ms waiting for slower ranks; "
        f"{done.bytes / 1e6 / updates:.3g} MB, buckets: {done.buckets / updates:g}"
    ]


def _energy(result: TrainingResult) -> list[str]:
    return [] if result.energy is None else [energy_line(result.energy)]


def _spent(what: str, ms: float, wall: float) -> str:
    return f"{what}: {ms:.0f} ms ({ms / wall:.1%})"


def _checkpoints(result: TrainingResult) -> Iterator[str]:
    if result.checkpoint:
        yield f"Checkpoint: {result.checkpoint}"
    if result.best_checkpoint:
        yield f"Best checkpoint: {result.best_checkpoint}"


def _evaluation_times(result: TrainingResult, wall: float) -> list[str]:
    if not result.validations:
        return []
    return [_spent("Evaluation", result.evaluation_ms, wall)]


def _validation(result: TrainingResult) -> list[str]:
    if not result.validations:
        return []
    last = result.validations[-1]
    return [
        f"Validation loss: {last.loss:.4f} at step {last.step}, mean of {last.sequences} sequences; the best "
        f"{last.best_loss:.4f} at step {last.best_step}"
    ]
