"""Models in Hugging Face folders: config.json, safetensors in one file or in shards, and tokenizer.json.

Their queries and keys rotate channel i of a head with channel i + head_dim / 2, ours neighboring channels. So
the rows of wq and wk, and the weights of q_norm and k_norm, change places.
Source: github.com/huggingface/transformers, models/llama/modeling_llama.py.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..bounds import CONFIG_BYTES, JSON_BYTES, TENSORS_HEADER_BYTES, check_memory
from ..checks import shown
from ..errors import ArgumentError
from ..files import read_input
from ..kernels import TransformerConfig
from ..kernels.config import parameter_count, parameter_shapes
from ..kinds import Kind
from ..outputs import whole_folder
from .config import TrainingConfig
from .hugging_face_config import NAME, HuggingFaceConfig, TokenIds, read_config
from .models import Parameters, check_parameters, check_values
from .safetensors_file import DTYPES, Safetensors, write_safetensors
from .strict_json import decode_strictly
from .vocabulary import Vocabulary, vocabulary_of_json

_MODEL, _INDEX = "model.safetensors", "model.safetensors.index.json"
_TOKENIZER, _SENTENCEPIECE = "tokenizer.json", "tokenizer.model"
_GENERATION = "generation_config.json"
_LONGEST_NAME = 255  # of a file
_PUBLISHED_SEQ = 256  # source: maderix/ANE
_NAMES = {
    "embedding": "model.embed_tokens",
    "norm": "model.norm",
    "classifier": "lm_head",
    "rms1": "input_layernorm",
    "wq": "self_attn.q_proj",
    "wk": "self_attn.k_proj",
    "wv": "self_attn.v_proj",
    "wo": "self_attn.o_proj",
    "q_norm": "self_attn.q_norm",
    "k_norm": "self_attn.k_norm",
    "rms2": "post_attention_layernorm",
    "w1": "mlp.gate_proj",
    "w2": "mlp.down_proj",
    "w3": "mlp.up_proj",
}
# Tables of rotary positions, which old exports hold and every reader computes instead.
_IGNORED = re.compile(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq")


class Origin(NamedTuple):
    """A folder's config.json and the content of its tokenizer.json, to save with a trained model."""

    config: HuggingFaceConfig
    tokenizer: bytes | None
    path: str = _TOKENIZER  # from which it was read

    def vocabulary(self) -> Vocabulary | None:
        """Describe the tokens of the tokenizer, if there is one. Raises ArgumentError."""
        if self.tokenizer is None:
            return None
        try:
            return vocabulary_of_json(self.tokenizer)
        except ArgumentError as error:
            raise ArgumentError(f"{self.path}: {error}") from None


class _Index(msgspec.Struct):
    weight_map: dict[str, str]


class _GenerationConfig(msgspec.Struct):
    bos_token_id: TokenIds = msgspec.UNSET
    eos_token_id: TokenIds = msgspec.UNSET


def is_hugging_face(path: str | os.PathLike[str]) -> bool:
    """Tell whether a path is a folder with a config.json."""
    return os.path.exists(Path(path) / NAME)  # unlike Path.exists, also where permission is lacking


def hugging_face_shape(folder: str | os.PathLike[str]) -> TransformerConfig:
    """Return the shape to train, at the published 256 tokens a sequence if the model takes more."""
    model = read_config(_inside(Path(folder), NAME)).model
    return replace(model, seq=min(model.seq, _PUBLISHED_SEQ))


def read_origin(folder: str | os.PathLike[str]) -> Origin:
    """Read what a Hugging Face folder holds besides the weights. Raises ArgumentError."""
    folder = Path(folder)
    tokenizer = _content(folder, _TOKENIZER, Kind.TOKENIZER, JSON_BYTES)
    return Origin(_config_for_texts(folder), tokenizer, str(folder / _TOKENIZER))


def tokenizer_of(folder: str | os.PathLike[str]) -> str | None:
    """Return the path of a Hugging Face folder's tokenizer, if it is one and has one."""
    if not is_hugging_face(folder):
        return None
    names = [name for name in (_TOKENIZER, _SENTENCEPIECE) if (Path(folder) / name).exists()]
    return str(_inside(Path(folder), names[0])) if names else None


def hugging_face_name(name: str) -> str:
    """Return the name of a parameter in a Hugging Face folder."""
    layer, _, kind = name.rpartition(".")
    return f"model.{layer}.{_NAMES[kind]}.weight" if layer else f"{_NAMES[kind]}.weight"


def load_hugging_face(folder: str | os.PathLike[str]) -> tuple[TransformerConfig, Parameters]:
    """Read a model. Raises ArgumentError for one of another kind, a damaged one, and values not finite."""
    folder = Path(folder)
    config = read_config(_inside(folder, NAME))
    model, tied = config.model, config.tie_word_embeddings
    shapes = parameter_shapes(model, separate_classifier=True)
    check_memory(f"the model in {folder}", 4 * parameter_count(model, not tied), "free some")
    with contextlib.ExitStack() as files:
        holders: dict[str, Safetensors] = {}
        for path, listed in _shards(folder).items():
            file = files.enter_context(Safetensors(path, ArgumentError))
            if listed is not None and (different := file.entries.keys() ^ listed):
                raise ArgumentError(f"{path}: {shown(min(different))} is not where {_INDEX} places it")
            holders |= dict.fromkeys(file.entries, file)
        expected = {hugging_face_name(name): shape for name, shape in shapes.items()}
        for name, file in holders.items():
            _check_entry(file, name, expected)
        optional = {hugging_face_name("classifier")} if tied else set()
        if missing := expected.keys() - holders.keys() - optional:
            raise ArgumentError(f"{folder}: the tensor {min(missing)} is missing")
        parameters = {
            name: regrouped(_read(holders[stored], stored), name, model, halves=False)
            for name in shapes
            if (stored := hugging_face_name(name)) in holders
        }
        for file in set(holders.values()):
            file.check_unchanged()
    embedding = parameters["embedding"]
    if tied and not np.array_equal(parameters.pop("classifier", embedding), embedding):
        raise ArgumentError(
            f"{folder}: lm_head.weight is another matrix than the embedding, though {NAME} ties them: "
            "set tie_word_embeddings to false there"
        )
    return model, parameters


def save_hugging_face(
    folder: str | os.PathLike[str],
    config: TransformerConfig,
    parameters: Mapping[str, NDArray[Any]],
    origin: Origin | None = None,
) -> None:
    """Write a new folder, in fp32, for transformers to load.

    Special tokens, the longest sequence and the tokenizer are those of the model's `origin`, if it has one.
    Raises ArgumentError and ResultFileError.
    """
    check_parameters(config, parameters)
    described = HuggingFaceConfig.of(
        config, tied="classifier" not in parameters, source=origin and origin.config
    )
    with whole_folder(folder) as temporary:
        tensors = {
            hugging_face_name(name): regrouped(value, name, config, halves=True)
            for name, value in parameters.items()
        }
        (temporary / NAME).write_bytes(described.to_json())
        if origin is not None and origin.tokenizer is not None:
            (temporary / _TOKENIZER).write_bytes(origin.tokenizer)
        write_safetensors(temporary / _MODEL, tensors, like=temporary / NAME)


def check_savable(config: TrainingConfig) -> None:
    """Raise ArgumentError unless transformers can compute what a run trains."""
    if config.as_published:
        raise ArgumentError(
            "transformers has rotary positions: it cannot run a model that was trained as published"
        )
    HuggingFaceConfig.of(config.model, tied=True)


def _shards(folder: Path) -> dict[Path, set[str] | None]:
    """Return the files of a model, and the names of the tensors that an index places there."""
    if (folder / _MODEL).exists():
        return {_inside(folder, _MODEL): None}
    if not (folder / _INDEX).exists():
        pickled = sorted(path.name for path in folder.glob("*.bin"))
        what = f"{pickled[0]}, which may hold code and is not read, but no" if pickled else "no"
        raise ArgumentError(f"{folder}: has {what} {_MODEL} or {_INDEX}")
    path = _inside(folder, _INDEX)
    text = read_input(path, Kind.JSON, TENSORS_HEADER_BYTES, ArgumentError)
    try:
        places = decode_strictly(text, _Index).weight_map
    except ValueError as error:
        raise ArgumentError(f"{path}: {error}") from None
    listed: dict[str, set[str]] = {}
    for name, shard in places.items():
        listed.setdefault(shard, set()).add(name)
    for shard in listed:
        if Path(shard).name != shard or not shard.isprintable() or len(shard) > _LONGEST_NAME:
            raise ArgumentError(f"{path}: {shown(shard)} is not the plain name of a file")
    return {_inside(folder, shard): names for shard, names in sorted(listed.items())}


def _config_for_texts(folder: Path) -> HuggingFaceConfig:
    """Read config.json. What begins and ends a text is told by generation_config.json, if that tells."""
    config = read_config(_inside(folder, NAME))
    content = _content(folder, _GENERATION, Kind.JSON, CONFIG_BYTES)
    if content is None:
        return config
    try:
        told = msgspec.structs.asdict(decode_strictly(content, _GenerationConfig))
    except ValueError as error:
        raise ArgumentError(f"{folder / _GENERATION}: {error}") from None
    ids = {name: value for name, value in told.items() if isinstance(value, int | list)}
    return msgspec.structs.replace(config, **ids)


def _content(folder: Path, name: str, kind: Kind, most: int) -> bytes | None:
    """Return the content of a file of the folder, or None where there is none."""
    if not (folder / name).exists():
        return None
    return read_input(_inside(folder, name), kind, most, ArgumentError)


def _inside(folder: Path, name: str) -> Path:
    """Return a file of the folder. A link may lead to another one, or into the cache that has the folder."""
    path, home = folder / name, folder.resolve()
    cache = home.parent.parent / "blobs" if home.parent.name == "snapshots" else home
    try:
        if path.resolve().parent in (home, cache):
            return path
    except (OSError, RuntimeError) as error:  # a loop of links, or a name that is too long
        raise ArgumentError(f"{folder}: cannot read {shown(name)}: {error}") from None
    raise ArgumentError(f"{folder}: {shown(name)} leads out of the folder")


def _check_entry(file: Safetensors, name: str, expected: Mapping[str, tuple[int, ...]]) -> None:
    path, entry = file.path, file.entries[name]
    if _IGNORED.fullmatch(name):
        return
    if name not in expected:
        raise ArgumentError(f"{path}: the tensor {shown(name)} is none of the model that {NAME} describes")
    if entry.shape != expected[name]:
        raise ArgumentError(f"{path}: {name} is {list(entry.shape)}, not {list(expected[name])}")
    if entry.dtype not in DTYPES:
        raise ArgumentError(f"{path}: {name} is {entry.dtype}, not {', '.join(DTYPES)}")


def _read(file: Safetensors, name: str) -> NDArray[np.float32]:
    values = file.read(name)
    try:
        check_values({name: values})
    except ArgumentError as error:
        raise ArgumentError(f"{file.path}: {error}") from None
    return values


def regrouped(
    values: NDArray[np.float32], name: str, config: TransformerConfig, *, halves: bool
) -> NDArray[np.float32]:
    """Put channels that rotate together half a head apart, or next to each other; leave other arrays."""
    heads = {"wq": config.heads, "wk": config.kv_heads, "q_norm": 1, "k_norm": 1}.get(name.rpartition(".")[2])
    if heads is None:
        return np.ascontiguousarray(values)
    half = config.head_dim // 2
    grouped = values.reshape(heads, *((half, 2) if halves else (2, half)), -1)
    return np.ascontiguousarray(grouped.swapaxes(1, 2)).reshape(values.shape)
