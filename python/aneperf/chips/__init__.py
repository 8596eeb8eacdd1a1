"""The table of chips, and the figures that others published for them.

A row of a result and a published figure describe the same thing exactly if they have the same key. A key says
what was run, in parts from the general to the particular, in lower case, and not where it ran:

    peak/conv512x128/sp64/fp32-ports          probe / kernel: channels x layers / positions / ports
    int8/conv512x128/sp64x64/w8a8             sp64 is 1 x 64 positions, sp64x64 is 64 x 64; precision
    training/static/stories110m/step          pipeline / model / component of a step

`FORMS` has every form of the published keys with its meaning, and `read_key` returns the parameters of a key.

The figures are in `published.csv`, one a line: key, chip, value with the lowest and highest of a published
range, unit, TFLOPS printed with it, status (measured, quoted or failed), macOS, machine, date, contributor,
source (`SOURCES`) and known faults (`CAVEATS`). Left out are repeats of a figure, single steps of training,
running means, shares and speed-ups computed from other figures, claims without a measurement, and runs
without a Neural Engine.
"""

from .catalog import CHIPS, PROFILES, Chip, Peak, chips_of, find_chip, profile_of
from .keys import FORMS, Form, Key, read_key
from .published import ROUTES, Figure, published, read_figures, shipped_figures
from .sources import CAVEATS, SOURCES, Source
from .summaries import Standing, Summary, compare_value, summaries, summarize_figures

__all__ = [
    "CAVEATS",
    "CHIPS",
    "FORMS",
    "PROFILES",
    "ROUTES",
    "SOURCES",
    "Chip",
    "Figure",
    "Form",
    "Key",
    "Peak",
    "Source",
    "Standing",
    "Summary",
    "chips_of",
    "compare_value",
    "find_chip",
    "profile_of",
    "published",
    "read_figures",
    "read_key",
    "shipped_figures",
    "summaries",
    "summarize_figures",
]
