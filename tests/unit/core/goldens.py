"""`python -m tests.unit.core.goldens NAME`: records a golden journal, once.

Random commands of every type beside the naive twin, with the event hash and state hash that they
give today. A golden journal is never made anew: what came after it, such as a new command, gets one
of its own, named after the release that has it first (docs/determinism.md).
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterator
from hashlib import sha256
from itertools import chain, count
from pathlib import Path

from dexcore.accounts import READ, TRADE
from dexcore.commands import (
    CAUSE_OPERATOR,
    BeginEpoch,
    ClockTick,
    Command,
    Deposit,
    MassCancel,
    RecordOperation,
    RegisterKey,
    RevokeKey,
    SetDeadMansSwitch,
    SetMarketLimits,
    SetMarketStatus,
    SetStpGroup,
    encode_command,
)
from dexcore.items import (
    ACTION_PLACE,
    AT_CLOSE,
    AT_OPEN,
    DAY,
    FOK,
    GTC,
    GTD,
    IOC,
    NO_MARKET,
    OCO,
    SLIDE,
    STP_CANCEL_OLDEST,
    TYPE_LIMIT,
    TYPE_MARKET,
    TYPE_PEGGED,
    TYPE_STOP,
    TYPE_STOP_LIMIT,
    TYPE_TRAILING_STOP,
    Item,
)
from dexcore.limits import ITEM_INDEX_LIMIT, MEETINGS_PER_ENTRY_MAX, STOPS_PER_COMMAND_MAX
from dexcore.market import MarketStatus
from dexcore.quote_commands import (
    AcceptQuote,
    EndQuoteSession,
    GiveQuote,
    RequestQuote,
    WithdrawQuotes,
    WithdrawRequest,
)
from tests.unit.core.beside_twin import Pair
from tests.unit.core.command_maker import CommandMaker
from tests.unit.core.exchanges import (
    BUY,
    SELL,
    Trader,
    WithTerms,
    orders,
    place,
    small_world,
    with_terms,
)
from tests.unit.core.pool_exchange import use_pools
from tests.unit.core.quote_maker import pack
from tests.unit.core.replay import replay
from tests.unit.core.session_maker import SessionMaker, hash_of

FOLDER = Path(__file__).with_name("golden")
SUMS = FOLDER / "SHA256SUMS"
COMMANDS = 260


def record(name: str) -> str:
    """Write a golden journal and return its line of checksum; FileExistsError if there is one."""
    pair = Pair()
    maker = CommandMaker(random.Random(name), pair.exchange, pair.traders)
    for _ in range(COMMANDS):
        pair.apply(*maker.next())
    made = chain(
        _keys(maker), order_semantics(maker), waiting(maker), _quotes(maker), _bounds(maker)
    )
    for command in made:
        pair.apply(maker.time_ns, command)
    # The twin knows neither epochs nor operations of the node.
    pair.compare = False
    pair.apply(maker.time_ns, BeginEpoch(1, 2, 1 << 36))
    for _ in range(40):
        pair.apply(*maker.next())
    pair.apply(maker.time_ns, RecordOperation("operator", "dex.admin.v1.Admin/TakeSnapshot"))
    return write(name, [(time_ns, command) for _, time_ns, command in pair.journal])


def record_pools(name: str) -> str:
    """The same, with pools in every market, half of the commands about them."""
    pair = Pair()
    use_pools(CommandMaker(random.Random(name), pair.exchange, pair.traders), pair, COMMANDS)
    return write(name, [(time_ns, command) for _, time_ns, command in pair.journal])


def record_sessions(name: str) -> str:
    """Orders in sessions: signed for, refused by the node, out of turn, ended in every way."""
    world = small_world()
    sessions = [SessionMaker(world, each, nonce=10**9 * n) for n, each in enumerate(world.traders)]
    for session in sessions:
        session.open()
    for number in range(40):
        session = sessions[number % len(sessions)]
        skipped = hash_of(b"%d" % number) if number % 7 == 0 else b""
        session.order(place(1 + number % 2, 95 + number % 9, 1 + number), skipped=skipped)
        world.time_ns += 10**8
        if number % 5 == 0:
            session.countersign()
    first, second, third = sessions
    world.do(first.orders()._replace(order_number=1))
    world.do(second.signature()._replace(running_hash=bytes(32)))
    third.end()
    first.order()
    second.open()
    second.order()
    return write(name, [(time_ns, command) for _, time_ns, command in world.journal])


def write(name: str, journal: list[tuple[int, Command]]) -> str:
    """Write the file of a journal."""
    rows = [(time_ns, encode_command(command).hex()) for time_ns, command in journal]
    last = replay(rows)[-1]
    golden = {"event_hash": last.event_hash, "state_hash": last.state_hash, "commands": rows}
    path = FOLDER / f"{name}.json"
    with path.open("x") as file:
        file.write(json.dumps(golden, indent=0) + "\n")
    return f"{sha256(path.read_bytes()).hexdigest()}  {path.name}\n"


def _keys(maker: CommandMaker) -> list[Command]:
    """A key that may do little, and its end."""
    trader, key = maker.traders[0], bytes(range(32))
    lifetime_ns = 10**9
    heads = (
        (trader.account_key, nonce, maker.time_ns + lifetime_ns, bytes(16), trader.public_key)
        for nonce in (10**9, 10**9 + 1)
    )
    limits = READ | TRADE, maker.time_ns + 1_000 * lifetime_ns, "a bot"
    return [RegisterKey(*next(heads), key, *limits), RevokeKey(*next(heads), key, 1)]


def order_semantics(maker: CommandMaker) -> Iterator[Command]:
    """Orders that say more than every order does, with market limits and accounts in groups."""
    chance = maker.chance
    for index in (0, 1, 2):
        yield SetMarketStatus("operator", index, MarketStatus.OPEN)
    yield SetMarketLimits("operator", 0, 5, 200_000, 700, 10**7)
    for trader in maker.traders[1:3]:
        yield SetStpGroup("operator", trader.account_key, 7)
    for number in range(150):
        trader = chance.choice(maker.traders)
        items = [_with_terms(maker, trader) for _ in range(chance.randint(1, 5))]
        yield orders(
            trader,
            2 * 10**9 + number,
            items,
            now_ns=maker.time_ns,
            phased=chance.random() < 0.3,
        )
        if chance.random() < 0.1:
            head = (trader.account_key, 3 * 10**9 + number, maker.time_ns + 10**9, bytes(16))
            timeout_ns = chance.choice((0, 1, 2, 30)) * 10**9
            yield SetDeadMansSwitch(*head, trader.public_key, timeout_ns)
        if chance.random() < 0.05:
            account_key = chance.choice((0, trader.account_key))
            side = chance.randint(0, 2)
            yield MassCancel("operator", account_key, NO_MARKET, side, CAUSE_OPERATOR)
        maker.time_ns += chance.choice((0, 10**6, 10**8, 10**9))
        if chance.random() < 0.2:
            yield ClockTick()
    maker.time_ns += 86_400 * 10**9
    yield ClockTick()


def waiting(maker: CommandMaker) -> Iterator[Command]:
    """Stops, pegged orders, pairs and orders of auctions, in all phases of one market."""
    chance = maker.chance
    phases = [MarketStatus(status) for status in (1, 1, 1, 4, 1, 1, 5, 6, 1, 1, 4, 3, 4, 1)]
    yield SetMarketLimits("operator", 0, 8, 0, 0, 0)
    for number in range(280):
        if number % 20 == 0:
            yield SetMarketStatus("operator", 0, phases[number // 20])
        trader = chance.choice(maker.traders[1:])
        items = [each for _ in range(chance.randint(1, 3)) for each in _waits(chance)]
        yield orders(trader, 3 * 10**9 + number, items, now_ns=maker.time_ns)
        maker.time_ns += chance.choice((0, 10**6))


def _waits(chance: random.Random) -> list[Item | WithTerms]:
    """An order that waits, one of an auction, a pair, or a plain one that sets them off."""
    side, lots = chance.choice((1, 2)), chance.randint(1, 9)
    price = 100 + chance.randint(-9, 9)
    away = 100 + (1 if side == BUY else -1) * chance.randint(1, 9)
    plain = place(side, price, lots)
    stops = [
        with_terms(place(side, 0, lots, order_type=TYPE_STOP), trigger_price_ticks=away),
        with_terms(place(side, price, lots, order_type=TYPE_STOP_LIMIT), trigger_price_ticks=away),
        with_terms(place(side, 0, lots, order_type=TYPE_TRAILING_STOP), trail_ticks=price - 90),
    ]
    pegged = place(side, 130 if side == BUY else 70, lots, order_type=TYPE_PEGGED)
    offset = chance.randint(-2, 0) if side == BUY else chance.randint(0, 2)
    kinds: list[list[Item | WithTerms]] = [
        [plain],
        [chance.choice(stops)],
        [with_terms(pegged, peg=chance.randint(1, 3), peg_offset_ticks=offset)],
        [place(side, 200 - away, lots), with_terms(stops[0].item, OCO, trigger_price_ticks=away)],
        [place(side, price, lots, tif=chance.choice((AT_OPEN, AT_CLOSE)))],
        [place(side, 0, lots, order_type=TYPE_MARKET, tif=chance.choice((AT_OPEN, AT_CLOSE)))],
    ]
    return chance.choices(kinds, (6, 3, 3, 2, 1, 1))[0]


def _with_terms(maker: CommandMaker, trader: Trader) -> Item | WithTerms:
    """An item of which nearly every one says more."""
    chance = maker.chance
    item, _ = maker.items(trader)[0]
    if item[0] != ACTION_PLACE:
        return item
    terms: dict[str, int] = {}
    if item[3] == GTC and chance.random() < 0.3:
        tif = chance.choice((DAY, GTD))
        item = (*item[:3], tif, *item[4:])
        if tif == GTD:
            terms["expire_time_ns"] = maker.time_ns + chance.randint(0, 5) * 10**9
    flags = []
    if chance.random() < 0.5:
        terms["stp"] = chance.randint(0, 4)
    if item[2] == TYPE_LIMIT and item[3] not in (IOC, FOK):
        if item[4]:
            flags += [SLIDE] * chance.randint(0, 1)
        if chance.random() < 0.4:
            terms["display_lots"] = chance.choice((1, 2, 5, 10, item[7]))
    if not item[4] and item[3] != FOK and chance.random() < 0.2:
        terms["min_lots"] = chance.randint(1, 20)
    return with_terms(item, *flags, **terms)


def _quotes(maker: CommandMaker) -> Iterator[Command]:
    """A request with quotes on it, one of which is accepted; and one of everything else."""
    nonces = count(5 * 10**9)
    taker, other = maker.traders[2:4]
    end_ns = maker.time_ns + 10**9

    def head(trader: Trader) -> tuple[int, int, int, bytes, bytes]:
        key = maker.exchange.accounts.by_key[trader.account_key].public_keys[0]
        return trader.account_key, next(nonces), end_ns, bytes(16), key

    yield SetMarketStatus("operator", 0, 1)
    for each in (taker, other):
        yield Deposit("operator", each.account_key, "QQQ", 10**6, f"quotes {each.account_key}")
    makers = pack(other.account_key)
    yield RequestQuote(*head(taker), 0, 0, 5, end_ns, makers)
    request = maker.exchange.sequence * ITEM_INDEX_LIMIT
    for bid in (98, 99, 100):
        yield GiveQuote(*head(other), request, bid, 0, end_ns, bid)
    last = maker.exchange.sequence * ITEM_INDEX_LIMIT
    yield WithdrawQuotes(*head(other), last)
    yield EndQuoteSession(other.account_key, pack(last - ITEM_INDEX_LIMIT))
    yield AcceptQuote(*head(taker), last - 2 * ITEM_INDEX_LIMIT, 2, 98)
    yield RequestQuote(*head(taker), 0, 0, 5, end_ns, b"")
    yield WithdrawRequest(taker.account_key, maker.exchange.sequence * ITEM_INDEX_LIMIT)
    yield RequestQuote(*head(taker), 0, 1, 5, end_ns, makers)


def _bounds(maker: CommandMaker) -> Iterator[Command]:
    """An order that meets more than it may, and a trade that triggers more stops than one runs."""
    nonces = count(6 * 10**9)
    by_key = maker.exchange.accounts.by_key
    seller, buyer = (
        each._replace(public_key=by_key[each.account_key].public_keys[0])
        for each in maker.traders[1:3]
    )

    def of(trader: Trader, *items: Item | WithTerms) -> Command:
        return orders(trader, next(nonces), items, now_ns=maker.time_ns)

    yield MassCancel("operator", 0, NO_MARKET, 0, CAUSE_OPERATOR)
    yield SetMarketStatus("operator", 0, MarketStatus.OPEN)
    yield SetMarketLimits("operator", 0, 8, 0, 0, 0)
    for trader in (seller, buyer):
        for asset_id in ("AAA", "QQQ"):
            reference = f"bounds {trader.account_key} {asset_id}"
            yield Deposit("operator", trader.account_key, asset_id, 10**7, reference)
    yield of(seller, *[place(SELL, 105, 1)] * MEETINGS_PER_ENTRY_MAX)
    yield of(seller, place(SELL, 105, 1))
    yield of(seller, with_terms(place(BUY, 105, 5), stp=STP_CANCEL_OLDEST))
    yield of(buyer, place(BUY, 105, 1), place(BUY, 99, 1), place(BUY, 98, 500))
    stop = with_terms(place(SELL, 0, 1, order_type=TYPE_STOP), trigger_price_ticks=99)
    yield of(seller, *[stop] * (STOPS_PER_COMMAND_MAX + 20))
    yield of(seller, place(SELL, 99, 1))
    yield ClockTick()


def main() -> int:
    """Record and note the checksum."""
    parser = argparse.ArgumentParser(prog="python -m tests.unit.core.goldens", description=__doc__)
    parser.add_argument("name", help="the release that has it first, and why: 0.3.0-auctions")
    parser.add_argument("--pools", action="store_true", help="of book and pool in one market")
    parser.add_argument("--sessions", action="store_true", help="of orders in sessions")
    arguments = parser.parse_args()
    name = arguments.name
    try:
        make = record_sessions if arguments.sessions else record
        line = (record_pools if arguments.pools else make)(name)
    except FileExistsError:
        print(f"there is a golden journal {name}, and it stays", file=sys.stderr)
        return 1
    SUMS.write_text(SUMS.read_text() + line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
