"""Lay out what was published about the engine of a chip, which the system itself does not tell."""

from ..chips import chips_of, find_chip
from ..errors import ArgumentError
from ..results import Environment


def published_facts(environment: Environment) -> dict[str, str]:
    """Return the facts by name, with their sources. Empty for a chip that the table does not have."""
    facts: dict[str, str] = {}
    if environment.device == "emulator" and (chips := chips_of(environment.chip)):
        facts["profile of"] = ", ".join(chip.name for chip in chips)
    try:
        chip = find_chip(environment.properties.get("imitates", environment.chip))
    except ArgumentError:  # "none", a newer chip, or an engine that several chips have
        return facts
    if chip.engines is not None:
        facts[f"{chip.name}: engines"] = f"{chip.engines}, as published"
    if chip.clock_mhz is not None:
        facts[f"{chip.name}: clock"] = f"{chip.clock_mhz} MHz at most, as published"
    for status in ("rated", "computed", "measured"):
        if peaks := [f"{peak} ({peak.source})" for peak in chip.peaks if peak.status == status]:
            facts[f"{chip.name}: peak {status}"] = "; ".join(peaks)
    return facts
