"""A model card in the Hugging Face format: front matter with `model-index`, and the report's own tables below it.

Written for the best run of each family by `docvlm.report`, and by the export of a run. Scores on drawn pages are named
as such in the card's metadata too (`…-generated`), so that a leaderboard cannot take them for the benchmark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docvlm.data.benchmarks import BENCHMARKS
from docvlm.files import shown, write_whole
from docvlm.metrics import metric_name
from docvlm.reporting.card import about
from docvlm.reporting.inputs.scored import GENERATED, PUBLIC, Exam, kind
from docvlm.reporting.naming import adapter as adapter_kind
from docvlm.reporting.naming import name
from docvlm.reporting.page import commands, render
from docvlm.reporting.tables import failures, scores, setup
from docvlm.runs.finished import Run
from docvlm.tables import Table
from docvlm.vlms.families import FAMILIES, OTHER

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCardData

TASK = ("document-question-answering", "Document Question Answering")


@dataclass(frozen=True)
class Format:
    """What an export is: its word, whether it is an adapter, the package a quantised one needs, what is known of it.

    `code` asks a question where Transformers does not read it, and `library` is then the hub's word for what does.
    """

    word: str
    adapter: bool
    needs: str
    facts: str
    table: Table
    code: str = ""
    library: str = ""


def write(folder: Path, run: Run, exams: Sequence[Exam], exported: Format | None = None) -> Path:
    """`README.md` for the weights of `run` in `folder`; `exams` are its scores, none of which a card must have.

    Without `exported` the weights are those the run saved itself.
    """
    folder.mkdir(parents=True, exist_ok=True)
    own = [exam for exam in exams if exam.answers.run is not None and exam.answers.run.folder == run.folder]
    adapter = bool(run.manifest["trainable"]["lora_r"]) if exported is None else exported.adapter
    front = _data(run, own, adapter, exported).to_yaml()
    body = (
        render.environment()
        .get_template("card.md.j2")
        .render(
            title=name(run.family, run),
            base=run.base,
            revision=run.base_revision,
            family=run.family,
            embedded=run.base == "embedded",
            trained_on=run.trained_on,
            adapter=adapter,
            exported=exported,
            cls=FAMILIES[run.family].transformers,
            asked=about.question(run),
            extensions=run.extensions,
            drawn=kind(run.trained_on) == GENERATED,
            scores=scores.main(own, settings=False) + scores.by_type(own) + scores.beyond_types(own),
            failures=[table for exam in own if (table := failures.frequencies(exam)) is not None],
            setup=setup.training([run]),
            data=setup.data([run]),
            audit=about.audit(run),
            uses=about.uses(run),
            limits=about.limits(run, own),
            licences=about.licences(run, adapter=adapter),
            method=adapter_kind(run.manifest["trainable"]),
            command=commands.of_folder("train", run.folder.root),
            source=shown(run.folder.root),
        )
    )
    write_whole(folder / "README.md", lambda file: file.write(f"---\n{front}\n---\n\n{body}"))
    return folder / "README.md"


def _data(run: Run, exams: Sequence[Exam], adapter: bool, exported: Format | None) -> ModelCardData:
    from huggingface_hub import ModelCardData

    quantised = exported is not None and bool(exported.needs)
    relation = "adapter" if adapter else "quantized" if quantised else "finetune"
    datasets = [found for label in run.trained_on.split("+") if (found := _repository(label)) is not None]
    library = "" if exported is None else exported.library
    languages, family = about.languages(run), FAMILIES[run.family]
    base = about.hub_id(run)
    optional: dict[str, Any] = {
        **about.licence_fields(run, adapter=adapter),
        "base_model": base,
        "base_model_relation": relation if base else None,
        "datasets": list(dict.fromkeys(datasets)) or None,
    }
    return ModelCardData(
        language=languages[0] if len(languages) == 1 else languages,
        license=about.licence(run, adapter=adapter) or OTHER,
        library_name=library or ("peft" if adapter else "transformers"),
        pipeline_tag=family.pipeline,
        tags=[
            *("docvlm", "document-question-answering", *family.tags),
            *([adapter_kind(run.manifest["trainable"]).lower()] if adapter else []),
            *([exported.word] if exported is not None and exported.needs else []),
        ],
        model_name=name(run.family, run) if exams else None,
        eval_results=[_result(exam) for exam in exams] or None,
        **{key: value for key, value in optional.items() if value},
    )


def _result(exam: Exam) -> EvalResult:
    from huggingface_hub import EvalResult

    label, found = exam.answers.benchmark, exam.score
    return EvalResult(
        task_type=TASK[0],
        task_name=TASK[1],
        dataset_type=(_repository(label) if exam.kind == PUBLIC else None) or label,
        dataset_name=label,
        dataset_split=exam.answers.split,
        metric_type=found.metric,
        metric_name=f"{metric_name(found.metric)} [{found.interval.low:.3f}, {found.interval.high:.3f}]",
        metric_value=round(found.headline, 4),
    )


def _repository(label: str) -> str | None:
    """Where the public data of this label lies on the hub."""
    return next(iter(BENCHMARKS[label].hub), None) if label in BENCHMARKS else None
