"""Text on the command line is what was typed, whatever Hydra's grammar makes of numbers, brackets and other letters.

Run alone: pytest tests/config/test_literal.py
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from docvlm.config import (
    CONF_DIR,
    VERBS,
    BenchmarkConfig,
    EvaluateConfig,
    Job,
    ReportConfig,
    TrainConfig,
    verb,
)
from docvlm.config.compose import load
from docvlm.config.explain import explain, known_keys
from docvlm.config.literal import as_typed, hint_of, quoted
from docvlm.training.run import base_checkpoint

SCHEMAS = tuple(VERBS.values())
NUMBERS = ["2024_10", "7e25814", "1e5", "1_000", ".5", "5.", "+3", "-0", "007", "0x1F", "true", "FALSE", "inf", "NaN"]
NAMES = [
    "日本/資料", "서울", "é", "a#b", "a&b", "~/pages", "a~b", "v(1)", "(1)", "set[2]", "[2]", "[a,b]", "{a}", "a{b",
    "a=b", "a:b", "a%b", "it's", "'a", 'say "x"', "a b", "a;b", "a!b", "a<b>", "`a`", "^a", "a|b", "a\nb", "$x", "@x",
    "日 本#(1)[2]=3%{'~'}", "C:\\x",
]  # fmt: skip


def value(word: str, schema: type[Any] = TrainConfig) -> Any:
    """What Hydra makes of a word once it has been made safe, which changes nothing when it is done again."""
    (safe,) = as_typed([word], schema)
    assert as_typed([safe], schema) == [safe]
    return OverridesParser.create().parse_override(safe).value()


@pytest.mark.parametrize("text", NUMBERS + NAMES)
def test_text_is_what_was_typed(text: str) -> None:
    for prefix in ("", "+", "++"):
        found = value(f"{prefix}data.source={text}")
        assert str(found) == text and not isinstance(found, list)
    if not set(text) & set(",'\"()[]{}\\"):
        found = value(f"predictions=[{text},b]", ReportConfig)
        assert [str(item) for item in found] == [text, "b"]
        swept = value(f"name={text},b").list
        assert [str(getattr(item, "text", item)) for item in swept] == [text, "b"]


@given(st.text())
def test_quoted_text_is_read_back(text: str) -> None:
    assert OverridesParser.create().parse_override(f"name={quoted(text)}").value() == text


@settings(deadline=None)  # the first example warms Hydra's parser, which takes long on a crowded machine
@given(st.text(st.characters(exclude_characters=",'\"()\\${}", exclude_categories=["Cs"])))
def test_any_name_is_what_was_typed(text: str) -> None:
    """All but what Hydra gives a meaning to: a comma, quotes, functions, references, escapes, outer blanks, null."""
    assume(text.strip(" \t") == text and text.lower() != "null")
    assert str(value(f"data.source={text}")) == text


def test_what_hydra_gives_a_meaning_to_keeps_it() -> None:
    assert value("data.source=null") is None
    assert value("data.source='null'") == "null"
    assert value("data.source=") == ""
    assert value("data.source=${scale.source}") == "${scale.source}"
    assert value("data.source=a\\,b") == "a,b"
    assert value('data.source="2024_10"') == "2024_10"
    assert value("name=int(3)") == 3
    assert value("lora.r=1_6") == 16 and value("optim.lr=1e-4") == 1e-4 and value("offline=true") is True
    assert list(value("lora.r=range(1,3)").range()) == [1, 2]
    unchanged = ["~callbacks.x", "lora.r=8,16", "seed=7", "budgets=[1003520,501760]", "batch=8", "scale=tiny"]
    assert as_typed(unchanged, BenchmarkConfig) == unchanged, "what is recorded stays as people know it"


def text_keys(schema: type[Any]) -> Iterator[tuple[str, Any]]:
    for key in known_keys(schema):
        hint = hint_of(key, schema)
        if hint is str or (get_origin(hint) is list and get_args(hint) == (str,)):
            yield key, hint


@pytest.mark.parametrize("schema", SCHEMAS)
def test_every_text_of_every_verb_is_safe(schema: type[Any]) -> None:
    keys = dict(text_keys(schema))
    assert len(keys) >= 4
    for key, hint in keys.items():
        assert value(f"{key}=2024_10" if hint is str else f"{key}=[2024_10]", schema) in ("2024_10", ["2024_10"]), key


def test_texts_within_texts() -> None:
    for key, schema in [
        ("data.docvqa.source", EvaluateConfig),
        ("data.parts.chartqa.source", TrainConfig),
        ("model.checkpoints.own", TrainConfig),
        ("hydra.sweep.dir", TrainConfig),
    ]:
        assert value(f"{key}=2024_10", schema) == "2024_10"
    assert hint_of("lora.nonsense.x", TrainConfig) is None and hint_of("nonsense", TrainConfig) is None


def test_composed_configs_hold_what_was_typed(tmp_path: Path) -> None:
    train = load("train", TrainConfig, ["scale=tiny", "data.source=2024_10", "name=true", "model.checkpoint=7e25814"])
    assert (train.data.source, train.name, train.model.checkpoint) == ("2024_10", "true", "7e25814")
    words = ["scale=tiny", "run=2024_10", "predictions=1e3", "output=日 本", "benchmarks=[1_0,é]", "checkpoint=.5"]
    cfg = load("evaluate", EvaluateConfig, words)
    assert (cfg.run, cfg.predictions, cfg.output, cfg.checkpoint) == ("2024_10", "1e3", "日 本", ".5")
    assert cfg.benchmarks == ["1_0", "é"]
    assert load("report", ReportConfig, ["output=2024_10"]).output == "2024_10"


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[TrainConfig, Job]]:
    monkeypatch.chdir(tmp_path)
    return []


def run(ran: list[tuple[TrainConfig, Job]], *words: str) -> None:
    def main(cfg: TrainConfig, job: Job) -> float:
        ran.append((cfg, job))
        return 1.0

    verb("train", TrainConfig)(main)([*words, "scale=tiny"])


def test_a_sweep_over_names_that_look_like_numbers(ran: list[tuple[TrainConfig, Job]]) -> None:
    run(ran, "name=2024_10,7e25814,日", "seed=1_0", "-m")
    assert [(cfg.name, cfg.seed) for cfg, _ in ran] == [("2024_10", 10), ("7e25814", 10), ("日", 10)]
    assert [job.overrides[0] for _, job in ran] == ["name='2024_10'", "name='7e25814'", "name='日'"]
    recorded = (ran[1][1].folder / ".hydra" / "overrides.yaml").read_text()
    assert "name='7e25814'" in recorded and "seed=10" in recorded


@pytest.mark.parametrize("words", ["choice(1_0,2e3,b)", "choice('1_0',\"2e3\",'日本')", "tag(a,choice('1_0',2e3,b))"])
def test_a_choice_of_names(words: str, ran: list[tuple[TrainConfig, Job]]) -> None:
    """Hydra itself would write them into the cells without quotes, and read numbers there, or nothing."""
    assert as_typed(as_typed([f"name={words}"], TrainConfig), TrainConfig) == as_typed([f"name={words}"], TrainConfig)
    run(ran, f"name={words}", "-m")
    assert [cfg.name for cfg, _ in ran] == ["1_0", "2e3", "日本" if "日本" in words else "b"]


@pytest.mark.parametrize("name", ["2024_10", "日 本#(1)[2]=3%{'~'}", "[2]", "a&b;c"])
def test_a_folder_is_the_one_that_was_named(name: str, ran: list[tuple[TrainConfig, Job]], tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    run(ran, "data=folder", f"data.source={name}")
    assert [cfg.data.source for cfg, _ in ran] == [name]


def test_home_is_home(ran: list[tuple[TrainConfig, Job]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In every path, so that no folder is made that is called `~`."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "pages").mkdir(parents=True)
    run(ran, "data=folder", "data.source=~/pages", "model.checkpoint=~/weights")
    assert base_checkpoint(ran[0][0]) == str(tmp_path / "home" / "weights")
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        report = compose("report", as_typed(["output=~/r"], ReportConfig), return_hydra_config=True)
    assert report.hydra.run.dir == str(tmp_path / "home" / "r")


REFUSED = [
    ("data.source=日,b", "日,b"),
    ("data.source=v(1),b", "v(1),b"),
    ("name=it's,2024_10", "it's,2024_10"),
    ("name=a,b", "a,b"),
    ("name='a',b", "a,b"),
    ('model.checkpoint="a,b', '"a,b'),
]


@pytest.mark.parametrize(("word", "meant"), REFUSED)
def test_advice_can_be_pasted_into_a_shell(
    word: str, meant: str, ran: list[tuple[TrainConfig, Job]], capsys: pytest.CaptureFixture[str]
) -> None:
    """The command in the message, through a shell's rules, gives what was meant."""
    with pytest.raises(SystemExit):
        run(ran, word)
    line = capsys.readouterr().err
    found = re.search(r" write (.+?)(; to sweep, quote each value)?\n$", line)
    assert line.startswith("error: ") and line.count("\n") == 1 and found is not None
    (pasted,) = shlex.split(found[1])
    key = pasted.partition("=")[0]
    cfg: Any = load("train", TrainConfig, [pasted, "scale=tiny"])
    for part in key.split("."):
        cfg = getattr(cfg, part)
    assert cfg == meant


def test_advice_for_lists_can_be_pasted() -> None:
    for word, meant in [
        ("predictions=[a(1).jsonl,日.jsonl]", ["a(1).jsonl", "日.jsonl"]),
        ("predictions=a(1).jsonl,b", ["a(1).jsonl", "b"]),
        ("predictions=[a,'it's']", ["a", "it's"]),
    ]:
        assert as_typed([word], ReportConfig) == [word], "it could mean several things"
        with pytest.raises(OverrideParseException) as caught:
            OverridesParser.create().parse_overrides([word])
        line = explain(caught.value, ReportConfig)
        assert line is not None and "quote each item, as in " in line
        (pasted,) = shlex.split(line.partition("as in ")[2])
        assert load("report", ReportConfig, [pasted]).predictions == meant
