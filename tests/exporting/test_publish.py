"""`docvlm.export push_to=…`: what a dry run lists is what arrives at a hub, in one commit, and what is refused."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import ModelCard

from docvlm.config import ExportConfig
from docvlm.config.compose import load
from docvlm.errors import DocvlmError
from docvlm.export import main
from docvlm.exporting import publish
from docvlm.reporting.card import about as card_about
from docvlm.reporting.card import card
from docvlm.runs.finished import read
from docvlm.tables import Table
from docvlm.vlms.families import called, published
from tests.support import hub
from tests.support.runs import after, copied, finished

SMALL = (
    "scale=tiny", "run=outputs/run", "limit=6", "canary=2", "pages=2", "warmup=1", "data.docvqa.max_new_tokens=2",
)  # fmt: skip
FOLDER = Path("outputs/run/export/adapter")
REPO = "someone/invoice-reader"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run on the embedded checkpoint's word, its adapter exported; the folder the command was given in."""
    folder = after(main, tmp_path_factory.mktemp("published"), *SMALL, "formats=[adapter]")
    record = json.loads((folder / FOLDER / "docvlm.json").read_text())
    assert Path(record["checkpoint"]).is_absolute()
    (folder / FOLDER / "docvlm.json").write_text(json.dumps(record | {"checkpoint": "someone/a-base"}))
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, and the working directory."""
    return copied(made, tmp_path, monkeypatch)


@pytest.fixture
def online(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[hub.Hub]:
    """huggingface_hub in this process, set to the stand-in."""
    monkeypatch.setenv("HF_TOKEN", hub.TOKEN)
    with hub.served() as server, hub.asked(server.url, tmp_path / "cache", monkeypatch):
        yield server


def sent() -> dict[str, bytes]:
    """The files of the export that a hub should have."""
    return {
        path.relative_to(FOLDER).as_posix(): path.read_bytes()
        for path in FOLDER.rglob("*")
        if path.is_file() and path.name != "export.json"
    }


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of an export that must fail; the token is nowhere in what was said."""
    with pytest.raises(SystemExit) as ended:
        main([*SMALL, *arguments])
    said = capsys.readouterr()
    (line,) = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert ended.value.code == 1 and hub.TOKEN not in said.out + said.err
    return line


def test_a_dry_run_lists_every_file_and_reaches_no_network(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def nothing(*_: object) -> None:
        raise AssertionError("the network was reached")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket.socket, "connect", nothing)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    main([*SMALL, f"push_to={REPO}", "dry_run=true"])
    out = capsys.readouterr().out
    assert "adapter: outputs/run/export/adapter is there already" in out, "the adapter, where no format is named"
    listed = out[out.index("dry run: nothing is sent") :]
    assert f"create the private model repository {REPO} where there is none" in listed
    rows = [line.split(" MB  ") for line in listed.splitlines()[1:] if not line.endswith(str(FOLDER))]
    assert {name: float(size) for size, name in rows} == {
        name: round(len(content) / 1e6, 3) for name, content in sent().items()
    }
    assert f"in {len(rows)} files from" in listed and "adapter_model.safetensors" in listed


def assert_arrived(server: hub.Hub, out: str) -> None:
    """The folder is there, in one commit of a private repository, and `out` says so without the token."""
    assert server.files == sent() and len(server.commits) == 1
    assert server.commits[0].startswith("adapter, exported by docvlm ")
    assert server.private == {REPO: True} and any(request.startswith("PUT /storage/") for request in server.requests)
    assert f"published: {REPO} (private), {len(sent())} files" in out and hub.TOKEN not in out
    assert not any(hub.TOKEN.encode() in path.read_bytes() for path in Path().rglob("*") if path.is_file())


def test_what_arrives_is_the_folder_in_one_commit(
    here: Path, online: hub.Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    main([*SMALL, f"push_to={REPO}"])
    said = capsys.readouterr()
    assert_arrived(online, said.out + said.err)


@pytest.mark.slow
def test_the_hub_and_the_token_are_those_of_the_environment(here: Path) -> None:
    """The same in a process of its own, where nothing but the environment names the stand-in."""
    with hub.served() as server:
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "TRANSFORMERS_"))}
        environment |= {"HF_ENDPOINT": server.url, "HF_TOKEN": hub.TOKEN, "HF_HUB_DISABLE_XET": "1"}
        environment |= {"HF_HOME": str(here / "hf"), "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            [sys.executable, "-m", "docvlm.export", *SMALL, f"push_to={REPO}"],
            env=environment, capture_output=True, text=True,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert_arrived(server, done.stdout + done.stderr)


def test_a_repository_that_is_public_is_only_written_to_when_told(
    here: Path, online: hub.Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    online.private[REPO] = False
    line = f"push_to={REPO}: the repository is there already and public; give private=false"
    assert line in refused(capsys, f"push_to={REPO}") and not online.files
    assert f"published: {REPO} (public)" in publish.push(publish.parcel(FOLDER), REPO, private=False)
    assert online.files == sent()


@pytest.mark.parametrize(
    ("end", "status", "said"),
    [
        ("/repos/create", 401, "the hub answered 401 (told to fail): the token is not valid"),
        ("/repos/create", 403, "it needs write permission for someone"),
        ("/commit/main", 409, "somebody else changed the repository meanwhile"),
        ("/commit/main", 418, "the hub answered 418 (told to fail): the same command again sends it"),
        ("/repos/create", 0, "the hub did not answer for 0.5 s; the same command again sends what is missing"),
    ],
    ids=["401", "403", "409", "418", "time-out"],
)
def test_what_the_hub_says_against_it_is_one_line(
    end: str, status: int, said: str, here: Path, online: hub.Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "TIMEOUT_S", 0.5 if status == 0 else 60.0)
    online.fail[end] = status
    if status in (401, 403):
        online.fail[f"/api/models/{REPO}"] = 404  # huggingface_hub then looks whether it may use one that is there
    with pytest.raises(DocvlmError, match=re.escape(said)) as caught:
        publish.push(publish.parcel(FOLDER), REPO, private=True)
    assert "\n" not in str(caught.value) and hub.TOKEN not in str(caught.value) and not online.files


def test_a_hub_that_is_not_there_is_one_line(here: Path, online: hub.Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
        with pytest.raises(DocvlmError, match=f"push_to={REPO}: the hub cannot be reached"):
            publish.push(publish.parcel(FOLDER), REPO, private=True)


def test_what_would_end_a_push_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def says(said: str, *overrides: str) -> None:
        cfg = load("export", ExportConfig, ["scale=tiny", f"run={tmp_path}", *overrides])
        with pytest.raises(DocvlmError, match=re.escape(said)):
            cfg.check()
            publish.ready(cfg)

    to = f"push_to={REPO}"
    says("HF_HUB_OFFLINE keeps everything off the network", to)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    says("offline=true keeps everything off the network", to, "offline=true")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    says("no token of the hub is here; hf auth login", to)
    says("push_to=name: give it as user/name", "push_to=name")
    says("push_to=some one/x: Repo id must use alphanumeric chars", "push_to='some one/x'")
    says("a repository holds one format", to, "formats=[adapter,merged]")
    says("it is for push_to=user/name", "dry_run=true")
    publish.ready(load("export", ExportConfig, ["scale=tiny", f"run={tmp_path}", to, "dry_run=true"]))


def test_an_export_that_was_damaged_or_is_of_no_use_to_others_is_not_sent(here: Path) -> None:
    def says(said: str) -> None:
        with pytest.raises(DocvlmError, match=re.escape(said)):
            publish.parcel(FOLDER)

    weights, front, about = (FOLDER / name for name in ("adapter_model.safetensors", "README.md", "docvlm.json"))
    whole, text, record = weights.read_bytes(), front.read_text(encoding="utf-8"), json.loads(about.read_text())
    weights.write_bytes(whole[:-100])
    says("adapter_model.safetensors: not readable")
    weights.unlink()
    says("adapter_model.safetensors: not readable")
    weights.write_bytes(whole)
    front.write_text(text.replace("license: apache-2.0\n", ""), encoding="utf-8")
    says("its metadata names no licence")
    front.unlink()
    says("README.md: no model card")
    front.write_text(text, encoding="utf-8")
    about.write_text(json.dumps(record | {"checkpoint": str(here / "base")}))
    says("a folder that nobody else has; push the whole model: formats=[merged]")
    (here / "base").mkdir()
    about.write_text(json.dumps(record | {"checkpoint": "base"}))
    says("an adapter for base, a folder that nobody else has")
    about.write_text(json.dumps(record))
    assert publish.parcel(FOLDER).files.keys() == sent().keys()


def test_the_card_holds_what_a_reader_needs(made: Path) -> None:
    text = (made / FOLDER / "README.md").read_text(encoding="utf-8")
    found = ModelCard(text)
    again = ModelCard(str(found))
    assert again.data.to_dict() == found.data.to_dict() and found.data.eval_results[0].dataset_split == "test"
    assert (found.data.license, found.data.library_name) == ("apache-2.0", "peft") and "lora" in found.data.tags
    headings = [
        "What it is for",
        "Scores",
        "How it fails",
        "Limits",
        "Data",
        "How to use it",
        "How it was trained",
        "Licences",
    ]
    places = [text.index(f"\n## {heading}\n") for heading in headings]
    assert places == sorted(places)
    for words in (
        "Not for:", "Decisions about people", "Apache-2.0, drawn by docvlm", "Before training ",
        "Shared by train and test: nothing.", "These adapter weights: apache-2.0",
        "Its run was scored with", "not calibrated",
    ):  # fmt: skip
        assert words in text, words


@pytest.mark.parametrize(
    ("family", "base", "whole"),
    [
        ("qwen2vl", "embedded", "apache-2.0"),
        ("florence2", "florence-community/Florence-2-base-ft", "mit"),
        ("qwen2vl", "models/mine", None),
    ],
)
def test_a_whole_model_has_the_licence_of_its_base(family: str, base: str, whole: str | None, tmp_path: Path) -> None:
    run = read(finished())
    run = replace(run, manifest=run.manifest | {"family": family, "checkpoint": {"name": base, "fingerprint": "0"}})
    assert (card_about.licence(run, adapter=True), card_about.licence(run, adapter=False)) == ("apache-2.0", whole)
    table = Table("export", "Against the run", (), [])
    found = ModelCard.load(card.write(tmp_path, run, [], card.Format("merged", False, "", "", table))).data.to_dict()
    assert found["license"] == (whole or "other") and ("license_name" in found) is (whole is None)


def chat_card(folder: Path, checkpoint: dict[str, str], form: str = "merged") -> ModelCard:
    """The card of an export of a run from such a checkpoint."""
    run = read(finished())
    run = replace(run, manifest=run.manifest | {"family": "chat", "checkpoint": {"fingerprint": "0"} | checkpoint})
    table = Table("export", "Against the run", (), [])
    return ModelCard.load(card.write(folder, run, [], card.Format(form, form == "adapter", "", "", table)))


def test_a_folder_of_the_hub_s_cache_is_called_by_its_hub_id(tmp_path: Path) -> None:
    place = "/cache/hub/models--user--Reader-256M/snapshots/0a1b2c"
    found = chat_card(tmp_path, {"name": place}, "adapter")
    assert found.data.base_model == "user/Reader-256M" and "# Reader-256M LoRA" in found.content
    assert 'from_pretrained("user/Reader-256M", revision="0a1b2c"' in found.content and place not in found.content
    assert "The base, user/Reader-256M: its own terms" in found.content
    assert called("chat", place) == called("chat", "user/Reader-256M") == "Reader-256M"
    assert called("chat", "models/Reader-256M/") == "Reader-256M" and called("qwen2vl", place) == "qwen2vl"
    assert called("chat", "/models/qwen2vl") == "chat-qwen2vl", "not the family of that name"
    assert published("hub/models--gpt2/snapshots/0a") == ("gpt2", "0a")
    assert published("my/snapshots/0a") == ("my/snapshots/0a", None)


@pytest.mark.parametrize(
    ("base", "link", "shown"),
    [
        ("user/Reader", "https://example.org/terms", "https://example.org/terms"),
        ("user/Reader", "LICENSE", "https://huggingface.co/user/Reader/resolve/main/LICENSE"),
        ("/models/Reader", "LICENSE", None),  # a file that is not beside the card
        ("/models/Reader", None, None),
    ],
)
def test_a_licence_of_its_own_has_its_name_and_link(
    base: str, link: str | None, shown: str | None, tmp_path: Path
) -> None:
    said = {"name": base, "licence": "other", "licence_name": "reader-terms", "licence_link": link}
    whole = chat_card(tmp_path, said).data.to_dict()
    assert (whole["license"], whole["license_name"], whole.get("license_link")) == ("other", "reader-terms", shown)
    adapter = chat_card(tmp_path, said, "adapter")
    where = f" ({shown or link})" if link else ""
    assert adapter.data.license == "apache-2.0" and f"The base, {base}: reader-terms{where}." in adapter.content


def test_the_card_says_what_the_audit_found_and_left_out() -> None:
    run = read(finished())
    audit = {
        "mode": "drop", "pages": {"train": 10, "test": 6}, "overlaps": {"val": {"pixels": 0}, "test": {"near": 2}},
        "dropped": {"documents": 2, "questions": 7},
    }  # fmt: skip
    run.manifest["data"] = run.manifest["data"] | {"audit": audit, "quarantined": 3}
    assert card_about.audit(run) == [
        "3 rows could not be used; the run lists them with the reason.",
        "Before training 16 pages were compared by document, pixels, near copies, and question with answer"
        " (audit=drop).",
        "Shared by train and val: nothing.",
        "Shared by train and test: 2 pairs of nearly equal pages.",
        "So 2 documents with 7 questions were left out of train.",
    ]
    run.manifest["data"]["audit"] = {"mode": "off"}
    assert card_about.audit(run)[1:] == [
        "Pages of training and evaluation were not compared: whether they overlap is not known."
    ]
