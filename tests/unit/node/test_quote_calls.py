"""A taker that leaves withdraws its request, however early it leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trio

from dex.matching.v1 import quote_pb2 as pb
from dexcore.commands import Command
from dexcore.quote_commands import RequestQuote
from dexcore.results import Outcome
from dexnode.ids import IdFormat
from dexnode.services.quotes import QuoteMethods
from dexruntime.promise import Promise
from dexruntime.shard import Shard
from dexruntime.storage import PosixStorage
from tests.unit.core.exchanges import BUY, SECOND_NS, START_NS
from tests.unit.runtime.shards import GatedStorage, open_market, running, until

NOBODY: Any = None


class Taking:
    """An intake that believes every envelope to hold one command."""

    def __init__(self, shard: Shard, command: Command) -> None:
        self.shard = shard
        self.command = command

    async def take(self, *_: object) -> Promise[Outcome]:
        return self.shard.sequencer.submit(self.command)

    def submit_command(self, command: Command, _envelope: bytes) -> Promise[Outcome]:
        return self.shard.sequencer.submit(command)


class Reader:
    """A client that reads whatever comes."""

    async def send_many(self, _messages: list[pb.RequestQuoteResponse]) -> None:
        await trio.lowlevel.checkpoint()


async def test_who_leaves_before_its_request_is_durable_withdraws_it(tmp_path: Path) -> None:
    storage = GatedStorage(PosixStorage(tmp_path))
    async with running(storage) as shard, trio.open_nursery() as nursery:
        [taker, _] = await open_market(shard)
        head = (taker.account_key, 1, START_NS + SECOND_NS, bytes(16), taker.public_key)
        ask = RequestQuote(*head, 0, BUY, 5, START_NS + 60 * SECOND_NS, b"")
        intake: Any = Taking(shard, ask)
        methods = QuoteMethods(shard, intake, IdFormat(3, 7), NOBODY, lambda: False)
        call = trio.CancelScope()
        ended = trio.Event()

        async def request() -> None:
            with call:
                reader: Any = Reader()
                await methods.request_quote(pb.RequestQuoteRequest(), NOBODY, reader)
            ended.set()

        storage.gate.shut()
        nursery.start_soon(request)
        await until(lambda: storage.gate.waiting == 1)
        assert len(shard.exchange.quotes.requests) == 1
        call.cancel()
        storage.gate.open()
        await ended.wait()
        await shard.sequencer.drain()
        assert not shard.exchange.quotes.requests, "a request that nobody waits for is open"
