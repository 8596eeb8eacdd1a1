"""The text form of tables: in a pipe, and in terminals of some widths."""

import pytest

from aneperf.report.result_table import lay_out_result
from aneperf.report.table import Line, Table, draw, to_text
from support.fakes import a_result, a_row, an_environment

REMARK = "a remark of several words"
TABLE = Table(
    heading=("title",),
    header=("Name", "Fact", "Time", ""),
    align=("left", "right", "right", "left"),
    rows=(("first", "12345678", "1.5", REMARK), ("second", "1", "20.5", "")),
    best=1,
    lines=("word " * 30,),
    spare=(1,),
)


def test_without_a_terminal_a_row_is_one_line_and_texts_are_folded() -> None:
    long = (*TABLE.rows[0][:-1], REMARK * 9)
    lines = to_text(Table(**{**vars(TABLE), "rows": (long,)})).splitlines()
    assert lines[4] == f"first  12345678   1.5 {REMARK * 9}"
    assert max(map(len, lines[5:])) <= TABLE.width


def test_numbers_are_aligned_under_their_titles() -> None:
    assert to_text(TABLE).splitlines()[2:6] == [
        "Name        Fact  Time",
        "─" * 48,
        f"first   12345678   1.5 {REMARK}",
        "second         1  20.5",
    ]


@pytest.mark.parametrize(
    ("columns", "lines"),
    [
        (48, [f"first   12345678   1.5 {REMARK}"]),
        (40, [f"first    1.5 {REMARK}"]),
        (30, ["first    1.5 a remark of", "             several words"]),
    ],
)
def test_a_narrow_terminal_gets_no_spare_columns_and_folded_remarks(columns: int, lines: list[str]) -> None:
    text = to_text(TABLE, columns).splitlines()
    assert max(map(len, text)) <= columns
    place = text.index(lines[0])
    assert text[place : place + len(lines)] == lines


def test_names_are_folded_where_nothing_else_helps() -> None:
    table = Table(
        ("t",), ("Name", "A", ""), ("left", "right", "left"), (("a name of some words", "1", "UNCLEAR"),)
    )
    lines = to_text(table, 25).splitlines()
    assert lines[3:6] == ["─" * 25, "a name of some  1 UNCLEAR", "words"]
    assert max(map(len, lines)) <= 25


def test_a_terminal_too_narrow_for_the_numbers_loses_none() -> None:
    text = " ".join(to_text(TABLE, 8).split())
    for word in ("first", "20.5", *REMARK.split()):
        assert word in text


def test_long_names_are_folded_in_a_terminal() -> None:
    rows = ((f"{'long ' * 12}name", "ok"), ("short", "ok"))
    table = Table(heading=("t",), header=("Name", ""), align=("left", "left"), rows=rows)
    lines = to_text(table, 40).splitlines()
    assert max(map(len, lines)) <= 40
    assert " ".join(" ".join(lines).split()).count("long") == 12


def test_wide_characters_take_two_columns() -> None:
    table = Table(
        heading=("t",), header=("Name", "N"), align=("left", "right"), rows=(("測定", "1"), ("ab", "2"))
    )
    assert to_text(table).splitlines()[4:6] == ["測定  1", "ab    2"]


def test_styles_name_the_title_and_the_best_row() -> None:
    lines = list(draw(TABLE, 80))
    assert lines[0] == Line("title", "bold")
    assert [line.text.split()[0] for line in lines if line.style == "bold green"] == ["second"]


def test_ascii_has_no_other_signs() -> None:
    result = a_result(a_row(), notes=("Throughput over time: ▁▄█. 2 × 3 ≥ 4",))
    text = to_text(lay_out_result(result), ascii=True)
    assert text.isascii()
    assert "Throughput over time: 148. 2 x 3 >= 4" in text
    assert "  +/-" in text
    header, rule = (text.splitlines()[place] for place in (3, 4))
    assert header.startswith("Config")
    assert set(rule) == {"-"}


def test_a_table_of_a_probe_fits_80_columns() -> None:
    slow = a_row(128, median=12345.678, p95=None, ci_high=None, ci_low=None, flags=("few samples", "noisy"))
    words = a_row(64, status="unsupported", reason="the compiler says " + "no " * 100)
    cpu = "Intel(R) Xeon(R) Platinum 8488C CPU @ 2.70GHz with a long name for its model"
    table = lay_out_result(a_result(slow, words, environment=an_environment(cpu=cpu)))
    for text in (to_text(table), to_text(table, 80)):
        assert max(map(len, text.splitlines())) <= 80
        assert "\x1b" not in text
        assert text.count("no ") + text.count("no\n") >= 100
        assert " ".join(text.split()).count(cpu) == 1


def test_a_path_is_not_folded() -> None:
    path = "Checkpoint: /" + "a long folder/" * 12 + "step\n"
    table = Table(heading=("title",), header=(), align=(), rows=(), lines=("word " * 30,), paths=(path,))
    folded, whole = to_text(table).split("\n")[-2:]
    assert len(folded) <= table.width
    assert whole == path.replace("\n", " ")
