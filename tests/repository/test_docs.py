"""What the pages promise: commands compose, flags parse, targets, settings, links and anchors exist, the site builds.

Every page is walked, so a new one is tested as soon as it is there. `docs/LOG.md` is history: only its links are. The
pages of `docs/extend` need the files that they write: tests of their own apply and run them.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from docvlm import app, predict, sweep
from docvlm.config import AuditConfig, BenchmarkConfig, EvaluateConfig, ExportConfig, ReportConfig, TrainConfig
from docvlm.config.compose import load, rehearse
from docvlm.data.generated import DrawnPage

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PRESENT = [page for page in PAGES if page.name != "LOG.md" and page.parent.name != "extend"]
SCHEMAS = {
    "train": TrainConfig,
    "evaluate": EvaluateConfig,
    "audit": AuditConfig,
    "benchmark": BenchmarkConfig,
    "export": ExportConfig,
    "report": ReportConfig,
}
FLAGS = {"predict": predict._flags, "app": app._flags, "sweep": sweep._flags}
VERBS = [*SCHEMAS, *FLAGS]
WITH_OPTUNA = {"experiment=search", "hydra/sweeper=optuna"}
OTHERS = {"base64", "cat", "curl", "echo", "head", "hf", "pip", "printf", "source", "srun", "torchrun", "vllm"}
"""Programs that are not docvlm's: the tests of single pages execute them, or they were run by hand."""
MISSION = (
    "python -m docvlm.train model=qwen2vl lora.r=16,32,64 -m",
    "python -m docvlm.train model=florence2 freeze=0,33,66,100 -m",
    "make eval",
)
OWN_FILES = (
    *("FILE", "answer.json", "answers.jsonl", "baseline.jsonl", "ours.jsonl", "predictions.jsonl", "questions.jsonl"),
    *("qwen2_vl_7b_instruct.jsonl", "qwen2_vl_2b_instruct.jsonl"),
)
OWN_FOLDERS = ("DIR", "my_invoices", "my_contracts", "my-qwen", "DocVQA", "outputs/run", "images")
"""What the pages take for files and folders of the reader's own."""
FOREIGN = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)=[\"'](?:https?:)?//", re.IGNORECASE)


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def inline(page: Path) -> list[str]:
    """Commands within the text; one that leaves something out (`…`) or stands for several (`<verb>`) is none."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    found = re.findall(r"`((?:python|make|docvlm-[a-z]+(?=[^`]* --(?:run|checkpoint))) [^`]+)`", text)
    return [" ".join(command.split()) for command in found if "…" not in command and "<verb>" not in command]


def commands(line: str) -> Iterator[list[str]]:
    """The words of every simple command of a line, without what sets its environment."""
    parts = shlex.shlex(line, posix=True, punctuation_chars="|&;")
    parts.whitespace_split, parts.commenters = True, "#"
    words: list[str] = []
    for word in [*parts, ";"]:
        if set(word) <= set("|&;"):
            while words and (re.fullmatch(r"[A-Z_]+=\S*", words[0]) or words[0] in ("{", "}")):
                del words[0]
            if words:
                yield words
            words = []
        else:
            words.append(word)


@cache
def check(*words: str) -> None:
    """What is docvlm's must compose, parse or be there. Fails for a program that nobody knows."""
    if words[:2] == ("python", "-m") and words[2].startswith("docvlm."):
        words = (words[2].replace("docvlm.", "docvlm-"), *words[3:])
    verb = words[0].removeprefix("docvlm-")
    if "--help" in words:
        assert verb in VERBS
    elif verb in SCHEMAS:
        if find_spec("optuna") or not WITH_OPTUNA & {*words}:
            rehearse(verb, SCHEMAS[verb], [word for word in words[1:] if word != "-m"], sweep="-m" in words)
    elif verb in FLAGS:
        FLAGS[verb]([*words[1:]])
    elif words[0] == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert {word for word in words[1:] if "=" not in word} <= set(targets), words
    elif words[:2] == ("python", "-m"):
        assert find_spec(words[2]), words
    elif words[0] == "python":
        assert words[1] == "-c" or (ROOT / words[1]).is_file(), words
    else:
        assert words[0] in OTHERS, f"{shlex.join(words)}: neither docvlm's nor another's that is known"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds what is the reader's own: one for all pages, so that each command is checked once."""
    folder = tmp_path_factory.mktemp("reader")
    for own in OWN_FOLDERS:
        (folder / own).mkdir(parents=True)
    for own in OWN_FILES:
        (folder / own).touch()
    return folder


@pytest.mark.parametrize("page", PRESENT, ids=name)
def test_every_command_works(page: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    lines = "\n".join(blocks(page, "bash")).replace("\\\n", " ").splitlines()
    for line in [*lines, *inline(page)]:
        line = re.sub(r"=/(?:models|data)/", f"={place}/", line)
        line = re.sub(r"=(\[?)outputs/\S*?<\w+>[^\s,\]]*", r"=\1outputs/run", line).replace("<time>", "run")
        for words in commands(line):
            try:
                check(*words)
            except SystemExit as error:
                raise AssertionError(f"{name(page)}: {line}: does not parse") from error


def test_commands_are_found_and_wrong_ones_are_seen() -> None:
    """A walk that finds nothing proves nothing."""
    assert sum(len(blocks(page, "bash")) for page in PRESENT) > 30
    assert list(commands("A=1 python -m x 'a | b' | head -1 & # c")) == [["python", "-m", "x", "a | b"], ["head", "-1"]]
    for wrong in (
        "python -m docvlm.train lora.rank=3",
        "make absent",
        "python docs/draw/absent.py",
        "docvlm-ask x.png",
    ):
        with pytest.raises(Exception, match=r"lora\.rank|absent|docvlm-ask"):
            check(*wrong.split())
    with pytest.raises(SystemExit):
        check("docvlm-predict", "--ask", "x", "x.png")


@pytest.mark.parametrize("page", ["README.md", "docs/guide/evaluate.md", "docs/results/pages.md"])
def test_the_python_of_the_page_runs(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Other pages with Python have tests of their own, beside the rooms they are about."""
    monkeypatch.chdir(tmp_path)
    DrawnPage("docvqa", "test", 2, "tiny", 0).open().save("invoice.png")
    for block in blocks(ROOT / page, "python"):
        exec(compile(block.replace('"outputs/<time>"', '"embedded", family="qwen2vl"'), page, "exec"), {})
        assert capsys.readouterr().out.strip()


def test_the_stages_that_the_page_on_architecture_shows_are_those_of_training() -> None:
    (block,) = blocks(ROOT / "docs/explain/architecture.md", "python")
    assert block in (ROOT / "docvlm/train.py").read_text(encoding="utf-8").replace("\n    ", "\n")


def test_every_setting_of_the_page_exists() -> None:
    """Names in the first column are settings of `train`, or groups of files in conf/."""
    rows = re.findall(r"^\| (`[^|]*) \|", (ROOT / "docs/reference/knobs.md").read_text(encoding="utf-8"), re.MULTILINE)
    keys = [key.removesuffix(".*") for row in rows for key in re.findall(r"`([^`]+)`", row)]
    assert len(keys) > 30
    settings = load("train", TrainConfig, ["scale=tiny"])
    for key in keys:
        value: object = settings
        for part in key.split(".") if not (ROOT / "conf" / key).is_dir() else ():
            value = getattr(value, part)


def test_every_link_and_anchor_exists() -> None:
    anchors = {page.resolve(): set(map(_anchor, _headings(page))) for page in PAGES}
    wrong = []
    for page in PAGES:
        for target, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([^)\s]+))?\)", page.read_text(encoding="utf-8")):
            to = (page.parent / target).resolve() if target else page.resolve()
            if not to.exists() or (anchor and anchor not in anchors.get(to, ())):
                wrong.append(f"{name(page)}: {target}#{anchor}")
    assert wrong == []


def _headings(page: Path) -> list[str]:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)


def _anchor(heading: str) -> str:
    """As GitHub makes them, and `make docs`."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_the_readme_is_short_and_holds_what_it_must() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.count("\n") <= 200
    for command in MISSION:
        assert re.search(rf"^{re.escape(command)}(\s+#.*)?$", text, flags=re.MULTILINE), command
    rows = re.findall(r"^\| `docvlm-(\w+)` \| [^|]+ \| \[.*\.md\) \|$", text, flags=re.MULTILINE)
    assert sorted(rows) == sorted(VERBS)


def test_the_tree_of_the_readme_names_every_room_and_every_verb() -> None:
    (tree,) = [block for block in blocks(ROOT / "README.md", "text") if block.startswith("docvlm/")]
    package = tree[: tree.index("\nconf/")]
    rooms = {folder.name for folder in (ROOT / "docvlm").iterdir() if folder.is_dir() and [*folder.glob("*.py")]}
    assert set(re.findall(r"^  (\w+)/ ", package, flags=re.MULTILINE)) == rooms
    floors = (ROOT / "docs/explain/architecture.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| \d+ \| `(\w+)/` \|", floors, flags=re.MULTILINE)) == rooms
    assert set(re.findall(r"\b(\w+)\.py\b", package)) == {*VERBS, "demo"}
    beside = re.findall(r"(?:^|(?<=/ ))(\w+)/", tree[len(package) :], flags=re.MULTILINE)
    assert {"conf", "tests", "docs"} <= set(beside) and all((ROOT / folder).is_dir() for folder in beside)


@pytest.mark.skipif(find_spec("material") is None, reason="the `docs` extra is not installed")
def test_the_site_builds_strictly_and_asks_no_other_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mkdocs.commands.build import build
    from mkdocs.config import load_config
    from mkdocs.exceptions import Abort

    monkeypatch.setenv("NO_MKDOCS_2_WARNING", "1")
    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path / "site")))
    built = sorted((tmp_path / "site").rglob("*.html"))
    assert len(built) >= len(PAGES) - 1, "every page of docs/, and 404.html"
    assert [f"{page}: {FOREIGN.search(text)}" for page in built if FOREIGN.search(text := page.read_text())] == []

    for broken in ("[x](absent.md)", "[x](#absent)", "![x](absent.png)", "[x](/absent.md)"):
        (tmp_path / "docs").mkdir(exist_ok=True)
        (tmp_path / "docs" / "index.md").write_text(f"# One\n\n{broken}\n", encoding="utf-8")
        other = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path / "other"), docs_dir=str(tmp_path / "docs"))
        other.nav = None
        with pytest.raises(Abort):
            build(other)
