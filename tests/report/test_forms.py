"""Results as CSV, Markdown and HTML pages, chosen by the name of a file."""

import csv
import io
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from aneperf.errors import ArgumentError, ResultFileError
from aneperf.files import file_kind
from aneperf.kinds import Kind
from aneperf.report.forms import to_csv
from aneperf.results import Result
from support.fakes import a_result, a_row, an_environment

RESULT = a_result(a_row(32), a_row(64, status="error", reason='a "b", c\nd', metrics={"gflop": 2.5}))


@pytest.mark.parametrize(
    ("name", "kind", "part"),
    [
        ("r.csv", Kind.CSV, "peak,peak/conv512x32/sp64/fp32-ports,32x conv 512ch sp64,512,32,ok,,ms,300,1,"),
        ("r.MD", Kind.MARKDOWN, "| **32x conv 512ch sp64** |"),
        ("r.html", Kind.PAGE, ">32x conv 512ch sp64</td>"),
        ("r.json", Kind.RESULT, '"key": "peak/conv512x32/sp64/fp32-ports"'),
        ("r", Kind.RESULT, '"key": "peak/conv512x32/sp64/fp32-ports"'),
    ],
)
def test_a_name_chooses_the_form_and_the_file_is_recognized(
    tmp_path: Path, name: str, kind: Kind, part: str
) -> None:
    path = tmp_path / name
    for _ in range(2):  # it may replace one of its kind
        RESULT.save(path)
    assert part in path.read_text()
    assert "emulator" in path.read_text()
    assert file_kind(path) is kind


@pytest.mark.parametrize("columns", ["key,value", "call,date", "list,price", "fact,source"])
def test_a_table_of_somebody_else_with_a_column_like_ours_stays(tmp_path: Path, columns: str) -> None:
    path = tmp_path / "r.csv"
    path.write_text(f"{columns}\n" + "mine,1\n" * 9)
    with pytest.raises(ResultFileError, match="is there and is"):
        RESULT.save(path)
    assert path.read_text().startswith(columns)


@pytest.mark.parametrize("name", ["r.csv", "r.md", "r.html"])
def test_a_file_of_somebody_else_is_not_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("<html>" if name == "r.html" else "name,value\n" * 9)
    with pytest.raises(ResultFileError, match="is there and is"):
        RESULT.save(tmp_path / name)


def test_csv_has_the_columns_of_all_rows() -> None:
    first, second = csv.DictReader(io.StringIO(to_csv(RESULT.to_dicts())))
    assert (first["median"], first["weights_mib"], first["reason"]) == ("9.871", "64.0", "")
    assert (second["gflop"], second["weights_mib"]) == ("2.5", "")
    assert second["reason"] == 'a "b", c d'


@pytest.mark.parametrize(
    ("value", "cell"), [("=1+1", "'=1+1"), ("@x", "'@x"), ("-1", "'-1"), (-1.5, "-1.5"), ("a\x1b", "a\ufffd")]
)
def test_no_text_is_a_formula(value: object, cell: str) -> None:
    assert to_csv([{"key": value}]).splitlines() == ["key", cell]


def test_a_result_without_rows_is_a_file_of_its_kind(tmp_path: Path) -> None:
    empty = Result(probe="peak", environment=an_environment(), rows=())
    for name in ("r.csv", "r.md", "r.html"):
        for _ in range(2):
            empty.save(tmp_path / name)


def test_values_echo_as_their_table() -> None:
    for value in (RESULT, RESULT.environment, RESULT.compare(RESULT)):
        assert repr(value) == str(value)
        assert "not a Neural Engine measurement" in repr(value)


def test_to_pandas_needs_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ArgumentError, match="to_pandas needs pandas: pip install pandas"):
        RESULT.to_pandas()
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=list))
    assert RESULT.to_pandas() == RESULT.to_dicts()
