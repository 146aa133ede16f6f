"""OpenVINO's formats with OpenVINO: exported, measured, asked, and run as their card says where torch is not.

The packages come from the index that pip knows, into environments that go when the tests end; where it cannot be
reached, the tests are skipped and say so.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

import pytest

from docvlm.exporting.openvino import PACKAGES
from docvlm.vlms import FAMILIES, loading
from tests.support.environments import environment, extra, ran
from tests.support.runs import train
from tests.support.tiny import Paper

pytestmark = pytest.mark.slow

WORDS = ("scale=tiny", "run=outputs/run", "limit=30", "canary=8", "pages=2", "warmup=1")
WIDE = "tolerance.openvino={texts: 0.5, logits: null, score: 0.1}"  # few questions, and answers that are hardly sure
EXPORT = Path("outputs/run/export")
FULL = """
from docvlm.exporting import openvino
def full(*_):
    raise OSError(28, "No space left on device")
openvino._packed = full
from docvlm.export import main
import sys
main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def exporter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that has docvlm's packages and those of `docvlm[openvino]`."""
    if all(find_spec(name) for name in PACKAGES):
        return Path(sys.executable)
    folder = tmp_path_factory.mktemp("exporter")
    return environment(folder, extra("openvino"), sees=sysconfig.get_path("purelib"))


@pytest.fixture(scope="module", params=["qwen2vl", "florence2"])
def family(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def user(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that has what the card names, and neither torch nor docvlm."""
    named = ["openvino-genai"] if FAMILIES[family].genai else ["openvino", "tokenizers"]
    python = environment(tmp_path_factory.mktemp("user"), [*named, "pillow"])
    look = (
        "from importlib.util import find_spec; print([n for n in ('torch', 'docvlm', 'transformers') if find_spec(n)])"
    )
    assert ran(python, "-c", look, where=python.parent, path=False).stdout.strip() == "[]"
    return python


@pytest.fixture(scope="module")
def made(family: str, exporter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a run that barely learned was exported in 8 and in 4 bits."""
    folder = tmp_path_factory.mktemp("made")
    train(folder / "outputs" / "run", "model.checkpoint=embedded", "data.max_new_tokens=16", family=family)
    words = (*WORDS, WIDE, "tolerance.openvino_int4={texts: 0, logits: null, score: 1}")
    done = ran(exporter, "-m", "docvlm.export", *words, "formats=[openvino,openvino_int4]", where=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_it_is_measured_as_the_others_are(made: Path) -> None:
    rows = {row["format"]: row for row in json.loads((made / EXPORT / "export.json").read_text())["formats"]}
    assert list(rows) == ["run", "openvino", "openvino_int4"]
    run, eight, four = rows.values()
    assert eight["canary"]["equal"] >= 4 and eight["canary"]["logits"] is None
    for row in (eight, four):
        (score,) = row["scores"]
        assert score["n"] == run["scores"][0]["n"] and {"mean", "low", "high"} <= score["difference"].keys()
        assert 0 < row["latency"]["first_token_p50_ms"] < row["latency"]["p50_ms"] and row["latency"]["n"] == 2
        assert row["latency"]["peak_memory_mb"] < run["latency"]["peak_memory_mb"] / 2, "its process has no torch"
        assert row["size_mb"] == pytest.approx(loading.size(made / EXPORT / row["format"]) / 1e6, rel=0.05)
    assert abs(eight["scores"][0]["difference"]["mean"]) <= 0.1
    assert four["size_mb"] < eight["size_mb"] < 5
    assert {path.name for path in (made / EXPORT).iterdir() if path.is_dir()} == {"openvino", "openvino_int4", "eval"}


def test_the_card_answers_without_torch_as_docvlm_predict_does(
    made: Path, exporter: Path, user: Path, tmp_path: Path
) -> None:
    for word in ("openvino", "openvino_int4"):
        folder = tmp_path / word
        shutil.copytree(made / EXPORT / word, folder)
        for width, height in ((280, 168), (1200, 900)):  # as it is, and one that has to shrink
            Paper("invoice", width, height).open().save(folder / "page.png")
            (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), flags=re.DOTALL)
            alone = ran(user, "-c", code, where=folder, path=False)
            assert alone.returncode == 0, alone.stderr
            words = ("--run", str(folder), "--question", "What is the total?", "page.png")
            ours = ran(exporter, "-m", "docvlm.predict", *words, where=folder)
            assert ours.returncode == 0, ours.stderr
            assert alone.stdout.strip() == ours.stdout.strip() != ""


def test_docvlm_evaluate_scores_it_as_its_export_did(made: Path, family: str, exporter: Path) -> None:
    words = ("scale=tiny", f"model={family}", f"checkpoint={EXPORT / 'openvino'}", "limit=30", "output=again")
    done = ran(exporter, "-m", "docvlm.evaluate", *words, where=made)
    assert done.returncode == 0, done.stderr[-3000:]
    (row,) = json.loads((made / "again" / "table.json").read_text())["rows"]
    *_, eight, _ = json.loads((made / EXPORT / "export.json").read_text())["formats"]
    assert row["ours"]["headline"] == pytest.approx(eight["scores"][0]["mean"])
    assert row["ours"]["n_questions"] == eight["scores"][0]["n"]


def test_what_is_there_is_kept_and_what_breaks_off_leaves_nothing(made: Path, exporter: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "outputs", tmp_path / "outputs")
    again = ran(exporter, "-m", "docvlm.export", *WORDS, WIDE, "formats=[openvino]", where=tmp_path)
    assert "openvino: outputs/run/export/openvino is there already" in again.stdout, again.stderr[-3000:]
    shutil.rmtree(tmp_path / EXPORT / "openvino")
    broken = ran(exporter, "-c", FULL, *WORDS, "formats=[openvino]", where=tmp_path)
    assert broken.returncode == 1
    (line,) = [line for line in broken.stderr.splitlines() if line.startswith("error: ")]
    assert "openvino: cannot be written ([Errno 28] No space left on device); nothing of it is left" in line
    assert {path.name for path in (tmp_path / EXPORT).iterdir() if path.is_dir()} == {"openvino_int4", "eval"}
