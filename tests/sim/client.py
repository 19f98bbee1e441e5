"""Clients: the SDK's own operations, feeds and order window, with their effects as events.

The SDK decides what to sign, when to retry, how to page and when to resume; ``Driver`` performs its
effects on the simulated network, as dexsdk.trio_driver does over grpcio, and tells the witness of
every payload that goes out and every answer that comes back.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, Final

import trio

from dex.accounts.v1 import accounts_pb2 as accounts
from dex.orders.v1 import order_intake_pb2 as orders
from dex.orders.v1 import signed_payload_pb2 as wire
from dexsdk import admin_operations, feeds, market_operations, methods, order_operations
from dexsdk.effects import Effect, Emit, Feed, Open, Operation, Read, Send, Sleep
from dexsdk.errors import CallerError, DexError, Unavailable, reason_name
from dexsdk.keys import Key
from dexsdk.market import Market
from dexsdk.order_window import OrderWindow
from dexsdk.session import Session, Signed
from dexsdk.times import time_ns_of
from dexsdk.types import (
    Amend,
    BatchAction,
    Cancel,
    CancelAll,
    Interval,
    NewOrder,
    Place,
)
from tests.sim.events import MILLISECOND_NS, SECOND_NS, Events
from tests.sim.network import ClientStream, Network
from tests.sim.node import NETWORK_ID, START_NS
from tests.sim.wishes import new_order
from tests.sim.witness import Applied, Fill, Finding, Refused, Result, Witness

MARKET: Final = Market.define(
    "BTC-USDC",
    base_scale=8,
    quote_scale=6,
    tick_size="0.01",
    lot_size="0.0001",
    maker_fee_ppm=1_300,
    taker_fee_ppm=2_900,
)
MARKET_ID: Final = MARKET.market_id
DEPOSIT_ATOMS: Final = {"BTC": 10**9, "USDC": 10**9}
TIMEOUT_NS: Final = 2 * SECOND_NS
THINK_NS: Final = 40 * MILLISECOND_NS
WINDOW: Final = 6
ASKED_AGAIN: Final = 8
# A reader and its client follow the node for as long as a simulation lasts.
PATIENCE_NS: Final = 3_600 * SECOND_NS
_ENVELOPES: Final[dict[str, type[Any]]] = {
    methods.PLACE_ORDER.path: orders.PlaceOrderRequest,
    methods.CANCEL_ORDER.path: orders.CancelOrderRequest,
    methods.AMEND_ORDER.path: orders.AmendOrderRequest,
    methods.CANCEL_ALL.path: orders.CancelAllRequest,
    methods.SUBMIT_BATCH.path: orders.SubmitBatchRequest,
    methods.TRANSFER.path: accounts.TransferRequest,
}
_METHOD_OF_ACTION: Final = {
    "place": methods.PLACE_ORDER,
    "cancel": methods.CANCEL_ORDER,
    "amend": methods.AMEND_ORDER,
    "cancel_all": methods.CANCEL_ALL,
    "batch": methods.SUBMIT_BATCH,
    "transfer": methods.TRANSFER,
}
_RESPONSES: Final[dict[str, type[Any]]] = {
    path: method.response for method in _METHOD_OF_ACTION.values() for path in [method.path]
}


class Driver:
    """Performs the SDK's effects for one client."""

    def __init__(self, name: str, network: Network, witness: Witness) -> None:
        self.name = name
        self.network = network
        self.witness = witness
        self.calm = False
        self._stream: ClientStream | None = None

    async def run(self, operation: Operation[Any] | Feed[Any], emit: Any = None) -> Any:
        """Run an operation to its end; a feed's items go to ``emit``."""
        step: Callable[[Any], Effect | Emit[Any]] = operation.send
        argument: Any = None
        while True:
            try:
                effect = step(argument)
            except StopIteration as stop:
                return stop.value
            step, argument = operation.send, b""
            if isinstance(effect, Emit):
                emit(effect.item)
                continue
            try:
                argument = await self.perform(effect)
            except DexError as error:
                step, argument = operation.throw, error

    async def perform(self, effect: Effect) -> Any:
        """Perform one effect; raises DexError."""
        match effect:
            case Send():
                return await self._call(effect)
            case Sleep():
                await self.network.events.sleep(effect.duration_ns)
            case Open():
                self.close()
                self._stream = self.network.open(self.name, effect)
                await trio.lowlevel.checkpoint()
            case Read():
                assert self._stream is not None
                return await self._stream.read()
            case _:
                raise AssertionError(f"nobody performs {effect}")
        return b""

    def write(self, request: bytes) -> None:
        """Write to the open stream, if there is one."""
        if self._stream is not None:
            self._stream.write(request)

    def close(self) -> None:
        """Close the stream."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    async def _call(self, send: Send) -> bytes:
        """One attempt of a call, seen by the witness."""
        started_ns = self.network.events.now_ns
        payload = _payload_of(send)
        if payload is not None:
            self.witness.sends(self.name, payload, send)
        try:
            answer = await self.network.call(self.name, send)
        except Unavailable as error:
            if self.calm:
                raise Finding(
                    f"{self.name} was not answered although all is well: {error}"
                ) from None
            raise
        except CallerError as error:
            if payload is not None:
                self.witness.answered(payload, Refused(error.reason))
            raise
        finally:
            late_ns = self.network.events.now_ns - started_ns - send.timeout_ns
            if late_ns > MILLISECOND_NS:
                raise Finding(f"{self.name}: a call outlived its deadline by {late_ns} ns")
        if payload is not None:
            self.witness.answered(payload, _applied(_RESPONSES[send.path].FromString(answer)))
        return answer


class Client:
    """One account, its key, and what it does with them."""

    def __init__(
        self, name: str, events: Events, network: Network, witness: Witness, seed: object
    ) -> None:
        self.name = name
        self.events = events
        self.chance = random.Random(f"{seed} {name}")
        self.witness = witness
        self.driver = Driver(name, network, witness)
        self.session = Session(
            network_id=NETWORK_ID,
            key=Key(self.chance.randbytes(32)),
            timeout_ns=TIMEOUT_NS,
            payload_lifetime_ns=240 * SECOND_NS,
            reconnect_timeout_ns=PATIENCE_NS,
            now_ns=lambda: START_NS + events.now_ns,
            next_nonce=self._next_nonce,
            uniform=self.chance.random,
        )
        self.done = 0
        self.others: list[Client] = []
        self._order_ids: list[str] = []
        self._nonce_again = 0
        self._pipelined: list[bytes] = []

    # --- trading

    async def trade(self, commands: int) -> None:
        """Send commands, some one by one and some pipelined, with time to think between."""
        while self.done < commands:
            await self.events.sleep(self.chance.randint(0, THINK_NS))
            try:
                if self.chance.random() < 0.15:
                    await self._pipeline(self.chance.randint(2, WINDOW + 2))
                else:
                    await self._one()
            except CallerError:
                self.witness.counts["refusals"] += 1
            except Unavailable:
                self.witness.counts["calls given up"] += 1
            self.done += 1

    async def _one(self) -> None:
        chance, session = self.chance, self.session
        roll = chance.random()
        if roll < 0.5:
            await self._mutate(order_operations.place_order(session, self._order()))
        elif roll < 0.65:
            actions = [self._item() for _ in range(chance.randint(1, 5))]
            await self._mutate(order_operations.submit_batch(session, actions))
        elif roll < 0.72:
            cancel = self._cancel()
            await self._mutate(
                order_operations.cancel_order(
                    session, order_id=cancel.order_id, client_order_id=cancel.client_order_id
                )
            )
        elif roll < 0.76:
            await self._mutate(order_operations.cancel_all(session))
        elif roll < 0.82:
            await self._transfer()
        elif roll < 0.88:
            await self._use_a_nonce_again()
        else:
            await self._read()

    async def _mutate(self, operation: Operation[Any]) -> None:
        started_ns = self.events.now_ns
        try:
            answer = await self.driver.run(operation)
        finally:
            self.witness.counts["mutations"] += 1
            late_ns = self.events.now_ns - started_ns - TIMEOUT_NS
            if late_ns > MILLISECOND_NS:
                raise Finding(f"{self.name}: retries went on for {late_ns} ns after the deadline")
        for result in answer if isinstance(answer, list) else [answer]:
            self._remember(result)

    def _remember(self, result: Any) -> None:
        if result.order_id:
            self._order_ids.append(result.order_id)

    async def _transfer(self) -> None:
        to = self.chance.choice(self.others)
        asset = self.chance.choice(sorted(DEPOSIT_ATOMS))
        atoms = self.chance.randint(1, DEPOSIT_ATOMS[asset] // 5)
        to_account_id = to.session.account_id
        await self.driver.run(order_operations.transfer(self.session, to_account_id, asset, atoms))

    async def _use_a_nonce_again(self) -> None:
        """Another payload with the nonce of an applied one: it must be refused, whatever it is."""
        applied = [
            payload
            for payload, answer in self.witness.answers.items()
            if isinstance(answer, Applied) and self.witness.owner_of_payload[payload] == self.name
        ]
        if not applied:
            return
        self._nonce_again = wire.Payload.FromString(self.chance.choice(applied)).nonce
        signed = self.session.sign_action(self._order(client_id=10**9 + self.done))
        payload = signed.envelope.payload
        try:
            await self.driver.perform(_request_of(signed))
        finally:
            self.witness.must_be_refused(payload, "NONCE_REUSED")
            self.witness.counts["nonces used again"] += 1

    async def _pipeline(self, count: int) -> None:
        """Orders on a stream, several on their way at a time."""
        window = OrderWindow(self.session, WINDOW, self.chance.random() < 0.5)
        await self.driver.run(window.start())
        try:
            left = count
            while left or len(window):
                while left and not window.is_full():
                    signed = self.session.sign_action(self._item_action())
                    self.witness.sends(self.name, signed.envelope.payload, _request_of(signed))
                    self._pipelined.append(signed.envelope.payload)
                    for request in window.add(signed)[1]:
                        self.driver.write(request)
                    left -= 1
                answer = await self.driver.run(window.receive())
                payload = self._pipelined.pop(0)
                found = _of_stream(payload, answer)
                if found is not None:
                    self.witness.answered(payload, found)
                for result in answer.results:
                    self._remember(result)
                self.witness.counts["pipelined answers"] += 1
        finally:
            self._pipelined.clear()
            self.driver.close()

    async def settle(self) -> None:
        """Send again what has no answer yet, and some of what has one: it must be the same."""
        mine = [
            payload
            for payload in self.witness.sent
            if self.witness.owner_of_payload[payload] == self.name
        ]
        again = set(self.chance.sample(mine, min(len(mine), ASKED_AGAIN)))
        for payload in mine:
            if payload in again or payload not in self.witness.answers:
                try:
                    await self.driver.perform(self.witness.sent[payload])
                except CallerError:
                    pass

    async def warm_up(self) -> None:
        """Ask until an answer comes: the first one after a full disk may still be a refusal."""
        for send in self.witness.sent.values():
            for _ in range(50):
                try:
                    await self.driver.perform(send)
                except CallerError:
                    return
                except Unavailable:
                    await self.events.sleep(100 * MILLISECOND_NS)
                else:
                    return
            return

    # --- reading

    async def _read(self) -> None:
        session, roll = self.session, self.chance.randrange(5)
        if roll == 0:
            await self.driver.run(order_operations.get_account(session))
        elif roll == 1:
            book = await self.driver.run(market_operations.get_book(session, MARKET_ID))
            check_book(book)
        elif roll == 2:
            found = await self.driver.run(market_operations.list_trades(session, MARKET_ID))
            for trade in map(fill_of, found):
                self.witness.saw("trades", trade.sequence, trade)
        elif roll == 3:
            await self.driver.run(market_operations.list_klines(session, MARKET_ID, Interval.S1))
        else:
            await self.driver.run(order_operations.list_ledger_entries(session, limit=50))

    # --- what it might want

    def _next_nonce(self) -> int:
        nonce, self._nonce_again = self._nonce_again, 0
        return nonce or self.chance.randint(1, 2**62)

    def _order(self, *, client_id: int | None = None) -> NewOrder:
        if client_id is None:
            client_id = self.chance.choice((0, self.chance.randint(1, 30)))
        return new_order(self.chance, MARKET_ID, client_id, self.session.now_ns())

    def _cancel(self) -> Cancel:
        if self._order_ids and self.chance.random() < 0.7:
            return Cancel(order_id=self.chance.choice(self._order_ids[-8:]))
        return Cancel(client_order_id=self.chance.randint(1, 30))

    def _item(self) -> BatchAction:
        roll = self.chance.random()
        if roll < 0.7:
            return Place(self._order())
        if roll < 0.85:
            return self._cancel()
        named = self._cancel()
        return Amend(
            order_id=named.order_id,
            client_order_id=named.client_order_id,
            quantity_lots=self.chance.randint(1, 30),
            price_ticks=self.chance.choice((0, 1_000 + self.chance.randint(-8, 8))),
        )

    def _item_action(self) -> Any:
        if self.chance.random() < 0.1:
            return CancelAll(MARKET_ID)
        if self.chance.random() < 0.3:
            return [self._item() for _ in range(self.chance.randint(1, 4))]
        item = self._item()
        return item.order if isinstance(item, Place) else item


class Reader:
    """Follows the book, the trades and the K-lines, over every crash and lost connection."""

    def __init__(
        self, name: str, events: Events, network: Network, witness: Witness, seed: object
    ) -> None:
        chance = random.Random(f"{seed} {name}")
        self._witness = witness
        self._drivers = [Driver(f"{name} {what}", network, witness) for what in "btk"]
        self._session = Session(
            network_id=NETWORK_ID,
            timeout_ns=TIMEOUT_NS,
            reconnect_timeout_ns=PATIENCE_NS,
            now_ns=lambda: START_NS + events.now_ns,
            uniform=chance.random,
        )
        self.book: dict[tuple[str, int], int] = {}
        self.book_sequence = self.trade_sequence = 0
        self.klines: dict[int, tuple[int, int]] = {}

    async def follow(self) -> None:
        """Read for ever."""
        session = self._session
        async with trio.open_nursery() as nursery:
            for driver, feed, emit in zip(
                self._drivers,
                (
                    feeds.stream_book(session, MARKET_ID),
                    feeds.stream_trades(session, MARKET_ID, 1),
                    feeds.stream_klines(session, MARKET_ID, Interval.S1),
                ),
                (self._of_book, self._of_trades, self._of_klines),
                strict=True,
            ):
                nursery.start_soon(driver.run, feed, emit)

    def _of_book(self, item: Any) -> None:
        if item.HasField("snapshot"):
            snapshot = item.snapshot
            check_book(snapshot)
            if snapshot.sequence < self.book_sequence:
                raise Finding(
                    f"the book went back from {self.book_sequence} to {snapshot.sequence}"
                )
            self.book = levels_of(snapshot)
            self._witness.saw("book states", snapshot.sequence, dict(self.book))
            self.book_sequence = snapshot.sequence
            return
        delta = item.delta
        self._witness.follows("the book feed", self.book_sequence, delta.sequence)
        changes = levels_of(delta)
        self._witness.saw("book deltas", delta.sequence, (time_ns_of(delta.time), changes))
        self.book.update(changes)
        self.book = {level: lots for level, lots in self.book.items() if lots}
        self._witness.saw("book states", delta.sequence, dict(self.book))
        self.book_sequence = delta.sequence

    def _of_trades(self, trade: Any) -> None:
        fill = fill_of(trade)
        self._witness.follows("the trade feed", self.trade_sequence, fill.sequence)
        self._witness.saw("trades", fill.sequence, fill)
        self.trade_sequence = fill.sequence

    def _of_klines(self, kline: Any) -> None:
        open_ns, stamp = time_ns_of(kline.open_time), (kline.version, kline.sequence)
        self._witness.saw("K-lines", (open_ns, *stamp), kline.SerializeToString(deterministic=True))
        self.klines[open_ns] = max(stamp, self.klines.get(open_ns, stamp))


class OperatorClient:
    """Opens the market and the accounts."""

    def __init__(self, events: Events, network: Network, witness: Witness, seed: object) -> None:
        chance = random.Random(f"{seed} operator")
        self.key = Key(chance.randbytes(32))
        self._driver = Driver("operator", network, witness)
        self._witness = witness
        self._session = Session(
            network_id=NETWORK_ID,
            key=self.key,
            timeout_ns=TIMEOUT_NS,
            now_ns=lambda: START_NS + events.now_ns,
            uniform=chance.random,
        )

    async def open(self, clients: Sequence[Client]) -> None:
        """Create the market, open an account for each client, and give it money."""
        await self._driver.run(admin_operations.create_market(self._session, MARKET))
        for client in clients:
            await client.driver.run(order_operations.register_key(client.session))
            for asset, atoms in DEPOSIT_ATOMS.items():
                await self._driver.run(
                    admin_operations.credit_account(
                        self._session,
                        client.session.account_id,
                        asset,
                        atoms,
                        f"{client.name} {asset}",
                    )
                )
                self._witness.deposits[client.name, asset] = atoms


def fill_of(trade: Any) -> Fill:
    """A trade of the contract, as the witness keeps it."""
    return Fill(
        trade.trade_sequence,
        time_ns_of(trade.time),
        trade.price_ticks,
        trade.quantity_lots,
        trade.taker_side,
        trade.maker_order_id,
        trade.taker_order_id,
    )


def levels_of(book: Any) -> dict[tuple[str, int], int]:
    """Levels of a book, or of a change of it."""
    sides = (("bid", book.bids), ("ask", book.asks))
    return {
        (side, level.price_ticks): level.quantity_lots for side, levels in sides for level in levels
    }


def check_book(book: Any) -> None:
    """A book is sorted and not crossed, and has no empty level."""
    bids = [level.price_ticks for level in book.bids]
    asks = [level.price_ticks for level in book.asks]
    if bids != sorted(set(bids), reverse=True) or asks != sorted(set(asks)):
        raise Finding(f"a book is out of order: {bids} {asks}")
    if bids and asks and bids[0] >= asks[0]:
        raise Finding(f"a book is crossed: {bids[0]} {asks[0]}")


def _payload_of(send: Send) -> bytes | None:
    message = _ENVELOPES.get(send.path)
    if message is None:
        return None
    payload: bytes = message.FromString(send.request).envelope.payload
    return payload


def _request_of(signed: Signed) -> Send:
    """A signed action as a call of its own."""
    action = wire.Payload.FromString(signed.envelope.payload).WhichOneof("action")
    assert action is not None
    method = _METHOD_OF_ACTION[action]
    request = method.request(envelope=signed.envelope)
    return Send(method.path, request.SerializeToString(), (), TIMEOUT_NS)


def _applied(response: Any) -> Applied:
    results: Sequence[Any] = ()
    if hasattr(response, "result"):
        results = [response.result]
    elif hasattr(response, "results"):
        results = response.results
    return Applied(
        response.applied.sequence,
        time_ns_of(response.applied.apply_time),
        tuple(map(_result, results)),
    )


def _result(result: Any) -> Result:
    reason = reason_name(result.rejection.reason) if result.HasField("rejection") else ""
    fills = tuple(
        (fill.trade_sequence, fill.price_ticks, fill.quantity_lots, fill.fee_atoms)
        for fill in result.fills
    )
    return Result(
        result.order_id,
        result.status,
        result.filled_lots,
        result.remaining_lots,
        fills,
        reason,
    )


def _of_stream(payload: bytes, answer: Any) -> Applied | Refused | None:
    """The answer that a call of its own would have got; None when the node had no room."""
    if answer.HasField("rejection"):
        reason = reason_name(answer.rejection.reason)
        return None if reason in {"OVERLOADED", "NODE_DRAINING"} else Refused(reason)
    applied = _applied(answer)
    single = wire.Payload.FromString(payload).WhichOneof("action") in {"place", "cancel", "amend"}
    if single and applied.results[0].reason:
        return Refused(applied.results[0].reason)
    return applied
