"""Each signed command of a journal is what its envelope says; a lie about any field is found."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from click.testing import CliRunner
from google.protobuf.timestamp_pb2 import Timestamp
from nacl.signing import SigningKey

from dex.orders.v1 import signed_payload_pb2 as wire
from dexcore.commands import CreateMarket, OrderCommand, encode_command
from dexcore.items import ITEM, NO_MARKET, TERMS
from dexcore.session_commands import SessionOrders
from dexnode.audit.envelopes import EnvelopeCheck
from dexnode.cli.audit_commands import audit
from dexrpc import RpcError
from dexruntime.journal import JournalReader, JournalWriter, Record
from dexruntime.records import command_of
from dexruntime.storage import PosixStorage
from tests.unit.core.exchanges import ASSETS, MARKETS, START_NS
from tests.unit.node.test_stream_sessions import Talk, talking
from tests.unit.runtime.shards import IDENTITY, until

MARKET = MARKETS[0].market_id
NEW = bytes(SigningKey(bytes([55]) * 32).verify_key)
# What the node says by itself; of a handshake the session's trail finds it.
OF_THE_NODE = {"node_share", "node_random", "handshake_hash", "skipped", "rules"}


def ahead(seconds: int) -> Timestamp:
    return Timestamp(seconds=START_NS // 10**9 + seconds)


def bodies(talk: Talk) -> dict[str, Any]:
    """One of every action that an envelope alone performs; what they name need not be there."""
    id_ = talk.stand.ids.format(5 << 12)
    place = wire.NewOrder(
        market_id=MARKET,
        side=wire.SIDE_BUY,
        type=wire.ORDER_TYPE_LIMIT,
        time_in_force=wire.TIME_IN_FORCE_GTC,
        price_ticks=100,
        quantity_lots=10,
        client_order_id=3,
        terms=wire.OrderTerms(display_lots=5),
    )
    batch = wire.Batch(phased=True)
    batch.items.add(place=place)
    batch.items.add(cancel=wire.OrderCancel(client_order_id=3))
    pool: dict[str, Any] = {"market_id": MARKET, "lower_tick": -5, "upper_tick": 5}
    request = wire.QuoteRequest(market_id=MARKET, side=wire.SIDE_BUY, quantity_lots=7)
    request.close_time.CopyFrom(ahead(20))
    request.maker_account_ids.append(id_)
    quote = wire.NewQuote(quote_request_id=id_, bid_price_ticks=3, ask_price_ticks=4)
    quote.expire_time.CopyFrom(ahead(20))
    switch = wire.DeadMansSwitch()
    switch.timeout.seconds = 60
    register = wire.KeyRegistration(public_key=NEW, scopes=[wire.KEY_SCOPE_READ], label="bot")
    register.expire_time.CopyFrom(ahead(1_000))
    accept = wire.QuoteAcceptance(quote_id=id_, side=wire.SIDE_BUY, price_ticks=4)
    return {
        "place": place,
        "amend": wire.OrderAmend(client_order_id=3, price_ticks=90, quantity_lots=9),
        "cancel": wire.OrderCancel(order_id=id_),
        "cancel_all": wire.OrderCancelAll(market_id=MARKET, side=wire.SIDE_SELL),
        "batch": batch,
        "dead_mans_switch": switch,
        "register_key": register,
        "revoke_key": wire.KeyRevocation(public_key=NEW),
        "transfer": wire.FundsTransfer(to_account_id=id_, asset_id=ASSETS[0], amount_atoms=1),
        "quote_request": request,
        "quote": quote,
        "quote_cancel": wire.QuoteCancel(quote_id=id_),
        "quote_acceptance": accept,
        "add_liquidity": wire.LiquidityAddition(**pool, base_atoms_max=9, quote_atoms_max=9),
        "remove_liquidity": wire.LiquidityRemoval(**pool, liquidity=9),
        "pool_swap": wire.PoolSwap(market_id=MARKET, side=wire.SIDE_BUY, amount_atoms=9),
    }


async def journal() -> list[Record]:
    """Of a node that took one of every action."""
    async with talking() as talk:
        client = await talk.open()
        await talk.ask(talk.order(client), talk.countersignature(client))
        for action, body in bodies(talk).items():
            try:
                await talk.stand.intake.run(talk.signed(**{action: body}), action)
            except RpcError:
                continue  # By the exchange: the record is there all the same.
        talk.close()
        await until(lambda: not talk.stand.exchange.sessions.by_key)
        await talk.stand.disconnects.finish()
        reader = JournalReader(talk.stand.disk, 1)
        records = list(reader)
        reader.close()
    return records


def problem_of(records: list[Record], sequence: int) -> str:
    """What a check finds at a record, when nothing is wrong before it."""
    check = EnvelopeCheck(IDENTITY)
    for record in records:
        found = check.take(record).problem
        if record.sequence == sequence:
            return found
        assert not found
    raise AssertionError("no such record")


class Lie(NamedTuple):
    """A record with another value in one field of its command."""

    record: Record
    name: str


def lies(record: Record) -> list[Lie]:
    command = command_of(record)
    found = []
    if isinstance(command, SessionOrders):
        changed = [(n, command._replace(orders=c)) for n, c in _changed(command.orders)]
        changed += _changed(command)
    else:
        changed = _changed(command)
    for name, lie in changed:
        found.append(Lie(record._replace(command=encode_command(lie)), name))
    return found


def _changed(command: Any) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in command._asdict().items():
        if name in OF_THE_NODE or value == b"" or name == "orders":
            continue
        name_ = f"{type(command).__name__}.{name}"
        if name in {"items", "terms"}:
            layout = ITEM if name == "items" else TERMS
            parts = list(layout.unpack(value[: layout.size]))
            for at, part in enumerate(parts):
                packed = layout.pack(*parts[:at], part ^ 1, *parts[at + 1 :])
                rest = value[layout.size :]
                found.append((f"{name_}[{at}]", command._replace(**{name: packed + rest})))
            continue
        if isinstance(value, bytes):
            other: Any = value[:-1] + bytes([value[-1] ^ 1])
        else:
            other = value + "x" if isinstance(value, str) else value ^ 1
        found.append((name_, command._replace(**{name: other})))
    return found


async def test_every_field_of_every_signed_command_is_held_to_its_envelope() -> None:
    records = await journal()
    check = EnvelopeCheck(IDENTITY)
    checked = [check.take(record) for record in records]
    assert [each.problem for each in checked if each.problem] == []
    signed = [record for record, each in zip(records, checked, strict=True) if each.is_signed]
    said = set()
    for record in signed:
        if not isinstance(command_of(record), SessionOrders):
            envelope = wire.SignedEnvelope.FromString(record.envelope)
            said.add(wire.Payload.FromString(envelope.payload).WhichOneof("action"))
    every = {each.name for each in wire.Payload.DESCRIPTOR.oneofs_by_name["action"].fields}
    assert said == every, "an action is not tried here"
    unseen = []
    for record in signed:
        for lie in lies(record):
            others = [lie.record if each is record else each for each in records]
            if not problem_of(others, record.sequence):
                unseen.append(lie.name)
    assert not unseen, "a node journals what nobody signed"


async def test_what_nobody_signed_is_a_problem() -> None:
    records = await journal()
    at, order = next(
        (n, each) for n, each in enumerate(records) if isinstance(command_of(each), OrderCommand)
    )
    envelope = wire.SignedEnvelope.FromString(order.envelope)
    envelope.signature = bytes(64)
    for forged in (b"", b"\xff", envelope.SerializeToString()):
        records[at] = order._replace(envelope=forged)
        assert problem_of(records, order.sequence), "a command without its client's signature"


async def test_orders_that_were_queued_before_their_market_are_no_lie() -> None:
    """Translated before it was there, journaled behind it: for a while, and no longer."""
    records = await journal()
    at = next(n for n, r in enumerate(records) if isinstance(command_of(r), OrderCommand))
    command = command_of(records[at])
    assert isinstance(command, OrderCommand)
    item = list(ITEM.unpack(command.items))
    item[5] = NO_MARKET
    early = encode_command(command._replace(items=ITEM.pack(*item)))
    records[at] = records[at]._replace(command=early)
    created = next(r for r in records if isinstance(command_of(r), CreateMarket))
    for seconds, is_fine in ((9, True), (11, False)):
        later = records[at]._replace(time_ns=created.time_ns + seconds * 10**9)
        assert (problem_of([*records[:at], later], later.sequence) == "") is is_fine


async def test_the_commands_tell_an_honest_node_from_a_lying_one(tmp_path: Path) -> None:
    records = await journal()
    at = next(n for n, r in enumerate(records) if isinstance(command_of(r), SessionOrders))
    lying = next(lie.record for lie in lies(records[at]) if lie.name == "OrderCommand.items[6]")
    changed = [*records[:at], lying, *records[at + 1 :]]
    for name, written in (("honest", records), ("lying", changed)):
        (tmp_path / name).mkdir()
        storage = PosixStorage(tmp_path / name)
        reader = JournalReader(storage)
        list(reader)
        writer = JournalWriter(storage, reader.end(), IDENTITY)
        writer.append([(r.sequence, r.time_ns, r.command, r.envelope) for r in written])
        await writer.wait_durable(written[-1].sequence)
        await writer.close()
        for command in ("envelopes", "sessions"):
            done = CliRunner().invoke(audit, [command, str(tmp_path / name), "--json"])
            assert done.exit_code == (name == "lying"), done.output
            expected = "the command is not what the payload says"
            assert (expected in done.output) is (name == "lying")
