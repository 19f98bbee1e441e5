"""Commands about pools; see :mod:`dexcore.commands` for how they are written."""

from __future__ import annotations

from typing import Final, NamedTuple

from dexcore.codec import ValueReader

EXACT_IN: Final = 1
EXACT_OUT: Final = 2


class CreatePool(NamedTuple):
    """Operator: give a market its pool.

    ``kind`` is a :class:`~dexcore.pool.PoolKind`; ``price_ticks`` the first price of a
    concentrated one, else zero.
    """

    operator: str
    market_index: int
    kind: int
    fee_ppm: int
    price_ticks: int


class AddLiquidity(NamedTuple):
    """Signed: provide at most the one, at least the other amounts of base and quote.

    ``lower_tick`` and ``upper_tick`` are the pool ticks between which a concentrated pool uses
    them, both zero for a constant product.
    """

    account_key: int
    nonce: int
    expire_time_ns: int
    digest: bytes
    public_key: bytes
    market_index: int
    lower_tick: int
    upper_tick: int
    base_atoms_max: int
    quote_atoms_max: int
    base_atoms_min: int
    quote_atoms_min: int


class RemoveLiquidity(NamedTuple):
    """Signed: take so much liquidity back, with the fees of its position, for at least so much.

    Of a concentrated pool ``liquidity`` zero takes the fees alone.
    """

    account_key: int
    nonce: int
    expire_time_ns: int
    digest: bytes
    public_key: bytes
    market_index: int
    lower_tick: int
    upper_tick: int
    liquidity: int
    base_atoms_min: int
    quote_atoms_min: int


class PoolSwap(NamedTuple):
    """Signed: trade with the pool alone, in atoms.

    With EXACT_IN ``amount_atoms`` come in and at least ``limit_atoms`` must go out; with EXACT_OUT
    ``amount_atoms`` go out and at most ``limit_atoms`` may come in. A buyer brings quote.
    """

    account_key: int
    nonce: int
    expire_time_ns: int
    digest: bytes
    public_key: bytes
    market_index: int
    side: int
    exact: int
    amount_atoms: int
    limit_atoms: int


def read_create_pool(r: ValueReader) -> CreatePool:
    """Version 1."""
    return CreatePool(r.text(), r.integer(), r.integer(), r.integer(), r.integer())


def _head(r: ValueReader) -> tuple[int, int, int, bytes, bytes]:
    return r.integer(), r.integer(), r.integer(), r.data(), r.data()


def read_add_liquidity(r: ValueReader) -> AddLiquidity:
    """Version 1."""
    return AddLiquidity(*_head(r), *[r.integer() for _ in range(7)])


def read_remove_liquidity(r: ValueReader) -> RemoveLiquidity:
    """Version 1."""
    return RemoveLiquidity(*_head(r), *[r.integer() for _ in range(6)])


def read_pool_swap(r: ValueReader) -> PoolSwap:
    """Version 1."""
    return PoolSwap(*_head(r), *[r.integer() for _ in range(5)])
