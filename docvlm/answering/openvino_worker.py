"""OpenVINO GenAI in a process of its own: requests in, answers out, a line of JSON each.

    python openvino_worker.py FOLDER THREADS

It is run as a file and imports nothing of docvlm, so that neither torch nor Transformers is in its memory: what is
measured of it is what a machine without them needs. A request is `{"pages": […], "prompt": …, "max_new_tokens": …}`,
whose pages are `{"height": …, "width": …, "pixels": RGB in base64}` and whose prompt is the whole chat; or
`{"memory": "reset"}`, which says what is held and starts a new peak; or `{"memory": "peak"}`. Memory is in MiB.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from pathlib import Path
from typing import Any

_HERE = str(Path(__file__).resolve().parent)
if sys.path and Path(sys.path[0] or ".").resolve() == Path(_HERE):
    del sys.path[0]  # `import openvino` must not find the module beside this file
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # `import openvino` would tell a server of it


def main() -> None:
    """Load the folder, say so, and answer until standard input ends."""
    folder, threads = sys.argv[1:]
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print goes to standard error

    def say(message: dict[str, Any]) -> None:
        print(json.dumps(message), file=replies, flush=True)

    try:
        import openvino_genai

        pipeline = openvino_genai.VLMPipeline(folder, "CPU", INFERENCE_NUM_THREADS=int(threads))
    except (ImportError, RuntimeError, OSError) as error:
        say({"error": str(error)})
        return
    say({"version": openvino_genai.__version__})
    for line in sys.stdin:
        request = json.loads(line)
        say(_memory(request["memory"]) if "memory" in request else _answered(pipeline, request))


def _answered(pipeline: Any, request: dict[str, Any]) -> dict[str, Any]:
    """The answer, or `{"error": …}`: one page that cannot be read does not end the others."""
    import numpy
    import openvino

    config = pipeline.get_generation_config()  # with the tokens that end an answer
    config.max_new_tokens, config.do_sample, config.apply_chat_template = request["max_new_tokens"], False, False
    config.logprobs = 1  # makes it add up the logarithms of the tokens' probabilities
    pages = []
    for page in request["pages"]:
        pixels = numpy.frombuffer(base64.b64decode(page["pixels"]), numpy.uint8)
        pages.append(openvino.Tensor(pixels.reshape(page["height"], page["width"], 3)))
    try:
        found = pipeline.generate(request["prompt"], images=pages, generation_config=config)
    except RuntimeError as error:
        return {"error": str(error)}
    measured = found.perf_metrics
    return {
        "text": found.texts[0],
        "log_probability": float(found.scores[0]),
        "tokens": measured.get_num_generated_tokens(),
        "prompt_tokens": measured.get_num_input_tokens(),
        "first_token_s": measured.get_ttft().mean / 1000,
        "truncated": found.finish_reasons[0].name == "LENGTH",
    }


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
