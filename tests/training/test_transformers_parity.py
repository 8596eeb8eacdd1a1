"""Hugging Face models against transformers, in float32: random small models of Llama and Qwen3 made there."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import aneperf
from aneperf.kernels import TransformerConfig
from aneperf.training.checkpoint import load_model, load_origin
from aneperf.training.config import TrainingConfig
from aneperf.training.dynamic import DynamicPipeline
from aneperf.training.generate import Decoder, generate
from aneperf.training.hugging_face import hugging_face_name, load_hugging_face, save_hugging_face
from aneperf.training.lora import AdaptedWeights
from aneperf.training.models import Parameters
from aneperf.training.peft import save_adapters
from aneperf.training.pipeline import StaticAnePipeline, StaticPipeline

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'aneperf[parity]'")
transformers: Any = pytest.importorskip(
    "transformers", reason="transformers is not installed: pip install 'aneperf[parity]'"
)

torch.set_num_threads(1)

SIZES: dict[str, Any] = {
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 96,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "initializer_range": 0.1,
}
MODELS = pytest.mark.parametrize("architecture", ["Llama", "Qwen3"])
TIED = pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
SCALE = 16384.0


def made(architecture: str, tied: bool) -> Any:
    """Return a random model, with norms far from 1."""
    torch.manual_seed(int(tied))
    theta = {
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6 if architecture == "Qwen3" else 1e4}
    }
    config = getattr(transformers, f"{architecture}Config")(**SIZES, **theta, tie_word_embeddings=tied)
    model = getattr(transformers, f"{architecture}ForCausalLM")(config)
    for value in model.parameters():
        if value.ndim == 1:
            value.data.uniform_(0.5, 1.5)
    return model.eval()


def folder_of(model: Any, folder: Path, **options: Any) -> Path:
    model.save_pretrained(folder, **options)
    return folder


def text_of(model: Any, length: int = 33) -> np.ndarray:
    return np.random.default_rng(5).integers(0, model.config.vocab_size, length)


def logits_of(model: Any, tokens: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(model(torch.from_numpy(tokens)[None]).logits[0].float().numpy())


def decoded(config: TransformerConfig, parameters: Parameters, tokens: np.ndarray) -> np.ndarray:
    decoder = Decoder(config, parameters)
    return np.array([decoder.read(int(token)) for token in tokens])


@MODELS
@TIED
def test_logits_and_greedy_tokens(tmp_path: Path, architecture: str, tied: bool) -> None:
    model = made(architecture, tied)
    config, parameters = load_model(folder_of(model, tmp_path))
    assert config.qk_norm == (architecture == "Qwen3")
    assert ("classifier" in parameters) != tied
    tokens = text_of(model)
    expected = logits_of(model, tokens)
    np.testing.assert_allclose(
        decoded(config, parameters, tokens), expected, atol=1e-5 * np.abs(expected).max()
    )
    longer = replace(config, seq=80)
    wanted = list(map(int, tokens[:4]))
    for _ in range(64):
        wanted.append(int(logits_of(model, np.array(wanted))[-1].argmax()))
    assert list(generate(longer, parameters, wanted[:4], 64)) == wanted[4:]


@MODELS
def test_a_text_ends_where_transformers_ends_it(tmp_path: Path, architecture: str) -> None:
    model, begin = made(architecture, tied=True), [1, 2, 3]
    endless = list(generate(*load_model(folder_of(model, tmp_path / "endless")), begin, 20))
    end = endless[9]
    model.generation_config.update(eos_token_id=[SIZES["vocab_size"] - 1, end], pad_token_id=0)
    folder = folder_of(model, tmp_path / "model")
    mask = torch.ones(1, len(begin), dtype=torch.long)
    wanted = model.generate(torch.tensor([begin]), attention_mask=mask, do_sample=False, max_new_tokens=20)
    origin = load_origin(folder)
    assert origin is not None
    got = list(generate(*load_model(folder), begin, 20, ends=origin.config.ends))
    assert got == endless[: endless.index(end) + 1]
    assert [*begin, *got] == wanted[0].tolist()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precisions_and_shards(tmp_path: Path, dtype: str) -> None:
    model = made("Qwen3", tied=False).to(getattr(torch, dtype))
    folder_of(model, tmp_path, max_shard_size="50KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    config, parameters = load_model(tmp_path)
    exact = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    tokens = text_of(model)
    expected = logits_of(exact, tokens)
    np.testing.assert_allclose(
        decoded(config, parameters, tokens), expected, atol=1e-5 * np.abs(expected).max()
    )


@MODELS
@TIED
@pytest.mark.parametrize("pipeline", [StaticPipeline, StaticAnePipeline, DynamicPipeline])
def test_gradients_of_every_parameter(
    tmp_path: Path, architecture: str, tied: bool, pipeline: type[StaticPipeline]
) -> None:
    model = made(architecture, tied)
    config, parameters = load_model(folder_of(model, tmp_path / "model"))
    text = text_of(model)
    device = aneperf.open("emulator:none")
    step = pipeline(device, replace(config, seq=len(text) - 1), parameters)
    step.load_fixed()
    step.load()
    gradients = {name: np.full_like(value, np.nan) for name, value in parameters.items()}
    loss = step.step(text[:-1], text[1:], gradients, loss_scale=SCALE)

    tokens = torch.from_numpy(text)
    logits = model(tokens[None, :-1]).logits[0]
    expected = torch.nn.functional.cross_entropy(logits, tokens[1:])
    expected.backward()
    assert loss == pytest.approx(expected.item(), abs=0.01)
    # The gradients' own layout is that of the parameters: saved as such, and compared by name.
    save_hugging_face(
        tmp_path / "gradients", config, {n: g / np.float32(SCALE) for n, g in gradients.items()}
    )
    got = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "gradients").state_dict()
    leaves = dict(model.named_parameters())
    assert {hugging_face_name(name) for name in parameters} == leaves.keys()
    for name, leaf in leaves.items():
        mine, theirs = (x.numpy().ravel().astype(np.float64) for x in (got[name], leaf.grad))
        norms = np.linalg.norm(mine), np.linalg.norm(theirs)
        assert np.vdot(mine, theirs) > 0.999 * norms[0] * norms[1], name
        assert norms[0] / norms[1] == pytest.approx(1, abs=0.01), name


@MODELS
@TIED
def test_a_saved_folder_loads_with_equal_logits(tmp_path: Path, architecture: str, tied: bool) -> None:
    model = made(architecture, tied)
    save_hugging_face(tmp_path / "saved", *load_hugging_face(folder_of(model, tmp_path / "model")))
    loaded, info = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "saved", output_loading_info=True
    )
    assert type(loaded) is type(model)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    np.testing.assert_array_equal(logits_of(loaded, text_of(model)), logits_of(model, text_of(model)))
    assert loaded.config.tie_word_embeddings == tied


# PEFT reads a name that transformers is about to drop.
PEFT = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")


def adapted(model: Any, folder: Path) -> Any:
    """Return a copy of a model with the adapters of a folder, as PEFT reads them."""
    peft = pytest.importorskip("peft", reason="PEFT is not installed: pip install 'aneperf[parity]'")
    return peft.PeftModel.from_pretrained(copy.deepcopy(model), folder, is_trainable=True)


@PEFT
@MODELS
def test_trained_adapters_in_peft_and_merged(tmp_path: Path, architecture: str) -> None:
    model = made(architecture, tied=True)
    result = aneperf.train(
        weights=folder_of(model, tmp_path / "model"),
        device="emulator:none",
        pipeline="dynamic",
        steps=6,
        accumulation=2,
        learning_rate=0.02,
        lora_rank=4,
        lora_alpha=6,
    )
    result.save_lora(tmp_path / "lora")
    result.save_hugging_face(tmp_path / "merged")
    tokens = text_of(model)
    expected = logits_of(adapted(model, tmp_path / "lora"), tokens)
    tolerance = 1e-5 * np.abs(expected).max()
    assert np.abs(expected - logits_of(model, tokens)).max() > 1000 * tolerance
    merged = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    np.testing.assert_allclose(logits_of(merged, tokens), expected, atol=tolerance)
    np.testing.assert_allclose(decoded(*load_model(tmp_path / "merged"), tokens), expected, atol=tolerance)


@PEFT
@MODELS
@pytest.mark.parametrize("pipeline", [StaticPipeline, StaticAnePipeline, DynamicPipeline])
def test_gradients_of_every_adapter(
    tmp_path: Path, architecture: str, pipeline: type[StaticPipeline]
) -> None:
    model = made(architecture, tied=False)
    found, frozen = load_model(folder_of(model, tmp_path / "model"))
    text = text_of(model)
    config = TrainingConfig(replace(found, seq=len(text) - 1), lora_rank=4, lora_alpha=6)
    assert config.lora is not None
    random = np.random.default_rng(0)
    values = {
        name: random.normal(0, 0.1, shape).astype(np.float32)
        for name, shape in config.lora.shapes(found).items()
    }
    step = pipeline(
        aneperf.open("emulator:none"),
        config.model,
        AdaptedWeights(config.lora, frozen, values),
    )
    step.load_fixed()
    step.load()
    gradients = {name: np.full_like(value, np.nan) for name, value in values.items()}
    loss = step.step(text[:-1], text[1:], gradients, loss_scale=SCALE)

    save_adapters(tmp_path / "lora", config, values)
    theirs = adapted(model, tmp_path / "lora")
    tokens = torch.from_numpy(text)
    expected = torch.nn.functional.cross_entropy(theirs(tokens[None, :-1]).logits[0], tokens[1:])
    expected.backward()
    assert loss == pytest.approx(expected.item(), abs=0.01)
    # Gradients have the layout of what they are gradients of: saved as such, and compared by name.
    save_adapters(tmp_path / "gradients", config, {n: g / np.float32(SCALE) for n, g in gradients.items()})
    got = load_file(tmp_path / "gradients" / "adapter_model.safetensors")
    leaves = {n.replace(".default", ""): p.grad for n, p in theirs.named_parameters() if p.requires_grad}
    assert leaves.keys() == got.keys()
    for name, leaf in leaves.items():
        mine, wanted = (x.ravel().astype(np.float64) for x in (got[name], leaf.numpy()))
        norms = np.linalg.norm(mine), np.linalg.norm(wanted)
        assert np.vdot(mine, wanted) > 0.999 * norms[0] * norms[1], name
        assert norms[0] / norms[1] == pytest.approx(1, abs=0.01), name
