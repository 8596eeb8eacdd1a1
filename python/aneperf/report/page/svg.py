"""Pictures of matplotlib as SVG inside a page: its colors follow the page's theme, and texts stay texts."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from ..table import printable
from .model import Drawing
from .template import markup

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, _LEAST_LETTERS = 5.6, 9  # inches and points: letters stay readable at the width of a narrow screen
_SVG, _LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"
_NUMBER = re.compile(r"-?\d+\.\d{3,}")
# The colors of matplotlib's own style, and the variables of style.css that stand for them.
_INKS = {
    "#000000": "--ink",
    "#ffffff": "--paper",
    "#b0b0b0": "--grid",
    "#cccccc": "--line",
    **dict.fromkeys(("#4c4c4c", "#4d4d4d", "#7f7f7f", "#808080", "#b2b2b2", "#b3b3b3"), "--soft"),
}
_CYCLE = ("1f77b4", "ff7f0e", "2ca02c", "d62728", "9467bd", "8c564b", "e377c2", "bcbd22", "17becf")
_INKS |= {f"#{color}": f"--c{at if at < 7 else at + 1}" for at, color in enumerate(_CYCLE)}
_COLOR = re.compile("|".join(_INKS))


def drawing(
    figure: Figure, name: str, title: str, caption: str, hints: Mapping[str, str] | None = None
) -> Drawing:
    """Return the picture of a figure, which is made narrower. `name` is its own within a page.

    `title` says to readers who do not see it what it shows. `hints` are texts on hover, by the gid of the
    artist.
    """
    import matplotlib
    from matplotlib.text import Text

    figure.set_size_inches(WIDTH, figure.get_size_inches()[1])
    for text in figure.findobj(Text):
        text.set_fontsize(max(text.get_fontsize(), _LEAST_LETTERS))
    for axes in figure.axes:
        axes.title.set_wrap(True)
    stream = io.BytesIO()
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": name, "font.sans-serif": ["DejaVu Sans"]}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # Letters that matplotlib's font lacks come from the reader's own, and long names may fill a picture.
        warnings.simplefilter("ignore", UserWarning)
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    root = ElementTree.fromstring(stream.getvalue())
    _restyle(root)
    _hint(root, hints or {})
    _rename(root, name)
    label = ElementTree.Element(f"{_SVG}title", {"id": f"{name}-title"})
    label.text = printable(title)
    root.insert(0, label)
    for size in ("width", "height"):
        root.attrib.pop(size, None)
    root.attrib |= {"role": "img", "aria-labelledby": f"{name}-title"}
    ElementTree.register_namespace("", "http://www.w3.org/2000/svg")
    return Drawing(markup(ElementTree.tostring(root, encoding="unicode")), caption)


def _restyle(root: ElementTree.Element) -> None:
    """Replace colors by the page's, shorten numbers, and leave out what a page does not need."""
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag == f"{_SVG}metadata" or (child.tag == f"{_SVG}style"):
                parent.remove(child)
        if style := parent.get("style"):
            style = re.sub(r"font-family: [^;]*;? ?", "", style)
            parent.set("style", _COLOR.sub(lambda found: f"var({_INKS[found[0]]})", style))
        for name in ("d", "transform", "x", "y", "points"):
            if value := parent.get(name):
                parent.set(name, _NUMBER.sub(lambda number: f"{float(number[0]):.2f}", value))
        if d := parent.get("d"):
            parent.set("d", " ".join(d.split()))
        parent.text, parent.tail = _packed(parent.text), _packed(parent.tail)
        if parent.tag == f"{_SVG}text" and "fill" not in (parent.get("style") or ""):
            parent.set("fill", "currentColor")


def _packed(text: str | None) -> str | None:
    return text if text and text.strip() else None


def _hint(root: ElementTree.Element, hints: Mapping[str, str]) -> None:
    """Give each artist that has a hint a title, which a browser shows on hover."""
    for element in root.iter():
        if (hint := hints.get(element.get("id", ""))) is not None:
            title = ElementTree.Element(f"{_SVG}title")
            title.text = printable(hint)
            element.insert(0, title)


def _rename(root: ElementTree.Element, name: str) -> None:
    """Keep the ids that something refers to, and make them the page's only ones."""
    used = set()
    for element in root.iter():
        if link := element.attrib.pop(_LINK, None):
            used.add(link[1:])
            element.set("href", f"#{name}-{link[1:]}")
        for attribute in ("clip-path", "style"):
            if found := re.search(r"url\(#([\w-]+)\)", element.get(attribute, "")):
                used.add(found[1])
                element.set(attribute, element.attrib[attribute].replace("url(#", f"url(#{name}-"))
    for element in root.iter():
        if (identity := element.attrib.pop("id", None)) and identity in used:
            element.set("id", f"{name}-{identity}")
