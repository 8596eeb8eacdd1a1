"""Train a small Llama on text that comes with aneperf: python train_tiny.py FOLDER [STEPS].

FOLDER gets the tokens, the checkpoints and the model. Run again with more steps, it continues from the last
checkpoint.
"""

import sys
from pathlib import Path

import aneperf
from aneperf.kernels import TransformerConfig
from aneperf.training.events import Event, StepDone
from aneperf.training.text_to_tokens import SAMPLE, write_tokens
from aneperf.training.tokenizer import open_tokenizer

MODEL = TransformerConfig(dim=64, hidden=172, layers=2, heads=4, kv_heads=4, head_dim=16, vocab=256, seq=128)


def show(event: Event) -> None:
    """Print every tenth loss."""
    if isinstance(event, StepDone) and event.step % 10 == 0:
        print(f"step {event.step:4}  loss {event.loss:.3f}", flush=True)


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "tiny")
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else 200
    folder.mkdir(exist_ok=True)
    tokens, checkpoints = folder / "tokens.bin", folder / "checkpoints"
    if not tokens.exists():
        write_tokens([SAMPLE], open_tokenizer("bytes"), tokens)  # a token for each byte
    if checkpoints.exists():
        result = aneperf.train(checkpoints=checkpoints, resume=True, steps=steps, progress=show)
    else:
        result = aneperf.train(
            MODEL,
            data=tokens,
            pipeline="dynamic",
            steps=steps,
            accumulation=1,
            learning_rate=3e-3,
            checkpoints=checkpoints,
            progress=show,
        )
    print(result)
    result.save_llama2c(folder / "model.bin")
