"""The page of published figures."""

import re
from pathlib import Path

from aneperf.chips import CAVEATS, SOURCES, shipped_figures
from aneperf.chips.page import published_page

PAGE = Path(__file__).parents[2] / "docs" / "published.md"


def test_the_page_is_up_to_date() -> None:
    """Run `python -m aneperf.chips.page > docs/published.md` after a change of the figures."""
    assert PAGE.read_text(encoding="utf-8") == published_page()


def test_every_figure_is_on_the_page_by_chip() -> None:
    by_chip = published_page().split("\n## By chip\n")[1].split("\n## Caveats\n")[0]
    rows = [line for line in by_chip.splitlines() if line.startswith("| `")]
    assert len(rows) == len(shipped_figures())
    assert sum("| failed |" in row for row in rows) == sum(f.status == "failed" for f in shipped_figures())


def test_links_lead_to_what_is_on_the_page() -> None:
    page = published_page()
    headings = {
        line.lstrip("# ").lower().replace(" ", "-") for line in page.splitlines() if line.startswith("##")
    }
    places = headings | set(re.findall(r'<a id="([a-z0-9-]+)">', page))
    assert set(re.findall(r"\]\(#([^)]*)\)", page)) <= places
    assert {f"caveat-{name}" for name in CAVEATS} <= places
    for source in SOURCES.values():
        assert source.url is None or f"]({source.url})" in page


def test_rows_of_a_table_have_the_columns_of_its_header() -> None:
    columns = 0
    for line in published_page().splitlines():
        cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        assert not cells or columns in (0, cells), line
        columns = cells
