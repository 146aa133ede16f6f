"""Fine-tune a vision-language model on document questions: one run, or a sweep with -m.

python -m docvlm.train model=qwen2vl                            one run
python -m docvlm.train model=qwen2vl lora.r=16,32,64 -m         LoRA-rank ablation
python -m docvlm.train model=florence2 freeze=0,33,66,100 -m    freezing ablation

python -m docvlm.train model=qwen2vl lora.r=16,32,64 seeds=3 -m    the same with three seeds a cell: mean and spread

The same command again continues a run that was stopped, and in a sweep trains only the cells that are missing, wherever
under outputs/ and multirun/ the others lie. rerun=true trains anew what is there.
"""

from __future__ import annotations

from docvlm import startup
from docvlm.config import Job, TrainConfig, verb
from docvlm.reporting.sweeps.sweep import summarise_sweep
from docvlm.runs.folder import put_off
from docvlm.runs.result import record_failure


@verb("train", TrainConfig, after_sweep=summarise_sweep, on_failure=record_failure, on_put_off=put_off)
def main(cfg: TrainConfig, job: Job) -> float:
    """Train one model. Returns its selection score, on val."""
    with startup.libraries():
        from docvlm.training.final_test import report, test
        from docvlm.training.fit import fit
        from docvlm.training.run import load, opened, read

    data = read(cfg, job)  # documents → splits
    with opened(cfg, job, data, load(cfg, data)) as run:  # checkpoint → a model of which a part learns; its folder
        if not run.finished:
            learned = fit(run)  # epoch 0, then the epochs
            tested = test(run, learned)  # the best weights on the test split
            report(run, learned, tested)
        return run.selection


script = startup.script(main)

if __name__ == "__main__":
    script()
