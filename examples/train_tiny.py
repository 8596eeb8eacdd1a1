"""Train a small Llama on text that comes with aneperf. Run again with more steps, it continues."""

import argparse
import sys
from pathlib import Path

import aneperf
from aneperf.kernels import TransformerConfig
from aneperf.training.events import Event, StepDone
from aneperf.training.text_to_tokens import SAMPLE, write_tokens
from aneperf.training.tokenizer import open_tokenizer

MODEL = TransformerConfig(dim=64, hidden=172, layers=2, heads=4, kv_heads=4, head_dim=16, vocab=256, seq=128)
OPTIONS = {"pipeline": "dynamic", "accumulation": 1, "learning_rate": 3e-3, "warmup": 10}


def show(event: Event) -> None:
    """Print every tenth loss."""
    if isinstance(event, StepDone) and event.step % 10 == 0:
        print(f"step {event.step:4}  loss {event.loss:.3f}", flush=True)


def train(folder: Path, steps: int) -> aneperf.TrainingResult:
    """Begin a run, or resume it from its last checkpoint, with the same bits as one that never stopped."""
    tokens, checkpoints = folder / "tokens.bin", folder / "checkpoints"
    if checkpoints.exists():
        return aneperf.train(checkpoints=checkpoints, resume=True, steps=steps, progress=show)
    folder.mkdir(parents=True, exist_ok=True)
    write_tokens([SAMPLE], open_tokenizer("bytes"), tokens, replace=True)  # a token for each byte
    return aneperf.train(MODEL, data=tokens, steps=steps, checkpoints=checkpoints, progress=show, **OPTIONS)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "folder", nargs="?", type=Path, default=Path("tiny"), help="tokens, checkpoints, model"
    )
    parser.add_argument("--steps", type=int, default=200)
    arguments = parser.parse_args()
    try:
        result = train(arguments.folder, arguments.steps)
        print(result)
        result.save_llama2c(arguments.folder / "model.bin")
    except aneperf.AneError as error:
        sys.exit(f"train: {error}")
