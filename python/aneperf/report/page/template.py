"""Fill templates of pages: every text that they print is escaped, and free of control characters."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from ... import __version__
from ...errors import ArgumentError
from ...kinds import PAGE_HEAD
from ..table import printable

if TYPE_CHECKING:
    from jinja2 import Environment


def fill(name: str, **values: object) -> str:
    """Return the page that a template makes of values. Raises ArgumentError without jinja2."""
    page: str = _environment().get_template(name).render(**values)
    return page


def markup(html: str) -> str:
    """Mark a text as HTML, which a template prints as it is. Raises ArgumentError without jinja2."""
    need_jinja()
    from markupsafe import Markup

    marked: str = Markup(html)
    return marked


def need_jinja() -> None:
    """Raise ArgumentError without jinja2."""
    try:
        import jinja2  # noqa: F401
    except ImportError as error:
        raise ArgumentError(
            f"pages need jinja2: pip install '.[report]' in a checkout of aneperf ({error})"
        ) from error


@lru_cache(maxsize=1)
def _environment() -> Environment:
    need_jinja()
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(_source),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(page_head=markup(PAGE_HEAD), version=__version__)
    return environment


def _source(name: str) -> str:
    return files(__package__).joinpath("templates", name).read_text(encoding="utf-8")


def _shown(value: Any) -> Any:
    """Replace control characters of a text; what is HTML by itself stays."""
    if not isinstance(value, str) or value.isprintable() or hasattr(value, "__html__"):
        return value
    return printable(value)
