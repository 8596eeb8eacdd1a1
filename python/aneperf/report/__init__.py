"""Results as text, HTML and pictures, and their comparison. `aneperf.display` tells how results find this."""

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..comparison import Comparison
from ..display import register
from ..glyphs import takes_unicode
from ..results import Result
from .comparing import compare_results
from .comparison_plot import draw_comparison
from .comparison_table import lay_out_comparison
from .forms import facts_of, to_form
from .html import to_html
from .plots import draw_losses
from .prediction_table import lay_out_prediction
from .result_plots import draw_result
from .result_table import lay_out_environment, lay_out_result
from .table import Table, to_text
from .training_table import lay_out_training

__all__ = ["compare_results", "draw_losses"]


def _to_text(table: Table) -> str:
    """Write a table for standard output, which is where a printed value goes."""
    stream = sys.stdout
    is_terminal = stream is not None and stream.isatty()
    columns = shutil.get_terminal_size().columns if is_terminal else None
    return to_text(table, columns, ascii=not takes_unicode(stream))


def _register(
    kind: str,
    lay_out: Callable[[Any], Table],
    records: Callable[[Any], Sequence[Mapping[str, object]]],
    **others: Callable[..., Any],
) -> None:
    register(
        kind,
        to_text=lambda value: _to_text(lay_out(value)),
        to_html=lambda value: to_html(lay_out(value)),
        to_form=lambda value, form: to_form(form, lay_out(value), records(value)),
        **others,
    )


_register("Environment", lay_out_environment, lambda environment: facts_of(lay_out_environment(environment)))
_register("Result", lay_out_result, Result.to_dicts, compare=compare_results, plot=draw_result)
_register("Prediction", lay_out_prediction, lambda prediction: prediction.to_dicts())
_register("Comparison", lay_out_comparison, Comparison.to_dicts, plot=draw_comparison)
_register(
    "TrainingResult",
    lay_out_training,
    lambda result: result.to_result().to_dicts(),
    plot=draw_losses,
    compare=compare_results,
)
