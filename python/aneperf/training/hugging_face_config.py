"""The config.json of a Hugging Face folder, of the two architectures whose computation is ours.

A setting that changes what a model computes, and that our kernels lack, is refused by name.
Source: github.com/huggingface/transformers, models/llama and models/qwen3.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from ..bounds import CONFIG_BYTES, CONSTANTS, ENDS, MODEL, SEED, within
from ..checks import count, shown
from ..errors import ArgumentError
from ..files import read_input
from ..kernels import TransformerConfig
from ..kinds import Kind
from .strict_json import decode_strictly

NAME = "config.json"
_LLAMA, _QWEN3 = "LlamaForCausalLM", "Qwen3ForCausalLM"
_MODEL_TYPES = {_LLAMA: "llama", _QWEN3: "qwen3"}
# The values with which a setting changes nothing.
_NEUTRAL: dict[str, tuple[object, ...]] = {
    "hidden_act": ("silu", "swish"),
    "attention_bias": (False,),
    "mlp_bias": (False,),
    "attention_dropout": (0,),
    "use_sliding_window": (False,),
    "partial_rotary_factor": (None, 1),
    "quantization_config": (None,),
}
_ROTARY = {"rope_type": ("default",), "type": ("default",), "partial_rotary_factor": (None, 1)}

TokenIds = int | list[int] | msgspec.UnsetType | None
_LONGEST_DTYPE = 32


class HuggingFaceConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The part of a config.json that is read and written. Raises ArgumentError for what is refused.

    The defaults are those of transformers for both architectures. Each value is bounded, since the record of
    a checkpoint holds them all.
    """

    architectures: list[str]
    model_type: str
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    vocab_size: int
    max_position_embeddings: int
    rms_norm_eps: float = 1e-6
    rope_theta: float | None = None
    rope_parameters: dict[str, Any] | None = None  # of transformers 5, where it holds rope_theta too
    rope_scaling: dict[str, Any] | None = None  # its name before
    tie_word_embeddings: bool = False
    hidden_act: str = "silu"
    attention_bias: bool = False
    mlp_bias: bool = False
    attention_dropout: float | None = 0.0
    use_sliding_window: bool = False
    layer_types: list[str] | None = None
    partial_rotary_factor: float | None = None
    quantization_config: Any = None
    bos_token_id: TokenIds = msgspec.UNSET
    eos_token_id: TokenIds = msgspec.UNSET
    pad_token_id: TokenIds = msgspec.UNSET
    torch_dtype: str | None = None

    def __post_init__(self) -> None:
        (architecture, *more) = self.architectures or [""]
        if more or architecture not in _MODEL_TYPES:
            known = " and ".join(_MODEL_TYPES)
            raise ArgumentError(f"is of the architecture {shown(architecture)}: {known} are read")
        if self.model_type != _MODEL_TYPES[architecture]:
            raise ArgumentError(f"is a {architecture} with the model_type {shown(self.model_type)}")
        for name, values in _NEUTRAL.items():
            _check_neutral(name, getattr(self, name), values)
        for kind in self.layer_types or ():
            _check_neutral("layer_types", kind, ("full_attention",))
        for name, rotary in (("rope_parameters", self.rope_parameters), ("rope_scaling", self.rope_scaling)):
            for key, value in (rotary or {}).items():
                if key != "rope_theta":
                    _check_neutral(f"{name}.{key}", value, _ROTARY.get(key, ()))
                elif value is not None:
                    within("rope_theta", value, CONSTANTS["rope_theta"])
        self._check_bounds()
        if self.qk_norm and None in (self.num_key_value_heads, self.head_dim):
            raise ArgumentError(f"lacks num_key_value_heads or head_dim, which {architecture} needs")
        self.model  # noqa: B018  # checks the sizes

    def _check_bounds(self) -> None:
        count("max_position_embeddings", self.max_position_embeddings, most=SEED)
        if len(self.layer_types or ()) > MODEL["layers"]:
            raise ArgumentError(f"has more than {MODEL['layers']} layer_types")
        if len(self.torch_dtype or "") > _LONGEST_DTYPE:
            raise ArgumentError(f"torch_dtype must be the name of a type, not {shown(self.torch_dtype)}")
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            tokens = getattr(self, name)
            tokens = tokens if isinstance(tokens, list) else [tokens] if isinstance(tokens, int) else []
            if len(tokens) > ENDS:
                raise ArgumentError(f"{name} has {len(tokens)} tokens: {ENDS} are taken")
            for token in tokens:
                count(name, token, -1, MODEL["vocab"])  # published models have -1 for none

    @classmethod
    def of(
        cls, model: TransformerConfig, *, tied: bool, source: HuggingFaceConfig | None = None
    ) -> HuggingFaceConfig:
        """Return the config of a model; special tokens and the longest sequence are those of its `source`."""
        architecture = _QWEN3 if model.qk_norm else _LLAMA
        if architecture == _LLAMA and model.dim % model.heads:
            raise ArgumentError(
                f"{_LLAMA} needs a dim that is a multiple of heads: {model.dim} is none of {model.heads}"
            )
        return cls(
            architectures=[architecture],
            model_type=_MODEL_TYPES[architecture],
            hidden_size=model.dim,
            intermediate_size=model.hidden,
            num_hidden_layers=model.layers,
            num_attention_heads=model.heads,
            num_key_value_heads=model.kv_heads,
            head_dim=model.head_dim,
            vocab_size=model.vocab,
            max_position_embeddings=model.seq if source is None else source.max_position_embeddings,
            rms_norm_eps=model.norm_eps,
            rope_theta=model.rope_theta,
            tie_word_embeddings=tied,
            bos_token_id=None if source is None else source.bos_token_id,
            eos_token_id=None if source is None else source.eos_token_id,
            pad_token_id=None if source is None else source.pad_token_id,
            torch_dtype="float32",
        )

    @property
    def qk_norm(self) -> bool:
        """Tell whether the architecture norms the heads of queries and keys."""
        return self.architectures == [_QWEN3]

    @property
    def model(self) -> TransformerConfig:
        """Return the shape, with sequences as long as the model takes them."""
        heads = self.num_attention_heads
        if self.head_dim is None and (heads < 1 or self.hidden_size % heads):
            raise ArgumentError(f"num_attention_heads {heads} does not divide hidden_size {self.hidden_size}")
        return TransformerConfig(
            dim=self.hidden_size,
            hidden=self.intermediate_size,
            layers=self.num_hidden_layers,
            heads=heads,
            kv_heads=heads if self.num_key_value_heads is None else self.num_key_value_heads,
            head_dim=self.hidden_size // heads if self.head_dim is None else self.head_dim,
            vocab=self.vocab_size,
            seq=min(self.max_position_embeddings, MODEL["seq"]),
            rope_theta=self._rope_theta,
            norm_eps=self.rms_norm_eps,
            qk_norm=self.qk_norm,
        )

    @property
    def _rope_theta(self) -> float:
        """Return the base of the angles, from the first place that transformers takes it from."""
        found = [(self.rope_scaling or self.rope_parameters or {}).get("rope_theta"), self.rope_theta]
        theta: float = next((theta for theta in found if theta is not None), TransformerConfig.rope_theta)
        return theta

    @property
    def begin(self) -> int | None:
        """Return the token that begins a text, if the model tells."""
        return self.bos_token_id if isinstance(self.bos_token_id, int) else None

    @property
    def ends(self) -> tuple[int, ...]:
        """Return the tokens after which a text has ended."""
        found = self.eos_token_id
        return tuple(found) if isinstance(found, list) else (found,) if isinstance(found, int) else ()

    def to_json(self) -> bytes:
        """Return the text of the file."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"


def read_config(path: Path) -> HuggingFaceConfig:
    """Read a config.json. Raises ArgumentError."""
    text = read_input(path, Kind.JSON, CONFIG_BYTES, ArgumentError)
    try:
        return decode_strictly(text, HuggingFaceConfig)
    except ValueError as error:
        raise ArgumentError(f"{path}: {error}") from None


def _check_neutral(name: str, value: object, allowed: tuple[object, ...]) -> None:
    if value not in allowed:
        raise ArgumentError(f"has {name} = {shown(value)}, which is not supported")
