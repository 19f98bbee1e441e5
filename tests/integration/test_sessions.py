"""Sessions of the SDK with a running node: a crash in the middle, and what the journal proves."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import trio

from dexcore.limits import ITEM_INDEX_LIMIT
from dexcore.session_commands import EndSession, OpenSession
from dexruntime.journal import JournalReader
from dexruntime.records import command_of
from dexruntime.storage import PosixStorage
from dexsdk import Market, NewOrder, OrderStatus, Side
from tests.support.command_line import call_dex
from tests.support.node_process import NodeProcess

WAIT_SECONDS = 20
FUNDS_ATOMS = 10**15
CRASHED_AFTER = 10


def order(market: Market, price_ticks: int) -> NewOrder:
    return NewOrder(market.market_id, Side.BUY, 1, price_ticks=price_ticks)


async def test_a_session_comes_back_after_a_crash_and_its_journal_proves_it(
    tmp_path: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    node = NodeProcess(tmp_path / "node", settings=[f"grpc.port={port}"]).start()
    try:
        with node.operator() as operator:
            market = operator.admin.create_market(
                Market.define("A-B", base_scale=8, quote_scale=8, tick_size="1", lot_size="0.001")
            )
            node_key = bytes.fromhex(operator.admin.get_node_status().audit_public_key)
        key, account_id = node.open_account({"A": FUNDS_ATOMS, "B": FUNDS_ATOMS})
        async with node.trio_client(key, account_id) as dex:
            async with dex.order_stream(session=True, node_key=node_key) as stream:
                for step in range(CRASHED_AFTER):
                    await stream.send(order(market, 10 + step))
                with trio.fail_after(WAIT_SECONDS):
                    answers = [await stream.receive() for _ in range(CRASHED_AFTER)]
                assert {each.results[0].status for each in answers} == {OrderStatus.OPEN}
                node.kill()
                await stream.send(order(market, 9))
                await trio.to_thread.run_sync(node.start)
                with trio.fail_after(WAIT_SECONDS):
                    answer = await stream.receive()
                assert answer.results[0].status == OrderStatus.OPEN
                assert stream.breaks
            assert (await dex.get_account()).open_order_count == CRASHED_AFTER + 1
        with node.client(key, account_id) as client:
            with client.order_stream(session=True, node_key=node_key) as stream:
                stream.send([order(market, 8), order(market, 7)])
                assert len(stream.receive().results) == 2
            assert client.get_account().open_order_count == CRASHED_AFTER + 3
    finally:
        node.stop()
    _check_journal(node.data_dir / "journal", account_id)


def _check_journal(folder: Path, account_id: str) -> None:
    done = call_dex("audit", "sessions", str(folder), "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    # The crash may have been faster than the countersignature.
    assert [row["orders"] for row in rows] == [CRASHED_AFTER, 1, 1]
    assert [row["signed"] for row in rows[1:]] == [1, 1]
    assert {(row["account_id"], row["problem"]) for row in rows} == {(account_id, None)}
    reader = JournalReader(PosixStorage(folder, read_only=True), 1)
    records = [(record.sequence, command_of(record)) for record in reader]
    reader.close()
    opened = [n * ITEM_INDEX_LIMIT for n, each in records if isinstance(each, OpenSession)]
    ended = [each.session_key for _, each in records if isinstance(each, EndSession)]
    assert ended == opened, "a session that was open in the crash is not ended"
