"""The suite of results that confirm or refute the model of the engine's arithmetic."""

from .probe import conformance as conformance
from .rules import unpack as unpack
