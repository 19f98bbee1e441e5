"""What holds after every command, whatever the commands: money, refusals, repeats, checkpoints."""

from __future__ import annotations

import inspect
import json
import random
from collections.abc import Iterator
from typing import Any

from dexcore.checkpoint import decode_state, encode_state
from dexcore.commands import Command, OrderCommand
from dexcore.events import CommandRefused, ExternalTrade, ItemRefused, Trade
from dexcore.exchange import Exchange
from dexcore.items import ITEM, NO_TERMS, TERMS
from dexcore.ledger import Cell
from dexcore.reasons import Reason, Refused
from dexcore.results import Outcome
from dexcore.waiting import Waiting
from tests.unit.core.beside_twin import Pair
from tests.unit.core.command_maker import CommandMaker
from tests.unit.core.exchanges import seed_of, small_world

REFUSALS = (CommandRefused, ItemRefused)
# Tables of methods, what the last command left behind, and an index made from the answers.
DERIVED = {"_handlers", "_desk", "_matcher", "expiring"}


def journal(seed: object, count: int) -> list[tuple[int, int, Command]]:
    """A random journal: sequence, time and command."""
    pair = Pair()
    pair.compare = False
    maker = CommandMaker(random.Random(f"{seed}"), pair.exchange, pair.traders)
    for _ in range(count):
        pair.apply(*maker.next())
    return pair.journal


def replay(seed: object, count: int) -> Iterator[tuple[Exchange, Command, Outcome, bytes]]:
    """Each command with its outcome and the state before it."""
    exchange = Exchange()
    for sequence, time_ns, command in journal(seed, count):
        before = encode_state(exchange)
        yield exchange, command, exchange.apply(sequence, time_ns, command), before


def anatomy(root: object) -> list[object]:
    """Every field of everything a state is made of, so that a checkpoint can forget none.

    Objects become numbers in the order in which they are met. Left out: what is made anew from
    other fields, empty cells, where nothing waits any more, and the balances' order of making.
    """
    numbers: dict[int, int] = {}
    found: list[object] = []

    def look(value: object) -> object:
        if value is None or isinstance(value, int | str | bytes):
            return value
        if isinstance(value, Cell) and not (value.available or value.held):
            return None
        if isinstance(value, Waiting) and not (value.parked or value.pegged):
            return None
        if id(value) in numbers:
            return numbers[id(value)]
        number = numbers[id(value)] = len(numbers)
        parts: list[object]
        if isinstance(value, dict):
            rows = sorted(value.items(), key=lambda row: repr(row[0]))
            parts = [(repr(key), seen) for key, row in rows if (seen := look(row)) is not None]
        elif isinstance(value, list | tuple):
            parts = [look(part) for part in value]
        else:
            names = [name for name in fields(type(value)) if name not in DERIVED]
            if isinstance(value, Waiting) and not value.pegged:
                # For nobody: the first pegged order looks anew.
                names = [name for name in names if name not in ("bid_ticks", "ask_ticks")]
            parts = [(name, look(getattr(value, name))) for name in names]
        found.append((number, type(value).__name__, parts))
        return number

    look(root)
    return found


def fields(kind: type) -> list[str]:
    """What an object of the class holds: its slots, or what they have become when compiled."""
    found = [
        name
        for name, part in vars(kind).items()
        if inspect.ismemberdescriptor(part) or inspect.isgetsetdescriptor(part)
    ]
    assert found, kind
    return sorted(found)


def lasting(state: bytes) -> dict[str, Any]:
    """A state without what every command moves: position, time, hash and answers."""
    fields: dict[str, Any] = json.loads(state)
    for name in ("sequence", "time_ns", "event_hash", "nonces", "nonces_oldest_s", "amounts"):
        fields.pop(name, None)
    return fields


def test_what_is_refused_or_repeated_changes_nothing() -> None:
    seed = seed_of("tests/property/test_exchange_state.py -k refused_or_repeated")
    refused = repeated = 0
    for exchange, _, outcome, before in replay(seed, 1_500):
        refusals_only = bool(outcome.events) and all(
            isinstance(event, REFUSALS) for event in outcome.events
        )
        if outcome.reason and not outcome.repeated:
            assert refusals_only
        if outcome.repeated:
            assert outcome.events == []
        if outcome.repeated or refusals_only:
            refused += refusals_only
            repeated += outcome.repeated
            assert lasting(before) == lasting(encode_state(exchange))
    assert refused > 100
    # Some eighteen of so many, of some seeds six.
    assert repeated


def test_a_repeated_payload_gets_the_first_answer() -> None:
    seed = seed_of("tests/property/test_exchange_state.py -k first_answer")
    world = small_world()
    maker = CommandMaker(random.Random(seed), world.exchange, world.traders)
    signed = 0
    for _ in range(600):
        world.time_ns, command = maker.next()
        first = world.do(command)
        expire_ns = getattr(command, "expire_time_ns", 0)
        if expire_ns <= world.time_ns or first.repeated:
            continue
        before = lasting(encode_state(world.exchange))
        again = world.do(command)
        assert (again.reason, again.field) == (first.reason, first.field)
        assert (again.items, again.key) == (first.items, first.key)
        if again.repeated:
            signed += 1
            assert (again.sequence, again.time_ns) == (first.sequence, first.time_ns)
        assert lasting(encode_state(world.exchange)) == before
    assert signed > 100


def test_money_is_conserved_and_trades_are_numbered_without_gaps() -> None:
    seed = seed_of("tests/property/test_exchange_state.py -k conserved")
    numbers: dict[int, int] = {}
    for exchange, _, outcome, _ in replay(seed, 1_500):
        exchange.ledger.audit()
        for event in outcome.events:
            if isinstance(event, Trade | ExternalTrade):
                assert event.trade_sequence == numbers.get(event.market_index, 0) + 1
                numbers[event.market_index] = event.trade_sequence
    # One of the four may be closed for most of the time.
    assert len(numbers) > 2
    assert sum(numbers.values()) > 50


def test_checkpoints_restore_to_the_same_bytes_and_the_same_future() -> None:
    seed = seed_of("tests/property/test_exchange_state.py -k checkpoints")
    chance = random.Random(seed)
    commands = journal(seed, 1_500)
    cuts = sorted(chance.sample(range(1, len(commands)), 12))
    live = Exchange()
    restored: list[Exchange] = []
    for position, (sequence, time_ns, command) in enumerate(commands):
        if position in cuts:
            state = encode_state(live)
            copy = decode_state(state)
            assert encode_state(copy) == state
            assert anatomy(copy) == anatomy(live)
            restored.append(copy)
        outcome = live.apply(sequence, time_ns, command)
        for copy in restored:
            other = copy.apply(sequence, time_ns, command)
            for name in fields(Outcome):
                assert getattr(other, name) == getattr(outcome, name), name
            assert copy.event_hash == live.event_hash
    states = {encode_state(exchange) for exchange in [live, *restored]}
    assert len(states) == 1


def test_a_preview_says_what_placing_does() -> None:
    seed = seed_of("tests/property/test_exchange_state.py -k preview")
    pair = Pair()
    pair.compare = False
    maker = CommandMaker(random.Random(seed), pair.exchange, pair.traders)
    placed = refused = 0
    for _ in range(2_000):
        time_ns, command = maker.next()
        if not isinstance(command, OrderCommand) or len(command.items) != ITEM.size:
            pair.apply(time_ns, command)
            continue
        item = ITEM.unpack(command.items)
        said = TERMS.unpack(command.terms) if command.terms else NO_TERMS
        before = encode_state(pair.exchange)
        try:
            promised = pair.exchange.preview(command.account_key, item, said)
            refusal = Reason.NONE
        except Refused as no:
            refusal = no.reason
        assert encode_state(pair.exchange) == before
        previewed_ns = pair.exchange.time_ns
        outcome = pair.apply(time_ns, command)
        if item[0] != 1 or outcome.reason or outcome.repeated:
            continue
        result = outcome.items[0]
        if previewed_ns < said[5] <= time_ns:
            # Not over at the time of the preview, but at that of the command.
            assert result.reason
            continue
        assert result.reason == refusal
        refused += bool(refusal)
        if not refusal:
            placed += 1
            _, _, lots, notional = promised
            assert lots == result.filled_lots
            quote_atoms = pair.exchange.markets[item[5]].spec.quote_atoms_per_tick_lot
            assert notional == sum(price * n * quote_atoms for _, price, n, _ in result.fills)
    assert placed > 50 < refused
