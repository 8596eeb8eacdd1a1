"""Measured rows beside predictions, in a report."""

import msgspec

from aneperf.kernels import ConvStack
from aneperf.kinds import Kind
from aneperf.prediction.stack import predict_stack
from aneperf.report.page.build import make_report
from aneperf.report.page.predicted import lay_out_predicted
from support.report_files import stack_row, sweep
from support.saved_results import MAC


def test_a_row_far_from_its_prediction_is_a_finding() -> None:
    expected = predict_stack(ConvStack(512, 8), "M4 Max").value
    rows = (stack_row(512, 8, expected), stack_row(512, 16, 40.0))
    table = lay_out_predicted(sweep(*rows, environment=MAC))
    assert table is not None
    first, second = table.rows
    assert first[4:] == ("1.0 times the prediction", "")
    assert second[5] == "outside"
    assert "16x conv 512ch sp64: measured " in table.lines[0]
    assert "8x conv" not in table.lines[0].replace("16x conv", "")


def test_the_report_has_the_section_for_engines_alone() -> None:
    result = sweep(stack_row(512, 8, 1.0), environment=MAC)
    assert "Measured and predicted" in make_report([result], Kind.MARKDOWN)
    software = sweep(stack_row(512, 8, 1.0))
    assert software.environment.is_software
    assert "Measured and predicted" not in make_report([software], Kind.MARKDOWN)


def test_the_notes_on_the_chip_stand_below() -> None:
    table = lay_out_predicted(
        sweep(stack_row(512, 8, 1.0), environment=msgspec.structs.replace(MAC, chip="A19"))
    )
    assert table is not None
    assert table.lines[-1].startswith("A19: no figure of its engine's times is published")


def test_nothing_is_said_of_an_unknown_chip_or_of_rows_in_error() -> None:
    unknown = msgspec.structs.replace(MAC, chip="M99")
    assert lay_out_predicted(sweep(stack_row(512, 8, 1.0), environment=unknown)) is None
    failed = stack_row(512, 8, 1.0, status="error", reason="it failed")
    assert lay_out_predicted(sweep(failed, environment=MAC)) is None
