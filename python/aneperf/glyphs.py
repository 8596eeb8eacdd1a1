"""Spell drawings and signs in ASCII where the locale or a stream takes nothing else."""

import os
import sys
from typing import TextIO

_BARS = "▁▂▃▄▅▆▇█"
_ASCII = str.maketrans(
    {
        "±": "+/-",
        "×": "x",
        "²": "^2",
        "µ": "u",
        "≥": ">=",
        "≤": "<=",
        "─": "-",
        "…": "...",
        **{bar: str(height) for height, bar in enumerate(_BARS, 1)},
    }
)
# Where LANG asks for plain C, Python itself sets LC_CTYPE to one of these at its start (PEP 538).
_COERCED = ("C.UTF-8", "C.utf8", "UTF-8")


def in_ascii(text: str) -> str:
    """Spell the signs of aneperf's own texts in ASCII; letters of other scripts stay."""
    return text.translate(_ASCII)


def takes_unicode(stream: TextIO | None = None) -> bool:
    """Tell whether the locale and the stream, by default standard output, take more than ASCII.

    The first of LC_ALL, LC_CTYPE and LANG that is set decides: "C", "POSIX" and encodings other than UTF-8
    ask for ASCII. Where none is set, the stream's encoding decides.
    """
    stream = stream or sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    if not encoding.lower().replace("-", "").startswith("utf"):
        return False
    names = {name: os.environ.get(name, "") for name in ("LC_ALL", "LC_CTYPE", "LANG")}
    if names["LANG"] and names["LC_CTYPE"] in _COERCED:
        names["LC_CTYPE"] = ""
    locale = names["LC_ALL"] or names["LC_CTYPE"] or names["LANG"]
    return not locale or locale.lower().partition("@")[0].replace("-", "").endswith("utf8")
