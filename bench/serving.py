"""`docvlm.evaluate` here against the same evaluation of the same weights behind vLLM, on a processor with two threads.

    make test-serve                       puts vLLM's build for processors into its environment
    python -m bench.serving --questions 300 --rounds 3

The embedded Qwen2-VL as it comes, drawn pages with about four questions each, float32 on both sides. Timed is what an
evaluation says it took to answer and score, without its start and that of the server; the first round of a server, in
which it meets the pages for the first time, is said apart. Miniatures show the cost around a model: of a full-size
model they say nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from docvlm.scoring.predictions import read
from docvlm.vlms import embedded
from tests.support.vllm import serving

THREADS = "2"
SERVED = "embedded"
BLOCK = 32  # tokens of a block of the prefix cache: pages here are shorter than the 128 that it has on a processor


def main() -> None:
    """Answer in turn, here and there, and print seconds, questions a second, and how many texts are equal."""
    parser = argparse.ArgumentParser(prog="python -m bench.serving", description=__doc__)
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    base = str(embedded.checkpoint("qwen2vl"))
    words = ["serve", base, "--served-model-name", SERVED, "--dtype", "float32", "--block-size", str(BLOCK)]
    with tempfile.TemporaryDirectory(prefix="bench-serving-") as name:
        folder = Path(name)
        with serving([*words, "--limit-mm-per-prompt", '{"image": 1}'], folder) as server:
            here: list[float] = []
            there: list[float] = []
            for number in range(options.rounds):
                asked = [f"limit={options.questions}", f"output={folder}/{number}"]
                here.append(evaluated(folder, *asked))
                there.append(evaluated(folder, f"endpoint={server.url}", f"served={SERVED}", "concurrency=8", *asked))
        answers = [texts(folder / "0", "served"), texts(folder / "0", "zero-shot")]
        (count,) = {len(one) for one in answers}
        same = sum(answers[0][key] == answers[1][key] for key in answers[0])
    print(f"{count} questions, {THREADS} threads, float32; {same} of {count} texts are equal")
    for title, times in (("docvlm.evaluate", here), ("vLLM, first round", there[:1]), ("vLLM, later", there[1:])):
        if times:
            each = ", ".join(f"{one:.1f}" for one in times)
            print(f"{title}: {each} s; {count / statistics.median(times):.1f} questions a second")


def evaluated(folder: Path, *words: str) -> float:
    """Seconds that an evaluation in a process of its own took to answer and score."""
    environment = os.environ | {"OMP_NUM_THREADS": THREADS, "MKL_NUM_THREADS": THREADS, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "docvlm.evaluate", "scale=tiny", *words]
    subprocess.run(command, check=True, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    return float(json.loads(newest(folder).read_text())["seconds"])


def newest(folder: Path) -> Path:
    """The record of the last evaluation."""
    return max(folder.rglob("evaluation.json"), key=lambda path: path.stat().st_mtime)


def texts(folder: Path, kind: str) -> dict[str, str]:
    """What was answered to each question, by the model that is `served` or the one that is here."""
    found = {}
    for file in folder.rglob("evaluation.json"):
        if ("endpoint" in json.loads(file.read_text())) is (kind == "served"):
            found = {one.question_id: one.prediction for one in read(file.parent / "predictions.jsonl")}
    return found


if __name__ == "__main__":
    main()
