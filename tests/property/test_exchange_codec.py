"""Commands as bytes: every one comes back, and nothing else does."""

from __future__ import annotations

import random
import typing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dexcore.codec import CodecError
from dexcore.commands import (
    COMMAND_TYPES,
    EXTERNAL_TRADE,
    RULES,
    BeginEpoch,
    ClockTick,
    Command,
    CreateMarket,
    Deposit,
    MassCancel,
    OrderCommand,
    RecordOperation,
    RecordTrades,
    RegisterKey,
    RevokeKey,
    SetDeadMansSwitch,
    SetFees,
    SetMarketLimits,
    SetMarketStatus,
    SetStpGroup,
    Transfer,
    Withdraw,
    decode_command,
    encode_command,
)
from dexcore.items import ITEM, TERMS
from dexcore.market import MarketSpec
from dexcore.pool_commands import AddLiquidity, CreatePool, PoolSwap, RemoveLiquidity
from dexcore.quote_commands import (
    KEY,
    AcceptQuote,
    EndQuoteSession,
    GiveQuote,
    RequestQuote,
    WithdrawQuotes,
    WithdrawRequest,
)
from dexcore.session_commands import CountersignSession, EndSession, OpenSession, SessionOrders
from tests.unit.core.command_maker import CommandMaker
from tests.unit.core.exchanges import seed_of, small_world

ints = st.integers(-(2**63), 2**63 - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
keys = st.binary(min_size=32, max_size=32)
digests = st.binary(min_size=16, max_size=16)
bytes_ = st.integers(0, 255)
item_bytes = st.builds(
    ITEM.pack,
    bytes_,
    bytes_,
    bytes_,
    bytes_,
    bytes_,
    st.integers(0, 0xFFFF),
    ints,
    ints,
    ints,
    ints,
)
terms_bytes = st.builds(TERMS.pack, *[ints] * 6, bytes_, bytes_)
trade_bytes = st.builds(EXTERNAL_TRADE.pack, ints, ints, ints, ints, bytes_)
key_bytes = st.lists(st.builds(KEY.pack, ints), max_size=3).map(b"".join)
signed = (ints, ints, ints, digests, keys)
# A hash is as long as a key.
hash_bytes = st.lists(keys, max_size=3).map(b"".join)
COMMANDS: dict[type, st.SearchStrategy[Command]] = {
    OrderCommand: st.builds(
        OrderCommand,
        *signed,
        st.lists(item_bytes, min_size=1, max_size=3).map(b"".join),
        st.lists(terms_bytes, max_size=3).map(b"".join),
        st.integers(0, 1),
        st.just(RULES),
    ),
    SetMarketLimits: st.builds(SetMarketLimits, texts, ints, ints, ints, ints, ints),
    SetDeadMansSwitch: st.builds(SetDeadMansSwitch, *signed, ints),
    SetStpGroup: st.builds(SetStpGroup, texts, ints, ints),
    MassCancel: st.builds(MassCancel, texts, ints, ints, ints, ints),
    RegisterKey: st.builds(RegisterKey, *signed, keys, ints, ints, texts),
    RevokeKey: st.builds(RevokeKey, *signed, keys, ints),
    Transfer: st.builds(Transfer, *signed, ints, texts, ints),
    CreateMarket: st.builds(
        CreateMarket,
        texts,
        st.builds(MarketSpec, texts, texts, ints, texts, *[ints] * (len(MarketSpec._fields) - 4)),
    ),
    SetMarketStatus: st.builds(SetMarketStatus, texts, ints, ints),
    SetFees: st.builds(SetFees, texts, ints, ints, ints),
    Deposit: st.builds(Deposit, texts, ints, texts, ints, texts),
    Withdraw: st.builds(Withdraw, texts, ints, texts, ints, texts),
    RecordTrades: st.builds(
        RecordTrades, texts, ints, ints, st.lists(trade_bytes, max_size=3).map(b"".join)
    ),
    RecordOperation: st.builds(RecordOperation, texts, texts),
    BeginEpoch: st.builds(BeginEpoch, ints, ints, ints),
    ClockTick: st.builds(ClockTick),
    CreatePool: st.builds(CreatePool, texts, *[ints] * 4),
    AddLiquidity: st.builds(AddLiquidity, *signed, *[ints] * 7),
    RemoveLiquidity: st.builds(RemoveLiquidity, *signed, *[ints] * 6),
    PoolSwap: st.builds(PoolSwap, *signed, *[ints] * 5),
    RequestQuote: st.builds(RequestQuote, *signed, *[ints] * 4, key_bytes),
    GiveQuote: st.builds(GiveQuote, *signed, *[ints] * 5),
    WithdrawQuotes: st.builds(WithdrawQuotes, *signed, ints),
    AcceptQuote: st.builds(AcceptQuote, *signed, *[ints] * 3),
    EndQuoteSession: st.builds(EndQuoteSession, ints, key_bytes),
    WithdrawRequest: st.builds(WithdrawRequest, ints, ints),
    OpenSession: st.builds(OpenSession, *signed, keys, keys, keys),
    CountersignSession: st.builds(CountersignSession, *signed, ints, ints, keys, hash_bytes),
    EndSession: st.builds(EndSession, ints, ints),
}
COMMANDS[SessionOrders] = st.builds(
    SessionOrders, ints, ints, keys, hash_bytes, COMMANDS[OrderCommand]
)
commands = st.one_of(list(COMMANDS.values()))


def test_every_type_of_command_is_drawn() -> None:
    assert set(COMMANDS) == set(typing.get_args(Command))


@settings(max_examples=400, deadline=None)
@given(commands)
def test_commands_come_back_from_their_bytes(command: Command) -> None:
    data = encode_command(command)
    back = decode_command(data)
    assert type(back) is type(command)
    assert back == command
    assert encode_command(back) == data


@settings(max_examples=400, deadline=None)
@given(commands, st.data())
def test_cut_or_lengthened_bytes_are_refused(command: Command, draw: st.DataObject) -> None:
    data = encode_command(command)
    cut = draw.draw(st.integers(0, len(data) - 1))
    with pytest.raises(CodecError):
        decode_command(data[:cut])
    with pytest.raises(CodecError):
        decode_command(data + b"\0")


@settings(max_examples=1_000, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.tuples(st.integers(0, 18), st.binary(max_size=200))))
def test_random_bytes_decode_or_raise_codec_error(data: bytes | tuple[int, bytes]) -> None:
    if isinstance(data, tuple):
        written = {known.number: known.version for known in COMMAND_TYPES.values()}
        data = bytes((data[0], written.get(data[0], 1))) + data[1]
    try:
        command = decode_command(data)
    except CodecError:
        return
    assert encode_command(command) == data


def test_mutated_commands_decode_or_raise_codec_error() -> None:
    seed = seed_of("tests/property/test_exchange_codec.py -k mutated")
    chance = random.Random(seed)
    world = small_world()
    maker = CommandMaker(chance, world.exchange, world.traders)
    for _ in range(3_000):
        data = bytearray(encode_command(maker.next()[1]))
        for _ in range(chance.randint(1, 3)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            command = decode_command(bytes(data))
        except CodecError:
            continue
        assert encode_command(command) == data


@pytest.mark.parametrize(
    "change",
    [
        {"items": b""},
        {"items": b"\0" * (ITEM.size + 1)},
        {"digest": b"short"},
        {"public_key": bytes(33)},
        {"account_key": 2**63},
        {"nonce": -(2**63) - 1},
    ],
)
def test_what_would_not_come_back_is_not_encoded(change: dict[str, typing.Any]) -> None:
    command = OrderCommand(1, 1, 1, bytes(16), bytes(32), bytes(ITEM.size))
    assert decode_command(encode_command(command)) == command
    with pytest.raises(CodecError):
        encode_command(command._replace(**change))


def test_values_beyond_64_bits_are_not_encoded() -> None:
    with pytest.raises(CodecError):
        encode_command(Deposit("operator", 1, "QQQ", 2**63, "reference"))
    with pytest.raises(CodecError):
        encode_command(Deposit("operator", 1, "QQQ", 1, "\ud800"))
    with pytest.raises(CodecError):
        encode_command(RecordTrades("operator", 1, 0, b"odd"))
