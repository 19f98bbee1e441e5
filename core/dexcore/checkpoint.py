"""The whole state as canonical bytes, and back.

The bytes are JSON with sorted keys and integers only: equal states give equal
bytes, so their hash names a state. Queues keep their order, mappings are sorted
by key, cells that hold nothing are left out (reading an account may make them).
"""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import Any, Final

from dexcore.accounts import Account, Key
from dexcore.book import Order
from dexcore.exchange import Exchange
from dexcore.invariant import InvariantError, check
from dexcore.ledger import FEE_ACCOUNT_KEY
from dexcore.market import NO_LIMITS, Market, MarketLimits, MarketSpec, MarketStatus
from dexcore.nonces import Answered, answered, row_of
from dexcore.pegs import best_unpegged
from dexcore.pool_state import encode_pool, restore_pool
from dexcore.quote_checkpoint import encode_quotes, restore_quotes
from dexcore.sessions import Session
from dexcore.terms import OrderTerms
from dexcore.waiting import UNSEEN

# The least version that holds a state is written, so that a journal of an old release still gives
# the state hash it gave then. 1 is release 0.1.0's; 2 has epochs, and keys with limits; 3 has what
# docs/reference/order-semantics.md says beyond the orders of version 1.
FORMAT_VERSION: Final = 3
FORMAT_VERSION_KEYS: Final = 2
FORMAT_VERSION_OLDEST: Final = 1
# How many values an account and an order had until version 3.
_ACCOUNT_VALUES: Final = 3
_ORDER_VALUES: Final = 13


def encode_state(exchange: Exchange) -> bytes:
    """Canonical bytes of the state."""
    answers = [(key, answered(row)) for key, row in sorted(exchange.nonces.rows.items())]
    state: dict[str, Any] = {
        "version": FORMAT_VERSION_OLDEST,
        "sequence": exchange.sequence,
        "time_ns": exchange.time_ns,
        "event_hash": exchange.event_hash.hex(),
        "assets": [[a.asset_id, a.scale, a.supply_atoms] for a in exchange.ledger.assets],
        "cells": _cells(exchange),
        "accounts": [
            [
                *(account.key, _keys(account), list(account.open_orders)),
                *([account.stp_group] if account.stp_group else ()),
            ]
            for account in exchange.accounts.by_key.values()
        ],
        "markets": [_market(market) for market in exchange.markets],
        "references": [[*key, *value] for key, value in sorted(exchange.references.items())],
        "nonces": [[*key, answer.digest.hex(), *answer[1:_AMOUNTS]] for key, answer in answers],
        "nonces_oldest_s": exchange.nonces.oldest_s,
    }
    if exchange.epochs:
        state |= {"version": FORMAT_VERSION_KEYS, "epochs": [list(r) for r in exchange.epochs]}
    if any(isinstance(key, list) for row in state["accounts"] for key in row[1]):
        state["version"] = FORMAT_VERSION_KEYS
    if switches := exchange.timekeeper.switches:
        state["switches"] = [list(switch) for switch in switches]
    amounts = [[*key, list(answer.amounts)] for key, answer in answers if answer.amounts]
    if amounts:
        state["amounts"] = amounts
    if switches or _has_more(state):
        state["version"] = FORMAT_VERSION
    if exchange.quotes.requests:
        state |= {"version": FORMAT_VERSION, "quote_requests": encode_quotes(exchange.quotes)}
    if sessions := exchange.sessions.by_key:
        state |= {"version": FORMAT_VERSION, "sessions": [_session(s) for s in sessions.values()]}
    return json.dumps(state, sort_keys=True, separators=(",", ":")).encode()


def decode_state(data: bytes) -> Exchange:
    """The exchange whose bytes these are; recounts the ledger before it is used.

    Raises:
        InvariantError: the state contradicts itself.
        ValueError: another format version.
    """
    state: dict[str, Any] = json.loads(data)
    if not FORMAT_VERSION_OLDEST <= state["version"] <= FORMAT_VERSION:
        raise ValueError(f"state format {state['version']} is not {FORMAT_VERSION}")
    exchange = Exchange()
    event_hash = bytes.fromhex(state["event_hash"])
    exchange.resume(state["sequence"], state["time_ns"], event_hash)
    _restore_ledger(exchange, state)
    for row in state["markets"]:
        _restore_market(exchange, row)
    _restore_open_orders(exchange, state)
    for kind, reference, *booked in state["references"]:
        exchange.references[(kind, reference)] = tuple(booked)
    for deadline_ns, account_key in state.get("switches", ()):
        exchange.timekeeper.arm(exchange.accounts.by_key[account_key], deadline_ns)
    _restore_nonces(exchange, state)
    exchange.epochs.extend((s, e, first) for s, e, first in state.get("epochs", ()))
    restore_quotes(
        exchange.quotes,
        exchange.ledger,
        exchange.accounts.by_key,
        exchange.markets,
        state.get("quote_requests", ()),
    )
    for row in state.get("sessions", ()):
        _restore_session(exchange, row)
    exchange.ledger.audit()
    return exchange


def state_hash(data: bytes) -> str:
    """BLAKE2b-256 of the canonical bytes, lower-case hex."""
    return blake2b(data, digest_size=32).hexdigest()


def _cells(exchange: Exchange) -> list[list[int]]:
    return [
        [account_key, index, cell.available, cell.held]
        for account_key, cells in sorted(exchange.ledger.cells.items())
        for index, cell in sorted(cells.items())
        if cell.available or cell.held
    ]


def _keys(account: Account) -> list[str | list[Any]]:
    """A key that does everything for good is its bytes alone, as every key of version 1 is."""
    return [
        key.public_key.hex()
        if key.is_full and not key.label
        else [
            key.public_key.hex(),
            key.scopes,
            key.expire_time_ns,
            key.label,
            key.revoke_sequence,
            key.revoke_time_ns,
        ]
        for key in account.keys.values()
    ]


def _session(session: Session) -> list[int | str]:
    return [
        session.key,
        session.signer.public_key.hex(),
        session.running_hash.hex(),
        session.order_number,
        session.signed_number,
        session.unsigned_since_ns,
    ]


def _market(market: Market) -> dict[str, Any]:
    more = _more(market)
    return ({"more": more} if more else {}) | {
        "spec": list(market.spec),
        "fees": [market.maker_fee_ppm, market.taker_fee_ppm],
        "status": int(market.status),
        "trade_sequence": market.trade_sequence,
        "last_external_id": market.last_external_id,
        "watermark_ns": market.watermark_ns,
        # Best price first, and first come first within a price.
        "orders": [
            _order(order)
            for side in (market.book.bids, market.book.asks)
            for level in side.levels.values()
            for order in level
        ],
    }


def _has_more(state: dict[str, Any]) -> bool:
    """Whether there is anything that version 2 did not have."""
    return any(len(row) > _ACCOUNT_VALUES for row in state["accounts"]) or any(
        "more" in row
        or row["status"] > MarketStatus.HALTED
        or any(len(order) > _ORDER_VALUES for order in row["orders"])
        for row in state["markets"]
    )


def _more(market: Market) -> dict[str, Any]:
    """What a market has that none had in version 2."""
    more: dict[str, Any] = {}
    if market.last_price_ticks:
        more["last_price_ticks"] = market.last_price_ticks
    if market.limits != NO_LIMITS:
        more["limits"] = list(market.limits)
    if market.pool is not None:
        more["pool"] = encode_pool(market.pool)
    if market.may_be_crossed:
        more["may_be_crossed"] = 1
    waiting = market.waiting
    if waiting is not None and waiting.parked:
        # In order of keys, each behind what a stop that trails has seen.
        more["parked"] = [
            [waiting.mark_ticks(order), *_order(order)]
            for _, order in sorted(waiting.parked.items())
        ]
        pairs = [
            [order.terms.other.key, key]
            for key, order in sorted(waiting.parked.items())
            if order.terms is not None and order.terms.other is not None
        ]
        if pairs:
            more["pairs"] = pairs
    if waiting is not None and waiting.due_high_ticks:
        more["due"] = [waiting.due_high_ticks, waiting.due_low_ticks]
    return more


def _order(order: Order) -> list[int]:
    return [
        order.key,
        order.account.key,
        int(order.side),
        order.price_ticks,
        order.quantity_lots,
        order.filled_lots,
        order.client_order_id,
        int(order.post_only),
        order.maker_fee_ppm,
        order.taker_fee_ppm,
        order.fee_accrued_ppm_atoms,
        order.fee_charged_atoms,
        order.reserved_atoms,
        *(() if order.terms is None else _terms(order.terms)),
    ]


def _terms(terms: OrderTerms) -> list[int]:
    return [
        terms.order_type,
        terms.time_in_force,
        terms.limit_price_ticks,
        terms.display_lots,
        terms.hidden_lots,
        terms.trigger_price_ticks,
        terms.trail_ticks,
        terms.peg_offset_ticks,
        terms.expire_time_ns,
        terms.stp,
        terms.peg,
        *([terms.band_ticks] if terms.band_ticks else ()),
    ]


def _restore_ledger(exchange: Exchange, state: dict[str, Any]) -> None:
    ledger = exchange.ledger
    for asset_id, scale, supply_atoms in state["assets"]:
        ledger.add_asset(asset_id, scale).supply_atoms = supply_atoms
    for account_key, keys, _, *group in state["accounts"]:
        account = exchange.accounts.open(account_key)
        account.stp_group = group[0] if group else 0
        ledger.open_account(account_key)
        for row in keys:
            _restore_key(exchange, account, [row] if isinstance(row, str) else row)
    for row in state["markets"]:
        if "pool" in row.get("more", {}):
            ledger.open_account(row["more"]["pool"]["account"])
    for account_key, index, available, held in state["cells"]:
        check(account_key in ledger.cells, "a cell without an account")
        cell = ledger.cell(account_key, ledger.assets[index])
        cell.available, cell.held = available, held


def _restore_key(exchange: Exchange, account: Account, row: list[Any]) -> None:
    public_key, *limits = row
    key = Key(account, bytes.fromhex(public_key), *limits[:3])
    check(key.public_key not in exchange.accounts.by_public_key, "a key of two accounts")
    if limits:
        key.revoke_sequence, key.revoke_time_ns = limits[3:]
    account.keys[key.public_key] = key
    exchange.accounts.by_public_key[key.public_key] = key


def _restore_session(exchange: Exchange, row: list[Any]) -> None:
    key, public_key, running_hash, *numbers = row
    signer = exchange.accounts.by_public_key[bytes.fromhex(public_key)]
    session = Session(key, signer, bytes.fromhex(running_hash))
    session.order_number, session.signed_number, session.unsigned_since_ns = numbers
    exchange.sessions.add(session)


def _restore_market(exchange: Exchange, row: dict[str, Any]) -> None:
    ledger = exchange.ledger
    spec = MarketSpec(*row["spec"])
    base = ledger.assets_by_id[spec.base_asset_id]
    quote = ledger.assets_by_id[spec.quote_asset_id]
    fees = ledger.cell(FEE_ACCOUNT_KEY, quote)
    market = Market(len(exchange.markets), spec, base, quote, fees)
    market.maker_fee_ppm, market.taker_fee_ppm = row["fees"]
    market.status = MarketStatus(row["status"])
    market.trade_sequence = row["trade_sequence"]
    market.last_external_id = row["last_external_id"]
    market.watermark_ns = row["watermark_ns"]
    more = row.get("more", {})
    market.last_price_ticks = more.get("last_price_ticks", 0)
    if "limits" in more:
        market.limits = MarketLimits(*more["limits"])
    if "pool" in more:
        market.pool = restore_pool(ledger, market, more["pool"])
    exchange.markets.append(market)
    exchange.markets_by_id[spec.market_id] = market
    market.may_be_crossed = bool(more.get("may_be_crossed"))
    for values in row["orders"]:
        order = _restore_order(exchange, market, values)
        market.book.side(order.side).add(order)
        if order.terms is not None and order.terms.peg:
            market.waiting_orders().pegged[order.key] = order
    if not market.may_be_crossed:
        market.book.check_not_crossed()
    _restore_waiting(exchange, market, more)


def _restore_waiting(exchange: Exchange, market: Market, more: dict[str, Any]) -> None:
    for mark_ticks, *values in more.get("parked", ()):
        order = _restore_order(exchange, market, values)
        waiting = market.waiting_orders()
        waiting.park(order, mark_ticks)
        if order.terms is not None and order.terms.peg:
            waiting.pegged[order.key] = order
    for limit_key, stop_key in more.get("pairs", ()):
        stop = market.waiting_orders().parked[stop_key]
        limit = stop.account.open_orders[limit_key]
        if stop.terms is None or limit.terms is None:
            raise InvariantError("a pair without terms")
        stop.terms.other, limit.terms.other = limit, stop
    if "due" in more:
        market.waiting_orders().make_due(*more["due"])
        if market.status == MarketStatus.OPEN:
            exchange.leave_overdue(market)
    if market.waiting is not None and market.status == MarketStatus.OPEN:
        # After each step of an open market they are priced for what is best.
        market.waiting.see(*best_unpegged(market.book))
    elif market.waiting is not None:
        market.waiting.see(UNSEEN, UNSEEN)


def _restore_order(exchange: Exchange, market: Market, values: list[int]) -> Order:
    key, account_key, side, price, quantity, filled, client_id, post_only, maker, taker = values[
        :10
    ]
    account = exchange.accounts.by_key[account_key]
    order = Order(
        key,
        account,
        market.index,
        side,
        price,
        quantity,
        client_id,
        bool(post_only),
        maker,
        taker,
        exchange.ledger.cell(account_key, market.base),
        exchange.ledger.cell(account_key, market.quote),
    )
    order.filled_lots = filled
    order.open_lots = quantity - filled
    order.fee_accrued_ppm_atoms, order.fee_charged_atoms, order.reserved_atoms = values[10:13]
    if len(values) > _ORDER_VALUES:
        order.terms = _restore_terms(values[_ORDER_VALUES:])
    exchange.reopen(order)
    return order


def _restore_terms(values: list[int]) -> OrderTerms:
    order_type, tif, limit, display, hidden, trigger, trail, offset, expire_ns, *rest = values
    stp, peg, *band = rest
    said = (display, 0, trigger, trail, offset, expire_ns, stp, peg)
    terms = OrderTerms(order_type, tif, limit, said)
    terms.hidden_lots = hidden
    terms.band_ticks = band[0] if band else 0
    return terms


def _restore_open_orders(exchange: Exchange, state: dict[str, Any]) -> None:
    """Put each account's open orders back in the order it placed them."""
    for account_key, _, order_keys, *_ in state["accounts"]:
        account = exchange.accounts.by_key[account_key]
        check(len(order_keys) == len(account.open_orders), "an account's orders are missing")
        account.open_orders = {key: account.open_orders[key] for key in order_keys}


def _restore_nonces(exchange: Exchange, state: dict[str, Any]) -> None:
    # Most of a start with a snapshot, so without a name for every field.
    nonces = exchange.nonces
    nonces.oldest_s = state["nonces_oldest_s"]
    from_hex = bytes.fromhex
    amounts = {(space, nonce): tuple(row) for space, nonce, row in state.get("amounts", ())}
    for space, nonce, digest, *rest, items in state["nonces"]:
        expire_time_ns, sequence, time_ns, reason, field, key = rest
        row = row_of(
            from_hex(digest),
            expire_time_ns,
            sequence,
            time_ns,
            reason,
            field,
            key,
            [tuple(item) for item in items],
            amounts.get((space, nonce), ()),
        )
        nonces.remember(space, nonce, row)


_AMOUNTS: Final = Answered._fields.index("amounts")
