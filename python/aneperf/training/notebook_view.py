"""A run's progress in a notebook, where it was given no other observer."""

from .. import notebook
from .events import Event, Observer, RunStarted, StepDone


def notebook_view() -> Observer | None:
    """Return what draws a bar of the steps in a notebook; None elsewhere."""
    bar = notebook.bar()
    if bar is None:
        return None
    first = total = 0

    def show(event: Event) -> None:
        nonlocal first, total
        if isinstance(event, RunStarted):
            first, total = event.first_step, event.config.steps
            bar.show(0, total - first, "steps; a worker starts")
        elif isinstance(event, StepDone):
            bar.show(event.step + 1 - first, total - first, f"steps; loss {event.loss:.3f}")

    return show
