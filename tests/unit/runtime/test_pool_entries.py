"""The ledger entries of accounts that use a pool add up to what they own."""

from __future__ import annotations

import random
from collections import Counter

from dexcore.exchange import Exchange
from dexruntime.movements import LIQUIDITY, POOL_SWAP, entries_of
from dexruntime.views import Views
from tests.unit.core.beside_twin import Pair
from tests.unit.core.command_maker import CommandMaker
from tests.unit.core.exchanges import seed_of
from tests.unit.core.pool_exchange import use_pools


def test_entries_add_up_to_what_is_owned() -> None:
    seed = seed_of("tests/unit/runtime/test_pool_entries.py")
    pair = Pair()
    pair.compare = False
    use_pools(CommandMaker(random.Random(seed), pair.exchange, pair.traders), pair, 400)
    exchange = Exchange()
    views = Views(exchange)
    for sequence, time_ns, command in pair.journal:
        views.consume(sequence, exchange.apply(sequence, time_ns, command))
        if sequence == len(pair.journal) // 2:
            views = Views.restore(exchange, views.checkpoint())
    kinds = set()
    for trader in pair.traders:
        sums: Counter[int] = Counter()
        for movement in views.movements.get(trader.account_key, ()):
            for entry in entries_of(movement, trader.account_key, exchange.markets):
                sums[entry.asset_index] += entry.amount_atoms
                kinds.add(entry.kind)
        for asset in exchange.ledger.assets:
            cell = exchange.ledger.cell(trader.account_key, asset)
            assert sums[asset.index] == cell.available + cell.held
    assert {LIQUIDITY, POOL_SWAP} <= kinds
