"""An account's money in motion: kept as the events that moved it, shown as ledger entries.

A trade moves up to three amounts for each side. Keeping the one event and making
the entries when somebody asks costs the hot path a tenth of making them at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from dexcore.book import BUY
from dexcore.events import (
    TRADED,
    Deposited,
    LiquidityAdded,
    LiquidityRemoved,
    Logged,
    PoolSwapped,
    Trade,
    Transferred,
    Withdrawn,
    named,
)
from dexcore.market import Market
from dexcore.quote_events import BlockTraded

Pooled = LiquidityAdded | LiquidityRemoved | PoolSwapped
Movement = tuple[int, int, Logged]
"""Journal sequence, time_ns and the event as it was logged."""

# Numbers in checkpoints: only added to. A trade, which is logged as a row, has the first.
_KINDS: Final[tuple[Any, ...]] = (
    Trade,
    Deposited,
    Withdrawn,
    Transferred,
    BlockTraded,
    LiquidityAdded,
    LiquidityRemoved,
    PoolSwapped,
)
_KIND_NUMBERS: Final = {kind: number for number, kind in enumerate(_KINDS)}

# Numbers of dex.accounts.v1.LedgerEntryKind.
DEPOSIT: Final = 1
WITHDRAWAL: Final = 2
TRANSFER: Final = 3
TRADE: Final = 4
FEE: Final = 5
LIQUIDITY: Final = 6
POOL_SWAP: Final = 7


class LedgerEntry(NamedTuple):
    """One amount that came in or went out; ``reference`` is text or an id key."""

    sequence: int
    time_ns: int
    kind: int
    asset_index: int
    amount_atoms: int
    reference: str | int


def entries_of(
    movement: Movement, account_key: int, markets: Sequence[Market]
) -> list[LedgerEntry]:
    """The account's entries of one movement, in the order in which they were made."""
    sequence, time_ns, logged = movement
    event = named(logged)
    if isinstance(event, Trade | BlockTraded):
        return [
            LedgerEntry(sequence, time_ns, *row)
            for row in _trade_rows(event, account_key, markets[event.market_index])
        ]
    if isinstance(event, Transferred):
        return [
            LedgerEntry(sequence, time_ns, TRANSFER, event.asset_index, amount, other)
            for owner, other, amount in (
                (event.from_account_key, event.to_account_key, -event.amount_atoms),
                (event.to_account_key, event.from_account_key, event.amount_atoms),
            )
            if owner == account_key
        ]
    if isinstance(event, LiquidityAdded | LiquidityRemoved | PoolSwapped):
        return [
            LedgerEntry(sequence, time_ns, *row)
            for row in _pool_rows(event, markets[event.market_index])
        ]
    if not isinstance(event, Deposited | Withdrawn):
        raise TypeError(f"{type(event).__name__} moves no money")
    kind, sign = (DEPOSIT, 1) if isinstance(event, Deposited) else (WITHDRAWAL, -1)
    amount = sign * event.amount_atoms
    return [LedgerEntry(sequence, time_ns, kind, event.asset_index, amount, event.reference)]


def _trade_rows(
    event: Trade | BlockTraded, account_key: int, market: Market
) -> Iterator[tuple[int, int, int, int]]:
    """Kind, asset index, atoms and key of the order, or of the quote, that a trade moved."""
    if isinstance(event, BlockTraded):
        maker_key = taker_key = event.quote_key
    else:
        maker_key, taker_key = event.maker_order_key, event.taker_order_key
    base_atoms = event.quantity_lots * market.spec.base_atoms_per_lot
    quote_atoms = event.price_ticks * event.quantity_lots * market.spec.quote_atoms_per_tick_lot
    taker_sign = 1 if event.taker_side == 1 else -1
    for owner, order_key, sign, fee_atoms in (
        (event.maker_account_key, maker_key, -taker_sign, event.maker_fee_atoms),
        (event.taker_account_key, taker_key, taker_sign, event.taker_fee_atoms),
    ):
        if owner != account_key:
            continue
        yield TRADE, market.base.index, sign * base_atoms, order_key
        yield TRADE, market.quote.index, -sign * quote_atoms, order_key
        if fee_atoms:
            yield FEE, market.quote.index, -fee_atoms, order_key


def _pool_rows(event: Pooled, market: Market) -> Iterator[tuple[int, int, int, str]]:
    """Kind, asset index, atoms and market of what an account gave a pool or got from it."""
    kind = LIQUIDITY
    base_sign = quote_sign = -1 if isinstance(event, LiquidityAdded) else 1
    if isinstance(event, PoolSwapped):
        kind = POOL_SWAP
        base_sign = 1 if event.side == BUY else -1
        quote_sign = -base_sign
    for asset, atoms in (
        (market.base, base_sign * event.base_atoms),
        (market.quote, quote_sign * event.quote_atoms),
    ):
        if atoms:
            yield kind, asset.index, atoms, market.spec.market_id


def encode_movement(movement: Movement) -> tuple[Any, ...]:
    """A movement as plain values, for a checkpoint."""
    sequence, time_ns, logged = movement
    if type(logged) is tuple:
        return (sequence, time_ns, 0, *logged[1:])
    return (sequence, time_ns, _KIND_NUMBERS[type(logged)], *logged)


def decode_movement(row: Sequence[Any]) -> Movement:
    """The movement of a checkpoint's row."""
    sequence, time_ns, kind, *values = row
    if not kind:
        return sequence, time_ns, (TRADED, *values)
    return sequence, time_ns, _KINDS[kind](*values)
