"""Fixtures for every test folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.node_process import NodeProcess


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeProcess]:
    """A running node of the test's own, on free ports."""
    process = NodeProcess(tmp_path / "node").start()
    yield process
    process.kill()


@pytest.fixture(scope="session")
def shared_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """A running node for tests that leave others alone: own accounts, own markets."""
    process = NodeProcess(tmp_path_factory.mktemp("shared") / "node").start()
    yield process
    process.kill()
