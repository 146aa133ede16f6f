"""A verb as people meet it: what it prints, which folders it leaves, how it fails, alone and in a sweep.

The verb here trains nothing; what every verb shares (`docvlm.config.verb`) is the same. In-process, but for `--help`,
whose promise is what it does not import.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest

from docvlm.config import EvaluateConfig, Job, TrainConfig, verb
from docvlm.config.compose import load
from docvlm.errors import DocvlmError, TrainedElsewhere


class Command:
    """A verb in a folder of its own, and what it was called with."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys
        self.seen: list[tuple[TrainConfig, Job]] = []
        self.tables: list[Path] = []
        self.failed: list[tuple[int | None, str]] = []
        self.work: Callable[[TrainConfig], None] = lambda config: None

        def main(cfg: TrainConfig, job: Job) -> float:
            self.seen.append((cfg, job))
            self.work(cfg)
            return 1.0

        self.main = verb(
            "train",
            TrainConfig,
            after_sweep=self.tables.append,
            on_failure=lambda job, reason: self.failed.append((job.number, reason)),
        )(main)

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, stdout, stderr."""
        self.capsys.readouterr()
        try:
            self.main([*arguments, "scale=tiny"] if "scale=" not in " ".join(arguments) else list(arguments))
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = self.capsys.readouterr()
        return code, out, err

    def folders(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.chdir(tmp_path)
    return Command(tmp_path, capsys)


def test_one_run_says_its_scale_first_and_leaves_a_folder(command: Command) -> None:
    code, out, _ = command("model=florence2", "lora.r=4")
    config, job = command.seen[0]
    assert code == 0 and (config.model.family, config.lora.r) == ("florence2", 4)
    assert out.startswith("scale=tiny (as you said): checkpoint embedded, pages from generated. scale=full overrides")
    assert job.folder.parent == command.folder / "outputs" and (job.sweep, job.number) == (None, None)
    assert (job.runs, job.sweeps) == (command.folder / "outputs", command.folder / "multirun")
    assert job.overrides == ("model=florence2", "lora.r=4", "scale=tiny")
    assert (job.folder / ".hydra" / "config.yaml").is_file() and "=" not in job.folder.name


def test_auto_scale_says_why(command: Command) -> None:
    import torch

    _, out, _ = command("scale=auto", "lora.r=1")
    reason = "a CUDA device is present" if torch.cuda.is_available() else "no CUDA device found"
    assert f"(auto: {reason})" in out.splitlines()[0]


MISTAKES = [
    (["lora.rr=3"], "error: lora.rr: there is no such key (did you mean lora.r?)"),
    (["modle=florence2"], "error: modle: there is no such key (did you mean model?)"),
    (["data=folder", "data.languages=[ko]"], "error: data.languages: the chosen data has no such key; data=chartqa, "),
    (["+nonsense=1"], "error: nonsense: there is no such key"),
    (["hydra.job.env_set.A=1"], "error: hydra.job.env_set.A: --cfg hydra shows no such key; with a + before it"),
    (["model=qwen2"], "error: model=qwen2: there is no such choice (did you mean qwen2vl?); choose one of chat,"),
    (["lora.r=abc"], "error: lora.r: Value 'abc' of type 'str' is not a whole number"),
    (["freeze=half"], "error: freeze: Value 'half' of type 'str' is not a number"),
    (["freeze=120"], "error: freeze=120: "),
    (["lora.r=-1"], "error: lora.r=-1: "),
    (["lora.r=16,32"], "error: lora.r=16,32: several values; add -m"),
    (["data.source=a=b"], "error: data.source=a=b: there is no such file or folder"),
    (["data.source=7e25814"], "error: data.source=7e25814: there is no such file or folder"),
    (["data.source=日,b"], "error: data.source='日',b: several values; add -m to run each, or, for one"),
    (["data.source=日(1),b"], "error: cannot read the override 'data.source=日(1),b': for one value write"),
    (["data.source=/x/${y"], "error: data.source: no viable alternative at input '${y'; '${' refers to another key"),
    (["lora.target_modules=q_proj"], "error: lora.target_modules: it takes a list, as in 'lora.target_modules=[…]'"),
    (["lora.r=1=2"], "error: lora.r: Value '1=2' of type 'str' is not a whole number"),
    (["lora={r:"], "error: cannot read the override 'lora={r:': its brackets, quotes or commas do not match"),
    (["run"], "error: cannot read the override 'run': write key=value"),
    (["日=1"], "error: cannot read the override '日=1': '日' is no key"),
    (["data=日"], "error: data=日: there is no such choice; choose one of chartqa"),
    (["model.size=99"], "error: model.checkpoint: there is no '99' in model.checkpoints; choose one of embedded, 2b"),
    (["optim.scheduler._target_=os.system"], "error: optim.scheduler._target_=os.system: "),
    (["trainer=ddp", "seed=1,2", "-m"], "error: trainer.devices=-1: one device a cell in a sweep"),
    (["lora.rr=16,32", "-m"], "error: lora.rr: there is no such key (did you mean lora.r?)"),
    (["model=qwen2vl,florense", "model.size=99", "-m"], "error: model.checkpoint: there is no '99'"),
]  # fmt: skip


@pytest.mark.parametrize("model", ["qwen2vl", "florence2", "chat"])
def test_the_config_can_be_shown_with_all_references_resolved(command: Command, model: str) -> None:
    """Families have either pixels or a height and a width."""
    _, out, err = command("--cfg", "job", "--resolve", f"model={model}")
    assert err == "" and "${" not in out and "height: " in out and "max_pixels: " in out


@pytest.mark.parametrize("arguments, line", MISTAKES, ids=[" ".join(row[0]) for row in MISTAKES])
def test_a_mistake_is_one_line_and_leaves_nothing_behind(command: Command, arguments: list[str], line: str) -> None:
    code, out, err = command(*arguments)
    assert code == 1 and not command.seen
    assert err.startswith(line) and err.count("\n") == 1, err
    assert out == "" and command.folders() == []


def test_a_sweep_runs_every_cell_in_one_folder(command: Command) -> None:
    code, _, _ = command("lora.r=1,2", "freeze=0,33", "-m")
    assert code == 0
    assert [(config.lora.r, config.freeze) for config, _ in command.seen] == [(1, 0), (1, 33), (2, 0), (2, 33)]
    sweep = command.seen[0][1].sweep
    assert sweep is not None and sweep.parent == command.folder / "multirun" and command.tables == [sweep]
    assert [job.folder for _, job in command.seen] == [sweep / str(number) for number in range(4)]


def test_groups_of_presets_sweep_too(command: Command) -> None:
    assert command("lora_rank=r16,r64", "-m")[0] == 0
    assert [config.lora.r for config, _ in command.seen] == [16, 64]


def test_the_published_ablations_are_one_word(command: Command) -> None:
    assert command("experiment=freeze")[0] == 0
    assert [(c.model.family, c.freeze, c.lora.r) for c, _ in command.seen] == [
        ("florence2", share, 0) for share in (0, 33, 66, 100)
    ]
    command.seen.clear()
    assert command("experiment=rank", "seed=0,1")[0] == 0
    assert [(c.model.family, c.lora.r, c.freeze, c.seed) for c, _ in command.seen] == [
        ("qwen2vl", r, 100, seed) for r in (16, 32, 64) for seed in (0, 1)
    ]


def test_seeds_are_the_configured_one_and_those_after_it(command: Command) -> None:
    """In a row for every cell, also where an experiment sweeps; the word itself stands in no cell."""
    assert command("lora.r=1,2", "seeds=2", "freeze=0", "-m")[0] == 0
    assert [(c.lora.r, c.seed, c.seeds) for c, _ in command.seen] == [
        (r, seed, None) for r in (1, 2) for seed in (42, 43)
    ]
    assert {word for _, job in command.seen for word in job.overrides} == {
        "lora.r=1", "lora.r=2", "freeze=0", "seed=42", "seed=43", "scale=tiny",
    }  # fmt: skip
    for words, seeds in ((("seeds=1", "-m"), [42]), (("seed=7", "seeds=3", "--multirun"), [7, 8, 9])):
        command.seen.clear()
        assert command(*words)[0] == 0
        assert [config.seed for config, _ in command.seen] == seeds
    command.seen.clear()
    assert command("experiment=freeze", "freeze=0,33", "seeds=2")[0] == 0
    assert [(c.freeze, c.seed) for c, _ in command.seen] == [(f, s) for f in (0, 33) for s in (42, 43)]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("seeds=3", "seeds=3: 3 seeds are 3 runs; add -m, or give seed=N for one run"),
        ("seeds=0 -m", "seeds=0: how many seeds every cell is trained with: 1 or more"),
        ("seeds=2.5 -m", "seeds: Value '2.5' of type 'float' is not a whole number"),
        ("seeds=2,3 -m", "seeds=2,3: one whole number, how many seeds every cell is trained with"),
        ("seeds=2,3", "seeds=2,3: one whole number, how many seeds every cell is trained with"),
        ("seeds=3 seed=1,2 -m", "seeds=3: seed=1,2 says already which seeds every cell gets; give one of the two"),
        ("seeds=2 experiment=rank +hydra.sweeper.params.seed=7 -m", "seeds=2: seed=7 says already which"),
    ],
)
def test_seeds_that_cannot_be_end_in_one_line(command: Command, words: str, error: str) -> None:
    code, _, err = command(*words.split())
    assert code == 1 and err.startswith(f"error: {error}") and err.count("\n") == 1
    assert not command.seen and command.folders() == []


def test_a_failed_cell_is_named_and_the_others_finish(command: Command) -> None:
    def work(config: TrainConfig) -> None:
        if config.seed == 2:
            raise DocvlmError("page 7 is broken: mend it")
        if config.seed == 3:
            raise RuntimeError("a bug")

    command.work = work
    code, _, err = command("seed=-1,1,2,3,4", "-m")
    assert code == 1
    assert [config.seed for config, _ in command.seen] == [1, 2, 3, 4]
    assert "error: cell 0 (seed=-1 scale=tiny): seed=-1: choose one from 0" in err
    assert "error: cell 2 (seed=2 scale=tiny): page 7 is broken: mend it" in err
    assert "error: cell 3 (seed=3 scale=tiny): RuntimeError('a bug')" in err
    assert err.count("Traceback") == 1, "only a bug deserves a traceback"
    assert [number for number, _ in command.failed] == [0, 2, 3] and len(command.tables) == 1


def test_a_cell_that_is_trained_elsewhere_comes_last_and_is_waited_for(command: Command) -> None:
    def work(config: TrainConfig) -> None:
        job = command.seen[-1][1]
        if config.seed in (1, 3) and not job.wait:
            raise TrainedElsewhere(Path("multirun/other/0"))
        if config.seed == 3:
            raise DocvlmError("it fell")

    command.work = work
    code, out, err = command("seed=1,2,3,4", "-m")
    assert [(config.seed, job.wait) for config, job in command.seen] == [
        (1, False), (2, False), (3, False), (4, False), (1, True), (3, True),
    ]  # fmt: skip
    assert "cell 0 (seed=1 scale=tiny): another process is training this very run in multirun/other/0; coming" in out
    assert code == 1 and err == "error: cell 2 (seed=3 scale=tiny): it fell\n"
    assert command.failed == [(2, "it fell")] and len(command.tables) == 1


def test_a_failed_cell_gives_its_memory_back(command: Command) -> None:
    """Hydra keeps the error of a cell until the sweep ends, the error its frames, and the frames the model."""
    models: list[weakref.ref[Command]] = []

    def work(config: TrainConfig) -> None:
        assert all(model() is None for model in models)
        model = Command(command.folder, command.capsys)
        models.append(weakref.ref(model))
        raise DocvlmError(f"out of memory with {type(model).__name__}")

    command.work = work
    _, _, err = command("seed=1,2", "-m")
    assert len(models) == 2 and err.count("out of memory") == 2


def test_a_failed_run_is_one_line(command: Command) -> None:
    def work(config: TrainConfig) -> None:
        raise DocvlmError("page 7 is broken: mend it")

    command.work = work
    code, _, err = command()
    assert (code, err) == (1, "error: page 7 is broken: mend it\n")
    assert command.failed == [(None, "page 7 is broken: mend it")]


def test_requests_of_the_hub_client_are_not_printed_and_its_warnings_are(command: Command) -> None:
    def work(config: TrainConfig) -> None:
        for name in ("httpx", "httpx2", "httpcore", "urllib3.connectionpool", "docvlm.data"):
            logging.getLogger(name).info("HTTP Request: HEAD by %s", name)
            logging.getLogger(name).warning("slow: %s", name)

    command.work = work
    _, out, err = command()
    assert [line.split()[-1] for line in (out + err).splitlines() if "HEAD by" in line] == ["docvlm.data"]
    assert sum("slow: " in line for line in (out + err).splitlines()) == 5


def test_a_config_can_be_composed_within_a_verb(command: Command) -> None:
    """As the report does for the pages of an evaluation; the sweep's later cells still know their own Hydra."""
    found: list[str] = []

    def work(config: TrainConfig) -> None:
        found.append(load("evaluate", EvaluateConfig, ["scale=tiny", f"seed={config.seed}"]).model.family)

    command.work = work
    code, _, err = command("-m", "model=florence2", "seed=1,2")
    assert (code, err, found) == (0, "", ["qwen2vl"] * 2)
    assert [config.seed for config, _ in command.seen] == [1, 2]


def test_ctrl_c_ends_a_sweep_with_its_table(command: Command) -> None:
    def work(config: TrainConfig) -> None:
        raise KeyboardInterrupt

    command.work = work
    code, _, err = command("seed=1,2", "-m")
    assert code == 130 and len(command.seen) == 1 and len(command.tables) == 1
    assert "the same command continues" in err


def test_arguments_are_back_afterwards(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["pytest", "-q"])
    command("lora.r=2")
    assert sys.argv == ["pytest", "-q"]


def test_cfg_shows_the_config_and_runs_nothing(command: Command) -> None:
    code, out, _ = command("--cfg", "job", "--package", "lora", "--resolve", "lora.r=5")
    assert code == 0 and "r: 5" in out and not command.seen and command.folders() == []


HEAVY = {"torch", "lightning", "transformers", "datasets", "matplotlib", "hydra", "omegaconf", "pandas"}


@pytest.mark.parametrize("name", ["train", "evaluate", "predict"])
def test_help_is_there_at_once(name: str) -> None:
    """Under a second, which is a matter of what is imported."""
    program = (
        "import sys\n"
        f"from docvlm.{name} import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert not end.code\n"
        f"print('HEAVY', sorted({HEAVY!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("HEAVY []\n"), done.stdout[-300:]
    assert "docvlm" in done.stdout and len(done.stdout) > 500


def test_the_module_is_a_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "docvlm.train", "lora.rr=16"], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 1
    assert done.stderr == "error: lora.rr: there is no such key (did you mean lora.r?); --help lists what there is\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [("lora.r=16",), ("lora.r=16,32", "-m")])
def test_the_callers_logging_comes_back(command: Command, words: tuple[str, ...]) -> None:
    """Hydra's handlers would go on writing into folders that may be removed; the caller's would be gone."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    inside: list[logging.Handler] = []
    command.work = lambda config: inside.extend(root.handlers)
    assert command(*words)[0] == 0
    assert inside and set(inside).isdisjoint(before)
    assert (root.handlers, root.level) == (before, level)
