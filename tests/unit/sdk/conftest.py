"""Fixtures of the SDK's unit tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dexsdk import Client, Key, SyncClient
from tests.unit.sdk.fake_node import FakeNode

KEY = Key(bytes(range(32)))
ACCOUNT = "0000010000000000002001"


@pytest.fixture
def fake_node() -> Iterator[FakeNode]:
    """A running fake node."""
    node = FakeNode()
    node.start()
    yield node
    node.stop()


@pytest.fixture
def client(fake_node: FakeNode) -> Client:
    """A client on Trio of the fake node; the test enters it."""
    return Client(
        fake_node.address,
        network_id="triodex-test",
        key=KEY,
        account_id=ACCOUNT,
        timeout_seconds=5,
        reconnect_timeout_seconds=5,
    )


@pytest.fixture
def sync_client(fake_node: FakeNode) -> Iterator[SyncClient]:
    """A blocking client of the fake node."""
    with SyncClient(
        fake_node.address,
        network_id="triodex-test",
        key=KEY,
        account_id=ACCOUNT,
        timeout_seconds=5,
        reconnect_timeout_seconds=5,
    ) as client:
        yield client
