"""Continue a text: python generate_text.py FOLDER [TEXT].

FOLDER holds the checkpoints of a run, such as train_tiny.py's tiny/checkpoints, or is a Hugging Face model.
"""

import sys

import aneperf
from aneperf.training.checkpoint import load_model, tokenizer_file
from aneperf.training.generate import generate
from aneperf.training.tokenizer import open_tokenizer

if len(sys.argv) < 2:
    sys.exit(__doc__)
folder = sys.argv[1]
prompt = sys.argv[2] if len(sys.argv) > 2 else "Shall I"
try:
    found = tokenizer_file(folder)
    if found is None:
        sys.exit(f"{folder} has no tokenizer")
    tokenizer = open_tokenizer(found)
    config, parameters = load_model(folder)
    tokens = list(tokenizer.encode(prompt, whole=True))
    ends = tokenizer.vocabulary.ends  # a token that ends a text is the last
    new = generate(config, parameters, tokens, 100, temperature=0.8, top_p=0.95, ends=ends)
    print(tokenizer.decode([*tokens, *new]))
except aneperf.AneError as error:
    sys.exit(str(error))
