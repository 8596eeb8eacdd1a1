"""The events of a run on several ranks, made from those of a run in one process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from aneperf.runner.ranks import Ranks
from aneperf.training.events import BatchDone, Communication, Event, RunStarted, StepDone
from support.fakes import an_environment

MS = 1_000_000


def two_ranks(*hosts: str) -> Ranks:
    hosts = hosts or ("studio", "studio")
    return Ranks(hosts, tuple(an_environment() for _ in hosts), "Open MPI v5.0.11")


def exchange(done: BatchDone, ranks: int = 2) -> Communication:
    """Return an exchange in two buckets that overlap: 10 ms, of which the last step hides 6 ms."""
    end = done.steps[-1].end
    spans = (("bucket 0", end - 6 * MS, end - 2 * MS), ("bucket 1", end - 3 * MS, end + 4 * MS))
    losses = [step.loss + rank for step in done.steps for rank in range(ranks)]
    return Communication(ranks, 4_000_000, losses, spans, end, end + 4 * MS, waited_ms=1.0)


def on_ranks(events: Iterable[Event], ranks: Ranks | None = None) -> Iterator[Event]:
    """Yield what rank 0 of two would tell: it does the first of every two steps, and knows all losses."""
    ranks = ranks or two_ranks()
    for event in events:
        if isinstance(event, RunStarted):
            steps, accumulation = 2 * event.config.steps, 2 * event.config.accumulation
            config = replace(event.config, steps=steps, accumulation=accumulation)
            yield replace(event, config=config, ranks=ranks, environment=ranks.environment())
        elif isinstance(event, StepDone):
            yield replace(event, step=2 * event.step)
        elif isinstance(event, BatchDone):
            done = replace(event, steps=[replace(step, step=2 * step.step) for step in event.steps])
            yield replace(done, communication=exchange(done))
        else:
            yield event
