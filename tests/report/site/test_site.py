import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from aneperf.chips import Figure, shipped_figures
from aneperf.report.site.collection import Collection, Copy, Refusal, collect
from aneperf.report.site.entries import Entry, boards_of, published_entries
from aneperf.report.site.overview import by_chip, is_peak, rate
from aneperf.report.site.pages import make_site
from support.submissions import an_engine_result, submitted, three_submissions

pytest.importorskip("jinja2", reason="pages need jinja2")
pytest.importorskip("matplotlib", reason="pictures need matplotlib")

FEW = tuple(figure for figure in shipped_figures() if figure.key.startswith("sustained/"))


class Page(HTMLParser):
    """Collects a page's links, ids and cells, and refuses what loads or runs something."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.rows: list[list[str]] = []
        self._in_cell = False
        self.feed(content.decode())
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "iframe", "object", "embed", "img", "link", "form")
        values = dict(attributes)
        assert not [name for name in values if name.startswith("on") or name == "src"]
        if tag in ("a", "use"):
            self.links.append(values.get("href") or "")
        if values.get("id"):
            self.ids.append(values["id"] or "")
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        self._in_cell = tag in ("td", "th", "abbr") if tag != "a" else self._in_cell

    def handle_data(self, data: str) -> None:
        if self._in_cell or (self.rows and self.rows[-1] and data.startswith(",")):
            self.rows[-1][-1] += data.strip("\n")


@pytest.fixture(scope="module")
def site(tmp_path_factory: Any) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("submissions")
    three_submissions(folder)
    return make_site(collect(folder))


def test_every_link_of_the_site_leads_somewhere(site: dict[str, bytes]) -> None:
    pages = {name: Page(content) for name, content in site.items()}
    sources = {source for name, page in pages.items() for source in page.links if source.startswith("https:")}
    assert sources
    for page in pages.values():
        assert len(page.ids) == len(set(page.ids))
        assert {"index.html", "peak.html"} <= set(page.links)
        for link in page.links:
            target, _, place = link.partition("#")
            if link not in sources:
                assert place in (pages[target].ids if target else page.ids) or (not place and target in pages)


def test_the_pages_load_nothing_and_are_small(site: dict[str, bytes]) -> None:
    for content in site.values():
        text = content.decode()
        assert not re.search(r"url\((?!#)|@import|@font-face", text)
        assert len(content) < 2_000_000
    assert all(re.fullmatch(r"[a-z0-9-]+\.html", name) for name in site)


def test_every_figure_is_on_the_page_of_its_probe(site: dict[str, bytes]) -> None:
    for figure in shipped_figures():
        if figure.value is not None:
            text = site[figure.key.partition("/")[0] + ".html"].decode()
            assert figure.key in text
            assert figure.chip in text


def test_submissions_are_listed_and_ranked(site: dict[str, bytes]) -> None:
    overview = Page(site["index.html"])
    assert [
        "alice/m4-max-peak.json",
        "alice",
        "M4 Max",
        "26.3",
        "0.1.0",
        "peak",
        "2",
        "2026-01-02",
    ] in overview.rows
    (refused,) = [row for row in overview.rows if row[:2] == ["mallory/fast.json", "mallory"]]
    assert "but its durations give" in refused[2]
    rows = [row for row in Page(site["peak.html"]).rows if len(row) > 7 and row[5] in ("alice", "bob")]
    assert len(rows) == 4
    for row in rows:
        assert "measured with aneperf 0.1.0, 400 calls, output checked: error 2.1e-03" in row[7]
        assert re.fullmatch(r"[\d.]+ to [\d.]+", row[3])
    assert not [row for row in Page(site["peak.html"]).rows if "mallory" in row]


def test_the_same_input_makes_the_same_bytes(tmp_path: Path) -> None:
    three_submissions(tmp_path)
    assert make_site(collect(tmp_path), FEW) == make_site(collect(tmp_path), FEW)


def test_names_and_reasons_cannot_become_markup(tmp_path: Path) -> None:
    mark = "<script>alert('x')</script>"
    submitted(tmp_path, "bob/<i>.json", an_engine_result())
    (accepted,) = collect(tmp_path).accepted
    by = "<b onclick='x'>"
    entries = tuple(replace(entry, by=by) for entry in accepted.entries)
    refused = (Refusal(f"{mark}.json", mark, f"{mark}\x1b[2J\u202e"),)
    copies = (Copy(f"{mark}.json", mark, (mark,), (mark,)),)
    hostile = replace(accepted, contributor=by, entries=entries)
    site = make_site(Collection((hostile,), refused, copies), FEW)
    for content in site.values():
        Page(content)
        assert mark.encode() not in content
        assert b"\x1b" not in content
    assert b"&lt;script&gt;" in site["index.html"]
    assert b"&lt;b onclick=" in site["peak.html"]


def test_copies_are_listed(tmp_path: Path) -> None:
    for name in ("alice/a.json", "bob/b.json"):
        submitted(tmp_path, name, an_engine_result())
    site = make_site(collect(tmp_path), FEW)
    keys = ", ".join(f"peak/conv512x{depth}/sp64/fp32-ports" for depth in (64, 128))
    assert ["alice/a.json", "alice", keys, "bob/b.json"] in Page(site["index.html"]).rows
    assert sum("copy" in cell for row in Page(site["peak.html"]).rows for cell in row) == 4


def test_a_figure_above_the_known_peak_is_remarked(site: dict[str, bytes]) -> None:
    text = site["index.html"].decode()
    assert "M3 Pro: the 16.77 TFLOPS by D-Ogi lie above the known peak of 15.8" in text
    assert "above-peak" in text


def an_entry(value: float, **changes: Any) -> Entry:
    texts = dict.fromkeys(("machine", "macos", "date", "by", "how"), "")
    facts = {"key": "peak/x", "chip": "M4", "unit": "ms", "origin": "published", "source": "report"}
    return Entry(**{**texts, **facts, "value": value, "low": None, "high": None, "tflops": None, **changes})


def test_a_place_counts_what_is_surely_better() -> None:
    entries = [
        an_entry(1.0, low=0.9, high=1.1),
        an_entry(1.05, low=1.0, high=1.3),
        an_entry(1.2),
        an_entry(2.0, low=1.9, high=2.1),
        an_entry(0.1, low=0.1, high=0.1, is_doubtful=True),
    ]
    (board,) = boards_of(reversed(entries))
    assert [(entry.value, entry.place) for entry in board.entries] == [
        *((0.1, None), (1.0, 1), (1.05, 1), (1.2, None), (2.0, 3)),
    ]
    (rates,) = boards_of(
        an_entry(value, low=value - 0.1, high=value + 0.1, unit="TFLOPS") for value in (1.0, 3.0, 2.0)
    )
    assert [(entry.value, entry.place) for entry in rates.entries] == [(3.0, 1), (2.0, 2), (1.0, 3)]
    (copied,) = boards_of(
        an_entry(value, low=value, high=value, is_copy=value == 1.0) for value in (1.0, 2.0, 3.0)
    )
    assert [entry.place for entry in copied.entries] == [1, 1, 2]
    private, other = boards_of(
        [an_entry(1.0, low=1.0, high=1.0), an_entry(2.0, low=2.0, high=2.0, is_private=False)]
    )
    assert [board.entries[0].place for board in (private, other)] == [1, 1]
    (watts,) = boards_of(an_entry(value, unit="W") for value in (1.0, 3.0, 2.0))
    assert [(entry.value, entry.place) for entry in watts.entries] == [(1.0, None), (2.0, None), (3.0, None)]


def test_a_site_without_figures_or_submissions_says_so() -> None:
    site = make_site(Collection(), figures=())
    assert set(site) == {"index.html"}
    assert b"0 published, 0 submitted" in site["index.html"]


def test_entries_keep_what_was_published() -> None:
    figures: tuple[Figure, ...] = shipped_figures()
    entries = list(published_entries(figures))
    assert len(entries) == sum(figure.value is not None for figure in figures)
    assert {entry.key for entry in entries} <= {figure.key for figure in figures}


def test_the_peak_of_a_chip_is_that_of_all_stacks_in_fp16() -> None:
    entries = by_chip(filter(is_peak, published_entries(shipped_figures())))
    highest = {chip.name: max(rate(entry) or 0 for entry in found) for chip, found in entries.items()}
    rates = {"M4": 18.6, "M5 Max": 19.27}  # by the tool of W8A8, which times fp16 beside it
    assert {name: highest[name] for name in rates} == rates
