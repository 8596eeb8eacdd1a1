"""The progress bar of a notebook, on a stand-in of IPython."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from aneperf import notebook
from aneperf.probes import peak
from aneperf.runner.progress import Progress, reporter
from aneperf.training.events import RunStarted, StepDone
from aneperf.training.notebook_view import notebook_view
from support.fakes import FakeDevice, FakeStack, run_probe


class Display:
    """Collect what a cell's output shows over time."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.html: list[str] = []

    def __call__(self, content: dict[str, str], *, raw: bool, display_id: bool) -> "Display":
        assert raw
        assert display_id
        self.update(content, raw=raw)
        return self

    def update(self, content: dict[str, str], *, raw: bool) -> None:
        self.shown.append(content["text/plain"])
        self.html.append(content["text/html"])


def with_ipython(monkeypatch: pytest.MonkeyPatch, shell: object) -> Display:
    display = Display()
    ipython, module = ModuleType("IPython"), ModuleType("IPython.display")
    vars(ipython)["get_ipython"] = lambda: shell
    vars(module)["display"] = display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    return display


@pytest.fixture
def display(monkeypatch: pytest.MonkeyPatch) -> Display:
    return with_ipython(monkeypatch, SimpleNamespace(kernel=object()))


@pytest.mark.parametrize("shell", [None, SimpleNamespace()], ids=["script", "terminal's prompt"])
def test_there_is_no_bar_outside_of_a_notebook(monkeypatch: pytest.MonkeyPatch, shell: object) -> None:
    with_ipython(monkeypatch, shell)
    assert notebook.bar() is None
    assert notebook_view() is None
    monkeypatch.delitem(sys.modules, "IPython")
    assert notebook.bar() is None


def test_a_probe_shows_its_rows_and_leaves_nothing(display: Display) -> None:
    device = FakeDevice()
    run_probe(peak.peak, device, configs=[FakeStack(channels=4, depth=depth, width=4) for depth in (1, 2)])
    assert display.shown == ["0 of 2: 1x conv 4ch sp4", "1 of 2: 2x conv 4ch sp4", ""]


def test_another_callback_takes_the_place_of_the_bar(display: Display) -> None:
    steps: list[Progress] = []
    reporter(steps.append)(Progress(0, 1, "x"))
    assert len(steps) == 1
    assert display.shown == []


def test_many_reports_of_one_count_are_drawn_now_and_then(
    display: Display, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(notebook, "time", SimpleNamespace(monotonic=lambda: now[0]))
    bar = notebook.bar()
    assert bar is not None
    for tick in range(50):
        now[0] = tick / 100
        bar.show(0, 3, f"<b>{tick}")
    assert len(display.shown) == 5
    assert "&lt;b&gt;0" in display.html[0]
    assert "<b>" not in "".join(display.html)


def test_training_shows_its_steps(display: Display) -> None:
    show = notebook_view()
    assert show is not None
    events: list[Any] = [
        RunStarted.__new__(RunStarted),
        *(StepDone(step, 2.5, *[None] * 4) for step in (4, 5)),  # type: ignore[arg-type]
    ]
    vars(events[0]).update(first_step=4, ranks=None, config=SimpleNamespace(steps=6, accumulation=10))
    for event in events:
        show(event)
    assert display.shown == ["0 of 2: steps; a worker starts", "1 of 2: steps; loss 2.500", ""]
