"""Versions of the embedded weights: a run on others than are installed says which it needs, before anything loads."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from docvlm import __version__, evaluate, load, predict
from docvlm.errors import DocvlmError
from docvlm.vlms import base, embedded, load_family, saved
from docvlm.vlms.checkpoint import fingerprint
from docvlm.vlms.families import FAMILIES, Weights
from tests.support import asked as files
from tests.support.tiny import MINIATURES

EARLIER = "0123456789abcdef"
COMMANDS: dict[str, Callable[[Path], None]] = {
    "predict": lambda run: predict.main(["--run", str(run), "--question", "What is the total?", "page.png"]),
    "predict on saved weights": lambda run: predict.main(["--run", str(best(run)), "--question", "Who?", "page.png"]),
    "evaluate": lambda run: evaluate.main([f"run={run}", "scale=tiny", "offline=true"]),
    "evaluate on saved weights": lambda run: evaluate.main([f"checkpoint={best(run)}", "scale=tiny", "offline=true"]),
}


def versions(family: str) -> dict[str, Weights]:
    record = FAMILIES[family].embedded
    assert record is not None and isinstance(record.weights, dict)
    return record.weights


def best(run: Path) -> Path:
    return run / "checkpoints" / "best"


def made_on(run: Path, base: str) -> None:
    """Have the record of a run say that it was trained on embedded weights with the fingerprint `base`."""
    file = best(run) / saved.RECORD
    record = json.loads(file.read_text()) | {"base_fingerprint": base, "docvlm": "0.0.9"}
    file.write_text(json.dumps(record))


@pytest.fixture(scope="module")
def old() -> Path:
    """A run of before the weights changed."""
    run = files.reading_run.__wrapped__()
    (run / "result.json").write_text(
        json.dumps({"status": "finished", "selection": {"metric": "anls", "value": 0.5, "epoch": 1}})
    )
    return run


@pytest.mark.parametrize("command", sorted(COMMANDS))
@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_a_run_on_other_embedded_weights_says_which_it_needs(
    command: str,
    known: bool,
    old: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made_on(old, EARLIER)
    if known:
        monkeypatch.setitem(versions("qwen2vl"), EARLIER, Weights(7, "0.0.8"))
    monkeypatch.setattr(base, "load_weights", lambda *_, **__: pytest.fail("weights were loaded"))
    monkeypatch.chdir(tmp_path)
    files.image("total").save("page.png")
    with pytest.raises(SystemExit) as ended:
        COMMANDS[command](old)
    assert ended.value.code == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if "trained on" in line]
    unknown = (f"embedded qwen2vl weights with fingerprint {EARLIER}", "0.0.9")
    which, where = ("version 7 of the embedded qwen2vl weights", "0.0.8") if known else unknown
    here = versions("qwen2vl")[fingerprint(embedded.checkpoint("qwen2vl"))].version
    assert errors == [
        f"error: {best(old)}: trained on {which}, which docvlm {where} has, but docvlm {__version__} has version"
        f" {here}; use docvlm {where} for it, or train it again"
    ]


def test_python_is_told_too(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_on(old, EARLIER)
    monkeypatch.setattr(base, "load_weights", lambda *_, **__: pytest.fail("weights were loaded"))
    with pytest.raises(DocvlmError, match=rf"trained on embedded qwen2vl weights with fingerprint {EARLIER}"):
        load(old)


def test_a_run_that_learned_in_full_answers_and_only_its_baseline_is_refused(
    old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its weights are all its own."""
    vlm = load_family("qwen2vl").load(embedded.checkpoint("qwen2vl"), files.Budget(), offline=True)
    files.apply(vlm, 100, files.Lora(0))
    saved.save(vlm, best(tmp_path))
    made_on(tmp_path, EARLIER)
    assert saved.load(best(tmp_path), offline=True).trainable is not None
    for name in ("manifest.json", "result.json"):
        shutil.copy(old / name, tmp_path)
    with pytest.raises(SystemExit):
        evaluate.main([f"run={tmp_path}", "scale=tiny", "offline=true", "baseline=true"])
    assert "trained on embedded qwen2vl weights" in capsys.readouterr().err


@pytest.mark.parametrize("family", sorted(MINIATURES))
def test_the_table_knows_what_is_shipped(family: str) -> None:
    """New weights need a line in the table, or runs on them could not name them later."""
    known = versions(family)
    shipped = known[fingerprint(embedded.checkpoint(family))]
    assert shipped.version == max(weights.version for weights in known.values()) == len(known)
    assert shipped.docvlm == __version__
