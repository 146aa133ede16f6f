#!/usr/bin/env bash
# ms-swift shows a Qwen2-VL one token of a page where its image token has another number than the published one.
#
# Guess: the number of the image token comes from the checkpoint's config.json (`image_token_id`), as in Transformers; or a
# checkpoint for which it does not hold is refused.
#
# Seen on 2026-11-30 with ms-swift 4.6.0, transformers 5.19.0, torch 2.15.0, Python 3.11.7: the template of Qwen2-VL looks for 151655
# (`swift/template/templates/qwen.py`). In a checkpoint with a smaller vocabulary `<|image_pad|>` is another number, and is
# not repeated for the patches of a page. The tower still computes all of them, the first one's features are put in, the
# others nowhere, and the training ends with 0 and an ordinary loss. A step is shorter for it, too: a comparison of times
# falls for it. The script prints:
#   still so: ms-swift 4.6.0: a page of 100 patches after merging is 1 of the prompt's tokens where the image token is 6, 100 where it is 151655; training with 6 ends with 0
#
# What helps: set `image_token_id` of the template's class in a plugin (`--external_plugins`), and look at the number of tokens.
set -euo pipefail
pins=(ms-swift==4.6.0 torch==2.15.0 torchvision==0.29.2 transformers==5.19.0 qwen-vl-utils==0.0.14 setuptools==84.2.1)
if [ $# -gt 0 ]; then pins=("$@"); fi

room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
cd "$room"
export TMPDIR="$room" HF_HOME="$room/hf" MODELSCOPE_CACHE="$room/ms" HF_HUB_OFFLINE=1 USE_HF=1 MODELSCOPE_ENDPOINT=http://127.0.0.1:9
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

env/bin/python -I - 2>python.log <<'PYTHON' || {
import contextlib
import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import torch
from PIL import Image
from swift.model import get_model_processor
from swift.template import get_template
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2VLConfig, Qwen2VLForConditionalGeneration
from transformers import Qwen2VLImageProcessor, Qwen2VLProcessor, Qwen2VLVideoProcessor

MARKS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>"]
PADS = ["<|image_pad|>", "<|video_pad|>"]


def checkpoint(image_token):
    """A small random Qwen2-VL that spells, with this number for the image token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = MARKS + (PADS + alphabet if image_token == len(MARKS) else alphabet)
    names += [f"unused{number}" for number in range(image_token - len(names))]
    names += [pad for pad in PADS if pad not in names]
    numbers = {name: number for number, name in enumerate(names)}
    tokenizer = Tokenizer(models.BPE(vocab=numbers, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    marked = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "additional_special_tokens": MARKS[1:] + PADS}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **marked)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    rope = {"rope_type": "default", "mrope_section": [4, 6, 6], "rope_theta": 10000.0}
    special = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 0}
    config = Qwen2VLConfig(
        text_config={"vocab_size": len(names), "num_key_value_heads": 2, "rope_parameters": rope, **sizes, **special},
        vision_config={"depth": 2, "embed_dim": 64, "num_heads": 2, "hidden_size": 64, "mlp_ratio": 2},
        image_token_id=numbers["<|image_pad|>"],
        video_token_id=numbers["<|video_pad|>"],
        vision_start_token_id=3,
        vision_end_token_id=4,
    )
    assert config.image_token_id == image_token
    torch.manual_seed(0)
    folder = f"model-{image_token}"
    Qwen2VLForConditionalGeneration(config).save_pretrained(folder)
    Qwen2VLProcessor(Qwen2VLImageProcessor(), fast, Qwen2VLVideoProcessor()).save_pretrained(folder)
    return folder


def row():
    """One chat about one page: 280 x 280 pixels are 20 x 20 patches, 100 tokens after merging."""
    Image.new("RGB", (280, 280), "white").save("page.png")
    turns = [{"role": "user", "content": "<image>What is this?"}, {"role": "assistant", "content": "a page"}]
    return {"messages": turns, "images": [str(Path("page.png").resolve())]}


def shown(model, image_token):
    """How many tokens of the prompt are the page's."""
    _, processor = get_model_processor(model, model_type="qwen2_vl", load_model=False)
    template = get_template(processor, template_type="qwen2_vl")
    template.set_mode("train")
    return template.encode(row())["input_ids"].count(image_token)


def trained(model):
    """The exit code of a training of one step."""
    Path("chats.jsonl").write_text(json.dumps(row()) + "\n")
    command = [sys.executable, "-m", "swift.cli.sft", "--model", model, "--model_type", "qwen2_vl", "--template", "qwen2_vl"]
    command += ["--dataset", "chats.jsonl", "--split_dataset_ratio", "0", "--tuner_type", "lora", "--torch_dtype", "float32"]
    command += ["--bf16", "false", "--fp16", "false", "--use_cpu", "true", "--attn_impl", "sdpa", "--max_steps", "1"]
    command += ["--per_device_train_batch_size", "1", "--gradient_accumulation_steps", "1", "--save_strategy", "no"]
    command += ["--report_to", "none", "--output_dir", "out", "--dataset_num_proc", "1"]
    return subprocess.run(command, capture_output=True).returncode


with contextlib.redirect_stdout(sys.stderr):  # where ms-swift says what it sets
    models_made = {number: checkpoint(number) for number in (6, 151655)}
    found = {number: shown(folder, number) for number, folder in models_made.items()}
    ended = trained(models_made[6])
said = (
    f"ms-swift {version('ms-swift')}: a page of 100 patches after merging is {found[6]} of the prompt's tokens where the"
    f" image token is 6, {found[151655]} where it is 151655; training with 6 ends with {ended}"
)
if found == {6: 1, 151655: 100} and ended == 0:
    print(f"still so: {said}")
else:
    sys.exit(f"no longer so: {said}")
PYTHON
	code=$?
	grep "no longer so" python.log >&2 || tail -n 5 python.log >&2
	exit $code
}
