"""The output of the command: tables and JSON on standard output, messages on standard error."""

import contextlib
import errno
import json
import os
import re
import signal
import stat
import sys
from typing import IO, TYPE_CHECKING, Any, TextIO, cast

from ..cluster.launch import is_rank
from ..errors import AneError
from ..glyphs import in_ascii, takes_unicode
from .launcher import launcher_terminal
from .options import is_printed

if TYPE_CHECKING:
    from rich.console import Console

    from ..kinds import Kind
    from ..report.table import Table
    from ..results import Result
    from ..training.result import TrainingResult

FAILED = 1
REFUSED = 2
PIPE_CLOSED = 128 + signal.SIGPIPE
_CONTROLS = {
    code: "\N{REPLACEMENT CHARACTER}"
    for code in (*range(0x20), *range(0x7F, 0xA0))
    if chr(code) not in "\n\t"
}


def write(content: str | bytes, stream: TextIO | None, *, end: str = "\n") -> None:
    """Write a text and `end`, or bytes alone, at once: a failure is an error here.

    Control characters of a text are replaced: it may quote a file from elsewhere, and they drive a terminal.
    A terminal that is gone takes everything. Raises AneError, and BrokenPipeError where the reader of a pipe
    is gone.
    """
    _put(content.translate(_CONTROLS) + end if isinstance(content, str) else content, stream)


def _put(content: str | bytes, stream: TextIO | None) -> None:
    if stream is None:
        raise AneError("cannot write the output: standard output is closed")
    try:
        if isinstance(content, bytes):
            stream.buffer.write(content)
        else:
            stream.write(content)
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        if not _leave_terminal(error, stream):
            raise AneError(f"cannot write the output: {error.strerror}") from error


class Terminal:
    """A terminal's stream, which the run outlives: what is written after the terminal has gone is lost.

    Where the locale asks for ASCII, it gets that.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_plain = not takes_unicode(stream)

    @property
    def encoding(self) -> str:
        """Return the encoding by which rich chooses the signs of its bars and boxes."""
        return "ascii" if self._is_plain else self._stream.encoding

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text."""
        try:
            return self._stream.write(in_ascii(text) if self._is_plain else text)
        except OSError as error:
            if not _leave_terminal(error, self._stream):
                raise
            return len(text)

    def flush(self) -> None:
        """Pass everything on."""
        try:
            self._stream.flush()
        except OSError as error:
            if not _leave_terminal(error, self._stream):
                raise


def terminal(stream: TextIO) -> IO[str]:
    """Return the stream of a terminal for the library that draws on it."""
    return cast("IO[str]", Terminal(stream))


def console_on(stream: TextIO | None) -> "Console | None":
    """Return a console for a terminal, also for one behind a launcher of ranks; None for a file or a pipe."""
    if stream is None or not stream.isatty():
        return None
    from rich.console import Console

    file = terminal(stream)
    if not is_rank():
        return Console(file=file)
    if (size := launcher_terminal()) is None:
        return None
    # A terminal may not know its size; 0 stands for that, and the console takes its defaults.
    return Console(file=file, width=size.columns or None, height=size.lines or None)


def _leave_terminal(error: OSError, stream: TextIO) -> bool:
    """Direct a stream whose terminal is gone to nowhere, and tell if that is the case."""
    if error.errno != errno.EIO or not stat.S_ISCHR(os.fstat(stream.fileno()).st_mode):
        return False
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
    return True


def write_model_text(text: str, stream: TextIO | None, *, end: str = "\n") -> None:
    """Write what a model says: as it is, but to a terminal without what controls it.

    Raises as `write` does.
    """
    if stream is not None and stream.isatty():
        text = "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)
    _put(text + end, stream)


def write_table(table: "Table", stream: TextIO | None) -> None:
    """Write a table: in color and within the width of a terminal, elsewhere each row on one line.

    In ASCII where the locale asks for that. Raises as `write` does.
    """
    from rich.text import Text

    from ..report.table import draw, to_text

    plain = not takes_unicode(stream)
    if (console := console_on(stream)) is None:
        write(to_text(table, ascii=plain), stream)
        return
    with console.capture() as capture:
        for line in draw(table, console.width, ascii=plain):
            console.print(Text(line.text, line.style), soft_wrap=True)
    _put(capture.get(), stream)  # with control characters: the colors


def save(text: str, output: str, kind: "Kind") -> None:
    """Write a text to a file, or to standard output for a dash.

    Raises ResultFileError, or as `write` does.
    """
    if is_printed(output):
        write(text, sys.stdout)
    else:
        from ..outputs import write_whole

        write_whole(output, kind, f"{text}\n".encode())


def save_result(result: "Result | TrainingResult", output: str) -> None:
    """Write a result to a file, or to standard output, in the form that the name's suffix asks for."""
    from ..display import call_report
    from ..kinds import Kind
    from ..outputs import form_of

    if not is_printed(output):
        result.save(output)
    elif (form := form_of(output, Kind.RESULT)) is not Kind.RESULT:
        write(call_report("to_form", result, form), sys.stdout, end="")
    else:
        write(result.to_json().decode(), sys.stdout, end="")


def show(table: "Table", data: object, output: str | None, kind: "Kind") -> None:
    """Print a table, and save its data to `output`, which may be a dash: then that is printed instead.

    The data are JSON; of a list of records also CSV can be made.
    """
    if output is not None:
        from ..outputs import form_of
        from ..report.forms import facts_of, to_form

        form = form_of(output, kind)
        records = data if isinstance(data, list) else facts_of(table)
        text = to_json(data) if form is kind else to_form(form, table, records).rstrip("\n")
        save(text, output, form)
    show_table(table, output)


def show_table(table: "Table", output: str | None) -> None:
    """Print a table, unless `output` is standard output and has the data. Raises as `write` does."""
    if output is None:
        write_table(table, sys.stdout)
    elif not is_printed(output) and (stream := report_stream(output)) is not None:
        write_table(table, stream)


def report_stream(output: str | None) -> TextIO | None:
    """Return where a report goes: standard output, or standard error where that has the data or is closed."""
    return sys.stderr if is_printed(output) or sys.stdout is None else sys.stdout


def to_json(data: object) -> str:
    """Return indented JSON. Raises AneError."""
    import msgspec

    try:
        text = msgspec.json.format(msgspec.json.encode(data), indent=2).decode()
    except ValueError as error:
        raise AneError(f"JSON cannot hold this: {error}") from error
    # JSON itself escapes control characters up to U+001F only.
    return re.sub(r"[^\n -~]", lambda found: _escaped(found[0]), text)


def _escaped(character: str) -> str:
    """Write a character as JSON does, unless it is printable."""
    return character if character.isprintable() else json.dumps(character)[1:-1]


def say(message: str) -> None:
    """Print a message in one line on standard error, if there is one."""
    from ..files import one_line

    if sys.stderr is not None:
        with contextlib.suppress(OSError, AneError):
            line = one_line(message)
            write(f"aneperf: {line if takes_unicode(sys.stderr) else in_ascii(line)}", sys.stderr)


def end_interrupted(number: signal.Signals) -> int:
    """Say which signal ended the command, and return the exit code, as shells count: 128 and its number."""
    say("interrupted" if number == signal.SIGINT else f"interrupted by {number.name}")
    return 128 + number
