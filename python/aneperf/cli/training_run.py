"""The verb `train`: its options are the fields of `TrainOptions` and a model's sizes."""

import contextlib
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import Field, fields, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import click

from .. import device as devices
from ..cluster.communicator import CommunicationError, Communicator
from ..cluster.launch import open_communicator
from ..cluster.together import check_same, together
from ..cluster.watch import RankError
from ..errors import AneError, ArgumentError, ResultFileError
from ..kernels import TransformerConfig
from ..kernels.presets import model_config
from ..kinds import Kind
from ..outputs import check_new_folder, check_outputs, form_of
from ..report.plots import check_plot
from ..report.training_table import lay_out_training
from ..signals import ignore_stops
from ..training.checkpoint import load_model
from ..training.data import SYNTHETIC
from ..training.events import Event, RankLost, RunStarted
from ..training.hugging_face import check_savable, hugging_face_shape, is_hugging_face
from ..training.llama2c import check_trained
from ..training.options import TrainOptions
from ..training.peft import check_adapters
from ..training.record import Record
from ..training.result import TrainingResult
from ..training.run import train
from ..training.run_checkpoints import with_step
from .config_file import blaming_file, config_option, given_options, off_switches
from .lines import Lines
from .options import CHIP, COMPILE_TIMEOUT, DEVICE, FILE, OUTPUT, STANDARD_OUTPUT, check_named, is_printed
from .terminal import FAILED, REFUSED, end_interrupted, report_stream, save_result, say, write_table
from .view import View, view

_SIZES = {
    "dim": "Channels",
    "hidden": "Channels of the feed-forward layer",
    "layers": "Layers",
    "heads": "Query heads",
    "kv_heads": "Key and value heads",
    "head_dim": "Channels of a head",
    "vocab": "Tokens in the vocabulary",
    "seq": "Tokens in a sequence",
}
# Options of a file that count no more where this one is on the command line: the same told otherwise, or what
# only goes with it.
_INSTEAD = {
    "resume": ["resume_step"],
    "no_resume": ["resume_step"],
    "resume_step": ["resume"],
    "chip": ["device"],  # the emulator alone has one
    "no_eval_data": ["eval_every", "eval_sequences"],
    "no_lora_rank": ["lora_alpha", "lora_targets"],
}
_BY_HAND = {
    "device": [DEVICE, CHIP, COMPILE_TIMEOUT],
    "resume": [
        click.Option(
            ["--resume"], is_flag=True, help="Resume from the last checkpoint, with the options of its run."
        ),
        click.Option(["--resume-step"], type=int, metavar="STEP", help="Resume from this step's checkpoint."),
    ],
    "output": [OUTPUT],
}


def options_by_section() -> dict[str, list[click.Parameter]]:
    """Return the options of `train` under the headings of its help."""
    types = get_type_hints(TrainOptions)
    sizes: list[click.Parameter] = [
        click.Option([f"--{_dashed(name)}"], type=int, metavar="N", help=f"{meaning}.")
        for name, meaning in _SIZES.items()
    ]
    sections = defaultdict[str, list[click.Parameter]](
        list, {"Model": [], "Model sizes, instead of the preset's": sizes}
    )
    for field in sorted(fields(TrainOptions), key=lambda field: field.kw_only is not False):
        if field.metadata:
            made = _BY_HAND.get(field.name) or [_option(field, types[field.name])]
            sections[field.metadata["section"]] += made
    sections["Output"] += [
        click.Option([flag], type=FILE, metavar="FILE", help=meaning)
        for flag, meaning in (
            ("--plot", "Draw the losses; needs matplotlib."),
            ("--save", "Write the model in the format of llama2.c."),
        )
    ]
    sections["Output"] += [
        click.Option([flag], type=FILE, metavar="FOLDER", help=meaning)
        for flag, meaning in (
            ("--save-hf", "Write the model as a new Hugging Face folder, for transformers."),
            ("--save-lora", "Write the adapters as a new folder, for PEFT; needs --lora-rank."),
        )
    ]
    switches = off_switches(chain.from_iterable(sections.values()))
    sections["Run"] += [config_option({"data": SYNTHETIC, "output": STANDARD_OUTPUT}), *switches]
    return sections


def _option(field: "Field[Any]", annotation: Any) -> click.Option:
    accepted = get_args(annotation) or (annotation,)
    metavar = field.metadata["metavar"]
    kind: Any = next((kind for kind in (bool, int, float, str) if kind in accepted), None)
    if get_origin(annotation) is Literal:
        kind = click.Choice(accepted)
    elif "FILE" in metavar or "FOLDER" in metavar:
        kind = FILE
    return click.Option(
        [field.name, *(field.metadata["flags"] or [f"--{_dashed(field.name)}"])],
        type=kind,
        is_flag=kind is bool,
        default=field.default,
        metavar=metavar or None,
        help=field.metadata["help"],
    )


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def run(context: click.Context) -> int:
    """Train with the options given, write the files asked for, print the report and return the exit code."""
    given = given_options(context, _INSTEAD)
    with blaming_file(context):
        communicator = open_communicator()
        check_same(communicator, {"verb": "train"})
        return (_run if communicator.rank == 0 else _run_beside)(given, communicator)


def _run_beside(given: dict[str, Any], communicator: Communicator) -> int:
    """Train as one of the ranks that rank 0 shows and writes for.

    Rank 0 tells its errors, too, and has the exit code: with another one than 0, a launcher ends rank 0.
    """
    for name in ("output", "save", "save_hf", "save_lora", "plot"):
        given.pop(name, None)
    try:
        train(**together(communicator, lambda: _keywords(given)))
    except RankError as error:
        if error.is_mine:
            raise
    except CommunicationError:
        raise
    except (AneError, KeyboardInterrupt):
        pass
    return 0


def _run(given: dict[str, Any], communicator: Communicator) -> int:
    output, save, save_hf, save_lora, plot = (
        given.pop(name, None) for name in ("output", "save", "save_hf", "save_lora", "plot")
    )
    to_stdout = is_printed(output)
    files = {name: given.get(name) for name in ("telemetry", "trace")} | {"save": save, "plot": plot}
    checkpoints = given.get("checkpoints")
    keeps = any((output, save_hf, save_lora, checkpoints, given.get("tensorboard"), *files.values()))
    written = {"-o": None if to_stdout else output, "--tensorboard": given.get("tensorboard"), **files}

    def checked() -> dict[str, Any]:
        if sys.stdout is None and not keeps:
            raise AneError("standard output is closed: there is nowhere to write the result")
        _check_files(files, None if to_stdout else output, given)
        for folder, others in ((save_hf, written), (save_lora, {**written, "--save-hf": save_hf})):
            if folder is not None:
                check_new_folder(folder, others, checkpoints)
        if save_lora is not None and not any(map(given.get, ("lora_rank", "resume", "resume_step"))):
            raise ArgumentError("--save-lora needs --lora-rank, the rank of the adapters")
        return _keywords(given)

    keywords = together(communicator, checked)
    shown: View
    with view(sys.stderr if to_stdout else sys.stdout) as shown:

        def progress(event: Event) -> None:
            nonlocal shown
            if isinstance(event, RunStarted) and save is not None:
                check_trained(event.config)
            if isinstance(event, RunStarted) and save_hf is not None:
                check_savable(event.config)
            if isinstance(event, RunStarted) and save_lora is not None:
                check_adapters(event.config)
            if isinstance(event, RankLost):
                ignore_stops()
                say(event.reason)  # at once: a launcher soon ends this process
            try:
                shown.record(event)
            except (BrokenPipeError, AneError) as error:
                if not keeps:
                    raise
                shown = Lines(None)  # the reader is gone, or the disk is full, but not what the run is for
                if isinstance(error, AneError):
                    say(str(error))

        try:
            result = train(**keywords, progress=progress)
        except RankError as error:
            if not error.is_told:
                raise
            return REFUSED
    _write_outputs(result, output, save, save_hf, save_lora, plot)
    if result.stopped_by is not None:
        return end_interrupted(result.stopped_by)
    if result.logs_stopped:
        return REFUSED  # a file that was asked for is not whole
    if result.learned_nothing:
        say("no update was applied: no gradient was finite; check the weights, or lower --loss-scale")
        return FAILED
    return 0


def _keywords(given: dict[str, Any]) -> dict[str, Any]:
    """Return the options as `train` takes them: with a device, and a shape instead of sizes."""
    keywords = dict(given)
    sizes = {name: size for name in _SIZES if (size := keywords.pop(name, None)) is not None}
    device, chip, timeout = (keywords.pop(name, None) for name in ("device", "chip", "compile_timeout"))
    step = keywords.pop("resume_step", None)
    resume = keywords.get("resume", False) if step is None else step
    record = None
    if resume is not False:
        keywords["resume"] = resume
        if keywords.get("checkpoints") is not None and (sizes or timeout is not None):
            record = with_step(keywords["checkpoints"], step).record(step)
    if record is not None and timeout is not None and device is chip is None:
        device = record.options.device
    if any(value is not None for value in (device, chip, timeout)):
        keywords["device"] = devices.open(device, chip=chip, compile_timeout=timeout)
    if sizes:
        keywords["model"] = _reshaped(given.get("model"), given.get("weights"), sizes, record)
    return keywords


def _check_files(files: dict[str, str | None], output: str | None, given: dict[str, Any]) -> None:
    """Check that the files can be written, before a long run. Raises ArgumentError, ResultFileError."""
    for name, path in files.items():
        check_named(name, path)
    plot = files["plot"]
    check_outputs(
        {
            "-o": (output, form_of(output, Kind.RESULT)),
            "--telemetry": (files["telemetry"], Kind.TELEMETRY),
            "--trace": (files["trace"], Kind.TRACE),
            "--save": (files["save"], Kind.LLAMA2C),
            "--plot": (plot, Kind.PICTURE if plot is None else check_plot(plot)[1]),
        },
        {
            "--data": None if given.get("data") == SYNTHETIC else given.get("data"),
            "--eval-data": given.get("eval_data"),
            "--weights": given.get("weights"),
        },
        given.get("checkpoints"),
    )


def _write_outputs(
    result: TrainingResult,
    output: str | None,
    save: str | None,
    save_hf: str | None,
    save_lora: str | None,
    plot: str | None,
) -> None:
    """Write the files asked for, then the report: each even if another one fails."""
    with contextlib.ExitStack() as outputs:  # calls the last one first
        if (stream := report_stream(output)) is not None:
            outputs.callback(write_table, lay_out_training(result), stream)
        if plot is not None:
            outputs.callback(result.plot, plot)
        if save is not None:
            outputs.callback(_save_model, result.save_llama2c, save, "model.bin")
        if save_hf is not None:
            outputs.callback(_save_model, result.save_hugging_face, save_hf, "model")
        if save_lora is not None:
            outputs.callback(_save_model, result.save_lora, save_lora, "adapters")
        if output is not None:
            outputs.callback(save_result, result, output)


def _save_model(save: Callable[[str | os.PathLike[str]], None], path: str, name: str) -> None:
    """Write the model; where that fails, elsewhere under `name`, since training costs more than the file."""
    try:
        save(path)
    except ResultFileError as error:
        spare = Path(tempfile.mkdtemp(prefix="aneperf-model-")) / name
        try:
            save(spare)
        except ResultFileError:
            spare.parent.rmdir()
            raise error from None
        raise ResultFileError(f"{error}; the model was saved as {spare}") from error


def _reshaped(
    model: str | None, weights: str | None, sizes: dict[str, Any], record: Record | None = None
) -> TransformerConfig:
    """Return the model with that name, or of the checkpoint or the weights, with other sizes.

    Sizes that are not given follow `heads`: kv_heads is the same, and head_dim is dim / heads.
    """
    if model is None and record is not None:
        preset = record.config.model
    elif model is None and weights is not None:
        preset = hugging_face_shape(weights) if is_hugging_face(weights) else load_model(weights)[0]
    else:
        preset = model_config(model or "stories110m")
    if "heads" in sizes:
        sizes = {"kv_heads": sizes["heads"], **sizes}
    if {"heads", "dim"} & sizes.keys() and "head_dim" not in sizes:
        heads, dim = sizes.get("heads", preset.heads), sizes.get("dim", preset.dim)
        if heads < 1 or dim % heads:
            raise ArgumentError(f"{heads} heads do not divide {dim} channels: give --head-dim")
        sizes = {"head_dim": dim // heads, **sizes}
    return replace(preset, **sizes)
