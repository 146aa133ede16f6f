"""Slurm on this machine, for tests: its daemons on loopback as two nodes, in a folder and on ports of their own.

Debian's packages are enough (`PACKAGES`): no systemd, no accounting, no root, nothing in `/etc/slurm` or `/etc/hosts`.
A cluster that the machine may be part of is not touched.
"""

from __future__ import annotations

import ctypes
import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "srun")
PACKAGES = "apt-get install slurmctld slurmd slurm-client munge"
NODES = ("n1", "n2")
GRACE = 8  # seconds between the signal of a preemption and the end
SBIN = "/usr/sbin:/sbin"  # where daemons are, which a user's PATH may leave out
CONF = """
ClusterName=docvlm-tests
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={ctld}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
SchedulerParameters=sched_interval=1,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
PreemptMode=REQUEUE
PreemptType=preempt/partition_prio
KillWait=3
MinJobAge=15
ReturnToService=2
SlurmdTimeout=10
MessageTimeout=60
SlurmdParameters=config_overrides
NodeName=n1 NodeHostname=localhost NodeAddr=127.0.0.1 Port={n1} CPUs=2 RealMemory=8000
NodeName=n2 NodeHostname=localhost NodeAddr=127.0.0.1 Port={n2} CPUs=2 RealMemory=8000
PartitionName=low Nodes=n1,n2 Default=YES PriorityTier=1 GraceTime={grace}
PartitionName=high Nodes=n1,n2 PriorityTier=2 PreemptMode=OFF
"""


CGROUPS = Path("/sys/fs/cgroup")
CGROUP_CONF = f"""
CgroupPlugin=cgroup/v1
CgroupMountpoint={CGROUPS}
ConstrainRAMSpace=yes
ConstrainSwapSpace=yes
"""
CONSTRAINED = {
    "proctrack/linuxproc": "proctrack/cgroup", "task/none": "task/cgroup", "JobAcctGatherParams=OverMemoryKill\n": "",
}  # fmt: skip
"""What of the configuration is otherwise where the kernel watches over memory."""


class CannotStart(Exception):
    """Slurm is not installed here, or its daemons do not come up."""


def until(there: Callable[[], object], seconds: float, what: str) -> None:
    """Come back when `there()` is true; after `seconds` a test has failed."""
    late = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < late, f"{what}: not within {seconds:g} s"
        time.sleep(0.1)


def _can_constrain() -> None:
    if os.geteuid() or not os.access(CGROUPS / "memory" / "memory.limit_in_bytes", os.R_OK):
        raise CannotStart("root and cgroups of version 1 are needed for limits by the kernel")
    if any(CGROUPS.glob("*/slurm*")):
        raise CannotStart("this machine is part of another cluster")


def _goes_with_us() -> None:
    """A daemon ends also where the tests are killed, and Ctrl-C does not reach it before they have cleaned up."""
    os.setsid()
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:  # gone
        return 0


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


class Cluster:
    """A context with two nodes of two processors. `environment` is what its commands need; leaving it ends everything.

    `low` is the default partition; jobs in `high` preempt its jobs, which get SIGTERM, `GRACE` seconds, and a place in
    the queue again. With `cgroups`, a job that takes more memory than it asked for is ended by the kernel.
    """

    def __init__(self, *, cgroups: bool = False) -> None:
        self.cgroups = cgroups
        if cgroups:
            _can_constrain()
        self.environment = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:{SBIN}"}
        missing = [name for name in PROGRAMS if shutil.which(name, path=self.environment["PATH"]) is None]
        if missing:
            raise CannotStart(f"{', '.join(missing)} not installed (Debian: {PACKAGES})")
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # short: the path of a socket has 107 characters
        self.environment["SLURM_CONF"] = str(self.folder / "slurm.conf")
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Cluster:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        """No job, no daemon and no process of a job is left, nor the folder."""
        if "slurmctld" in self._daemons:
            self.ask("scancel", "--full", "--user", getpass.getuser(), check=False)
            self.ask("scancel", "--signal=KILL", "--full", "--user", getpass.getuser(), check=False)
        for daemon in reversed(self._daemons.values()):
            daemon.terminate()
        for daemon in self._daemons.values():
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.cgroups:
            for group in CGROUPS.glob("*/slurm_n[12]"):
                subprocess.run(["find", str(group), "-depth", "-type", "d", "-exec", "rmdir", "{}", ";"], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self) -> None:
        free = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
        ports = [server.getsockname()[1] for server in free]
        for server in free:
            server.close()
        names = dict(zip(("ctld", *NODES), ports, strict=True))
        conf = CONF.format(folder=self.folder, user=getpass.getuser(), grace=GRACE, **names)
        if self.cgroups:
            (self.folder / "cgroup.conf").write_text(CGROUP_CONF)
            for usual, this in CONSTRAINED.items():
                conf = conf.replace(usual, this)
        (self.folder / "slurm.conf").write_text(conf)
        (self.folder / "state").mkdir()
        key = self.folder / "key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(128))
        self.folder.chmod(0o755)
        files = {"socket": "munge.socket", "key-file": "key", "log-file": "munge.log", "pid-file": "munge.pid",
                 "seed-file": "munge.seed"}  # fmt: skip
        words = [f"--{name}={self.folder / file}" for name, file in files.items()]
        self._daemon("munged", "munged", "--foreground", "--force", *words)
        self._wait((self.folder / "munge.socket").exists)
        self._daemon("slurmctld", "slurmctld", "-D", "-c")
        for node in NODES:
            (self.folder / f"spool-{node}").mkdir()
            self._power_on(node)
        self._wait(lambda: self.nodes() == dict.fromkeys(NODES, "idle"))

    def _power_on(self, node: str) -> None:
        self._daemon(node, "slurmd", "-D", "-N", node)

    def power_off(self, node: str) -> None:
        """All processes of a node are gone at once; Slurm misses it after `SlurmdTimeout`."""
        tasks = self.processes(SLURMD_NODENAME=node)
        keepers = {_parent(task) for task in tasks} - set(tasks)  # they would tell Slurm that their tasks are gone
        daemon = self._daemons[node]
        for pid in (daemon.pid, *(keeper for keeper in keepers if _name(keeper) == "slurmstepd"), *tasks):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        daemon.wait()

    def _daemon(self, name: str, *words: str) -> None:
        with (self.folder / f"{name}.out").open("wb") as log:
            self._daemons[name] = subprocess.Popen(
                words, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=_goes_with_us
            )

    def _wait(self, there: Callable[[], bool]) -> None:
        late = time.monotonic() + 60
        while not there():
            for name, daemon in self._daemons.items():
                if daemon.poll() is not None or time.monotonic() > late:
                    last = (self.folder / f"{name}.out").read_text(errors="replace").splitlines()[-1:]
                    raise CannotStart(f"{name} does not come up: {' '.join(last)}")
            time.sleep(0.1)

    def ask(self, *words: str, check: bool = True) -> str:
        """What a command of Slurm says."""
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, timeout=300)
        assert not check or done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
        return done.stdout

    def clear(self) -> None:
        """Empty the queue and bring nodes that are down back."""
        self.ask("scancel", "--user", getpass.getuser(), check=False)
        for node, state in self.nodes().items():
            if self._daemons[node].poll() is not None:
                self._power_on(node)
            if state not in {"idle", "comp"}:
                self.ask("scontrol", "update", f"NodeName={node}", "State=RESUME", check=False)
        until(lambda: self.nodes() == dict.fromkeys(NODES, "idle"), 60, "idle nodes")

    def nodes(self) -> dict[str, str]:
        """The state of each node."""
        said = self.ask("sinfo", "--noheader", "--Node", "--partition=low", "--format=%N %t", check=False)
        return dict(line.split() for line in said.splitlines())

    def jobs(self) -> dict[str, str]:
        """The state of each job that is in the queue, by its id; of an array, `7_0`, `7_1`."""
        said = self.ask("squeue", "--noheader", "--array", "--format=%i %T")
        return dict(line.split() for line in said.splitlines())

    def node_of(self, job: str) -> str:
        """The node a job runs on."""
        return self.ask("squeue", "--noheader", "--jobs", job, "--format=%N").strip()

    def processes(self, **variables: str) -> list[int]:
        """Ids of the processes of jobs of this cluster that have these environment variables: `SLURM_PROCID="1"`."""
        wanted = {"SLURM_CONF": self.environment["SLURM_CONF"], **variables}
        words = {f"{name}={value}".encode() for name, value in wanted.items()}
        found = []
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and int(folder.name) != os.getpid():
                try:
                    has = set((folder / "environ").read_bytes().split(b"\0"))
                except OSError:  # another user's, or gone
                    continue
                if words <= has and any(word.startswith(b"SLURM_JOB_ID=") for word in has):
                    found.append(int(folder.name))
        return found
