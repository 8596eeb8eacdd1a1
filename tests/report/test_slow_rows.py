"""Lint findings for slow rows, by the text of the programs that they measured."""

import pytest

from aneperf.kernels import ConvStack, QuantizedStack
from aneperf.linter import lint
from aneperf.report.page.slow_rows import lay_out_slow
from aneperf.report.page.stack_text import stack_of, stack_text
from support.report_files import stack_row, sweep
from support.saved_results import MAC


@pytest.mark.parametrize(
    "stack",
    [
        ConvStack(64, 3, width=33),
        ConvStack(2048, 1, port_dtype="fp16"),
        QuantizedStack(32, 3, 4, 64),
        QuantizedStack(32, 1),
    ],
    ids=lambda stack: f"{type(stack).__name__} {stack.name}",
)
@pytest.mark.parametrize("chip", ["M1", "M4", "M6"])
def test_the_text_has_the_findings_of_the_program(stack: ConvStack, chip: str) -> None:
    def told(program: object) -> set[tuple[str, str, str]]:
        found = lint(program, chip)  # type: ignore[arg-type]
        return {(finding.op, finding.severity, finding.advice) for finding in found}

    program = stack.build()
    assert told(stack_text(stack)) == told(program.text)
    assert program.text.count("conv(") == stack_text(stack).count("conv(")


def test_slow_rows_are_explained() -> None:
    rows = (stack_row(512, 8, 0.1), stack_row(4096, 1, 100.0), stack_row(520, 8, 0.11))
    table = lay_out_slow(sweep(*rows, environment=MAC))
    assert table is not None
    assert all("1x conv 4096ch sp64 (" in named for _, _, named in table.rows)
    assert any("near a multiple of 1 MiB" in advice for _, advice, _ in table.rows)
    assert "those of lint for Apple M4 Max" in table.lines[0]


def test_a_doubtful_row_sets_no_standard() -> None:
    fast = stack_row(512, 8, 0.001, flags=("drift",))
    rows = (stack_row(512, 16, 0.1), stack_row(4096, 1, 0.5))
    assert lay_out_slow(sweep(*rows, environment=MAC)) is None
    assert lay_out_slow(sweep(fast, *rows, environment=MAC)) is None
    assert lay_out_slow(sweep(stack_row(512, 8, 0.001), *rows, environment=MAC)) is not None


def test_nothing_is_said_without_slow_rows_or_a_known_chip() -> None:
    assert lay_out_slow(sweep(stack_row(512, 8, 0.1), environment=MAC)) is None
    rows = (stack_row(512, 8, 0.1), stack_row(4096, 1, 100.0))
    unknown = MAC.__class__(**{**MAC.to_dict(), "chip": "M99"})
    assert lay_out_slow(sweep(*rows, environment=unknown)) is None


@pytest.mark.parametrize(
    "params", [{"channels": 10**9}, {"depth": 10**6}, {"height": "1"}, {"width": 0.5}, {"channels": -1}]
)
def test_sizes_that_no_program_has_are_left_out(params: dict[str, object]) -> None:
    assert stack_of(stack_row(512, 8, 1.0, params=params)) is None
