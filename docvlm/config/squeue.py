"""The states of Slurm's jobs, by `squeue`: it needs no accounting, unlike `sacct`.

`squeue` knows the jobs of every cluster, ended ones for some minutes (`MinJobAge`); one that it does not list any more
has ended.
"""

from __future__ import annotations

import shutil
import subprocess

PROGRAM = "squeue"
ENDED = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED",
         "TIMEOUT"}  # fmt: skip
"""States that a job does not leave. One that is queued again is never listed in them."""
PATIENCE = 60  # seconds to wait for an answer


def command(whose: str) -> list[str]:
    """What lists the state of every job of somebody: `--me`, `--user=UID`."""
    return [PROGRAM, whose, "--noheader", "--array", "--states=all", "--format=%i|%T"]


def listed(text: str) -> dict[str, str]:
    """The states that it printed, by job: `7_1` of an array."""
    return dict(line.strip().split("|", 1) for line in text.splitlines() if "|" in line)


def installed() -> bool:
    """Whether jobs can be asked for on this machine."""
    return shutil.which(PROGRAM) is not None


def living(user: int) -> dict[str, str] | None:
    """The jobs of a user (by number) that have not ended, with their state. None where Slurm gives no answer now."""
    try:
        done = subprocess.run(command(f"--user={user}"), capture_output=True, text=True, timeout=PATIENCE, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return {job: state for job, state in listed(done.stdout).items() if state not in ENDED}
