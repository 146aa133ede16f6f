"""Which of the processes of a run this one is, whoever started them: torchrun, srun or Lightning.

torchrun says `RANK` and `LOCAL_RANK`, Lightning `LOCAL_RANK` alone to the processes it starts, srun `SLURM_PROCID` and
`SLURM_LOCALID`. A batch job has a `SLURM_PROCID` too, of its one task; so has a shell of salloc.
"""

from __future__ import annotations

import os

_SHELLS = ("bash", "interactive")  # names of jobs in which Lightning starts processes itself


def by_torchrun() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def by_srun() -> bool:
    """Whether srun started several processes of which this is one."""
    several = int(os.environ.get("SLURM_NTASKS", "1")) > 1 and "SLURM_PROCID" in os.environ
    return several and not by_torchrun() and os.environ.get("SLURM_JOB_NAME") not in _SHELLS


def rank() -> int:
    """Number of this process among all of the run, from 0; 0 of a run of one process."""
    if "RANK" in os.environ:
        return int(os.environ["RANK"])
    return int(os.environ["SLURM_PROCID"]) if by_srun() else local_rank()


def local_rank() -> int:
    """Number of this process among those on its machine, from 0: its device."""
    if "LOCAL_RANK" in os.environ:
        return int(os.environ["LOCAL_RANK"])
    return int(os.environ["SLURM_LOCALID"]) if by_srun() else 0
