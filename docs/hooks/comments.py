"""Take the comment of a field or a constant as its description in the reference."""

import itertools
import re

from griffe import Attribute, Docstring, Extension


class Comments(Extension):
    """An extension of griffe, which reads the sources for mkdocstrings."""

    def on_attribute_instance(self, *, attr: Attribute, **_: object) -> None:
        """Describe an attribute without a docstring by the comment that ends its line, or stands above it."""
        if attr.docstring is not None or attr.lineno is None or attr.endlineno is None:
            return
        lines = attr.lines_collection[attr.filepath]
        above = itertools.takewhile(lambda line: line.startswith("# "), reversed(lines[: attr.lineno - 1]))
        found = re.search(r"  # (?!noqa|type:)(.+)$", lines[attr.endlineno - 1])
        text = found[1] if found else " ".join(line[2:] for line in reversed(list(above)))
        if text:
            sentence = text[:1].upper() + text[1:].rstrip(".") + "."
            attr.docstring = Docstring(sentence, parent=attr)
