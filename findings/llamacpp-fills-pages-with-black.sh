#!/usr/bin/env bash
# llama.cpp shows Qwen2-VL another page than the published processor does: one with black margins.
#
# Guess: a page whose sides are no multiples of 28 pixels is stretched to the nearest ones, as Qwen2-VL's own processor does it and
# as the model learned; so answers to pages sent as they are differ hardly from those to pages resized before (of 80, 72 or
# more the same).
#
# Seen on 2026-11-30 with xllamacpp 2026.10.11549 (llama.cpp b11549), gguf 0.19.0, Python 3.11.7: the size is the processor's, the page
# is not. It is scaled until it fits, its proportions kept, and what is left is filled with black. A model of 1.4 million parameters that
# read 65 of 80 drawn pages of 291 x 160 pixels right read 50 then, and 51 texts were the same. No message. Qwen2.5-VL and
# Qwen3-VL go the same way through `mtmd_image_preprocessor_dyn_size`. The script asks a random model for the
# probability of its first token and prints:
#   still so: xllamacpp 2026.10.11549: a page of 291 x 160 gives -2.064, one stretched to 280 x 168 before -2.288, one with black margins -2.064
#
# What helps: resize the page before it is sent, to sides that are multiples of 28 within the server's limits; then nothing is done to it.
set -euo pipefail
pins=(xllamacpp==2026.10.11549 gguf==0.19.0 numpy==2.4.6 pillow==12.3.0)
if [ $# -gt 0 ]; then pins=("$@"); fi

room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
cd "$room"
export TMPDIR="$room"
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

LLAMA_MEDIA_MARKER="<page>" env/bin/python -I - <<'PYTHON'
import base64
import io
import json
import sys
from http.client import HTTPConnection

import gguf
import numpy as np
import xllamacpp
from PIL import Image, ImageDraw

WIDTH, LAYERS, TOKENS = 64, 2, 300
random = np.random.default_rng(0)


def matrix(*shape):
    return (random.standard_normal(shape) * 2 / shape[-1] ** 0.5).astype(np.float32)


def written(file, arch, fields, tensors):
    writer = gguf.GGUFWriter(file, arch)
    for name, values in fields.items():
        getattr(writer, f"add_{name}")(*values)
    for name, values in tensors.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


zeros, ones, square = np.zeros(WIDTH, np.float32), np.ones(WIDTH, np.float32), (WIDTH, WIDTH)
special = ["<|vision_start|>", "<|vision_end|>", "<|im_end|>"]
tokens = [*special, "\\n", "x", *(f"word {number}" for number in range(TOKENS - 5))]
text = {"token_embd.weight": matrix(TOKENS, WIDTH), "output_norm.weight": ones}
tower = {"v.patch_embd.weight": matrix(WIDTH, 3, 14, 14), "v.patch_embd.weight.1": matrix(WIDTH, 3, 14, 14)}
for layer in range(LAYERS):
    for name in "qkv":
        text[f"blk.{layer}.attn_{name}.weight"], text[f"blk.{layer}.attn_{name}.bias"] = matrix(*square), zeros
        tower[f"v.blk.{layer}.attn_{name}.weight"], tower[f"v.blk.{layer}.attn_{name}.bias"] = matrix(*square), zeros
    for name in ("attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        text[f"blk.{layer}.{name}.weight"] = matrix(*square)
    for name in ("attn_norm", "ffn_norm"):
        text[f"blk.{layer}.{name}.weight"] = ones
    for name, rows, columns in (("attn_out", WIDTH, WIDTH), ("ffn_up", 256, WIDTH), ("ffn_down", WIDTH, 256)):
        tower[f"v.blk.{layer}.{name}.weight"] = matrix(rows, columns)
        tower[f"v.blk.{layer}.{name}.bias"] = np.zeros(rows, np.float32)
    for name in ("ln1", "ln2"):
        tower[f"v.blk.{layer}.{name}.weight"], tower[f"v.blk.{layer}.{name}.bias"] = ones, zeros
tower |= {"v.post_ln.weight": ones, "v.post_ln.bias": zeros}
for name, rows in (("mm.0", 256), ("mm.2", WIDTH)):
    tower[f"{name}.weight"], tower[f"{name}.bias"] = matrix(rows, 256), np.zeros(rows, np.float32)
written("text.gguf", "qwen2vl", {
    "block_count": [LAYERS], "context_length": [512], "embedding_length": [WIDTH], "feed_forward_length": [WIDTH],
    "head_count": [2], "head_count_kv": [2], "layer_norm_rms_eps": [1e-6], "rope_freq_base": [10000.0],
    "rope_dimension_sections": [[4, 6, 6, 0]], "tokenizer_model": ["rwkv"], "token_list": [tokens],
    "token_types": [[3] * 3 + [1] * (TOKENS - 3)], "eos_token_id": [2],
}, text)
written("tower.gguf", "clip", {
    "type": ["mmproj"], "clip_has_vision_encoder": [True], "clip_projector_type": ["qwen2vl_merger"],
    "vision_projection_dim": [WIDTH], "vision_image_size": [560], "vision_patch_size": [14],
    "vision_embedding_length": [WIDTH], "vision_feed_forward_length": [256], "vision_block_count": [LAYERS],
    "vision_head_count": [2], "vision_attention_layernorm_eps": [1e-6], "vision_spatial_merge_size": [2],
    "vision_image_mean": [[0.5] * 3], "vision_image_std": [[0.25] * 3],
}, tower)

settings = xllamacpp.CommonParams()
settings.model.path, settings.mmproj.path = "text.gguf", "tower.gguf"
settings.n_ctx, settings.image_min_tokens, settings.image_max_tokens = 512, 1, 100
settings.warmup, settings.fit_params, settings.verbosity = False, False, 0
settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
server = xllamacpp.Server(settings)


def asked(page):
    """The largest logarithm of a probability after the page."""
    file = io.BytesIO()
    page.save(file, "PNG")
    prompt = {"prompt_string": "<page>x", "multimodal_data": [base64.b64encode(file.getvalue()).decode()]}
    connection = HTTPConnection(server.listening_address.removeprefix("http://"))
    connection.request("POST", "/completion", json.dumps({"prompt": prompt, "n_predict": 1, "temperature": 0, "n_probs": 1}))
    return json.loads(connection.getresponse().read())["completion_probabilities"][0]["logprob"]


page = Image.new("RGB", (291, 160), "white")
ImageDraw.Draw(page).text((20, 20), "Invoice 17\nTotal 482.81", fill="black", font_size=40)
margins = Image.new("RGB", (280, 168))
margins.paste(page.resize((280, 154), Image.Resampling.BICUBIC), (0, 7))
found = asked(page)
stretched, black = asked(page.resize((280, 168), Image.Resampling.BICUBIC)), asked(margins)
said = (
    f"xllamacpp {xllamacpp.__version__}: a page of 291 x 160 gives {found:.3f}, one stretched to 280 x 168 before {stretched:.3f}, one"
    f" with black margins {black:.3f}"
)
if abs(found - black) > abs(found - stretched) / 4:
    sys.exit(f"no longer so: {said}")
print(f"still so: {said}")
PYTHON
