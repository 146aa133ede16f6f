"""Locks on file systems that have none, or have them for one node: refused and told of, before anything is written."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from pathlib import Path

import pytest

from docvlm import locks, train
from docvlm.errors import DocvlmError
from docvlm.serving.kept import kept
from tests.support.runs import overrides

NFS = "36 25 0:40 / {point} rw,relatime shared:1 - nfs4 server:/home rw,vers=4.2,local_lock={local}"
NFS3 = "36 25 0:40 / {point} rw,relatime - nfs server:/home rw,vers=3,{local},addr=10.0.0.1"
LUSTRE = "36 25 0:40 / {point} rw,relatime - lustre 10.0.0.1@tcp:/scratch rw,{local},lazystatfs"
ROOT = "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw,local_lock=all"


@pytest.fixture(autouse=True)
def not_asked_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_KNOWN", set())


def without(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """The calls that NFS without its lock service (ENOLCK) and Lustre without `flock` (ENOSYS) answer with an error."""

    def refused(file: object, flags: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refused)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_refused(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, number)
    with pytest.raises(DocvlmError, match=r"its file system has no locks \(.*\), so two commands would write over"):
        locks.lock(tmp_path / "lock")
    assert not list(tmp_path.iterdir()), "nothing is left of the question"


def read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that is mounted so, under folders that are there already."""

    def refused(**more: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(tempfile, "TemporaryFile", refused)


@pytest.mark.parametrize("what", ["no locks (No locks available)", "cannot be written (Read-only file system)"])
def test_a_training_there_is_one_line_and_no_run(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    if "Read-only" in what:
        read_only(monkeypatch)
    else:
        without(monkeypatch, errno.ENOLCK)
    with pytest.raises(SystemExit) as ended:
        train.main([*overrides(), "-m", "lora.r=4,8"])
    assert ended.value.code == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert what in line
    assert not list(tmp_path.rglob("last.ckpt")) and not list(tmp_path.rglob("result.json"))


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(DocvlmError, match=r"file/runs: cannot be written \(Not a directory\); check its permissions"):
        locks.lock(tmp_path / "file" / "runs" / "lock")


def test_answers_are_not_begun_where_they_cannot_be_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, errno.ENOLCK)
    with pytest.raises(DocvlmError, match="no locks"), kept(tmp_path / "answers.jsonl", "model", []):
        pass
    assert not list(tmp_path.iterdir())


def test_one_that_has_them_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    flock = fcntl.flock
    monkeypatch.setattr(fcntl, "flock", lambda file, flags: (asked.append(flags), flock(file, flags))[1])
    for number in range(3):
        (tmp_path / str(number)).mkdir()
        locks.check(tmp_path / str(number))
    assert len(asked) == 1
    with locks.lock(tmp_path / "lock", timeout=0):
        pass


@pytest.mark.parametrize(
    ("line", "local", "option"),
    [
        (NFS, "none", ""), (NFS, "posix", ""), (NFS, "flock", "local_lock=flock"), (NFS, "all", "local_lock=all"),
        (NFS3, "nolock", "nolock"), (NFS3, "lock", ""), (LUSTRE, "flock", ""), (LUSTRE, "localflock", "localflock"),
    ],
)  # fmt: skip
def test_locks_of_one_node_are_told_of(
    line: str, local: str, option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Of the mount that the folder is on, and not of one around it or beside it."""
    here = tmp_path / "a b"
    (here / "runs").mkdir(parents=True)
    mounts = tmp_path / "mountinfo"
    monkeypatch.setattr(locks, "MOUNTS", mounts)
    point = str(here).replace(" ", r"\040")
    mounts.write_text(
        "\n".join([ROOT, line.format(point=point, local=local), NFS.format(point=f"{point}c", local="all")])
    )
    assert locks.of_this_node(here / "runs") == option
    locks.check(here / "runs")
    said = capsys.readouterr().out
    assert (f"mounted with {option}: its locks are seen on this node alone" in said) == bool(option)
    mounts.write_text("\n".join([line.format(point=point, local=local), ROOT.replace(" / / ", f" / {point}/runs ")]))
    assert not locks.of_this_node(here / "runs"), "another file system is mounted below"


def test_one_process_of_a_run_tells_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(locks, "of_this_node", lambda folder: "nolock")
    monkeypatch.setenv("RANK", "1")
    locks.check(tmp_path)
    assert not capsys.readouterr().out
