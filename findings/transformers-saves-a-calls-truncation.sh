#!/usr/bin/env bash
# Tokenizing one batch changes the tokenizer that is saved: other runtimes then cut every text.
#
# Guess: `truncation=True, max_length=2` are arguments of a call and end with it. `save_pretrained` writes the same tokenizer
# before and after.
#
# Seen on 2026-11-29 with transformers 5.23.0, tokenizers 0.23.3, Python 3.11.7: the call sets them on the Rust tokenizer inside, where
# they stay, and `save_pretrained` writes them into tokenizer.json. transformers itself sets them anew at each call, so there
# nothing is to be seen, and the text has its 100 tokens; whatever reads tokenizer.json with `tokenizers` (servers, Rust and
# JavaScript runtimes) cuts it to 2. Padding to a fixed length is kept in the same way. A tokenizer saved after a training
# whose collator truncated, or after one call of a test, is another one than it was. No warning. The script prints:
#   still so: transformers 5.23.0 with tokenizers 0.23.3: 100 words are 100 tokens when saved before a truncating call; saved after it, 100 in transformers and 2 in tokenizers
#
# What helps: save what was loaded, before it is used; or `tokenizer.backend_tokenizer.no_truncation()` and `.no_padding()`.
set -euo pipefail
pins=(transformers==5.23.0 tokenizers==0.23.3 numpy==2.4.6)
if [ $# -gt 0 ]; then pins=("$@"); fi

room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
cd "$room"
export TMPDIR="$room" HF_HOME="$room/hf" HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error
{
	if command -v uv; then
		uv venv --python python3 env && uv pip install --python env/bin/python "${pins[@]}"
	else
		python3 -m venv env && env/bin/python -m pip install --disable-pip-version-check "${pins[@]}"
	fi
} >install.log 2>&1 || {
	tail -n 5 install.log >&2
	echo "not tried: ${pins[*]} cannot be installed for $(python3 --version)" >&2
	exit 2
}

env/bin/python -I - <<'PYTHON'
import sys

import tokenizers
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

version = f"transformers {transformers.__version__} with tokenizers {tokenizers.__version__}"
words = Tokenizer(models.WordLevel({"[UNK]": 0, "[PAD]": 1, "page": 2}, "[UNK]"))
words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", pad_token="[PAD]")
text = " ".join(["page"] * 100)

tokenizer.save_pretrained("before")
tokenizer([text], truncation=True, max_length=2)
tokenizer.save_pretrained("after")
found = {
    name: (
        len(AutoTokenizer.from_pretrained(name)(text)["input_ids"]),
        len(Tokenizer.from_file(f"{name}/tokenizer.json").encode(text).ids),
    )
    for name in ("before", "after")
}
if found != {"before": (100, 100), "after": (100, 2)}:
    sys.exit(f"no longer so: {version}: tokens in transformers and in tokenizers, saved before and after: {found}")
print(
    f"still so: {version}: 100 words are {found['before'][1]} tokens when saved before a truncating call; saved after it,",
    f"{found['after'][0]} in transformers and {found['after'][1]} in tokenizers",
)
PYTHON
