"""Export: a run as an artefact for others: adapter, merged checkpoint, 8 bits for a CPU, 4 bits for a GPU.

    python -m docvlm.export run=DIR                              every format that this run and this machine can have
    python -m docvlm.export run=DIR formats=[adapter,merged]     some of them
    python -m docvlm.export best=true                            the best run of each family
    python -m docvlm.export run=DIR push_to=user/name dry_run=true    what would be put on the Hugging Face hub

Each is read back from disk and compared with the run: answers and logits on a canary set, the score on the benchmark
with an interval for the difference, size, latency and memory. One that is not the run within its tolerance
(`conf/export.yaml`) is an error and leaves nothing. Folders go to the run's `export/`; docs/guide/export.md has more.
"""

from __future__ import annotations

from docvlm import startup
from docvlm.config import ExportConfig, Job, verb
from docvlm.errors import DocvlmError
from docvlm.files import remove_unused


@verb("export", ExportConfig, on_failure=lambda job, reason: remove_unused(job.folder, "export"))
def main(cfg: ExportConfig, job: Job) -> None:
    """Choose runs; then for each: make every format, show and write the table; fail where a format did; publish."""
    with startup.libraries():
        from docvlm.exporting import chosen, making, publish, table
        from docvlm.tables import show

    publish.ready(cfg)
    failed: list[str] = []
    for source, names, output in chosen.runs(cfg, job):
        cfg = publish.one_format(cfg, source)
        made = making.make(cfg, source, names, output, lambda line: print(line, flush=True))
        show(table.table(source, made))
        print(*(f"written: {file}" for file in table.write(output, cfg, source, made)), sep="\n")
        failed += [f"{output / word}: {why}" for word, why in made.failed.items()]
    if failed:
        raise DocvlmError(f"not exported, beyond the tolerance: {' | '.join(failed)}")
    if (line := publish.publish(cfg, output)) is not None:
        print(line, flush=True)
    remove_unused(job.folder, "export")


script = startup.script(main)

if __name__ == "__main__":
    script()
