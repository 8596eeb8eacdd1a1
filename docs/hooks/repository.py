"""Make pages of the repository's own files, and links to its other files.

A page links to a file outside of docs/ as `../FILE`, and CONTRIBUTING.md to a page as `docs/PAGE`, so that
both work in a checkout. This hook of mkdocs makes them work on the site. A link whose text is the name of a
page's file gets the page's title.
"""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from markdown.extensions.toc import slugify
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
PAGES = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "examples/README.md": "examples.md",  # with the scripts below
}
SOURCES = {page: file for file, page in PAGES.items()}
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^()\s#]+)(#[^()\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are files of the repository's root."""
    for file, page in PAGES.items():
        text = (ROOT / file).read_text(encoding="utf-8")
        if page == "examples.md":
            scripts = sorted((ROOT / "examples").glob("*.py"))
            text += "".join(
                f"\n## {s.name}\n\n```python\n{s.read_text(encoding='utf-8')}```\n" for s in scripts
            )
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Make links lead to pages, or to files of the repository; without its address, leave their names."""
    source = page.file.src_uri
    titles = dict(titled(config.nav))
    folder = posixpath.dirname(SOURCES.get(source, f"docs/{source}"))

    def resolve(link: re.Match[str]) -> str:
        mark, text, target, anchor = link[1], link[2], link[3], link[4] or ""
        if "://" in target:
            return link[0]
        path = posixpath.normpath(posixpath.join(folder, target))
        if path.startswith("docs/") and text == posixpath.basename(target):
            text = titles.get(path.removeprefix("docs/"), text)
        name = PAGES.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
        if name is not None:
            there = posixpath.relpath(name, posixpath.dirname(source) or ".")
            return f"{mark}[{text}]({there}{anchor})"
        if path.startswith("examples/") and source == "examples.md":
            return f"[{text}](#{slugify(posixpath.basename(path), '-')})"
        if not (ROOT / path).exists():
            return link[0]  # which --strict reports
        if not config.repo_url:
            return text
        return f"{mark}[{text}]({config.repo_url.rstrip('/')}/blob/HEAD/{path}{anchor})"

    # Code is left alone: what stands between backticks, and fenced blocks.
    parts = re.split(r"(^```.*?^```|`[^`\n]+`(?!\]))", markdown, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if i % 2 else LINK.sub(resolve, part) for i, part in enumerate(parts))


def titled(nav: Any) -> Iterator[tuple[str, str]]:
    """Yield the file and the title of each page of the navigation."""
    for entry in nav:
        for title, below in entry.items():
            if isinstance(below, str):
                yield below, title
            else:
                yield from titled(below)
