"""Gradients and training runs against a model written here in PyTorch, in float32."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import aneperf
from aneperf.kernels import TransformerConfig
from aneperf.training.config import TrainingConfig
from aneperf.training.data import Data, TokenFile
from aneperf.training.dynamic import DynamicPipeline
from aneperf.training.models import PRESETS, Parameters, random_parameters
from aneperf.training.pipeline import StaticAnePipeline, StaticPipeline
from aneperf.training.trainer import StepDone, Trainer
from support import stories260k
from support.programs import NO_BUDGET

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'aneperf[parity]'")

torch.set_num_threads(2)  # the worker has its own

STORIES = replace(PRESETS["stories260k"], seq=256)
WIDE = TransformerConfig(
    dim=768, hidden=2048, layers=2, heads=12, kv_heads=12, head_dim=64, vocab=32000, seq=256
)
PLAIN = "emulator:none"
PIPELINES = pytest.mark.parametrize("pipeline", [StaticPipeline, StaticAnePipeline, DynamicPipeline])


@pytest.fixture(scope="module")
def device_name(pytestconfig: pytest.Config) -> str:
    """Return the device under test; for the emulator that of plain arithmetic, as PyTorch's is."""
    name = str(pytestconfig.getoption("--device"))
    return PLAIN if name.startswith("emulator") else name


@pytest.fixture(scope="module")
def device(device: aneperf.Device, device_name: str) -> aneperf.Device:
    return aneperf.open(device_name, compile_budget=NO_BUDGET) if device_name == PLAIN else device


def rotated(x: Any, config: TransformerConfig) -> Any:
    """Rotate by position [seq, heads, head_dim]: each pair of channels is a complex number."""
    exponents = torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim
    angles = torch.outer(torch.arange(config.seq, dtype=torch.float32), config.rope_theta**-exponents)
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)[:, None]).flatten(-2)


def attention(q: Any, k: Any, v: Any, config: TransformerConfig, turn: bool) -> Any:
    """Compute causal attention [seq, channels], each key and value head shared by neighboring query heads."""
    q, k, v = (x.unflatten(-1, (-1, config.head_dim)) for x in (q, k, v))
    if turn:
        q, k = rotated(q, config), rotated(k, config)
    k, v = (x.repeat_interleave(config.heads // config.kv_heads, dim=1) for x in (k, v))
    scores = torch.einsum("qhd,khd->hqk", q, k) / math.sqrt(config.head_dim)
    later = torch.ones(config.seq, config.seq, dtype=torch.bool).triu(1)
    weights = scores.masked_fill(later, -torch.inf).softmax(-1)
    return torch.einsum("hqk,khd->qhd", weights, v).flatten(1)


def loss_of(p: Mapping[str, Any], text: Any, config: TransformerConfig, turn: bool = True) -> Any:
    """Return the mean cross-entropy of a Llama 2 model (Touvron et al. 2023) on text [seq + 1]."""
    functions = torch.nn.functional

    def norm(x: Any, weight: Any) -> Any:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + config.norm_eps) * weight

    x = p["embedding"][text[:-1]]
    for i in range(config.layers):
        w = {kind: p[f"layers.{i}.{kind}"].T for kind in ("wq", "wk", "wv", "wo", "w1", "w2", "w3")}
        y = norm(x, p[f"layers.{i}.rms1"])
        x = x + attention(y @ w["wq"], y @ w["wk"], y @ w["wv"], config, turn) @ w["wo"]
        y = norm(x, p[f"layers.{i}.rms2"])
        x = x + (functions.silu(y @ w["w1"]) * (y @ w["w3"])) @ w["w2"]
    logits = norm(x, p["norm"]) @ p.get("classifier", p["embedding"]).T
    return functions.cross_entropy(logits, text[1:])


def leaves(parameters: Parameters) -> dict[str, Any]:
    """Return copies that collect gradients."""
    return {name: torch.from_numpy(value.copy()).requires_grad_() for name, value in parameters.items()}


def random_text(config: TransformerConfig) -> np.ndarray:
    return np.random.default_rng(5).integers(0, config.vocab, config.seq + 1)


def real_stories() -> tuple[TransformerConfig, Parameters]:
    """Return the real model, at sequences of 256."""
    config, parameters = stories260k.model()
    return replace(config, seq=STORIES.seq), parameters


def model(name: str) -> tuple[TransformerConfig, Parameters]:
    if name == "stories260k":
        return real_stories()
    config = {"random stories260k": STORIES, "wide": WIDE}[name]
    return config, random_parameters(config)


def check_gradients(
    step: StaticPipeline, parameters: Parameters, text: np.ndarray, turn: bool, angle: float, length: float
) -> None:
    """Expect cosines of at least 1 - angle, and norms within `length` of 1, for each parameter."""
    step.load_fixed()
    step.load()
    scale = TrainingConfig(step.config).loss_scale
    gradients = {name: np.full_like(value, np.nan) for name, value in parameters.items()}
    loss = step.step(text[:-1], text[1:], gradients, loss_scale=scale)

    expected = leaves(parameters)
    expected_loss = loss_of(expected, torch.from_numpy(text), step.config, turn)
    expected_loss.backward()
    assert loss == pytest.approx(expected_loss.item(), abs=0.01)
    for name, leaf in expected.items():
        got = gradients[name].ravel().astype(np.float64) / scale
        wanted = leaf.grad.numpy().ravel().astype(np.float64)
        norms = np.linalg.norm(got), np.linalg.norm(wanted)
        assert np.vdot(got, wanted) > (1 - angle) * norms[0] * norms[1], name
        assert norms[0] / norms[1] == pytest.approx(1, abs=length), name


@PIPELINES
@pytest.mark.parametrize(
    ("name", "angle", "length"),
    [("stories260k", 1e-3, 0.01), ("random stories260k", 1e-4, 2e-3), ("wide", 1e-4, 2e-3)],
)
def test_gradients_of_every_parameter(
    device: aneperf.Device, name: str, angle: float, length: float, pipeline: type[StaticPipeline]
) -> None:
    config, parameters = model(name)
    step = pipeline(device, config, parameters)
    check_gradients(step, parameters, random_text(config), True, angle, length)


@PIPELINES
def test_gradients_of_a_text_that_the_model_knows(
    device: aneperf.Device, pipeline: type[StaticPipeline]
) -> None:
    """Pick positions whose gradients cancel, but rounding errors of fp16 do not.

    PyTorch that rounds to fp16 what kernels round, in the forward pass only, gives cosines from 0.9986 on,
    and from 0.9954 on with exact weights: see docs/training.md.
    """
    config, parameters = real_stories()
    text = np.array(stories260k.reference()["greedy_from_bos"])
    check_gradients(pipeline(device, config, parameters), parameters, text, True, 4e-3, 0.02)


@pytest.mark.parametrize("pipeline", [StaticPipeline, StaticAnePipeline])
@pytest.mark.parametrize("name", ["random stories260k", "wide"])
def test_gradients_as_published(device: aneperf.Device, name: str, pipeline: type[StaticPipeline]) -> None:
    config, parameters = model(name)
    step = pipeline(device, config, parameters, as_published=True)
    check_gradients(step, parameters, random_text(config), False, 1e-4, 2e-3)


ADAM: dict[str, Any] = {"steps": 20, "accumulation": 1}
# On the refrain the loss falls by half a nat a step, and at higher rates a difference in rounding grows:
# Adam's first updates are as large for a tiny gradient as for any other.
SLOW_ADAM: dict[str, Any] = {**ADAM, "learning_rate": 1e-4}
ADAMW: dict[str, Any] = {
    "steps": 40,
    "accumulation": 2,
    "learning_rate": 3e-4,
    "beta2": 0.95,
    "weight_decay": 0.1,
    "warmup": 5,
    "decay": "cosine",
    "clip": 1.0,
}


class Refrain:
    """A text of a few words, repeated, which a model learns in a few updates."""

    def __init__(self, config: TransformerConfig) -> None:
        words = np.random.default_rng(7).integers(0, config.vocab, 50)
        self._text, self._seq = np.tile(words, 2 + config.seq // len(words)), config.seq

    def sequence(self, step: int) -> np.ndarray:
        begin = 7 * step % 50
        return self._text[begin : begin + self._seq + 1]


def documentation(config: TransformerConfig, folder: Path) -> Data:
    """Return the bytes of Python's own documentation."""
    text = Path(pytest.importorskip("pydoc_data.topics").__file__).read_bytes()
    np.frombuffer(text, np.uint8).astype("<u2").tofile(folder / "tokens.bin")
    return TokenFile(folder / "tokens.bin", config.vocab, config.seq, seed=0)


def torch_losses(config: TrainingConfig, parameters: Parameters, data: Data) -> list[float]:
    """Return the loss of every step."""
    p = leaves(parameters)
    groups = [
        {"params": [x for x in p.values() if x.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [x for x in p.values() if x.ndim == 1], "weight_decay": 0.0},
    ]
    betas = (config.beta1, config.beta2)
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=betas, eps=config.epsilon)
    losses = []
    for step in range(config.steps):
        loss = loss_of(p, torch.from_numpy(data.sequence(step)), config.model)
        (loss / config.accumulation).backward()
        losses.append(loss.item())
        if (step + 1) % config.accumulation == 0:
            if config.clip is not None:
                torch.nn.utils.clip_grad_norm_(p.values(), config.clip)
            for group in optimizer.param_groups:
                group["lr"] = rate(config, step // config.accumulation)
            optimizer.step()
            optimizer.zero_grad()
    return losses


def rate(config: TrainingConfig, update: int) -> float:
    """Warm up linearly, then follow PyTorch's cosine to a tenth at the end of the run."""
    if update < config.warmup:
        return config.learning_rate * (update + 1) / config.warmup
    if config.decay == "constant":
        return config.learning_rate
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=config.learning_rate)
    updates = config.steps // config.accumulation - config.warmup
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimizer, updates, eta_min=config.final_rate * config.learning_rate
    )
    for _ in range(update - config.warmup):
        optimizer.step()
        schedule.step()
    return float(schedule.get_last_lr()[0])


@pytest.mark.parametrize("pipeline", ["static", "static-ane"])
@pytest.mark.parametrize(
    ("optimizer", "text"),
    [(ADAM, "documentation"), (SLOW_ADAM, "refrain"), (ADAMW, "refrain")],
    ids=["adam", "slow adam", "adamw"],
)
@pytest.mark.parametrize("name", ["stories260k", "random stories260k", "wide"])
def test_losses_of_twenty_updates(
    device_name: str,
    tmp_path: Path,
    name: str,
    optimizer: dict[str, Any],
    text: str,
    pipeline: Any,
) -> None:
    model_config, parameters = model(name)
    if name == "wide":  # it soon learns the vocabulary
        model_config = replace(WIDE, vocab=4000)
        parameters = random_parameters(model_config)
    config = TrainingConfig(model_config, pipeline=pipeline, **optimizer)
    data = Refrain(model_config) if text == "refrain" else documentation(model_config, tmp_path)
    with Trainer(config, parameters, data, device=device_name) as run:
        losses = [event.loss for event in run.run() if isinstance(event, StepDone)]
    expected = torch_losses(config, parameters, data)
    assert len(losses) == config.steps
    assert expected[-1] < expected[0] - 0.15  # otherwise there is little to compare
    np.testing.assert_allclose(losses, expected, rtol=0, atol=0.02)
