"""Make a report of files: read them, gather its sections, and write them as a page or as Markdown."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ...kinds import Kind
from .machine import machine_section, software_warning, sureness_section
from .markdown_form import report_markdown
from .model import Report
from .reading import Source, read_sources
from .template import fill, need_jinja

AnyPath = str | os.PathLike[str]


def make_report(paths: Sequence[AnyPath], form: Kind = Kind.PAGE) -> str:
    """Return the report of files, as a page or as Markdown. Raises ArgumentError, ResultFileError."""
    if form is Kind.PAGE:
        need_jinja()
    report = gather(read_sources(paths))
    if form is Kind.MARKDOWN:
        return report_markdown(report)
    return fill("report.html", title=report.title, sections=report.sections, warnings=report.warnings)


def gather(sources: Sequence[Source]) -> Report:
    """Return the sections that the files make."""
    environments = [source.environment for source in sources if source.environment is not None]
    devices = dict.fromkeys(environment.device for environment in environments)
    sections = [machine_section(sources), sureness_section(sources)]
    return Report(
        title="aneperf report" + (f": {', '.join(devices)}" if devices else ""),
        sections=tuple(section for section in sections if section is not None),
        warnings=software_warning(environments),
    )
