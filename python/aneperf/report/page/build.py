"""Make a report of files: read them, gather its sections, and write them as a page or as Markdown."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ...errors import ArgumentError
from ...kinds import Kind
from ...outputs import check_output, form_of, write_whole
from .beside import published_section
from .budget import within_budget
from .comparisons import comparison_sections
from .machine import machine_section, software_warning, sureness_section
from .markdown_form import report_markdown
from .model import Report
from .predicted import predicted_section, prediction_sections
from .probes import probe_sections
from .reading import AnyPath, Given, Source, read_sources
from .roofline import roofline_section
from .slow_rows import slow_section
from .template import fill, need_jinja
from .training import training_sections


def write_report(results: Given | Sequence[Given], path: AnyPath) -> None:
    """Write a report of results to `path`: a page (.html), or Markdown (.md).

    `results` are results of probes or of training, or paths of files that aneperf saved: one, or several. A
    page needs `pip install '.[report]'`. An older report is replaced, and no other file. Raises
    ArgumentError, ResultFileError.
    """
    given = results if isinstance(results, Sequence) and not isinstance(results, str) else [results]
    form = form_of(path, Kind.RESULT)
    if form not in (Kind.PAGE, Kind.MARKDOWN):
        raise ArgumentError(f"{path}: a report is a page or Markdown: name a file .html or .md")
    files = {
        f"FILE {number}": one for number, one in enumerate(given, 1) if isinstance(one, str | os.PathLike)
    }
    check_output(path, form, files)
    write_whole(path, form, f"{make_report(given, form).rstrip()}\n".encode())


def make_report(given: Sequence[Given], form: Kind = Kind.PAGE) -> str:
    """Return the report of results and files, as a page or as Markdown.

    Raises ArgumentError, ResultFileError.
    """
    if not given:
        raise ArgumentError("a report is of one result or more")
    if form is Kind.PAGE:
        need_jinja()
    report = within_budget(gather(read_sources(given), pictures=form is Kind.PAGE))
    if form is Kind.MARKDOWN:
        return report_markdown(report)
    return fill("report.html", title=report.title, sections=report.sections, warnings=report.warnings)


def gather(sources: Sequence[Source], *, pictures: bool) -> Report:
    """Return the sections that the files make. `pictures` need matplotlib, and a page to be shown on."""
    environments = [source.environment for source in sources if source.environment is not None]
    devices = dict.fromkeys(environment.device for environment in environments)
    sections = [
        machine_section(sources),
        sureness_section(sources),
        *probe_sections(sources, pictures=pictures),
        roofline_section(sources, pictures=pictures),
        *training_sections(sources, pictures=pictures),
        *comparison_sections(sources, pictures=pictures),
        published_section(sources, pictures=pictures),
        predicted_section(sources),
        *prediction_sections(sources),
        slow_section(sources),
    ]
    return Report(
        title="aneperf report" + (f": {', '.join(devices)}" if devices else ""),
        sections=tuple(section for section in sections if section is not None),
        warnings=software_warning(environments),
    )
