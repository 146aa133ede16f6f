"""Slurm for the tests in this folder, which are skipped where it cannot be brought up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.slurm import CannotStart, Cluster


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name == "cluster":
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="session")
def started() -> Iterator[Cluster]:
    """The one cluster of a session."""
    with ExitStack() as stack:
        try:
            cluster = stack.enter_context(Cluster())
        except CannotStart as reason:
            pytest.skip(f"no Slurm: {reason}")
        yield cluster


@pytest.fixture
def cluster(started: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """The cluster, for this process and those it starts; nothing is in its queue before and after a test."""
    for name in ("SLURM_CONF", "PATH"):
        monkeypatch.setenv(name, started.environment[name])
    yield started
    started.clear()
