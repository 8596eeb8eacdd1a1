"""The verb that predicts the time of a program on chips."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from ..errors import ArgumentError
from .options import FILE, OUTPUT, is_printed
from .terminal import show

if TYPE_CHECKING:
    from ..prediction import Prediction

_DEFAULT_CHIPS = ("M1", "M4", "M4 Max", "M5 Max", "M6")


@click.command(
    params=[
        click.Argument(["file"], type=FILE, metavar="[MODEL]", required=False),
        click.Option(["--kernels"], metavar="NAME", help="Predict a training step of this model, a preset."),
        click.Option(
            ["--pipeline"],
            type=click.Choice(["static", "static-ane", "dynamic"]),
            default="static",
            help="Pipeline of training, with --kernels.",
        ),
        click.Option(
            ["--chip"],
            multiple=True,
            metavar="CHIP",
            default=_DEFAULT_CHIPS,
            help="Chip, such as 'M4 Max' or h18g; repeatable, a column each.",
        ),
        click.Option(
            ["--axis"],
            multiple=True,
            metavar="NAME=X",
            help="Value of a parameter of the function; repeatable.",
        ),
        click.Option(["--fp16"], is_flag=True, help="Convert fp32 operations to fp16 first."),
        OUTPUT,
    ]
)
def predict(
    file: str | None,
    kernels: str | None,
    pipeline: str,
    chip: tuple[str, ...],
    axis: tuple[str, ...],
    fp16: bool,
    output: str | None,
) -> None:
    """Predict the time of a program on other chips, and what limits it.

    MODEL is as in bench. Nothing is measured: the time follows from the work of each operation and from
    published figures of the chip, and has an interval. docs/prediction.md describes its accuracy. With
    --kernels, the engine's part of a training step; the host's is not predicted.
    """
    from ..chips import find_chip
    from ..kinds import Kind
    from ..outputs import check_output, form_of
    from ..report.prediction_table import lay_out_predictions, records_of

    if (file is None) == (kernels is None):
        raise ArgumentError("predict takes a MODEL, or --kernels with a model's name")
    if output is not None and not is_printed(output):
        check_output(output, form_of(output, Kind.PREDICTION), {"MODEL": file})
    chips = list(dict.fromkeys(find_chip(name).name for name in chip))
    if kernels is not None:
        if axis or fp16:
            raise ArgumentError("--axis and --fp16 are for a MODEL, and not for --kernels")
        found = _predict_training(kernels, pipeline, chips)
    else:
        assert file is not None
        if pipeline != "static":
            raise ArgumentError("--pipeline is for --kernels")
        found = _predict_file(file, axis, chips, fp16)
    show(lay_out_predictions(found), records_of(found), output, Kind.PREDICTION)


def _predict_training(name: str, pipeline: str, chips: Sequence[str]) -> "list[Prediction]":
    from dataclasses import replace
    from typing import cast

    from ..kernels.presets import model_config
    from ..kernels.schedule import Pipeline
    from ..prediction import predict_training

    config = model_config(name)
    found = [predict_training(config, chip, cast(Pipeline, pipeline)) for chip in chips]
    return [replace(one, program=f"{name}, {one.program}") for one in found]


def _predict_file(file: str, axis: Sequence[str], chips: Sequence[str], fp16: bool) -> "list[Prediction]":
    from ..prediction.predict import predict_on
    from ..probes.bench import parse_axes

    axes = parse_axes(axis)
    if several := [name for name, values in axes.items() if len(values) > 1]:
        raise ArgumentError(f"--axis {several[0]}: a prediction is of one program: give one value")
    point = {name: values[0] for name, values in axes.items()}
    return predict_on(file, chips, axes=point, fp16=fp16)
