"""A run's progress in a notebook, where it was given no other observer."""

from .. import notebook
from .events import Event, Observer, RunStarted, StepDone


def notebook_view() -> Observer | None:
    """Return what draws a bar of the steps in a notebook; None elsewhere."""
    bar = notebook.bar()
    if bar is None:
        return None
    began: RunStarted | None = None

    def show(event: Event) -> None:
        nonlocal began
        if isinstance(event, RunStarted):
            began = event
            bar.show(0, began.config.steps - began.first_step, "steps; a worker starts")
        elif isinstance(event, StepDone) and began is not None:
            first = began.first_step
            done = began.done_with(event.step) - first
            bar.show(done, began.config.steps - first, f"steps; loss {event.loss:.3f}")

    return show
