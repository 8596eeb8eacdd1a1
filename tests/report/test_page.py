"""Reports of files as one page and as Markdown, whatever the files hold."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

import aneperf
from aneperf.errors import ArgumentError
from aneperf.files import file_kind
from aneperf.kinds import Kind
from aneperf.report.page import reading
from aneperf.report.page.build import make_report
from aneperf.report.page.machine import is_sure
from aneperf.results import Result
from support.command import assert_refused
from support.fakes import a_measured_row, a_result, a_row, an_environment
from support.report_files import HOSTILE, stack_row, sweep, telemetry_file
from support.saved_results import MAC, TIMES, saved

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")
NEVER_CLOSED = {"meta", "tr", "td", "br", "img", "link", "input"}


class Page(HTMLParser):
    """Collects what a page has, and checks that its tags are closed in their order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.handlers: list[str] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in NEVER_CLOSED:
            self.open.append(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "src", "xlink:href", "action"):
                self.links.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in NEVER_CLOSED:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in NEVER_CLOSED:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def hostile_result() -> Result:
    environment = an_environment(chip=HOSTILE, cpu=HOSTILE, os=HOSTILE, properties={HOSTILE: HOSTILE})
    params = {"config": HOSTILE, HOSTILE: HOSTILE, "axis_n": 1e300}
    rows = [
        a_measured_row(
            40, seed=at, key=f"{HOSTILE}{at}", params={**params, "axis_n": at}, flags=(HOSTILE, "drift")
        )
        for at in range(2)
    ]
    odd = a_row(key="odd", params=params, metrics={"gflop": 1e308, "bytes": 5e-324, "tflops": -1e308})
    wrong = a_row(key="wrong", status="error", reason=HOSTILE)
    return a_result(*rows, odd, wrong, probe=HOSTILE, environment=environment, notes=(HOSTILE,))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a page of files whose texts mean harm, and of sound ones."""
    folder = tmp_path_factory.mktemp("report")
    files = [
        saved(folder / "hostile.json", hostile_result()),
        saved(folder / "sound.json", sweep(*(stack_row(512, depth, depth / 8) for depth in (8, 16, 32)))),
        saved(folder / "later.json", sweep(*(stack_row(512, depth, depth / 9) for depth in (8, 16, 32)))),
        telemetry_file(folder / "run.jsonl"),
    ]
    return make_report(files)


def test_a_page_is_whole_and_loads_nothing(page: str) -> None:
    found = Page(page)
    assert not {"script", "img", "iframe", "link", "object", "foreignObject"} & found.tags
    assert not found.handlers
    assert all(link.startswith("#") for link in found.links)
    assert {link[1:] for link in found.links} <= set(found.ids)
    assert len(found.ids) == len(set(found.ids))
    assert set(found.open) <= {"html", "p"}
    assert "default-src 'none'" in page
    assert "url(http" not in page
    assert len(page.encode()) < 2_000_000


def test_texts_of_files_stay_texts(page: str) -> None:
    assert "<script" not in page
    assert "onerror=alert(2)&gt;" in page
    assert "{{7*7}}" in page
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", page)


def test_a_page_says_loudly_that_an_emulator_is_no_engine(page: str) -> None:
    assert "Not a Neural Engine: every number here is of the emulator" in page
    assert page.count('class="loud"') >= 5


def test_pictures_are_texts_in_the_page_s_colors(page: str) -> None:
    drawings = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(drawings) >= 6
    for drawing in drawings:
        assert 'role="img"' in drawing
        assert "<title" in drawing
        assert "<text" in drawing
        assert not re.findall(r"#[0-9a-f]{6}\b", drawing)
        assert "font-family" not in drawing


def test_sections_name_what_files_hold(page: str) -> None:
    titles = re.findall(r"<h2[^>]*>(.*?)</h2>", page)
    assert titles[:2] == ["The machine", "How sure the numbers are"]
    for title in ("sweep (sound.json)", "Roofline", "Training (run.jsonl)", "Published figures"):
        assert title in titles
    assert "sweep: later.json against sound.json" in titles


def test_an_engine_is_set_beside_published_figures(tmp_path: Path) -> None:
    row = stack_row(512, 128, 0.5, key="peak/conv512x128/sp64/fp32-ports")
    engine = make_report(
        [saved(tmp_path / "r.json", sweep(row, probe="peak", environment=MAC))], Kind.MARKDOWN
    )
    assert re.search(r"\| – M4 Max \| [\d.]+ \|.*\| [\d.]+x as fast \|", engine)
    software = make_report([saved(tmp_path / "e.json", sweep(row, probe="peak"))], Kind.MARKDOWN)
    assert "x as fast |" not in software
    assert "emulator on a CPU" in software
    assert "the two do not compare" in software


def test_every_engine_has_a_ratio_and_other_routes_have_none(tmp_path: Path) -> None:
    row = stack_row(256, 1, 0.1, key="latency/conv256x1/sp64/fp32-ports")
    files = [
        saved(tmp_path / f"{ms}.json", sweep(replace(row, **dict.fromkeys(TIMES, ms)), environment=MAC))
        for ms in (0.1, 0.2)
    ]
    text = make_report(files, Kind.MARKDOWN)
    assert re.search(r"\| – M4 \| 0.1060 \|.*\| 1.06x, 0.530x as fast \|", text)
    assert re.search(r"\| – M4 Max \| 0.3190 \|.*\| not compared: run through Core ML \|", text)


def test_rows_that_share_a_name_have_their_keys_in_the_picture(tmp_path: Path) -> None:
    keys = [f"{probe}/conv512x1/sp64/fp32-ports" for probe in ("latency", "sram")]
    page = make_report(
        [saved(tmp_path / "r.json", sweep(*(stack_row(512, 1, 0.1, key=key) for key in keys)))]
    )
    assert all(f">{key}</text>" in page for key in keys)


def test_results_are_written_without_files(tmp_path: Path) -> None:
    result = sweep(stack_row(512, 8, 1.0))
    for path in (tmp_path / "r.html", tmp_path / "r.md"):
        for _ in range(2):
            aneperf.write_report(
                [result, saved(tmp_path / "later.json", sweep(stack_row(512, 8, 0.9)))], path
            )
        assert "sweep" in path.read_text()
    aneperf.write_report(result, tmp_path / "r.md")
    text = (tmp_path / "r.md").read_text()
    assert text == make_report([saved(tmp_path / "sweep", result)], Kind.MARKDOWN)


@pytest.mark.parametrize(
    ("given", "path", "message"),
    [
        ([], "r.md", "a report is of one result or more"),
        ([3], "r.md", "a report is of results and of files, not of 3"),
        ([sweep(), sweep()], "r.md", "sweep: is given twice"),
        ([sweep()], "r.txt", "name a file .html or .md"),
        (["r.md"], "r.md", "is also read, as FILE 1"),
    ],
)
def test_what_no_report_is_written_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: Any, path: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("r.md").write_text("**aneperf report**\n")
    with pytest.raises(ArgumentError, match=message):
        aneperf.write_report(given, path)
    assert Path("r.md").read_text() == "**aneperf report**\n"


def test_markdown_needs_no_template_and_holds_no_markup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise AssertionError

    monkeypatch.setattr("aneperf.report.page.template.need_jinja", missing)
    text = make_report([saved(tmp_path / "h.json", hostile_result())], Kind.MARKDOWN)
    assert text.startswith("**aneperf report")
    assert "<script" not in text
    assert "<img" not in text
    assert "\x1b" not in text


LONG = (2**62,) * 301
OF_LONG = {"median": 2**62 * 1e-6, "p05": None, "p95": None, "ci_low": None, "ci_high": None}


@pytest.mark.parametrize(
    ("probe", "rows"),
    [
        ("suite", [a_row(key="suite/suite")]),
        ("int8", [a_row(metrics={"ratio": 0.0, "ratio_low": 0.0, "ratio_high": 1.0})]),
        ("parity", [a_row(key="op/exp", metrics={"exact_share": 1e308})]),
        ("peak", [a_row(median=5e-324, p05=0.0, ci_low=0.0, ci_high=9.0, metrics={})]),
        ("profile", [a_row(at, metrics={"share": 0.0}) for at in range(1, 40)]),
        (
            "sweep",
            [a_row(at, key=f"{at}", params={"axis_n": value}) for at, value in enumerate(["x", 1, 2.5, 3])],
        ),
        ("train", [a_row(key="training/x", params={"config": "ane"}, durations_ns=LONG, **OF_LONG)]),
    ],
)
def test_odd_rows_are_laid_out(tmp_path: Path, probe: str, rows: list[Any]) -> None:
    file = saved(tmp_path / "odd.json", a_result(*rows, probe=probe))
    assert f"aneperf {probe}" in make_report([file], Kind.MARKDOWN) or probe == "train"


def test_long_results_are_folded_and_thinned(tmp_path: Path) -> None:
    rows = [stack_row(16 * (1 + at % 25), 1 + at // 25, 1.0 + at, metrics={}) for at in range(500)]
    page = make_report([saved(tmp_path / "long.json", sweep(*rows))])
    assert "12 of 500 rows: the best" in page
    assert "<summary>All 500 rows</summary>" in page
    assert "<figcaption>45 of 500 rows." in page


def test_a_page_keeps_below_its_size(tmp_path: Path) -> None:
    rows = [
        a_row(key=f"{at}{'<' * 500}", params={"config": f"{at}{'&' * 900}"}, median=None)
        for at in range(1500)
    ]
    rows = [msgspec.structs.replace(row, p05=None, p95=None, ci_low=None, ci_high=None) for row in rows]
    notes = tuple("note " * 400 for _ in range(2000))
    page = make_report([saved(tmp_path / "wide.json", sweep(*rows, notes=notes))])
    assert len(page.encode()) < 2_000_000
    assert "more rows are left out, because the page is long" in page
    assert "more remarks are left out" in page


def test_more_rows_than_a_page_can_show_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST_ROWS", 3)
    files = [saved(tmp_path / f"{at}.json", a_result(a_row(32), a_row(64))) for at in range(2)]
    with pytest.raises(ArgumentError, match=r"1\.json: with it the report has more than 3 rows"):
        make_report(files)


def test_the_verb_writes_pages_and_markdown(run: Any, tmp_path: Path) -> None:
    file = saved(tmp_path / "r.json", a_result(a_measured_row()))
    for name, kind in (("r.html", Kind.PAGE), ("r.md", Kind.MARKDOWN)):
        for _ in range(2):  # it may replace one of its kind
            assert run("report", file, "-o", str(tmp_path / name)).code == 0
        assert file_kind(tmp_path / name) is kind
    assert run("report", file, "-o", "-.md").out == (tmp_path / "r.md").read_text()


def test_the_verb_refuses_to_write_over_other_files(run: Any, tmp_path: Path) -> None:
    file = saved(tmp_path / "r.json", a_result())
    (tmp_path / "mine.html").write_text("<html><body>mine</body></html>")
    (tmp_path / "link.html").hardlink_to(file)
    for name, said in (
        ("r.json", "report writes a page or Markdown: name a file .html or .md"),
        ("mine.html", "is there and is an HTML or XML page, not an HTML page of aneperf"),
        ("link.html", "is also read, as FILE 1"),
    ):
        assert_refused(run("report", file, "-o", str(tmp_path / name)), said)
    assert (tmp_path / "mine.html").read_text() == "<html><body>mine</body></html>"
    assert Result.load(file) == a_result()


def test_a_file_is_counted_once(run: Any, tmp_path: Path) -> None:
    file = saved(tmp_path / "r.json", a_result())
    (tmp_path / "other.json").symlink_to(file)
    outcome = run("report", file, str(tmp_path / "other.json"), "-o", "-.md")
    assert_refused(outcome, "other.json: is given twice")


def test_a_file_that_is_no_result_is_refused(run: Any, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"schema_version": 1, "probe": NaN}')
    outcome = run("report", str(tmp_path / "x.json"), "-o", str(tmp_path / "x.html"))
    assert_refused(outcome, "x.json: not JSON, or cut short")
    assert not (tmp_path / "x.html").exists()


def test_without_jinja2_one_line_says_what_to_install(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "jinja2", None)
    outcome = run("report", saved(tmp_path / "r.json", a_result()), "-o", str(tmp_path / "r.html"))
    assert_refused(outcome, "pages need jinja2: pip install '.[report]'")


@pytest.mark.parametrize(
    ("ends", "flags", "expected"),
    [
        ((9.4, 10.2), (), True),
        ((9.4, 10.2), ("noisy",), True),
        ((9.3, 10.0), (), False),
        ((9.8, 25.0), (), False),
        ((None, None), (), False),
        ((9.4, 10.2), ("drift",), False),
    ],
)
def test_a_row_is_sure_by_its_interval_and_its_flags(
    ends: tuple[float | None, float | None], flags: tuple[str, ...], expected: bool
) -> None:
    assert is_sure(a_row(ci_low=ends[0], ci_high=ends[1], flags=flags)) == expected
