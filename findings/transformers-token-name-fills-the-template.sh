#!/usr/bin/env bash
# A token of the tokenizer takes the place of a chat template's own default of the same name.
#
# Guess: a variable that nobody passes is undefined in a chat template, so that `{% if image_token is not defined %}` sets
# the template's default. Known exceptions are `bos_token` and its like.
#
# Seen on 2026-11-29 with transformers 5.23.0, tokenizers 0.23.3, Python 3.11.7: the template is rendered with all of
# `special_tokens_map`, and that holds the tokens that a tokenizer names for a processor (`extra_special_tokens`: `image_token`, ...).
# A template whose default is start + image + end gives the bare image token as soon as the tokenizer names it, which processors ask
# for: the model gets its page without the tokens about it. No warning. The script prints:
#   still so: transformers 5.23.0: the template's default '<start><img><end>What?' is '<img>What?' with a tokenizer that names image_token
#
# What helps: names in a template that no token can have; or look at what is rendered, once.
set -euo pipefail
pins=(transformers==5.23.0 tokenizers==0.23.3 numpy==2.4.6 jinja2==3.1.6)
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

import transformers
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

version = f"transformers {transformers.__version__}"
TEMPLATE = """
{%- if image_token is not defined %}{% set image_token = "<start><img><end>" %}{% endif %}
{%- for part in messages[0].content %}{{ image_token if part.type == "image" else part.text }}{% endfor %}
"""
chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}]
words = Tokenizer(models.WordLevel({"[UNK]": 0, "<start>": 1, "<img>": 2, "<end>": 3}, "[UNK]"))


def rendered(**named):
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", **named)
    return tokenizer.apply_chat_template(chat, chat_template=TEMPLATE.strip(), tokenize=False)


plain, named = rendered(), rendered(extra_special_tokens={"image_token": "<img>"})
if (plain, named) != ("<start><img><end>What?", "<img>What?"):
    sys.exit(f"no longer so: {version}: {plain!r} and, with a tokenizer that names image_token, {named!r}")
print(f"still so: {version}: the template's default {plain!r} is {named!r} with a tokenizer that names image_token")
PYTHON
