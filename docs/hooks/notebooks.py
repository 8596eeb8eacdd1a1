"""Make a page of each notebook, with its saved outputs. Nothing is executed."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from nbconvert import MarkdownExporter

_PICTURE = re.compile(r"^!\[png\]\(")
_LINK = re.compile(r"\]\(([^():]+)\.ipynb(?=[)#])")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Replace notebooks by Markdown of the same name, and add the pictures of their outputs."""
    for file in [file for file in files if file.src_uri.endswith(".ipynb")]:
        path = Path(file.src_uri)
        names = {"unique_key": path.stem, "output_files_dir": f"{path.stem}_files"}
        text, resources = MarkdownExporter().from_filename(file.abs_src_path, {**names})
        text = _named(text)
        files.remove(file)
        files.append(File.generated(config, path.with_suffix(".md").as_posix(), content=text))
        for name, content in resources["outputs"].items():
            files.append(File.generated(config, (path.parent / name).as_posix(), content=content))
    return files


def _named(text: str) -> str:
    """Give each picture the heading above it as its alternative text."""
    heading, lines = "", []
    for line in text.splitlines():
        if line.startswith("## "):  # one # may begin a comment of a cell
            heading = line.lstrip("# ")
        lines.append(_PICTURE.sub(f"![Picture: {heading}](", line))
    return "\n".join(lines)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to notebooks to their pages."""
    return _LINK.sub(r"](\1.md", markdown)
