"""Hugging Face folders of small random models, written byte by byte, and their logits from the definition."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 40,
    "max_position_embeddings": 24,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "hidden_act": "silu",
    "rope_scaling": None,
}
QWEN3: dict[str, Any] = {
    **LLAMA,
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "head_dim": 16,
    "rope_theta": 1e6,
    "tie_word_embeddings": True,
    "eos_token_id": [3, 5],
    "sliding_window": None,
    "use_sliding_window": False,
}


def tensors(config: Mapping[str, Any], seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Return random tensors; norms are far from 1."""
    dim, hidden, vocab = (config[name] for name in ("hidden_size", "intermediate_size", "vocab_size"))
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    head_dim = config.get("head_dim", dim // heads)
    layer = {
        "input_layernorm": (dim,),
        "self_attn.q_proj": (heads * head_dim, dim),
        "self_attn.k_proj": (kv_heads * head_dim, dim),
        "self_attn.v_proj": (kv_heads * head_dim, dim),
        "self_attn.o_proj": (dim, heads * head_dim),
        "post_attention_layernorm": (dim,),
        "mlp.gate_proj": (hidden, dim),
        "mlp.up_proj": (hidden, dim),
        "mlp.down_proj": (dim, hidden),
    }
    if config["model_type"] == "qwen3":
        layer |= {"self_attn.q_norm": (head_dim,), "self_attn.k_norm": (head_dim,)}
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocab, dim)}
    for index in range(config["num_hidden_layers"]):
        shapes |= {f"model.layers.{index}.{name}.weight": shape for name, shape in layer.items()}
    shapes["model.norm.weight"] = (dim,)
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (vocab, dim)
    random = np.random.default_rng(seed)
    return {
        name: (random.uniform(0.5, 1.5, shape) if len(shape) == 1 else random.normal(0, 0.2, shape)).astype(
            np.float32
        )
        for name, shape in shapes.items()
    }


def to_bf16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Cut to the upper half of the bits."""
    return (values.view(np.uint32) >> 16).astype(np.uint16)


def safetensors(arrays: Mapping[str, Array]) -> bytes:
    """Return a file's content; uint16 stands for bf16."""
    dtypes = {np.dtype(np.uint16): "BF16", np.dtype(np.float16): "F16", np.dtype(np.float32): "F32"}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name, array in arrays.items():
        dtype = dtypes.get(array.dtype, "F64")
        header[name] = {
            "dtype": dtype,
            "shape": list(array.shape),
            "data_offsets": [position, position + array.nbytes],
        }
        position += array.nbytes
    return with_header(header, b"".join(array.tobytes() for array in arrays.values()))


def with_header(header: object, data: bytes) -> bytes:
    """Return a file's content."""
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def write(folder: Path, config: Mapping[str, Any], arrays: Mapping[str, Array], shards: int = 1) -> Path:
    """Write a folder, its tensors dealt out to shards."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    if shards == 1:
        (folder / "model.safetensors").write_bytes(safetensors(arrays))
        return folder
    names = [f"model-{shard + 1:05d}-of-{shards:05d}.safetensors" for shard in range(shards)]
    places = {name: names[index % shards] for index, name in enumerate(arrays)}
    for shard in names:
        mine = {name: array for name, array in arrays.items() if places[name] == shard}
        (folder / shard).write_bytes(safetensors(mine))
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def logits(config: Mapping[str, Any], arrays: Mapping[str, Array], tokens: NDArray[np.int64]) -> Array:
    """Compute a model in float64 as transformers does, rotating halves of heads: [positions, vocab].

    Source: github.com/huggingface/transformers, models/qwen3/modeling_qwen3.py.
    """
    p = {name.removesuffix(".weight"): value.astype(np.float64) for name, value in arrays.items()}
    heads, dim, positions = config["num_attention_heads"], config["hidden_size"], len(tokens)
    head_dim = config.get("head_dim", dim // heads)
    shared = heads // config["num_key_value_heads"]
    frequencies = config.get("rope_theta", 1e4) ** -(np.arange(0, head_dim, 2) / head_dim)
    angles = np.tile(np.outer(np.arange(positions), frequencies), 2)

    def norm(x: Array, name: str) -> Array:
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + config["rms_norm_eps"]) * p[name]

    def rotate(x: Array) -> Array:
        first, second = np.split(x, 2, axis=-1)
        return x * np.cos(angles) + np.concatenate([-second, first], axis=-1) * np.sin(angles)

    def attention(x: Array, at: str) -> Array:
        q, k, v = (
            (x @ p[f"{at}.{name}_proj"].T).reshape(positions, -1, head_dim).swapaxes(0, 1) for name in "qkv"
        )
        if config["model_type"] == "qwen3":
            q, k = norm(q, f"{at}.q_norm"), norm(k, f"{at}.k_norm")
        q, k, v = rotate(q), rotate(k).repeat(shared, 0), v.repeat(shared, 0)
        scores = q @ k.swapaxes(1, 2) / np.sqrt(head_dim) + np.triu(
            np.full((positions, positions), -np.inf), 1
        )
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        context = weights / weights.sum(-1, keepdims=True) @ v
        return context.swapaxes(0, 1).reshape(positions, -1) @ p[f"{at}.o_proj"].T

    x = p["model.embed_tokens"][tokens]
    for index in range(config["num_hidden_layers"]):
        at = f"model.layers.{index}"
        x = x + attention(norm(x, f"{at}.input_layernorm"), f"{at}.self_attn")
        y = norm(x, f"{at}.post_attention_layernorm")
        gate = y @ p[f"{at}.mlp.gate_proj"].T
        x = x + (gate / (1 + np.exp(-gate)) * (y @ p[f"{at}.mlp.up_proj"].T)) @ p[f"{at}.mlp.down_proj"].T
    return norm(x, "model.norm") @ p.get("lm_head", p["model.embed_tokens"]).T
