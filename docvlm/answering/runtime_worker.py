"""A runtime without torch in a process of its own: requests in, answers out, a line of JSON each.

    python runtime_worker.py openvino FOLDER THREADS
    python runtime_worker.py openvino_steps FOLDER THREADS
    python runtime_worker.py llamacpp FOLDER THREADS CONTEXT PAGE_TOKENS

It is run as a file and imports nothing of docvlm, so that neither torch nor Transformers is in its memory: what is
measured of it is what a machine without them needs. A request is `{"pages": […], "prompt": …, "max_new_tokens": …}`,
whose pages are `{"height": …, "width": …, "pixels": RGB in base64}` and whose prompt is the whole chat, or for
`openvino_steps` `{"ids": …, "start": …, "ends": …, "most": …}`: the tokens of a question, how an answer begins, what
ends it, and how many it may have. Others are `{"memory": "reset"}`, which says what is held and starts a new peak, and
`{"memory": "peak"}`. Memory is in MiB.
"""

from __future__ import annotations

import base64
import http.client
import json
import math
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_HERE = str(Path(__file__).resolve().parent)
if sys.path and Path(sys.path[0] or ".").resolve() == Path(_HERE):
    del sys.path[0]  # `import openvino` must not find the module beside this file
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # `import openvino` would tell a server of it
PAGE = "<|vision_start|><|image_pad|><|vision_end|>"
"""A page in a prompt; llama.cpp has a mark of its own and puts the tokens around it by itself."""

Answer = Callable[[dict[str, Any]], dict[str, Any]]


def main() -> None:
    """Load the folder, say so, and answer until standard input ends."""
    kind, folder, threads, *more = sys.argv[1:]
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print goes to standard error

    def say(message: dict[str, Any]) -> None:
        print(json.dumps(message), file=replies, flush=True)

    try:
        version, answer = RUNTIMES[kind](Path(folder), int(threads), *map(int, more))
    except (ImportError, RuntimeError, OSError) as error:
        say({"error": str(error)})
        return
    say({"version": version})
    for line in sys.stdin:
        request = json.loads(line)
        say(_memory(request["memory"]) if "memory" in request else answer(request))


def openvino(folder: Path, threads: int) -> tuple[str, Answer]:
    """The version of OpenVINO GenAI, and its answers from the graphs in the folder."""
    import openvino
    import openvino_genai

    pipeline = openvino_genai.VLMPipeline(str(folder), "CPU", INFERENCE_NUM_THREADS=threads)

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        config = pipeline.get_generation_config()  # with the tokens that end an answer
        config.max_new_tokens, config.do_sample, config.apply_chat_template = request["max_new_tokens"], False, False
        config.logprobs = 1  # makes it add up the logarithms of the tokens' probabilities
        pages = [openvino.Tensor(_pixels(page)) for page in request["pages"]]
        try:
            found = pipeline.generate(request["prompt"], images=pages, generation_config=config)
        except RuntimeError as error:
            return {"error": str(error)}
        measured = found.perf_metrics
        count = measured.get_num_generated_tokens()
        return {
            "text": found.texts[0],
            "confidence": math.exp(float(found.scores[0]) / max(count, 1)),
            "tokens": count,
            "prompt_tokens": measured.get_num_input_tokens(),
            "first_token_s": measured.get_ttft().mean / 1000,
            "truncated": found.finish_reasons[0].name == "LENGTH",
        }

    return str(openvino_genai.__version__), answer


def openvino_steps(folder: Path, threads: int) -> tuple[str, Answer]:
    """The version of OpenVINO, and answers from graphs of a page, a question and a step of its answer."""
    import numpy
    import openvino

    core = openvino.Core()
    vision, encoder, decoder = (
        core.compile_model(
            folder / f"openvino_{part}_model.xml", "CPU", {"INFERENCE_NUM_THREADS": threads}
        ).create_infer_request()
        for part in ("vision", "encoder", "decoder")
    )
    decoder.set_tensor("beam_idx", openvino.Tensor(numpy.zeros(1, numpy.int32)))

    def encode(page: dict[str, Any], ids: list[int]) -> int:
        """Hand the decoder what it looks up. Returns how many tokens that is."""
        vision.infer({"pixels": _pixels(page)[None]})
        encoder.set_tensor("page", vision.get_tensor("page"))
        encoder.infer({"input_ids": numpy.array([ids])})
        for port in encoder.model_outputs:
            decoder.set_tensor(port.any_name, encoder.get_tensor(port.any_name))
        return int(encoder.get_tensor("page").shape[1]) + len(ids)

    def decode(prompt: dict[str, Any], longest: int) -> Iterator[tuple[int, float]]:
        """Tokens up to and with the end, and the probability of each."""
        decoder.reset_state()
        step = prompt["start"]
        for _ in range(min(longest, prompt["most"])):
            decoder.infer({"input_ids": numpy.array([step])})
            logits = decoder.get_tensor("logits").data[0, -1]
            step = [int(logits.argmax())]
            yield step[0], 1 / float(numpy.exp(logits - logits.max()).sum())
            if step[0] in prompt["ends"]:
                return

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        began, prompt = time.perf_counter(), request["prompt"]
        (page,) = request["pages"]
        try:
            read = encode(page, prompt["ids"])
            said = decode(prompt, request["max_new_tokens"])
            steps = [next(said)]
            first = time.perf_counter() - began
            steps += said
        except RuntimeError as error:
            return {"error": str(error)}
        ids, sure = [token for token, _ in steps], [probability for _, probability in steps]
        return {
            "ids": ids,
            "confidence": sum(sure) / len(sure),
            "tokens": len(ids),
            "prompt_tokens": read,
            "first_token_s": first,
            "truncated": ids[-1] not in prompt["ends"],
        }

    return str(openvino.__version__), answer


def llamacpp(folder: Path, threads: int, context: int, page_tokens: int) -> tuple[str, Answer]:
    """The version of xllamacpp, and llama.cpp's answers from the files in the folder.

    Its server listens on a free port of this machine and answers requests with a key that is made here.
    """
    mark, key = f"<|page {secrets.token_hex(8)}|>", secrets.token_hex(16)  # of which no question knows
    os.environ["LLAMA_MEDIA_MARKER"] = mark
    import xllamacpp

    settings = xllamacpp.CommonParams()
    settings.model.path, settings.mmproj.path = str(folder / "model-q8_0.gguf"), str(folder / "mmproj-f32.gguf")
    settings.n_ctx, settings.n_parallel = context, 1
    settings.image_min_tokens, settings.image_max_tokens = 1, page_tokens  # pages come as they are to be read
    for cpu in (settings.cpuparams, settings.cpuparams_batch):
        cpu.n_threads, cpu.poll = threads, 0  # threads that spin wait for seconds where others want the cores
    settings.n_gpu_layers, settings.mmproj_use_gpu, settings.fit_params = 0, False, False
    settings.api_keys, settings.cors_origins, settings.ui, settings.endpoint_slots = [key], "", False, False
    settings.offline, settings.warmup, settings.cache_prompt, settings.verbosity = True, False, False, 1
    server = xllamacpp.Server(settings)
    address = urlsplit(server.listening_address).netloc
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        assert server is not None  # which ends with the last that knows it
        asked = {
            "prompt": {"prompt_string": request["prompt"].replace(PAGE, mark), "multimodal_data": _ppm(request)},
            "n_predict": request["max_new_tokens"],
            "temperature": 0,
            "n_probs": 1,  # makes it tell each token's probability
        }
        began = time.perf_counter()
        connection = http.client.HTTPConnection(address)
        connection.request("POST", "/completion", json.dumps(asked), headers)
        response = connection.getresponse()
        found = json.loads(response.read())
        seconds = time.perf_counter() - began
        connection.close()
        if response.status != 200:
            return {"error": found["error"]["message"]}
        told = found["completion_probabilities"] if "completion_probabilities" in found else []
        chosen = [math.exp(token["logprob"]) for token in told]  # none of tokens that end within a character
        return {
            "text": found["content"],
            "confidence": sum(chosen) / max(len(chosen), 1),
            "tokens": found["tokens_predicted"],
            "prompt_tokens": found["tokens_evaluated"],
            "first_token_s": seconds - found["timings"]["predicted_ms"] / 1000,
            "truncated": found["stop_type"] == "limit",
        }

    return str(xllamacpp.__version__), answer


RUNTIMES: dict[str, Callable[..., tuple[str, Answer]]] = {
    "openvino": openvino,
    "openvino_steps": openvino_steps,
    "llamacpp": llamacpp,
}


def _pixels(page: dict[str, Any]) -> Any:
    """A page of a request (H x W x 3)."""
    import numpy

    pixels = numpy.frombuffer(base64.b64decode(page["pixels"]), numpy.uint8)
    return pixels.reshape(page["height"], page["width"], 3)


def _ppm(request: dict[str, Any]) -> list[str]:
    """The pages as the simplest of files that hold every pixel, in base64."""
    files = []
    for page in request["pages"]:
        header = f"P6 {page['width']} {page['height']} 255\n".encode()
        files.append(base64.b64encode(header + base64.b64decode(page["pixels"])).decode("ascii"))
    return files


def _memory(what: str) -> dict[str, float]:
    held = _status("VmRSS")
    if what == "reset" and os.access("/proc/self/clear_refs", os.W_OK):
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): 5 resets the peak resident set size
    return {"held": held, "peak": _status("VmHWM")}


def _status(field: str) -> float:
    """A field of /proc/self/status, which counts KiB, in MiB; the peak where there is no such file."""
    status = Path("/proc/self/status")
    if not status.exists():
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / (1 << 20), 1)
    line = next(line for line in status.read_text().splitlines() if line.startswith(f"{field}:"))
    return round(int(line.split()[1]) / 1024, 1)


if __name__ == "__main__":
    main()
