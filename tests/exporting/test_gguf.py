"""llama.cpp's format without llama.cpp: who can have it, the vocabulary that is written, and the client.

The client talks to a stand-in that speaks the worker's protocol; `test_runtimes.py` and, at length,
`test_gguf_runtime.py` have the real one.
"""

from __future__ import annotations

import json
import shutil
import unicodedata
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, pre_tokenizers, trainers
from torch.nn.functional import conv2d

from docvlm.answering import outside
from docvlm.answering.llamacpp import TEXT, VISION, LlamaCpp
from docvlm.config import ExportConfig
from docvlm.config.compose import load
from docvlm.errors import DocvlmError
from docvlm.evaluation import subjects
from docvlm.exporting import formats, gguf, publish, vocabulary
from docvlm.exporting.source import Source
from docvlm.vlms import loading
from docvlm.vlms.qwen2vl.ggml import HALVES
from tests.exporting.test_exporting import source
from tests.support.tiny import Paper, example

STAND_IN = """
import json, sys
kind, folder, threads, context, page_tokens = sys.argv[1:]
assert kind == "llamacpp" and int(threads) >= 1
def say(message): print(json.dumps(message), flush=True)
say({"version": "0"})
for line in sys.stdin:
    asked = json.loads(line)
    said = {"context": int(context), "page_tokens": int(page_tokens), "prompt": asked["prompt"]}
    say({"text": json.dumps(said), "tokens": 2, "prompt_tokens": 7, "confidence": 0.5, "first_token_s": 0.25,
         "truncated": False})
"""
TEXTS = (
    "What is in the value of the document?\nAnswer the question using a single word or phrase.",
    "Who is the letter addressed to, which is shown for 'Brot'? Whatever",
    "Zürich, 3 × 漢字\x00 \\n  \t😀",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return source(tmp_path_factory.mktemp("run"), "qwen2vl")


@pytest.fixture
def spec(run: Source) -> dict[str, Any]:
    """The miniature's tokenizer, which merges nothing."""
    found: dict[str, Any] = json.loads((run.best / "tokenizer.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture
def folder(run: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What an export leaves but for what is in the two files, and a stand-in that answers for it."""
    place = tmp_path / "gguf"
    place.mkdir()
    shutil.copy(Path(run.record["checkpoint"]) / "config.json", place)
    loading.complete(place, run.best, run.about("gguf"))
    for name in (TEXT, VISION):
        (place / name).write_bytes(b"GGUF and so on")
    (tmp_path / "worker.py").write_text(STAND_IN)
    monkeypatch.setattr(outside, "WORKER", tmp_path / "worker.py")
    monkeypatch.setattr(outside, "find_spec", lambda name: object())
    return place


def test_who_cannot_have_it(run: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf, "find_spec", lambda name: None if name == "xllamacpp" else object())
    reason = "it needs xllamacpp: pip install 'docvlm[gguf]'"
    assert formats.RECORDS["gguf"].missing(run) == formats.chosen(None, run)[1]["gguf"] == reason
    monkeypatch.setattr(gguf, "find_spec", lambda name: object())
    assert formats.RECORDS["gguf"].missing(run) is None
    with pytest.raises(DocvlmError, match=r"formats=gguf: .*for checkpoints of qwen2_vl, and this run's is florence2"):
        formats.chosen(["gguf"], source(tmp_path / "other", "florence2"))
    with monkeypatch.context() as other:
        other.setattr(gguf, "imported", lambda path: replace(HALVES, unable=lambda config: "it has windows"))
        assert formats.RECORDS["gguf"].missing(run) == "it has windows"
    file = run.best / "tokenizer.json"
    before = file.read_text(encoding="utf-8")
    file.write_text(before.replace('"NFC"', '"NFKC"'), encoding="utf-8")
    assert "compose characters" in str(formats.RECORDS["gguf"].missing(run))
    file.write_text(before, encoding="utf-8")


def test_what_llamacpp_computes_otherwise(run: Source) -> None:
    config = run.config
    assert HALVES.unable(config) is None
    config.vision_config.spatial_merge_size = 1
    assert "spatial_merge_size=1" in str(HALVES.unable(config))
    config.text_config.use_sliding_window = True
    assert "llama.cpp attends to all positions" in str(HALVES.unable(config))


def cut(tokens: Sequence[str], types: Sequence[int], text: str) -> list[int]:
    """A text as llama.cpp's `rwkv` cuts it: special tokens first, between them the longest at each place."""
    raw = [token.encode("latin-1").decode("unicode_escape").encode("latin-1") for token in tokens]
    special = {raw[number]: number for number, kind in enumerate(types) if kind == 3}
    others = {word: number for number, word in enumerate(raw)}
    found, rest = [], text.encode()
    while rest:
        start = next((word for word in special if rest.startswith(word)), None)
        word = start or max((word for word in others if rest.startswith(word)), key=len)
        found.append(others[word])
        rest = rest[len(word) :]
    return found


@pytest.mark.parametrize("text", TEXTS)
def test_a_tokenizer_without_merges_cuts_as_it_did(text: str, spec: dict[str, Any], run: Source) -> None:
    assert vocabulary.missing(spec) is None
    found = vocabulary.vocabulary(spec, 320)
    assert (found.model, found.rule, len(found.tokens)) == ("rwkv", "", 320)
    chat = f"<|im_start|>user\n<|vision_start|><|vision_end|>{text}<|im_end|>\n"
    tokenizer = Tokenizer.from_file(str(run.best / "tokenizer.json"))
    assert cut(found.tokens, found.types, chat) == tokenizer.encode(unicodedata.normalize("NFC", chat)).ids
    assert found.types[tokenizer.token_to_id("<|im_end|>")] == 3 and found.types[319] == 5


def learned(folder: Path, added: Sequence[AddedToken] = ()) -> dict[str, Any]:
    """The folder's tokenizer with merges instead, learned from the texts, and with more tokens; at most 320."""
    spec = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    special = [one["content"] for one in spec["added_tokens"] if one["special"]]
    tokenizer = Tokenizer.from_str(json.dumps(spec | {"added_tokens": []}))
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=310, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS * 5, trainer)
    tokenizer.add_tokens(list(added))
    found: dict[str, Any] = json.loads(tokenizer.to_str())
    return found


def test_a_tokenizer_with_merges_keeps_them(run: Source) -> None:
    spec = learned(run.best, [AddedToken("<tool>", special=False)])
    assert vocabulary.missing(spec) is None
    tokenizer = Tokenizer.from_str(json.dumps(spec))
    count = tokenizer.get_vocab_size()
    found = vocabulary.vocabulary(spec, count + 3)
    assert (found.model, found.rule) == ("gpt2", "qwen2")
    assert found.tokens == [*map(tokenizer.id_to_token, range(count)), *(f"[PAD{count + n}]" for n in range(3))]
    kinds = {**dict.fromkeys(range(8), 3), tokenizer.token_to_id("<tool>"): 4}
    assert [*found.types] == [kinds.get(number, 1) for number in range(count)] + [5] * 3
    assert found.merges and [one.split(" ") for one in found.merges] == spec["model"]["merges"]


@pytest.mark.parametrize(
    ("words", "fine"),
    [
        (("<tool>", "</tool>"), True),
        (("ab", "abc"), True),  # both take the longer where both begin
        (("xabcx", "b"), True),  # and the one that is around the other
        (("ab", "bcd"), False),
        (("bcd", "ab"), False),
        (("abc", "cd"), True),  # the longer is the first
    ],
)
def test_tokens_that_overlap_are_refused(words: Sequence[str], fine: bool, run: Source) -> None:
    spec = learned(run.best, [AddedToken(word, special=False, normalized=False) for word in words])
    assert (vocabulary.missing(spec) is None) is fine


def test_other_tokenizers_are_refused(spec: dict[str, Any]) -> None:
    other = deepcopy(spec)
    other["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = r"\p{L}+"
    assert "not Qwen2's" in str(vocabulary.missing(other))
    assert "not Qwen2's" in str(vocabulary.missing(deepcopy(spec) | {"pre_tokenizer": None}))
    assert "does not compose" in str(vocabulary.missing(deepcopy(spec) | {"normalizer": None}))
    other = deepcopy(spec)
    other["added_tokens"][3]["lstrip"] = True
    assert "'<|vision_start|>' takes the spaces beside it" in str(vocabulary.missing(other))


def test_the_tower_in_llamacpps_parts() -> None:
    """Queries, keys and values apart; a still page is the same frame twice, so its kernels add up."""
    weight = torch.arange(12.0).reshape(6, 2)
    parts = dict(HALVES.tensors("visual.blocks.3.attn.qkv.weight", weight))
    assert list(parts) == [f"visual.blocks.3.attn.{which}.weight" for which in "qkv"]
    assert torch.equal(torch.cat([*parts.values()]), weight)
    kernel, page = torch.randn(4, 3, 2, 14, 14), torch.randn(1, 3, 28, 28)
    kernels = dict(HALVES.tensors("visual.patch_embed.proj.weight", kernel))
    assert list(kernels) == ["v.patch_embd.weight", "v.patch_embd.weight.1"]
    both = torch.nn.functional.conv3d(page[:, :, None].repeat(1, 1, 2, 1, 1), kernel, stride=14)[:, :, 0]
    assert torch.allclose(sum(conv2d(page, one, stride=14) for one in kernels.values()), both, atol=1e-4)  # type: ignore[arg-type]
    assert list(HALVES.tensors("model.norm.weight", weight)) == [("model.norm.weight", weight)]


def asked(model: LlamaCpp, question: str = "What?", pages: int = 1, longest: int = 9) -> dict[str, Any]:
    """What the stand-in was asked, and with which settings it was started."""
    papers = tuple(Paper(f"page {number}") for number in range(pages))
    found: dict[str, Any] = json.loads(model.ask(example(0, pages=papers, question=question), longest).text)
    return found


def test_a_context_grows_with_the_documents(folder: Path) -> None:
    model = LlamaCpp(folder)
    page = model.codec.budget.max_pixels // 28**2
    before = asked(model)
    assert before["context"] == -(-(page + 512) // 256) * 256 and before["page_tokens"] == model.codec.longest
    seven = asked(model, pages=7, longest=900)
    size = model.codec.prompt_batch([example(0, pages=tuple(Paper(str(n)) for n in range(7)), question="What?")])
    assert 0 <= seven["context"] - size["input_ids"].shape[1] - 900 < 300, "the least that will do"
    assert seven["context"] > before["context"]
    assert asked(model)["context"] == seven["context"], "and it stays"
    model.close()
    assert model._process.returncode == 0


def test_characters_are_composed(folder: Path) -> None:
    said = asked(LlamaCpp(folder), question="Andre\u0301?")["prompt"]
    assert "Andr\u00e9?" in said and "<|vision_start|><|image_pad|><|vision_end|>" in said


def test_it_is_known_as_what_it_is(folder: Path) -> None:
    with pytest.raises(DocvlmError, match=r"llama\.cpp reads it and Transformers does not"):
        loading.load(folder)
    model = subjects.of_saved(folder, None, True, named=Path("final/gguf")).ready()
    assert isinstance(model, LlamaCpp)
    before = model.described
    assert before["checkpoint"]["name"] == "final/gguf" and before["runtime"] == "xllamacpp 0"
    contents = b"".join(subjects.contents(folder))
    (folder / VISION).write_bytes(b"GGUF otherwise")
    assert model.described != before and b"".join(subjects.contents(folder)) != contents
    usual = load("export", ExportConfig, ["scale=tiny"])
    strict = usual.tolerance | {"gguf": replace(usual.tolerance["gguf"], logits=0.1)}
    with pytest.raises(DocvlmError, match=r"tolerance\.gguf\.logits=0\.1: llama\.cpp shows no logits"):
        replace(usual, tolerance=strict).check()


def test_a_push_wants_both_files(folder: Path) -> None:
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    assert {TEXT, VISION} <= publish.parcel(folder).files.keys()
    (folder / VISION).write_bytes(b"<html>")
    with pytest.raises(DocvlmError, match=r"mmproj-f32\.gguf: no GGUF file"):
        publish.parcel(folder)


def test_the_card_says_budget_and_context(run: Source) -> None:
    most = run.record["budget"]["max_pixels"]
    code = gguf.example(run)
    assert f"-c {-(-(most // 784 + 512) // 256) * 256} --image-min-tokens 1 --image-max-tokens {most // 784}\n" in code
