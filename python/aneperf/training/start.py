"""The model that a run starts from: random weights, those of a file or a folder, or a checkpoint's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..bounds import CONSTANTS
from ..errors import ArgumentError
from ..kernels import TransformerConfig
from ..kernels.presets import model_config, model_name
from .checkpoint import load_model, load_origin, load_record
from .config import differences
from .hugging_face import Origin, hugging_face_shape, is_hugging_face
from .kernels import Floats
from .models import random_parameters
from .options import TrainOptions
from .record import Record
from .resume import Found, absolute_path
from .vocabulary import Vocabulary


@dataclass(frozen=True)
class Start:
    """A model: its shape, its parameters, and what is known of where they come from."""

    model: TransformerConfig
    loaded: Mapping[str, Floats] | None = None  # the parameters, unless they are random
    base: str | None = None  # the Hugging Face folder that they were first read from
    origin: Origin | None = None  # what that folder holds besides
    record: Record | None = None  # of the checkpoint, if they are one's

    @property
    def separate_classifier(self) -> bool:
        """Tell whether the classifier is another matrix than the embedding."""
        return self.loaded is not None and "classifier" in self.loaded

    def parameters(self, seed: int) -> Mapping[str, Floats]:
        """Return the parameters; random ones are drawn now."""
        return random_parameters(self.model, seed) if self.loaded is None else self.loaded

    def vocabulary(self) -> Vocabulary | None:
        """Return the vocabulary that the weights were trained with, if their folder or checkpoint tells."""
        described = None if self.origin is None else self.origin.vocabulary()
        return self.record.vocabulary if described is None and self.record is not None else described


def start_of(options: TrainOptions, found: Found | None) -> Start:
    """Read what a run starts from. Raises ArgumentError and CheckpointError."""
    asked = None if options.model is None else model_config(options.model)
    weights = options.weights
    base = absolute_path(weights) if weights is not None and is_hugging_face(weights) else None
    if found is not None:
        model = asked or found.record.config.model
        return Start(model, found.saved.weights, base, found.origin, found.record)
    if weights is None:
        return Start(asked or model_config("stories110m"))
    shape, parameters = load_model(weights)
    if asked is not None:
        _check_same_model(options, asked, shape)
    elif base is not None:
        asked = hugging_face_shape(weights)
    return Start(asked or shape, parameters, base, load_origin(weights), load_record(weights))


def _check_same_model(options: TrainOptions, asked: TransformerConfig, found: TransformerConfig) -> None:
    """Raise ArgumentError unless the weights fit the model that is asked for."""
    assert options.weights is not None
    # Any length of sequences fits the parameters, and a llama2.c model, a file, does not tell its constants.
    free = ("seq",) if Path(options.weights).is_dir() else ("seq", *CONSTANTS)
    same = replace(found, **{name: getattr(asked, name) for name in free})
    if different := differences(options.config(asked), options.config(same)):
        raise ArgumentError(
            f"{options.weights} has another model, {model_name(found)}, than {model_name(asked)}: "
            f"{'; '.join(different)}"
        )
