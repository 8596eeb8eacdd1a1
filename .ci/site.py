"""Check the built site: its links, that it loads nothing from elsewhere, and that its reference is whole.

`python .ci/site.py FOLDER` prints every fault, and exits with 1 if there is one.
"""

import inspect
import sys
import zlib
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote, urlsplit

# Public modules that `aneperf.__all__` does not name.
MODULES = ("aneperf.errors", "aneperf.linter")
FIXTURES = ("aneperf.pytest_plugin.ane_device", "aneperf.pytest_plugin.AneBench")


class Document(HTMLParser):
    """The anchors of a page, the targets of its links, and what it loads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Note what the tag has."""
        given = {name: value or "" for name, value in attributes}
        self.anchors.update(given[name] for name in ("id", "name") if name in given)
        if "href" in given and tag in ("a", "area"):
            self.links.append(given["href"])
        elif "href" in given and given.get("rel") != "canonical":
            self.loaded.append(given["href"])
        self.loaded += [given[name] for name in ("src", "data", "poster") if name in given]


def faults_of_links(site: Path, pages: dict[Path, Document]) -> list[str]:
    """Return the links to pages, files and anchors that do not exist, and what is loaded from elsewhere."""
    faults = []
    for path, page in pages.items():
        faults += [f"{path}: loads {url}" for url in page.loaded if urlsplit(url).netloc]
        for link in dict.fromkeys([*page.links, *page.loaded]):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            start = (
                site if parts.path.startswith("/") else path.parent
            )  # the page for errors has links of that kind
            target = (start / unquote(parts.path).lstrip("/")).resolve() if parts.path else path
            if not target.exists():
                faults.append(f"{path}: {link} leads to no file")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                faults.append(f"{path}: {link} leads to no anchor")
    return faults


def public_names() -> list[tuple[str, str]]:
    """Return the name of everything public, and the name that its definition has."""
    found = [(name, name) for name in FIXTURES]
    modules = ["aneperf", *MODULES]
    for module in modules:
        for name in getattr(import_module(module), "__all__", []):
            value = getattr(import_module(module), name)
            if name.startswith("__"):
                continue
            if inspect.ismodule(value):
                modules.append(value.__name__)
                continue
            home = f"{getattr(value, '__module__', module)}.{getattr(value, '__qualname__', name)}"
            found.append((f"{module}.{name}", home))
    return found


def faults_of_reference(site: Path) -> list[str]:
    """Return the public names that the site's inventory lacks."""
    inventory = zlib.decompress((site / "objects.inv").read_bytes().split(b"\n", 4)[4]).decode()
    documented = {line.split(" ", 1)[0] for line in inventory.splitlines()}
    return [f"the reference lacks {name}" for name, home in public_names() if not {name, home} & documented]


def main(site: Path) -> None:
    """Print the faults of a site, and exit."""
    pages = {path.resolve(): Document(path) for path in sorted(site.rglob("*.html"))}
    faults = faults_of_links(site, pages) + faults_of_reference(site)
    print("\n".join(faults) or f"no fault in {len(pages)} pages and {len(public_names())} public names")
    sys.exit(bool(faults))


main(Path(sys.argv[1]).resolve())
