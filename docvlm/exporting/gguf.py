"""A model as llama.cpp reads it: two GGUF files, the language model in 8 bits (q8_0) and the tower in float32.

Written with `gguf`, the package of the project that llama.cpp is of; its converter is a script of that repository and
in no package of theirs. What the files say of the model comes from `docvlm.vlms.ggml`, the tokenizer from
`docvlm.exporting.vocabulary`. The budget of pages and greedy decoding stand in the files too, where llama.cpp looks
for them. Whoever runs the folder needs llama.cpp, such as `xllamacpp` brings it, and no torch.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from shutil import copyfile
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import safe_open
from torch import Tensor
from transformers import AutoProcessor

from docvlm.answering.llamacpp import TEXT, VISION, context
from docvlm.errors import DocvlmError
from docvlm.exporting import vocabulary
from docvlm.exporting.example import parts
from docvlm.vlms.families import FAMILIES, imported
from docvlm.vlms.loading import complete

if TYPE_CHECKING:
    from docvlm.exporting.source import Source
    from docvlm.vlms.ggml import Halves

PACKAGES = ("gguf", "xllamacpp")
DISTRIBUTIONS = ("gguf", "xllamacpp")
INSTALL = "pip install 'docvlm[gguf]'"
BLOCK = 32  # weights of a row that share a scale in q8_0
_ENDINGS = (".weight.1", ".weight", ".bias")


def missing(source: Source) -> str | None:
    """Why this run or this machine cannot have it; None where it can."""
    record, config = source.record, source.config
    kinds, found = FAMILIES[record["family"]].gguf, config.model_type
    if found not in kinds:
        able = sorted(kind for family in FAMILIES.values() for kind in family.gguf)
        return f"it is for checkpoints of {' and '.join(able)}, and this run's is {found}"
    absent = [name for name in PACKAGES if find_spec(name) is None]
    if absent:
        return f"it needs {', '.join(absent)}: {INSTALL}"
    halves: Halves = imported(kinds[found])
    return halves.unable(config) or vocabulary.missing(_tokenizer(source.best))


def write(source: Source, folder: Path) -> None:
    """Put everything into a new `folder`."""
    with source.merged(folder) as weights, _quiet():
        folder.mkdir()
        copyfile(weights / "config.json", folder / "config.json")
        halves: Halves = imported(FAMILIES[source.record["family"]].gguf[source.config.model_type])
        _write_text(weights, folder / TEXT, source, halves)
        _write_vision(weights, folder / VISION, source, halves)
    complete(folder, source.best, source.about("gguf"))


_EXAMPLE = """\
# as a server: {command}
import base64, io, secrets
from PIL import Image
from xllamacpp import CommonParams, Server

question = {question!r}
{resized}
file = io.BytesIO()
page.resize(sides).save(file, "PNG")  # llama.cpp would fill up with black
url = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
settings = CommonParams()
settings.model.path, settings.mmproj.path = "{text}", "{vision}"  # where these files are
settings.n_ctx, settings.image_min_tokens, settings.image_max_tokens = {context}, 1, {tokens}
settings.api_keys = [secrets.token_hex()]  # it listens on a port of this machine
content = [{{"type": "image_url", "image_url": {{"url": url}}}}, {{"type": "text", "text": question}}]
asked = {{"messages": [{{"role": "user", "content": content}}], "max_tokens": {longest}}}
print(Server(settings).handle_chat_completions(asked)["choices"][0]["message"]["content"])"""


def example(source: Source) -> str:
    """Python that asks a question of the folder it lies in, with xllamacpp and Pillow only, and the server's command.

    Both say the budget of pages and the context, for builds that do not take the budget from the file.
    """
    said = parts(source, "more than the run reads")
    room = context(said["tokens"])
    command = (
        f"llama-server -m {TEXT} --mmproj {VISION} -c {room} --image-min-tokens 1 --image-max-tokens {said['tokens']}"
    )
    return _EXAMPLE.format(**said, command=command, context=room, text=TEXT, vision=VISION)


def _write_text(weights: Path, file: Path, source: Source, halves: Halves) -> None:
    import gguf

    config, processor = source.config, AutoProcessor.from_pretrained(weights, local_files_only=True)
    text, found = config.text_config, vocabulary.vocabulary(_tokenizer(weights), config.text_config.vocab_size)
    with closing(gguf.GGUFWriter(file, halves.name)) as writer:
        writer.add_type(gguf.GGUFType.MODEL)
        writer.add_name(source.run.model)
        writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        writer.add_sampling_temp(0.0)  # greedy, where a request does not say otherwise
        halves.text(writer, config)
        writer.add_tokenizer_model(found.model)
        if found.rule:
            writer.add_tokenizer_pre(found.rule)
            writer.add_token_merges(found.merges)
        writer.add_token_list(found.tokens)
        writer.add_token_types(found.types)
        writer.add_eos_token_id(processor.tokenizer.eos_token_id)
        writer.add_pad_token_id(processor.tokenizer.pad_token_id)
        writer.add_add_bos_token(False)
        writer.add_chat_template(processor.chat_template)
        names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[halves.name.upper()], text.num_hidden_layers)
        for name, tensor in _tensors(weights, halves, tower=False):
            _add(writer, names, name, tensor, packed=True)
        _finish(writer)


def _write_vision(weights: Path, file: Path, source: Source, halves: Halves) -> None:
    import gguf

    config, images = source.config, AutoProcessor.from_pretrained(weights, local_files_only=True).image_processor
    with closing(gguf.GGUFWriter(file, "clip")) as writer:
        writer.add_type(gguf.GGUFType.MMPROJ)
        writer.add_name(source.run.model)
        writer.add_file_type(gguf.LlamaFileType.ALL_F32)
        halves.vision(writer, config)
        writer.add_vision_image_mean(images.image_mean)
        writer.add_vision_image_std(images.image_std)
        writer.add_vision_min_pixels(source.record["budget"]["min_pixels"])
        writer.add_vision_max_pixels(source.record["budget"]["max_pixels"])
        names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.MMPROJ, config.vision_config.depth)
        for name, tensor in _tensors(weights, halves, tower=True):
            _add(writer, names, name, tensor, packed=False)
        _finish(writer)


def _tensors(weights: Path, halves: Halves, *, tower: bool) -> Iterator[tuple[str, Tensor]]:
    """Those of one half, by the names that `gguf` knows."""
    for file in sorted(weights.glob("*.safetensors")):
        with safe_open(file, "pt") as stored:
            for name in stored.keys():  # noqa: SIM118  # it is no mapping
                if name.startswith(halves.tower) is tower:
                    yield from halves.tensors(name, stored.get_tensor(name))


def _add(writer: Any, names: Any, name: str, tensor: Tensor, *, packed: bool) -> None:
    """`packed`: matrices in q8_0, but for those whose rows are no whole blocks; all else in float32."""
    from gguf import GGMLQuantizationType, quants

    known = names.get_name(name, try_suffixes=_ENDINGS)
    if known is None:
        raise DocvlmError(f"formats=gguf: {name}: llama.cpp has no such tensor; export merged")
    values = np.ascontiguousarray(tensor.float().numpy())
    if packed and values.ndim == 2 and values.shape[1] % BLOCK == 0:
        kind = GGMLQuantizationType.Q8_0
        writer.add_tensor(known, quants.quantize(values, kind), raw_dtype=kind)
    else:
        writer.add_tensor(known, values)


def _finish(writer: Any) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()


def _tokenizer(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the writer says of every file."""
    logger = logging.getLogger("gguf")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
