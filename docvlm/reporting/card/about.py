"""What a model card says in sentences: data and audit, what the model is for and not for, limits, licences.

Every sentence is from the run's manifest or true of any model that docvlm trains; nothing is guessed about a data set
or a checkpoint that docvlm does not know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docvlm.data.benchmark import GENERATED, Benchmark, of_label
from docvlm.data.benchmarks import BENCHMARKS, DEFAULT
from docvlm.reporting.inputs.scored import Exam
from docvlm.runs.finished import Run
from docvlm.vlms.chat.template import settings_of
from docvlm.vlms.families import APACHE, FAMILIES, OTHER

_SHARED = {
    "document": "of one document",
    "pixels": "of equal pixels",
    "near": "of nearly equal pages",
    "question": "with the same question",
}


@dataclass(frozen=True)
class Question:
    """What the card's code asks, as Python: the question with the wording it learned, and how it is asked."""

    text: str
    max_new_tokens: int
    dtype: str
    settings: Mapping[str, bool]


def question(run: Run) -> Question | None:
    """A question in plain Transformers to a model with a chat template of its own; None: the card only loads it."""
    if not FAMILIES[run.family].takes_any:
        return None
    config = run.manifest["config"]
    name = config["data"]["name"]
    benchmark = BENCHMARKS[name] if name in BENCHMARKS else DEFAULT  # of a mixture, as `docvlm-predict` words it
    file = run.folder.best / "chat_template.jinja"
    settings = settings_of(file.read_text(encoding="utf-8") if file.is_file() else "")
    text = repr("What is the total?" + benchmark.instruction)
    return Question(text, benchmark.max_new_tokens, config["model"]["dtype"], settings)


def licence(run: Run, *, adapter: bool) -> str | None:
    """The identifier for the metadata: an adapter has docvlm's, a whole model its base's; None: not known."""
    return APACHE if adapter else _of_base(run)["licence"]


def licence_fields(run: Run, *, adapter: bool) -> dict[str, str]:
    """What the metadata has beside an identifier that does not say it: `license_name` and `license_link`."""
    if licence(run, adapter=adapter) not in (None, OTHER):
        return {}
    said = _of_base(run)
    link = said["licence_link"] or ""
    name = {"license_name": said["licence_name"] or "as-the-base-checkpoint"}
    return name | ({"license_link": link} if "://" in link else {})  # a file of its folder is not beside this card


def hub_id(run: Run) -> str | None:
    """The hub id of the checkpoint the run started from; None for the embedded one and for local folders."""
    base = run.base
    local = base.startswith((".", "/", "~")) or Path(base).exists()
    return base if base.count("/") == 1 and not local else None


def _of_base(run: Run) -> dict[str, str | None]:
    """What docvlm knows of the checkpoint, else what its own card said when the run began; older runs did not look."""
    found, known = run.manifest["checkpoint"], FAMILIES[run.family].licences
    if run.base in known:
        return {"licence": known[run.base], "licence_name": None, "licence_link": None}
    said: dict[str, str | None] = {key: found.get(key) for key in ("licence", "licence_name", "licence_link")}
    link, repository = said["licence_link"], hub_id(run)
    if link and "://" not in link and repository is not None:
        from huggingface_hub import hf_hub_url

        said["licence_link"] = hf_hub_url(repository, link, revision=run.base_revision)
    return said


def licences(run: Run, *, adapter: bool) -> list[str]:
    """Whose terms hold for what, a sentence each."""
    said = _of_base(run)
    known = (said["licence_name"] if said["licence"] == OTHER else None) or said["licence"]
    if known and said["licence_link"]:
        known = f"{known} ({said['licence_link']})"
    shown = "the checkpoint embedded in docvlm" if run.base == "embedded" else run.base
    ours = f"adapter weights: {APACHE}, as docvlm itself" if adapter else f"weights: {known or 'the terms of the base'}"
    drawn = run.trained_on.endswith(GENERATED)
    pages = "drawn by docvlm, Apache-2.0" if drawn else "the terms in the table of data; they are no part of this model"
    return [
        f"These {ours}.",
        f"The base, {shown}: {known or 'its own terms, which docvlm does not know'}.",
        f"The pages it learned from: {pages}.",
    ]


def audit(run: Run) -> list[str]:
    """What the leakage audit before the run found, and what was left out of training, a sentence each."""
    about = run.manifest["data"]
    lines = []
    if about["quarantined"]:
        lines.append(f"{about['quarantined']} rows could not be used; the run lists them with the reason.")
    if "audit" not in about or about["audit"]["mode"] == "off":
        return [*lines, "Pages of training and evaluation were not compared: whether they overlap is not known."]
    found = about["audit"]
    lines.append(
        f"Before training {sum(found['pages'].values())} pages were compared by document, pixels, near copies, and"
        f" question with answer (audit={found['mode']})."
    )
    for split, kinds in found["overlaps"].items():
        named = {_SHARED[kind] if kind in _SHARED else kind: count for kind, count in kinds.items()}
        pairs = [f"{count} pairs {kind}" for kind, count in named.items() if count]
        lines.append(f"Shared by train and {split}: {', '.join(pairs) or 'nothing'}.")
    out = found["dropped"]
    if out["documents"]:
        lines.append(f"So {out['documents']} documents with {out['questions']} questions were left out of train.")
    return lines


def uses(run: Run) -> tuple[str, list[str]]:
    """What the model is for, and what it is not for."""
    learned = _learned(run)
    kinds = dict.fromkeys(one.pages if one else "pages of the publisher's own" for one in learned)
    spoken = dict.fromkeys(name for one in learned if one for name in one.languages.values())
    meant = (
        f"Short answers, read off the page, to questions about pages like those it learned from ({', '.join(kinds)}),"
        " for people who check them or have measured the score on pages of their own."
    )
    return meant, [
        "Decisions about people (credit, health, employment, law) that nobody checks.",
        f"Languages other than {' and '.join(spoken or ['English'])}, long answers, summaries, conversation.",
        "Questions whose answer is not on the page: it answers them all the same.",
        "Pages of other kinds than those above, until they have been measured.",
    ]


def _learned(run: Run) -> list[Benchmark | None]:
    """The benchmarks it learned from; None for one that nobody registered."""
    return [of_label(label) for label in run.trained_on.split("+")]


def languages(run: Run) -> list[str]:
    """The codes of the languages it learned; English where nothing says so, since docvlm's bases read that."""
    return list(dict.fromkeys(code for one in _learned(run) if one for code in one.languages)) or ["en"]


def limits(run: Run, exams: Sequence[Exam] = ()) -> list[str]:
    """What the reader of a score has to know, a sentence each; `exams` are its scores."""
    head: dict[str, Any] = run.result["headline"]
    budget = ", ".join(f"{key} {value}" for key, value in run.manifest["budget"].items() if value is not None)
    seeds = [
        f"Over {exam.seeds} seeds its settings reach {exam.setting} on {exam.answers.benchmark}."
        for exam in exams
        if exam.setting is not None
    ]
    another = seeds or ["One seed does not say how much another training would differ."]
    lines = [
        f"Its run was scored with {head['questions']} questions; documents: {head['documents']}. The interval says how"
        " far to trust that.",
        *another,
        f"A page is read at the resolution it was trained with ({budget}); smaller print than that shows is lost.",
        "The confidence of an answer is the mean probability of its tokens, and is not calibrated.",
        "What the base has learned, biases included, was not examined.",
    ]
    held = {"quant": "none"} | run.manifest["trainable"]  # which older versions did not say
    if held["quant"] != "none":
        lines.append("It learned, and was scored, on base weights in 4 bits; on the base in full it answers otherwise.")
    return lines
