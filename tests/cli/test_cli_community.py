import os
from pathlib import Path
from typing import Any

import pytest

from support.command import assert_refused
from support.submissions import an_engine_result, submitted, three_submissions

pytest.importorskip("jinja2", reason="pages need jinja2")
pytest.importorskip("matplotlib", reason="pictures need matplotlib")


@pytest.fixture(autouse=True)
def _few_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the pages small: pictures take time."""
    monkeypatch.setattr("aneperf.report.site.pages.shipped_figures", lambda: ())


def test_the_site_is_written_and_refusals_are_told(run: Any, tmp_path: Path) -> None:
    folder, site = tmp_path / "submissions", tmp_path / "site"
    three_submissions(folder)
    before = sorted(os.listdir(tmp_path))
    outcome = run("report", "--community", str(folder), "-o", str(site))
    assert (outcome.code, outcome.err) == (0, "")
    first, second, refused, last = outcome.out.splitlines()
    assert first == "accepted: alice/m4-max-peak.json: peak, 2 rows, M4 Max"
    assert second == "accepted: bob/m5.json: suite, 5 rows, M5"
    assert refused.startswith("refused: mallory/fast.json: row 'peak/conv512x128/sp64/fp32-ports': median is")
    assert last == f"{site}: the site is written, submissions: 2 accepted, 1 refused"
    assert sorted(os.listdir(tmp_path)) == sorted([*before, "site"])
    assert (site / "index.html").exists()
    assert run("report", "--community", str(folder), "-o", str(site), "--strict").code == 1
    (folder / "mallory" / "fast.json").unlink()
    assert run("report", "--community", str(folder), "-o", str(site), "--strict").code == 0


def test_no_line_is_a_command_to_a_ci(run: Any, tmp_path: Path) -> None:
    submitted(tmp_path / "s", "a.json", an_engine_result())
    for name in ("::error::x.json", "##[error]x.json", "\n::stop-commands::x.json", "\r::warning::x.json"):
        (tmp_path / "s" / name).write_text("{}")
    outcome = run("report", "--community", str(tmp_path / "s"), "-o", str(tmp_path / "site"))
    lines = outcome.out.splitlines()
    assert len(lines) == 6
    assert all(line.startswith(("accepted: ", "refused: ", str(tmp_path))) for line in lines)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "site"], "report needs a FILE, or --community with a folder"),
        (
            ["a.json", "--community", "s", "-o", "site"],
            "report takes files, or --community with a folder, and",
        ),
        (["a.json", "--strict", "-o", "x.html"], "--strict is about submissions: give their folder"),
        (["--community", "none", "-o", "site"], "none: is no folder"),
        (["--community", "s", "-o", "s/site"], "contains the other"),
        (["--community", "s", "-o", "foreign"], "holds 'mine.txt', which is not from aneperf"),
    ],
)
def test_refusals_are_one_line(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s").mkdir()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "mine.txt").write_text("mine")
    assert_refused(run("report", *arguments), message)
    assert sorted(os.listdir(tmp_path)) == ["foreign", "s"]
