"""Continue a text with a trained model, on the CPU."""

import argparse
import sys

import aneperf
from aneperf.training.checkpoint import load_model, tokenizer_file
from aneperf.training.generate import generate
from aneperf.training.tokenizer import open_tokenizer


def main() -> None:
    """Print the text and 100 tokens more."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="checkpoints, such as tiny/checkpoints, or a Hugging Face model")
    parser.add_argument("prompt", nargs="?", default="Shall I")
    parser.add_argument("--temperature", type=float, default=0.8)
    arguments = parser.parse_args()

    config, parameters = load_model(arguments.folder)
    found = tokenizer_file(arguments.folder)
    if found is None:
        sys.exit(f"{arguments.folder} has no tokenizer")
    tokenizer = open_tokenizer(found)
    tokens = list(tokenizer.encode(arguments.prompt, whole=True))
    ends = tokenizer.vocabulary.ends  # a token that ends a text is the last
    new = generate(config, parameters, tokens, 100, temperature=arguments.temperature, top_p=0.95, ends=ends)
    print(tokenizer.decode([*tokens, *new]))


if __name__ == "__main__":
    try:
        main()
    except aneperf.AneError as error:
        sys.exit(f"generate: {error}")
