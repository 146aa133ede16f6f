"""Sweeps through a real Slurm, in every way that their cells end: the table is the basic launcher's, to the digit."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.slurm import Cluster, until

pytestmark = pytest.mark.slow

LIMIT = 900  # seconds of a command; one whose cell Slurm queues again waits for its place
SMALL = (
    "extensions=[docvlm_ext.disturbed]", "scale=tiny", "data.limit_train=12", "data.limit_val=4", "data.limit_test=6",
    "data.batch_size=2", "data.max_new_tokens=4", "trainer.max_epochs=1", "trainer.checkpoint_every_n_steps=1",
)  # fmt: skip
RANKS = ("model=qwen2vl", "lora.r=4,8,16", *SMALL)
FREEZE = ("model=florence2", "freeze=0,100", *SMALL)
QUEUE = (
    "hydra/launcher=slurm", "hydra.launcher.gpus_per_node=null", "hydra.launcher.cpus_per_task=1",
    "hydra.launcher.mem_gb=2", "hydra.launcher.timeout_min=30", "hydra.launcher.signal_delay_s=60",
)  # fmt: skip
DISTURBED = '''
"""In a job of Slurm: a step takes `SLOW` seconds; in the third the cell or rank of `KILLED` is killed, and the cell of
`HOG` takes a gigabyte more than it asked for. A batch of the final test takes `SLOW_TEST` seconds."""

import os
import signal
import time

if "SUBMITIT_EXECUTOR" in os.environ:
    from docvlm.training.module import AnswerModule

    step = AnswerModule.training_step
    me = {"cell" + os.environ.get("SLURM_ARRAY_TASK_ID", "0"), "rank" + os.environ["SLURM_PROCID"]}
    calls = 0

    def disturbed(module, *args, **kwargs):
        global calls
        calls += 1
        time.sleep(float(os.environ.get("SLOW", "0")))
        if calls == 3 and os.environ.get("KILLED") in me:
            open("killed", "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        if calls == 3 and os.environ.get("HOG") in me:
            taken = b"1" * (3 << 30)
            time.sleep(LIMIT)
        return step(module, *args, **kwargs)

    AnswerModule.training_step = disturbed
    answer = AnswerModule.test_step

    def slowed(module, *args, **kwargs):
        if "SLOW_TEST" in os.environ:
            open("testing", "w").close()
            time.sleep(float(os.environ["SLOW_TEST"]))
        return answer(module, *args, **kwargs)

    AnswerModule.test_step = slowed
'''.replace("LIMIT", str(LIMIT))
OF_THE_MACHINE = {"run", "minutes", "peak_memory_mb", "done", "cell"}  # columns of a table that are not its numbers


@dataclass
class Place:
    """A working directory, and the command in it."""

    folder: Path
    root: Path
    begun: list[subprocess.Popen[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.folder / "ext" / "docvlm_ext").mkdir(parents=True)
        (self.folder / "ext" / "docvlm_ext" / "disturbed.py").write_text(DISTURBED)

    def begin(self, *words: str, **variables: str) -> subprocess.Popen[str]:
        """The command, in its beginning."""
        path = os.pathsep.join(map(str, (self.root, self.folder / "ext")))
        environment = {**os.environ, "PYTHONPATH": path, "MASTER_ADDR": "127.0.0.1", **variables}
        command = subprocess.Popen(
            [sys.executable, "-m", "docvlm.train", *words, "-m"],
            cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.begun.append(command)
        return command

    def __call__(self, *words: str, **variables: str) -> tuple[int, str, str]:
        """Exit code, stdout, stderr of the command."""
        return ended(self.begin(*words, **variables))

    def table(self, number: int = -1) -> list[dict[str, str]]:
        """The rows of the sweep that was begun as number so and so."""
        folder = sorted(path for path in (self.folder / "multirun").iterdir() if path.is_dir())[number]
        with (folder / "sweep.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    def saved(self, cell: int) -> bool:
        """Whether a cell has a checkpoint to go on from."""
        return any((self.folder / "multirun").glob(f"*/{cell}/checkpoints/last.ckpt"))


def during(command: subprocess.Popen[str], there: Callable[[], object], what: str) -> None:
    """Come back when `there()` is true; the command must not have ended before."""

    def seen() -> object:
        assert command.poll() is None, f"{what}: the command ended before: {command.communicate()[1][-3000:]}"
        return there()

    until(seen, LIMIT, what)


def ended(command: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = command.communicate(timeout=LIMIT)
    return command.returncode, out, err


def numbers(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """What a table says of models, and not of the machine."""
    return [{key: value for key, value in row.items() if key not in OF_THE_MACHINE} for row in rows]


@pytest.fixture
def place(tmp_path: Path, root: Path, cluster: Cluster) -> Iterator[Place]:
    made = Place(tmp_path / "here", root)
    yield made
    for command in made.begun:
        command.kill()
        command.wait()


@pytest.fixture(scope="module")
def basic(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Callable[[tuple[str, ...]], list[dict[str, str]]]:
    """The table of a sweep as the basic launcher has it."""
    known: dict[tuple[str, ...], list[dict[str, str]]] = {}

    def table(words: tuple[str, ...]) -> list[dict[str, str]]:
        if words not in known:
            made = Place(tmp_path_factory.mktemp("basic") / "here", root)
            code, _, err = made(*words, "jobs=1")
            assert code == 0, err[-3000:]
            known[words] = made.table()
        return known[words]

    return table


@pytest.mark.parametrize("words", [RANKS, FREEZE], ids=["ranks", "freezing"])
def test_an_ablation_through_slurm_has_the_table_it_has_without(words: tuple[str, ...], place: Place, basic) -> None:
    code, out, err = place(*words, *QUEUE)
    assert code == 0, err[-3000:]
    assert numbers(place.table()) == numbers(basic(words))
    assert "a cell asks for timeout_min=30" in out and "sacct" not in err


def test_cells_that_are_killed_run_out_of_memory_or_lose_their_node_are_rows_and_the_same_command_mends_them(
    place: Place, basic, cluster: Cluster
) -> None:
    once = "+hydra.launcher.additional_parameters={no-requeue:true}"  # or Slurm itself would run the third again
    first = place.begin(*RANKS, *QUEUE, once, KILLED="cell0", HOG="cell1", SLOW="3")
    during(first, lambda: place.saved(2), "a checkpoint of cell 2")
    (last,) = (job for job in cluster.jobs() if job.endswith("_2"))
    during(first, lambda: set(cluster.jobs()) == {last}, "the ends of cells 0 and 1")
    cluster.power_off(cluster.node_of(last))
    code, out, err = ended(first)
    assert code == 1 and "Traceback" not in err
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 3 and all(line.startswith(f"error: cell {cell} (") for cell, line in enumerate(lines))
    for line, state in zip(lines, ("FAILED (n", "FAILED (Exceeded job memory limit; n", "NODE_FAIL;"), strict=True):
        assert f" ended: {state}" in line
    assert [row["status"] for row in place.table()] == ["stopped"] * 3
    assert out.count("its process was killed; the same command continues it") == 3
    cluster.clear()
    code, _, err = place(*RANKS, *QUEUE)
    assert code == 0, err[-3000:]
    assert numbers(place.table()) == numbers(basic(RANKS))
    assert [row["done"] for row in place.table()] == ["continued"] * 3


def preempt(cluster: Cluster, job: str) -> None:
    everything = ("--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null")
    cluster.ask("sbatch", *everything, "--wrap=sleep 1")


def node_goes_down(cluster: Cluster, job: str) -> None:
    cluster.power_off(cluster.node_of(job))


def time_limit(cluster: Cluster, job: str) -> None:
    """Make it so short that Slurm sends its signal: it looks every 30 s, and sends it up to 60 s early."""
    spent = cluster.ask("squeue", "--noheader", "--jobs", job, "--format=%M").strip()
    minutes = sum(int(part) * 60**place for place, part in enumerate(reversed(spent.split(":")[:-1])))
    cluster.ask("scontrol", "update", f"JobId={job}", f"TimeLimit={minutes + 2}")


@pytest.mark.parametrize("disturb", [preempt, node_goes_down, time_limit])
def test_a_cell_that_slurm_queues_again_goes_on_by_itself(
    disturb: Callable[[Cluster, str], None], place: Place, basic, cluster: Cluster
) -> None:
    words = [*RANKS, *QUEUE, "lora.r=4", "hydra.launcher.timeout_min=10"]
    words.remove("lora.r=4,8,16")
    command = place.begin(*words, SLOW="25" if disturb is time_limit else "3")
    during(command, lambda: place.saved(0), "a checkpoint")
    (job,) = cluster.jobs()
    disturb(cluster, job)
    during(command, lambda: cluster.jobs().get(job) == "PENDING", "the cell in the queue again")
    cluster.ask("scontrol", "update", f"JobId={job}", "TimeLimit=15")
    code, _, err = ended(command)
    assert code == 0, err[-3000:]
    (row,), (expected, *_) = numbers(place.table()), numbers(basic(RANKS))
    assert row == {**expected, "settings": row["settings"]}
    log = "".join(file.read_text() for file in (place.folder / "multirun").glob("*/.submitit/*/*_log.out"))
    assert "continuing after 0 epochs and " in log
    said = "".join(file.read_text() for file in (place.folder / "multirun").glob("*/.submitit/*/*_log.err"))
    signals = {preempt: "SIGTERM: stopping after this step", time_limit: "SIGUSR2: stopping after this step"}
    assert signals.get(disturb, "") in said and "Traceback" not in said


def test_a_preempted_cell_that_may_not_be_queued_again_is_a_row_and_the_same_command_goes_on(
    place: Place, basic, cluster: Cluster
) -> None:
    once = "+hydra.launcher.additional_parameters={no-requeue:true}"
    words = [*RANKS, *QUEUE, "lora.r=4"]
    words.remove("lora.r=4,8,16")
    command = place.begin(*words, once, SLOW="3")
    during(command, lambda: place.saved(0), "a checkpoint")
    (job,) = cluster.jobs()
    preempt(cluster, job)
    code, _, err = ended(command)
    assert code == 1 and "Traceback" not in err
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert re.search(r" ended: (PREEMPTED|no longer in the queue)", line), "Slurm forgets jobs after 15 s here"
    assert line.endswith("the same command continues it")
    assert [row["status"] for row in place.table()] == ["interrupted"], "it saved in its seconds of grace"
    cluster.clear()
    code, _, err = place(*words)
    assert code == 0, err[-3000:]
    (row,), (expected, *_) = numbers(place.table()), numbers(basic(RANKS))
    assert row == {**expected, "settings": row["settings"]}


SEVERAL = (
    "model=qwen2vl", "lora.r=4", *SMALL, *QUEUE, "trainer.accelerator=cpu", "trainer.devices=2",
    "hydra.launcher.tasks_per_node=2", "hydra.launcher.mem_gb=6",
)  # fmt: skip


def test_devices_that_share_a_model_out_are_a_cell_as_those_that_each_have_it(place: Place) -> None:
    """The processes that srun starts of a cell: FSDP2 comes to DDP's numbers, to float error."""
    code, _, err = place(*SEVERAL, "trainer=ddp,fsdp")
    assert code == 0, err[-3000:]
    ddp, fsdp = (
        json.loads((cell / "result.json").read_text()) for cell in sorted((place.folder).glob("multirun/*/[01]"))
    )
    assert [row["status"] for row in place.table()] == ["finished"] * 2
    assert fsdp["headline"]["value"] == ddp["headline"]["value"]
    assert fsdp["selection"]["value"] == pytest.approx(ddp["selection"]["value"], rel=1e-4)


def test_several_processes_that_are_preempted_in_the_final_test_go_on_with_it(place: Place, cluster: Cluster) -> None:
    words = (*SEVERAL, "trainer=ddp", "hydra.launcher.timeout_min=10")
    command = place.begin(*words, SLOW_TEST="2")
    during(command, (place.folder / "testing").exists, "the final test")
    (job,) = cluster.jobs()
    preempt(cluster, job)
    during(command, lambda: cluster.jobs().get(job) == "PENDING", "the cell in the queue again")
    code, _, err = ended(command)
    assert code == 0, err[-3000:]
    log = "".join(file.read_text() for file in (place.folder / "multirun").glob("*/.submitit/*/*_log.out"))
    said = "".join(file.read_text() for file in (place.folder / "multirun").glob("*/.submitit/*/*_log.err"))
    assert "SIGTERM: stopping after this step" in said and "Traceback" not in said
    assert log.count("epoch 1/1") == 1, "nothing is trained again"
    (row,) = place.table()
    assert row["status"] == "finished"


def test_two_commands_at_once_train_each_cell_once(place: Place, basic) -> None:
    words = (*RANKS, *QUEUE)
    commands = [place.begin(*words, SLOW="1") for _ in range(2)]
    for code, _, err in map(ended, commands):
        assert code == 0, err[-3000:]
    done = [row["done"] for table in (0, 1) for row in place.table(table)]
    assert sorted(done)[-3:] == ["trained"] * 3 and set(done) <= {"trained", "reused", "left to another command"}
    assert len(list((place.folder / "multirun").glob("*/*/result.json"))) == 3
    for table in (0, 1):
        assert numbers(place.table(table)) == numbers(basic(RANKS))


def test_a_process_of_a_cell_that_dies_ends_the_cell_and_is_named(place: Place) -> None:
    several = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "hydra.launcher.tasks_per_node=2")
    words = ("model=qwen2vl", "lora.r=4", *SMALL, *QUEUE, *several, "hydra.launcher.mem_gb=6")
    code, _, err = place(*words, KILLED="rank1")
    assert code == 1
    assert time.time() - (place.folder / "killed").stat().st_mtime < 180, "the other process does not wait for it"
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert "task 1: Killed" in line
    assert [row["status"] for row in place.table()] != ["finished"]
