"""Take the comment behind a field of a class as its description in the reference."""

import re

from griffe import Attribute, Docstring, Extension


class Comments(Extension):
    """An extension of griffe, which reads the sources for mkdocstrings."""

    def on_attribute_instance(self, *, attr: Attribute, **_: object) -> None:
        """Describe an attribute without a docstring by the comment that ends its line."""
        if attr.docstring is None and attr.endlineno is not None and attr.parent is not None:
            lines = attr.lines_collection[attr.filepath]
            if found := re.search(r"  # (?!noqa|type:)(.+)$", lines[attr.endlineno - 1]):
                text = found[1][:1].upper() + found[1][1:].rstrip(".") + "."
                attr.docstring = Docstring(text, parent=attr)
