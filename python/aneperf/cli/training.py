"""Verbs of the `aneperf` command for training: train, generate, data."""

import enum
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import device as devices
from ..errors import AneError, ArgumentError
from ..kernels import TransformerConfig
from ..report.plots import check_plot
from ..report.training import lay_out_training
from ..results import check_writable
from ..training.config import TrainingConfig, model_config
from ..training.events import Began, Event
from ..training.generate import generate as sample
from ..training.llama2c import check_shape
from ..training.model_files import load_model
from ..training.run import train as run_train
from ..training.tokens import open_tokenizer, write_tokens
from .live import view
from .terminal import INTERRUPTED, say, write

_Defaults = TrainingConfig


class Pipelines(str, enum.Enum):
    """What of a step the device does."""

    static = "static"
    static_ane = "static-ane"


class Decay(str, enum.Enum):
    """How the learning rate goes on after the warm-up."""

    constant = "constant"
    cosine = "cosine"


def _file(help: str) -> Any:
    return typer.Option(metavar="FILE", help=help)


def _shape(help: str) -> Any:
    return typer.Option(metavar="N", help=f"{help}, instead of the model's.")


TokenizerName = Annotated[
    str,
    typer.Option("--tokenizer", metavar="FILE|bytes", help="A tokenizer's JSON, or a token for each byte."),
]


def train(
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="stories260k, -15m, -42m or -110m; by default that of the weights."
        ),
    ] = None,
    pipeline: Annotated[Pipelines, typer.Option(help="static: 72 kernels for 12 layers; static-ane: 99.")] = (
        Pipelines.static
    ),
    steps: Annotated[
        int, typer.Option(metavar="N", help="Sequences, forward and backward.")
    ] = _Defaults.steps,
    data: Annotated[str, typer.Option(metavar="FILE", help="uint16 tokens; see aneperf data.")] = "synthetic",
    weights: Annotated[
        Path | None, _file("A model of llama2.c, or a folder of checkpoints, to begin from.")
    ] = None,
    dim: Annotated[int | None, _shape("Channels")] = None,
    hidden: Annotated[int | None, _shape("Channels of the feed-forward")] = None,
    layers: Annotated[int | None, _shape("Layers")] = None,
    heads: Annotated[int | None, _shape("Query heads")] = None,
    kv_heads: Annotated[int | None, _shape("Key and value heads")] = None,
    head_dim: Annotated[int | None, _shape("Channels of a head")] = None,
    vocab: Annotated[int | None, _shape("Tokens in the vocabulary")] = None,
    seq: Annotated[int | None, _shape("Tokens in a sequence")] = None,
    accumulation: Annotated[
        int, typer.Option(metavar="N", help="Steps in a batch, after which weights are updated.")
    ] = _Defaults.accumulation,
    learning_rate: Annotated[float, typer.Option("--learning-rate", "--lr")] = _Defaults.learning_rate,
    beta1: float = _Defaults.beta1,
    beta2: float = _Defaults.beta2,
    epsilon: float = _Defaults.epsilon,
    weight_decay: Annotated[float, typer.Option(help="Of matrices; norms do not decay.")] = (
        _Defaults.weight_decay
    ),
    warmup: Annotated[int, typer.Option(metavar="N", help="Updates over which the rate rises.")] = (
        _Defaults.warmup
    ),
    decay: Annotated[Decay, typer.Option(help="Of the learning rate.")] = Decay.constant,
    final_rate: Annotated[float, typer.Option(help="That cosine ends at, as a share of the rate.")] = (
        _Defaults.final_rate
    ),
    clip: Annotated[float | None, typer.Option(help="Largest norm of the gradient.")] = _Defaults.clip,
    loss_scale: Annotated[float, typer.Option(help="Keeps gradients clear of fp16 subnormals.")] = (
        _Defaults.loss_scale
    ),
    seed: Annotated[int, typer.Option(help="Of the random weights and of the order of the data.")] = (
        _Defaults.seed
    ),
    as_published: Annotated[
        bool,
        typer.Option("--as-published", help="The published graphs, without positions, for their timing."),
    ] = False,
    checkpoints: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Keep checkpoints there.")
    ] = None,
    checkpoint_every: Annotated[int, typer.Option(metavar="BATCHES", help="Between two checkpoints.")] = 1,
    keep: Annotated[int, typer.Option(metavar="N", help="Checkpoints to keep, beside the best.")] = 2,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    resume_step: Annotated[
        int | None, typer.Option(metavar="STEP", help="Go on from the checkpoint of this step.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="ane, emulator or emulator:CHIP; the engine if there is one.")
    ] = None,
    chip: Annotated[str | None, typer.Option(help="The emulator's profile, such as h16.")] = None,
    peak_tflops: Annotated[
        float | None, typer.Option(help="The device's peak, to give its utilisation; see aneperf peak.")
    ] = None,
    json: Annotated[Path | None, _file("Also save the result as JSON; - prints it.")] = None,
    telemetry: Annotated[Path | None, _file("Write each step as lines of JSON.")] = None,
    trace: Annotated[Path | None, _file("Write a trace for ui.perfetto.dev.")] = None,
    plot: Annotated[Path | None, _file("Draw the losses; needs matplotlib.")] = None,
    save: Annotated[Path | None, _file("Write the trained model as llama2.c reads it.")] = None,
    state_folder: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="For the state, if /dev/shm is too small.")
    ] = None,
) -> None:
    """Train a Llama 2 model on the device.

    The report says where the time went.
    """
    to_stdout = json == Path("-")
    if sys.stdout is None and not any((json, save, checkpoints)):
        raise AneError("standard output is closed: there is nowhere to write the result")
    for path in (None if to_stdout else json, plot, save):
        if path is not None:
            check_writable(path)
    if plot is not None:
        check_plot(plot)
    shape = {
        "dim": dim,
        "hidden": hidden,
        "layers": layers,
        "heads": heads,
        "kv_heads": kv_heads,
        "head_dim": head_dim,
        "vocab": vocab,
        "seq": seq,
    }
    changes = {name: value for name, value in shape.items() if value is not None}
    opened = devices.open(device, chip=chip)
    with view(sys.stderr if to_stdout else sys.stdout) as shown:

        def progress(event: Event) -> None:
            if isinstance(event, Began) and save is not None:
                check_shape(event.config.model)
            shown.record(event)

        result = run_train(
            _reshaped(model, weights, changes) if changes else model,
            pipeline=pipeline.value,
            steps=steps,
            data=data,
            weights=weights,
            device=opened,
            checkpoints=checkpoints,
            checkpoint_every=checkpoint_every,
            keep=keep,
            resume=resume if resume_step is None else resume_step,
            telemetry=telemetry,
            trace=trace,
            state_folder=state_folder,
            peak_tflops=peak_tflops,
            progress=progress,
            as_published=as_published,
            accumulation=accumulation,
            learning_rate=learning_rate,
            beta1=beta1,
            beta2=beta2,
            epsilon=epsilon,
            weight_decay=weight_decay,
            warmup=warmup,
            decay=decay.value,
            final_rate=final_rate,
            clip=clip,
            loss_scale=loss_scale,
            seed=seed,
        )
    try:  # a run is long: what cannot be written one way still goes the others
        if to_stdout:
            write(result.to_result().to_json().decode().rstrip("\n"), sys.stdout)
        elif json is not None:
            result.save(json)
        if save is not None:
            result.save_llama2c(save)
        if plot is not None:
            result.plot(plot)
    finally:
        report = sys.stderr if to_stdout or sys.stdout is None else sys.stdout
        if report is not None:
            write(lay_out_training(result), report)
    if result.interrupted:
        say("interrupted")
        raise typer.Exit(INTERRUPTED)


def generate(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL.bin|FOLDER", help="A model of llama2.c, or checkpoints.")
    ],
    prompt: Annotated[str | None, typer.Option(metavar="TEXT", help="What the text begins with.")] = None,
    tokens: Annotated[str | None, typer.Option(metavar="1,2,3", help="The same as tokens.")] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(metavar="FILE|bytes", help="A tokenizer's JSON, or a token for each byte."),
    ] = None,
    count: Annotated[int, typer.Option(metavar="N", min=1, help="Tokens to add, at most.")] = 100,
    temperature: Annotated[float, typer.Option(help="0 takes the most probable token.")] = 0.0,
    top_p: Annotated[float, typer.Option(help="Draw from the tokens that have this probability.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Let a model go on with a text, on the CPU. Prints text, or tokens if there is no tokenizer."""
    if (prompt is None) == (tokens is None):
        raise ArgumentError("generate takes --prompt TEXT with --tokenizer, or --tokens 1,2,3")
    if prompt is not None and tokenizer is None:
        raise ArgumentError("--prompt needs --tokenizer FILE or --tokenizer bytes")
    reader = None if tokenizer is None else open_tokenizer(tokenizer)
    begin = _numbers(tokens) if prompt is None else list(reader.encode(prompt, whole=True)) if reader else []
    config, parameters = load_model(model)
    known, shown = list(begin), ""
    for token in sample(config, parameters, begin, count, temperature=temperature, top_p=top_p, seed=seed):
        known.append(token)
        if reader is not None:
            text = reader.decode(known)
            if not text.endswith("\N{REPLACEMENT CHARACTER}"):  # which the next token may complete
                shown = _show(text, shown)
    if reader is None:
        write(",".join(map(str, known)), sys.stdout)
    else:
        _show(reader.decode(known), shown)
        write("", sys.stdout)


def data(
    texts: Annotated[list[Path], typer.Argument(metavar="TEXT...", help="Files of text, in this order.")],
    tokenizer: TokenizerName,
    output: Annotated[Path, typer.Option("--output", metavar="FILE", help="The tokens, uint16.")],
) -> None:
    """Turn text into a file of tokens to train on."""
    reader = open_tokenizer(tokenizer)
    count = write_tokens(texts, reader, output)
    write(f"{output}: {count} tokens of a vocabulary of {reader.vocab}", sys.stdout)


def _reshaped(model: str | None, weights: Path | None, changes: dict[str, int]) -> TransformerConfig:
    """The model of that name, or of the weights, with other sizes.

    Heads follow them: as many for keys, and dim / heads wide, if not told.
    """
    if model is None and weights is not None:
        preset, _ = load_model(weights)
    else:
        preset = model_config(model or "stories110m")
    if "heads" in changes:
        changes = {"kv_heads": changes["heads"], **changes}
    if {"heads", "dim"} & changes.keys() and "head_dim" not in changes:
        sizes = replace(preset, **{k: v for k, v in changes.items() if k in ("dim", "heads", "kv_heads")})
        if sizes.dim % sizes.heads:
            raise ArgumentError(f"{sizes.heads} heads do not divide {sizes.dim} channels: give --head-dim")
        changes = {"head_dim": sizes.dim // sizes.heads, **changes}
    return replace(preset, **changes)


def _numbers(text: str | None) -> Sequence[int]:
    try:
        return [int(number) for number in (text or "").split(",")]
    except ValueError:
        raise ArgumentError(f"--tokens takes numbers like 1,2,3, not {text!r}") from None


def _show(text: str, shown: str) -> str:
    """Print what is new in a text. Raises AneError."""
    if sys.stdout is None:
        raise AneError("cannot write the output: standard output is closed")
    try:
        sys.stdout.write(text.removeprefix(shown))
        sys.stdout.flush()
    except OSError as error:
        raise AneError(f"cannot write the output: {error.strerror}") from error
    return text
