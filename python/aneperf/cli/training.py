"""The verbs for training: train, generate, data."""

from __future__ import annotations

import sys
import time
from collections.abc import Container, Iterator
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

import click

from ..errors import ArgumentError
from .options import FILE, STANDARD_OUTPUT
from .terminal import say, write, write_model_text

if TYPE_CHECKING:
    from ..training.tokenizer import Tokenizer

_TOKENIZER: dict[str, Any] = {
    "type": FILE,
    "metavar": "FILE|bytes",
    "help": "A tokenizer's JSON, SentencePiece model or llama2.c's tokenizer.bin; bytes: a token per byte.",
}


class _Train(click.Command):
    """The verb `train`. Its options come from a module that costs numpy to import."""

    @cached_property
    def _sections(self) -> dict[str, list[click.Parameter]]:
        from .training_run import options_by_section

        return options_by_section()

    def get_params(self, context: click.Context) -> list[click.Parameter]:
        return [*chain.from_iterable(self._sections.values()), *super().get_params(context)]

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        sections = {**self._sections, "Help": super().get_params(context)}
        for title, options in sections.items():
            with formatter.section(title):
                formatter.write_dl([record for o in options if (record := o.get_help_record(context))])


@click.command(cls=_Train)
@click.pass_context
def train(context: click.Context, /, **values: Any) -> int:
    """Train a Llama or Qwen3 model, and report where the time went."""
    from .training_run import run

    return run(context)


@click.command(
    params=[
        click.Argument(["model"], type=FILE, metavar="MODEL.bin|FOLDER"),
        click.Option(["--prompt"], metavar="TEXT", help="Text to continue; needs a tokenizer."),
        click.Option(["--tokens"], metavar="1,2,3", help="Tokens to continue, instead of a text."),
        click.Option(
            ["--tokenizer"],
            **{**_TOKENIZER, "help": f"{_TOKENIZER['help']} For --prompt, by default the folder's."},
        ),
        click.Option(
            ["--max-new-tokens"],
            type=click.IntRange(1),
            metavar="N",
            default=100,
            help="Largest number of tokens to add.",
        ),
        click.Option(["--ignore-eos"], is_flag=True, help="Continue after a token that ends a text."),
        click.Option(
            ["--temperature"], metavar="X", default=0.0, help="Temperature; 0 takes the most probable token."
        ),
        click.Option(
            ["--top-p"],
            metavar="P",
            default=1.0,
            help="Sample from the most probable tokens that together reach P.",
        ),
        click.Option(
            ["--seed"], type=click.IntRange(0), metavar="N", default=0, help="Seed of the sampling."
        ),
    ]
)
def generate(
    model: str,
    prompt: str | None,
    tokens: str | None,
    tokenizer: str | None,
    max_new_tokens: int,
    ignore_eos: bool,
    temperature: float,
    top_p: float,
    seed: int,
) -> None:
    """Generate text from a model, on the CPU.

    MODEL.bin is a llama2.c model, and FOLDER is a Hugging Face model or holds checkpoints. Begins a new text
    without --prompt and --tokens. Prints text, or numbers for --tokens without --tokenizer, as they come.
    Stops after a token that ends a text, of those that the model's folder names, or else its tokenizer. The
    rate on standard error counts the tokens after the first.
    """
    from ..training.checkpoint import load_model, load_origin, load_record, tokenizer_file
    from ..training.generate import generate
    from ..training.tokenizer import BYTES, open_tokenizer

    if prompt is not None and tokens is not None:
        raise ArgumentError("generate takes --prompt TEXT with a tokenizer, or --tokens 1,2,3, not both")
    own = None if tokenizer or tokens is not None else tokenizer_file(model)
    if tokens is None and (tokenizer or own) is None:
        raise ArgumentError(
            f"{model} has no tokenizer: --prompt needs --tokenizer FILE or --tokenizer bytes; "
            "--tokens 1,2,3 needs none"
        )
    origin, path = load_origin(model), tokenizer or own
    reader = None if path is None else open_tokenizer(path)
    if reader is not None and (record := load_record(model)) is not None:
        trained_with = record.vocabulary
        if trained_with is not None and reader.vocabulary.sha256 != trained_with.sha256:
            raise ArgumentError(
                f"{path} has the tokens of {reader.vocabulary}, and {model} was trained with {trained_with}: "
                "give the model's own tokenizer"
            )
    first = origin.config.begin if origin and own not in (None, BYTES) else None
    begin = _numbers(tokens) if reader is None or tokens is not None else _text_tokens(prompt, reader, first)
    ends: tuple[int, ...] = ()
    if not ignore_eos:
        ends = (origin.config.ends if origin else ()) or (reader.vocabulary.ends if reader else ())
    config, parameters = load_model(model)
    drawn = generate(
        config, parameters, begin, max_new_tokens, temperature=temperature, top_p=top_p, seed=seed, ends=ends
    )
    _show(begin, drawn, reader, ends)


def _text_tokens(prompt: str | None, reader: Tokenizer, first: int | None) -> list[int]:
    """Return the tokens of a prompt, or those that begin a text: the tokenizer's, `first`, or a line feed."""
    if prompt is None:
        tokens = list(reader.encode("", whole=True))
        tokens = tokens or ([first] if first is not None else list(reader.encode("\n", whole=False)))
        if not tokens:
            raise ArgumentError(
                "the tokenizer has no token that begins a text, and none for a line feed: give --prompt TEXT"
            )
        return tokens
    if any("\ud800" <= character <= "\udfff" for character in prompt):
        raise ArgumentError("--prompt is not UTF-8 text")
    tokens = list(reader.encode(prompt, whole=True))
    if not tokens:
        raise ArgumentError("the prompt is empty: the tokenizer has no token for it")
    return tokens


def _show(begin: list[int], drawn: Iterator[int], reader: Tokenizer | None, ends: Container[int]) -> None:
    """Print tokens as they come, as text if there is a tokenizer, and their rate."""
    known, shown, times = list(begin), 0, list[float]()
    for token in drawn:
        times.append(time.perf_counter())
        if reader is not None and token in ends:
            break
        known.append(token)
        text = ",".join(map(str, known)) if reader is None else reader.decode(known)
        if not text.endswith("\N{REPLACEMENT CHARACTER}"):  # which the next token may complete
            write_model_text(text[shown:], sys.stdout, end="")
            shown = len(text)
    write_model_text("" if reader is None else reader.decode(known)[shown:], sys.stdout)
    if len(times) > 1:
        rate = (len(times) - 1) / (times[-1] - times[0])
        say(f"{len(times)} tokens, {rate:.1f} tokens/s on the CPU")


@click.command(
    params=[
        click.Argument(["texts"], type=FILE, metavar="[TEXT...]", nargs=-1),
        click.Option(
            ["--sample"], is_flag=True, help="Take sonnets by Shakespeare, 10 KB of text, instead of files."
        ),
        click.Option(
            ["--tokenizer"], **{**_TOKENIZER, "help": f"{_TOKENIZER['help']} By default bytes for --sample."}
        ),
        click.Option(
            ["-o", "--output"],
            type=FILE,
            metavar="FILE",
            required=True,
            help="File for the tokens and their vocabulary; - prints it.",
        ),
        click.Option(["--force"], is_flag=True, help="Replace a file of tokens."),
    ]
)
def data(texts: tuple[str, ...], sample: bool, tokenizer: str | None, output: str, force: bool) -> None:
    """Convert text files to the tokens that train --data reads.

    The file also holds the vocabulary, so that train can refuse tokens that mean something else to its model.
    A vocabulary of up to 65,536 tokens takes 16 bits a token, a larger one 32.
    """
    from ..kinds import Kind
    from ..outputs import check_output
    from ..training.text_to_tokens import SAMPLE, write_tokens
    from ..training.tokenizer import open_tokenizer

    if sample == bool(texts):
        raise click.UsageError("Give text files, or --sample.")
    if tokenizer is None and not sample:
        raise click.UsageError("Missing option '--tokenizer', FILE or bytes.")
    reader = open_tokenizer(tokenizer or "bytes")
    texts = texts or (str(SAMPLE),)
    if output == STANDARD_OUTPUT:
        from pathlib import Path
        from tempfile import TemporaryDirectory

        with TemporaryDirectory() as folder:
            tokens = Path(folder) / "tokens"
            write_tokens(texts, reader, tokens)
            write(tokens.read_bytes(), sys.stdout)
        return
    check_output(output, Kind.TOKENS, {"--tokenizer": tokenizer}, replace=force)
    count = write_tokens(texts, reader, output, replace=force)
    if sys.stdout is not None:
        write(f"{output}: {count} tokens of {reader.vocabulary}", sys.stdout)


def _numbers(text: str | None) -> list[int]:
    try:
        return [int(number) for number in (text or "").split(",")]
    except ValueError:
        raise ArgumentError(f"--tokens takes numbers like 1,2,3, not {(text or '')[:60]!r}") from None
