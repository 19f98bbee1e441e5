"""A server takes so many connections, and so many from one address; the next is closed at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from dexrpc import Server, ServerConfig, open_listener
from tests.unit.rpc.wire import HELLO

HERE, THERE, ELSEWHERE = "127.0.0.1", "127.0.0.2", "127.0.0.3"


@asynccontextmanager
async def listening(config: ServerConfig) -> AsyncIterator[str]:
    """A server, while the block runs; gives its address."""
    listener = await open_listener("127.0.0.1", 0)
    async with trio.open_nursery() as nursery:
        await nursery.start(Server([], config=config).serve, [listener])
        yield listener.address
        nursery.cancel_scope.cancel()


async def connect(address: str, source: str) -> trio.SocketStream:
    host, _, port = address.rpartition(":")
    return await trio.open_tcp_stream(host, int(port), local_address=source)


async def is_served(stream: trio.SocketStream) -> bool:
    """Whether anything is answered on it."""
    with trio.fail_after(10):
        try:
            await stream.send_all(HELLO)
            return await stream.receive_some() != b""
        except trio.BrokenResourceError:
            return False


@pytest.mark.parametrize(
    ("config", "sources"),
    [
        (ServerConfig(max_connections=3), (HERE, THERE, ELSEWHERE, HERE)),
        (ServerConfig(max_connections_per_address=3), (HERE, HERE, HERE, HERE)),
    ],
    ids=["in all", "from one address"],
)
async def test_connections_are_bounded(config: ServerConfig, sources: tuple[str, ...]) -> None:
    async with listening(config) as address:
        streams = []
        for source in sources[:3]:
            streams.append(await connect(address, source))
            assert await is_served(streams[-1])
        assert not await is_served(await connect(address, sources[3])), "one too many is served"
        if config.max_connections_per_address == 3:
            assert await is_served(await connect(address, THERE)), "another address pays for it"
        await streams.pop().aclose()
        with trio.fail_after(10):
            while not await is_served(await connect(address, HERE)):
                await trio.sleep(0.01)
