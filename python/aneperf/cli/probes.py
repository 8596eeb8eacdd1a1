"""The verbs that measure: `info`, and one for each probe of the registry."""

from functools import partial
from pkgutil import resolve_name
from typing import Any

import click

from ..probes.probe import Option, Probe
from .options import CHIP, COMPILE_TIMEOUT, DEVICE, FILE, OUTPUT, VERBOSE, check_named, is_printed


@click.command(params=[DEVICE, CHIP, OUTPUT])
def info(device: str | None, chip: str | None, output: str | None) -> None:
    """Show the device and this machine."""
    from .. import device as devices
    from ..kinds import Kind
    from ..report.result_table import lay_out_environment
    from .terminal import show

    environment = devices.info(devices.open(device, chip=chip))
    show(lay_out_environment(environment), environment, output, Kind.ENVIRONMENT)


def probe_verb(probe: Probe) -> click.Command:
    """Return the verb of a probe."""

    def run(
        device: str | None,
        chip: str | None,
        compile_timeout: float | None,
        output: str | None,
        verbose: bool,
        **given: Any,
    ) -> int:
        from .. import device as devices
        from ..outputs import check_apart
        from .measuring import measure
        from .terminal import FAILED, say

        written = {f"--{export.name}": given[export.name] for export in probe.exports}
        for export in probe.exports:
            check_named(export.name, given[export.name])
        check_apart({**written, "-o": None if is_printed(output) else output})
        exports = [
            resolve_name(export.prepare)(given[export.name])
            for export in probe.exports
            if given[export.name] is not None
        ]
        open_device = partial(devices.open, device, chip=chip, compile_timeout=compile_timeout)
        arguments = probe.arguments(given)
        code = measure(probe, arguments, open_device, output, verbose=verbose, exports=exports)
        if probe.file and not is_printed(output) and code <= FAILED:  # not interrupted
            say(f"{output} holds all of it: please send that file")
        return code

    target = [click.Argument(["file"], type=FILE, metavar=probe.target)] if probe.target else []
    exports = [
        click.Option([f"--{export.name}"], type=FILE, metavar="FILE", help=export.help)
        for export in probe.exports
    ]
    output = click.Option(list(OUTPUT.opts), type=FILE, metavar="FILE", default=probe.file, help=OUTPUT.help)
    return click.Command(
        probe.name,
        callback=run,
        params=[
            *target,
            *map(_option, probe.verb_options),
            *(DEVICE, CHIP, COMPILE_TIMEOUT, VERBOSE),
            *exports,
            output,
        ],
        help=f"{probe.summary}\n\n{probe.details}",
    )


def _option(option: Option) -> click.Option:
    return click.Option(
        [f"--{option.name}"],
        type=click.Choice(option.choices) if option.choices else option.type,
        is_flag=option.type is bool,
        multiple=option.repeatable,
        default=option.default,
        metavar=option.metavar,
        help=option.help,
    )
