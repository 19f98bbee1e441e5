"""Actions about pools of a payload as commands. What makes no sense is passed on: the core
refuses it, in its order."""

from __future__ import annotations

from typing import Any, Final, final

from dex.errors.v1 import errors_pb2
from dexcore.market import Market
from dexcore.pool_commands import AddLiquidity, PoolSwap, RemoveLiquidity
from dexnode.errors import refuse

POOL_ACTIONS: Final = frozenset({"add_liquidity", "remove_liquidity", "pool_swap"})
Head = tuple[int, int, int, bytes, bytes]
PoolCommand = AddLiquidity | RemoveLiquidity | PoolSwap


@final
class PoolIntake:
    """Translates for one shard."""

    __slots__ = ("_markets",)

    def __init__(self, markets: dict[str, Market]) -> None:
        """`markets` by id, as the exchange has them at any time."""
        self._markets = markets

    def command(self, head: Head, action: str, body: Any) -> PoolCommand:
        """The command of one of POOL_ACTIONS.

        Raises:
            RpcError: it names a market there is not.
        """
        market = self._markets.get(body.market_id)
        if market is None:
            raise refuse(
                errors_pb2.ERROR_REASON_UNKNOWN_MARKET,
                f"no market {body.market_id!r}",
                field="market_id",
            )
        if action == "pool_swap":
            amounts = (body.amount_atoms, body.limit_atoms)
            return PoolSwap(*head, market.index, body.side, body.exact, *amounts)
        place = (market.index, body.lower_tick, body.upper_tick)
        least = (body.base_atoms_min, body.quote_atoms_min)
        if action == "remove_liquidity":
            return RemoveLiquidity(*head, *place, body.liquidity, *least)
        return AddLiquidity(*head, *place, body.base_atoms_max, body.quote_atoms_max, *least)
