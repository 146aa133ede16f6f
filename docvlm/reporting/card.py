"""A model card in the Hugging Face format: front matter with `model-index`, and the report's own tables below it.

Written for the best run of each family by `docvlm.report`, and by the export of a run. Scores on drawn pages are named
as such in the card's metadata too (`docvqa-generated`), so that a leaderboard cannot take them for the benchmark.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docvlm.evaluation.runs import Run
from docvlm.reporting import commands, page, tables_failures, tables_scores, tables_setup
from docvlm.reporting.exams import GENERATED, PUBLIC, Exam, kind
from docvlm.reporting.naming import name, shown
from docvlm.reporting.parts import metric_name
from docvlm.training.files import write_whole

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCardData

TASK = ("document-question-answering", "Document Question Answering")
HUB = {"docvqa": "lmms-lab/DocVQA", "chartqa": "HuggingFaceM4/ChartQA", "infovqa": "lmms-lab/DocVQA"}
CLASSES = {"qwen2vl": "Qwen2VLForConditionalGeneration", "florence2": "Florence2ForConditionalGeneration"}


def write(folder: Path, run: Run, exams: Sequence[Exam]) -> Path:
    """`README.md` for the weights of `run` in `folder`; `exams` are its scores, none of which a card must have."""
    folder.mkdir(parents=True, exist_ok=True)
    own = [exam for exam in exams if exam.answers.run is not None and exam.answers.run.folder == run.folder]
    front = _data(run, own).to_yaml()
    body = (
        page.environment()
        .get_template("card.md.j2")
        .render(
            title=name(run.family, run),
            base=_base(run) or str(run.manifest["checkpoint"]["name"]),
            family=run.family,
            embedded=run.manifest["checkpoint"]["name"] == "embedded",
            trained_on=run.trained_on,
            adapter=bool(run.manifest["trainable"]["lora_r"]),
            cls=CLASSES[run.family],
            drawn=kind(run.trained_on) == GENERATED,
            scores=tables_scores.main(own) + tables_scores.by_type(own),
            failures=[table for exam in own if (table := tables_failures.frequencies(exam)) is not None],
            setup=tables_setup.training([run]),
            command=commands.of_folder("train", run.folder.root),
            source=shown(run.folder.root),
        )
    )
    write_whole(folder / "README.md", lambda file: file.write(f"---\n{front}\n---\n\n{body}"))
    return folder / "README.md"


def _data(run: Run, exams: Sequence[Exam]) -> ModelCardData:
    from huggingface_hub import ModelCardData

    adapter = bool(run.manifest["trainable"]["lora_r"])
    datasets = [HUB[label] for label in run.trained_on.split("+") if label in HUB]
    optional: dict[str, Any] = {"base_model": _base(run), "datasets": list(dict.fromkeys(datasets)) or None}
    return ModelCardData(
        language="en",
        license="apache-2.0",
        library_name="peft" if adapter else "transformers",
        pipeline_tag="image-text-to-text",
        tags=["docvlm", "document-question-answering", *(["lora"] if adapter else [])],
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
        dataset_type=HUB[label] if exam.kind == PUBLIC and label in HUB else label,
        dataset_name=label,
        dataset_split=exam.answers.split,
        metric_type=found.metric,
        metric_name=f"{metric_name(found.metric)} [{found.interval.low:.3f}, {found.interval.high:.3f}]",
        metric_value=round(found.headline, 4),
    )


def _base(run: Run) -> str | None:
    """The hub id of the checkpoint the run started from; None for the embedded one and for local folders."""
    base = str(run.manifest["checkpoint"]["name"])
    return base if base.count("/") == 1 and not base.startswith((".", "/", "~")) else None
