"""A model as OpenVINO reads it: graphs of its parts with packed weights, tokenizer, settings of its processor.

Graphs are traced from the modules that docvlm trains with, in this environment, by `openvino.convert_model`; weights
are packed by NNCF from the weights alone, without calibration data. optimum-intel would do both for one family, but its
newest release takes no Transformers beyond 5.0 for it, and docvlm needs a later one. Whoever runs the folder needs no
torch: `openvino-genai` and Pillow where OpenVINO GenAI has a pipeline for the family, else `openvino`, `tokenizers` and
Pillow, and a loop over encoder and decoder.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from shutil import copyfile
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from docvlm.data.benchmarks import BENCHMARKS
from docvlm.errors import DocvlmError
from docvlm.exporting.example import parts
from docvlm.vlms.checkpoint import no_progress_bar
from docvlm.vlms.families import FAMILIES, imported
from docvlm.vlms.loading import codec, complete

if TYPE_CHECKING:
    from docvlm.exporting.source import Source
    from docvlm.vlms.graphs import Graph

PACKAGES = ("openvino", "openvino_genai", "openvino_tokenizers", "nncf")
DISTRIBUTIONS = ("openvino", "openvino-genai", "nncf")
INSTALL = "pip install 'docvlm[openvino]'"
GROUP = 64  # weights of a row that share a scale in 4 bits
_TRACED_WITH = "it is known to work with the versions in constraints.txt and openvino 2026.4.1, nncf 3.4.0"
_TALKATIVE = ("torch.utils.cpp_extension", "transformers", "nncf", "openvino_tokenizers")
_TELEMETRY = "openvino_telemetry"


def missing(source: Source) -> str | None:
    """Why this run or this machine cannot have it; None where it can."""
    record = source.record
    kinds, found = FAMILIES[record["family"]].openvino, source.config.model_type
    if found not in kinds:
        able = sorted(kind for family in FAMILIES.values() for kind in family.openvino)
        return f"it is for checkpoints of {' and '.join(able)}, and this run's is {found}"
    absent = [name for name in PACKAGES if find_spec(name) is None]
    return f"it needs {', '.join(absent)}: {INSTALL}" if absent else None


def write(source: Source, folder: Path, bits: int) -> None:
    """Put everything into a new `folder`. `bits`: of the language side's weights, 8 or 4; all others have 8."""
    family = FAMILIES[source.record["family"]]
    with source.merged(folder) as weights, no_progress_bar(), _without_telemetry(), _quiet():
        import openvino

        processor = AutoProcessor.from_pretrained(weights, local_files_only=True)
        net = AutoModelForImageTextToText.from_pretrained(
            weights, dtype=torch.float32, attn_implementation="sdpa", use_safetensors=True, local_files_only=True
        ).eval()
        folder.mkdir()
        copyfile(weights / "config.json", folder / "config.json")
        graphs = imported(family.openvino[net.config.model_type])
        for name, graph in graphs(net, processor).items():
            model = _packed(_traced(name, graph), bits if graph.language else 8)
            openvino.save_model(model, folder / f"openvino_{name}_model.xml", compress_to_fp16=False)
        if family.genai:
            _write_processor(processor, folder)
    complete(folder, source.best, source.about("openvino" if bits == 8 else f"openvino_int{bits}"))


def _traced(part: str, graph: Graph) -> Any:
    """The graph as an `openvino.Model`, its inputs and outputs named; a cache is a state of the model."""
    import openvino
    from openvino.frontend import OpConversionFailure

    try:
        with torch.no_grad():
            model = openvino.convert_model(graph.module.eval(), example_input=graph.example)
    except (OpConversionFailure, RuntimeError) as error:
        said = " ".join(str(error).split())[-300:]
        raise DocvlmError(
            f"formats=openvino: {part} cannot be traced ({said}): {_TRACED_WITH}; or export merged"
        ) from error
    for port, (name, shape) in zip(model.inputs, graph.shapes.items(), strict=True):
        port.get_tensor().set_names({name})
        port.get_node().set_friendly_name(name)
        port.get_node().set_partial_shape(openvino.PartialShape(list(shape)))
    for port, name in zip(model.outputs, graph.outputs, strict=True):
        port.get_tensor().set_names({name})
    model.validate_nodes_and_infer_types()
    return _with_state(model, graph) if graph.cached else model


def _with_state(model: Any, graph: Graph) -> Any:
    """Keep the cache inside: a variable for each input of it, empty at first, its rows chosen by `beam_idx` (B)."""
    import openvino
    from openvino import opset13 as ops
    from openvino._offline_transformations import apply_make_stateful_transformation

    rows = ops.parameter([-1], dtype=openvino.Type.i32, name="beam_idx")
    rows.output(0).get_tensor().set_names({"beam_idx"})
    model.add_parameters([rows])
    pairs = {f"past_key_values.{name}": f"present.{name}" for name in graph.cached}
    for name in pairs:
        users = model.input(name).get_target_inputs()
        chosen = ops.gather(model.input(name), rows, ops.constant(0))
        for user in users:
            user.replace_source_output(chosen.output(0))
    model.validate_nodes_and_infer_types()
    apply_make_stateful_transformation(model, pairs)
    batch = ops.gather(ops.shape_of(model.inputs[0], output_type="i64"), ops.constant([0]), ops.constant(0))
    for node in model.get_ops():
        if node.get_type_name() == "ReadValue":
            _, heads, _, head = node.get_output_partial_shape(0)
            sizes = [np.array([size], np.int64) for size in (heads.get_length(), 0, head.get_length())]
            empty = ops.concat([batch, *map(ops.constant, sizes)], 0)
            node.set_arguments([ops.broadcast(ops.constant(0.0, dtype=node.get_output_element_type(0)), empty)])
    model.validate_nodes_and_infer_types()
    return model


def _packed(model: Any, bits: int) -> Any:
    """Weights in `bits` with a scale and a zero point a row, in 4 bits for each `GROUP` of a row."""
    import nncf

    if bits == 8:
        return nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_ASYM)
    return nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT4_ASYM, group_size=GROUP, ratio=1.0)


def _write_processor(processor: Any, folder: Path) -> None:
    """What GenAI reads: the tokenizer as graphs, and the image processor's settings in the file where it looks."""
    import openvino
    from openvino_tokenizers import convert_tokenizer

    pair = convert_tokenizer(processor.tokenizer, with_detokenizer=True, skip_special_tokens=True)
    for name, model in zip(("tokenizer", "detokenizer"), pair, strict=True):
        openvino.save_model(model, folder / f"openvino_{name}.xml")
    processor.image_processor.save_pretrained(folder)


_GENAI = """\
import numpy as np
from openvino import Tensor
from openvino_genai import VLMPipeline
from PIL import Image

question = {question!r}
{resized}
pipeline = VLMPipeline(".", "CPU")  # where these files are
settings = pipeline.get_generation_config()
settings.max_new_tokens, settings.do_sample = {longest}, False
image = Tensor(np.array(page.resize(sides)))
print(pipeline.generate(question, images=[image], generation_config=settings).texts[0])"""


_STEPS = """\
import numpy as np
from openvino import Core, Tensor
from PIL import Image
from tokenizers import Tokenizer

question = "What is the total?"
words = Tokenizer.from_file("tokenizer.json")  # where these files are
ids = [{bos}, *words.encode({task!r} + question, add_special_tokens=False).ids, {end}]
page = Image.open("page.png").convert("RGB").resize({size}, Image.Resampling.{resample})
core = Core()
vision, encoder, decoder = (
    core.compile_model(f"openvino_{{part}}_model.xml", "CPU").create_infer_request()
    for part in ("vision", "encoder", "decoder")
)
vision.infer({{"pixels": np.array(page)[None]}})
encoder.set_tensor("page", vision.get_tensor("page"))
encoder.infer({{"input_ids": np.array([ids])}})
for port in encoder.model_outputs:
    decoder.set_tensor(port.any_name, encoder.get_tensor(port.any_name))
decoder.set_tensor("beam_idx", Tensor(np.zeros(1, np.int32)))
answer, step = [], {start}  # how an answer begins
while not set(answer[-1:]) & set({ends}) and len(answer) < {longest}:
    decoder.infer({{"input_ids": np.array([step])}})  # which remembers what came before
    step = [int(decoder.get_tensor("logits").data.argmax())]
    answer += step
print(words.decode(answer).strip())"""


def example(source: Source) -> str:
    """Python that asks a question of the folder it lies in, with what `needs` names and Pillow only."""
    if FAMILIES[source.record["family"]].genai:
        return _GENAI.format(**parts(source, "the runtime would shrink without smoothing"))
    found: Any = codec(source.best, offline=source.offline)
    return _STEPS.format(**found.in_steps, longest=BENCHMARKS[source.benchmark].max_new_tokens)


def needs(source: Source) -> str:
    """What is installed, beside Pillow, to ask the folder."""
    return "openvino-genai" if FAMILIES[source.record["family"]].genai else "openvino tokenizers"


@contextmanager
def _without_telemetry() -> Iterator[None]:
    """OpenVINO and NNCF tell a server of every import and every conversion, where this package is there to do it."""
    absent = object()
    before = sys.modules.get(_TELEMETRY, absent)
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # which makes an import of it fail
    try:
        yield
    finally:
        del sys.modules[_TELEMETRY]
        if before is not absent:
            sys.modules[_TELEMETRY] = before  # type: ignore[assignment]


def _leave_streams_open() -> None:
    """Keep absl, which OpenVINO imports, from closing what is standard error now.

    Its handler closes the stream that it found at its import when logging is set up anew, as every command does, unless
    that is a standard stream then: one that a notebook or a test had put in its place would be gone.
    """
    if "absl.logging" in sys.modules:
        sys.modules["absl.logging"].get_absl_handler().python_handler.stream = sys.__stderr__


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the tracer's warnings about values that are constants here, and the libraries' tables, bars and notes."""
    with warnings.catch_warnings(), redirect_stdout(StringIO()):
        warnings.simplefilter("ignore")
        import nncf  # noqa: F401  # which sets its own level
        import openvino  # noqa: F401

        _leave_streams_open()
        levels = {name: logging.getLogger(name).level for name in _TALKATIVE}
        for name in levels:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
