"""docs/guide/serve.md is executed, block by block, against a local server; `vllm serve` itself is not."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

from docvlm.answering.endpoint import FOLDER
from docvlm.config import EvaluateConfig
from docvlm.config.compose import load, rehearse
from docvlm.evaluate import main
from docvlm.serving.reader import Reader
from tests.evaluation.test_evaluate import table
from tests.support.served import Served

ADDRESS = "http://localhost:8000/v1"


@pytest.fixture
def page(root: Path) -> str:
    return (root / "docs" / "guide" / "serve.md").read_text(encoding="utf-8")


def commands(page: str, *first: str) -> list[list[str]]:
    """The words of every command of the page that begins with `first`."""
    lines = "\n".join(re.findall(r"```bash\n(.*?)```", page, flags=re.DOTALL)).splitlines()
    return [words for words in map(shlex.split, lines) if words[: len(first)] == list(first)]


def asked(page: str, url: str, served: Sequence[str], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What the page's ways to ask say when they ask there, without the last, which may choose from two answers only."""
    said: list[str] = []
    names: dict[str, object] = {}
    for language, block in re.findall(r"```(bash|python)\n(.*?)```", page.replace(ADDRESS, url), re.DOTALL):
        if language == "python":
            exec(compile(block, "docs/guide/serve.md", "exec"), names)
            said += capsys.readouterr().out.splitlines()
        elif "curl" in block and shutil.which("curl"):
            models, answer = (
                subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True).stdout
                for line in block.splitlines()
            )
            assert [model["id"] for model in json.loads(models)["data"]] == list(served)
            said.append(json.loads(answer)["choices"][0]["message"]["content"])
    assert said.pop() in ("Nobody", "Somebody")
    return said


def test_asking_works_as_the_page_says(
    page: str, server: Served, reader: Reader, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three ways to ask, one answer: that of the model itself."""
    server.names = ("Qwen/Qwen2-VL-2B-Instruct", "invoices")
    said = asked(page, server.url, server.names, capsys)
    assert said == [reader.ask("invoice.png", "Who has to pay?").text] * (2 + bool(shutil.which("curl")))
    assert said[0] != reader.ask("invoice.png", "By when is the invoice Due?").text


def test_scoring_works_as_the_page_says(page: str, server: Served) -> None:
    server.names = ("Qwen/Qwen2-VL-2B-Instruct", "invoices")
    found = [words[3:] for words in commands(page, "python", "-m", "docvlm.evaluate")]
    asking = [words for words in found if words[0] == f"endpoint={ADDRESS}"]
    assert len(asking) >= 5
    (schema,) = commands(page, "echo")
    Path(schema[-1]).write_text(schema[1])
    for words in asking:
        rehearse("evaluate", EvaluateConfig, words, sweep=False)
    main([f"endpoint={server.url}", *asking[0][1:], "scale=tiny", "limit=2"])
    folder = FOLDER / "invoices"
    assert [row["benchmark"] for row in table(folder)] == ["docvqa-generated", "chartqa-generated"]
    answers = Path(table(folder)[0]["ours"]["folder"]) / "predictions.jsonl"
    ((first, second),) = [words for words in found if words[0].startswith("predictions=")]
    assert re.sub("<evaluation>", answers.parent.name, first) == f"predictions={answers}"
    assert second.startswith("against=outputs/<time>/eval/")
    if find_spec("jsonschema"):
        for words in asking[-2:]:
            main([f"endpoint={server.url}", *words[1:], "scale=tiny", "limit=2"])
            (row,) = table(folder)
            record = json.loads((Path(row["ours"]["folder"]) / "evaluation.json").read_text())
            assert ("choices" in record) is any(word.startswith("choices=") for word in words)
            assert ("json_schema" in record) is not ("choices" in record)


def test_the_budget_on_the_page_is_that_of_a_full_size_run(page: str) -> None:
    (adapter,) = [words for words in commands(page, "vllm", "serve") if "--enable-lora" in words]
    given = json.loads(adapter[adapter.index("--mm-processor-kwargs") + 1])
    cfg = load("evaluate", EvaluateConfig, ["scale=full"])
    assert given == {"min_pixels": cfg.budget.min_pixels, "max_pixels": cfg.budget.max_pixels}
    assert f'{{"shortest_edge": {given["min_pixels"]}, "longest_edge": {given["max_pixels"]}}}' in page
    assert int(adapter[adapter.index("--max-lora-rank") + 1]) == 64, "the largest rank of the ablation"
    for words in commands(page, "vllm", "serve"):
        assert json.loads(words[words.index("--limit-mm-per-prompt") + 1]) == {"image": 1}


def test_every_key_of_an_endpoint_is_on_the_page(page: str) -> None:
    for key in ("endpoint", "served", "concurrency", "timeout", "retries", "logprobs", "choices", "json_schema"):
        assert key in EvaluateConfig.__dataclass_fields__
        assert re.search(rf"^\| .*`{key}`.* \|", page, flags=re.MULTILINE)
