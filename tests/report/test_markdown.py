"""Tables as Markdown."""

import pytest

from aneperf.report.markdown import to_markdown
from aneperf.report.result_table import lay_out_result
from aneperf.report.table import Table
from support.fakes import a_result, a_row


def test_a_table_is_markdown() -> None:
    part = Table(("part",), ("A",), ("left",), (("a",),))
    table = Table(
        ("title", "label."),
        ("Name", "ms"),
        ("left", "right"),
        (("x", "1"), ("y", "2")),
        1,
        ("a line",),
        parts=(part,),
    )
    assert to_markdown(table) == (
        "**title**\n\nlabel.\n\n**part**\n\n| A |\n| :-- |\n| a |\n\n"
        "| Name | ms |\n| :-- | --: |\n| x | 1 |\n| **y** | **2** |\n\na line\n"
    )


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a|b", r"a\|b"),
        ("**x** _y_ `z`", r"\*\*x\*\* \_y\_ \`z\`"),
        ("<script>&", "&lt;script&gt;&amp;"),
        ("[a](b)", r"\[a\](b)"),
        ("# a", r"\# a"),
        ("1. a", r"1\. a"),
        ("- a", r"\- a"),
        ("1.5 ms", "1.5 ms"),
        ("a\nb\x1b", "a b\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_no_text_becomes_markup(text: str, escaped: str) -> None:
    assert to_markdown(Table((text,), (), (), (), lines=(text,))) == f"**{escaped}**\n\n{escaped}\n"


def test_a_cell_stays_one() -> None:
    table = Table(("t",), ("A", "B"), ("left", "right"), (("a|b", "-"),))
    assert to_markdown(table).splitlines()[-1] == r"| a\|b | - |"


def test_a_result_has_a_row_for_each_of_its_rows() -> None:
    lines = to_markdown(lay_out_result(a_result(a_row(32), a_row(64)))).splitlines()
    assert len({line.count("|") for line in lines if line.startswith("| ")}) == 1
    assert len([line for line in lines if line.startswith("| ")]) == 2 + 2
