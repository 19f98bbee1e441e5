"""The naive twin's operators: markets, limits, money in and out, trades of elsewhere."""

from __future__ import annotations

from typing import Any

from tests.reference.exchange_answer import Answer
from tests.reference.exchange_auction import set_status
from tests.reference.exchange_books import Books
from tests.reference.exchange_orders import Market
from tests.reference.exchange_rules import (
    ANY_MARKET,
    BUY,
    INT64_MAX,
    SELL,
    STATUSES,
    No,
    check_spec,
)

BY_OPERATOR, BY_DISCONNECT = 1, 2
MILLION = 1_000_000


class Desk:
    """What operators ask for."""

    def __init__(self, books: Books, accounts: list[int]) -> None:
        self.books = books
        self.accounts = accounts
        self.scales: dict[str, int] = {}
        self.supply: dict[str, int] = {}
        self.booked: dict[tuple[str, str], tuple[Any, ...]] = {}

    def do_createmarket(self, answer: Answer, operator: str, spec: dict[str, Any]) -> None:
        markets = self.books.markets
        for market in markets:
            if market.spec["market_id"] == spec["market_id"]:
                if market.spec != spec:
                    raise No("MARKET_EXISTS", "market.market_id")
                answer.repeated, answer.key = True, market.index
                return
        check_spec(spec)
        for side in ("base", "quote"):
            asset, scale = spec[f"{side}_asset_id"], spec[f"{side}_scale"]
            if self.scales.get(asset, scale) != scale:
                raise No("ASSET_MISMATCH", f"market.{side}_asset")
        for side in ("base", "quote"):
            self.scales[spec[f"{side}_asset_id"]] = spec[f"{side}_scale"]
        answer.key = len(markets)
        rates = spec["maker_fee_ppm"], spec["taker_fee_ppm"]
        markets.append(Market(answer.key, spec, *rates))

    def do_setmarketstatus(
        self, answer: Answer, operator: str, market_index: int, status: int
    ) -> None:
        market = self.books.market(market_index)
        if status not in STATUSES:
            raise No("FIELD_INVALID", "status")
        set_status(self.books, market, STATUSES[status])
        answer.key = market_index

    def do_setmarketlimits(
        self,
        answer: Answer,
        operator: str,
        market_index: int,
        protection_ticks: int,
        price_band_ppm: int,
        notional_min_atoms: int,
        notional_max_atoms: int,
    ) -> None:
        market = self.books.market(market_index)
        for where, is_wrong in (
            ("protection_ticks", protection_ticks < 0),
            ("price_band_ppm", not 0 <= price_band_ppm <= MILLION),
            ("notional_min_atoms", notional_min_atoms < 0),
            ("notional_max_atoms", notional_max_atoms < 0),
            ("protection_ticks", protection_ticks % market.increment),
            ("notional_max_atoms", 0 < notional_max_atoms < notional_min_atoms),
        ):
            if is_wrong:
                raise No("FIELD_INVALID", where)
        market.protection, market.band_ppm = protection_ticks, price_band_ppm
        market.notional_min, market.notional_max = notional_min_atoms, notional_max_atoms
        answer.key = market_index

    def do_setfees(
        self,
        answer: Answer,
        operator: str,
        market_index: int,
        maker_fee_ppm: int,
        taker_fee_ppm: int,
    ) -> None:
        market = self.books.market(market_index)
        for fee, where in ((maker_fee_ppm, "maker_fee_ppm"), (taker_fee_ppm, "taker_fee_ppm")):
            if not 0 <= fee <= 100_000:
                raise No("FIELD_INVALID", where)
        market.maker_ppm, market.taker_ppm = maker_fee_ppm, taker_fee_ppm
        answer.key = market_index

    def do_setstpgroup(
        self, answer: Answer, operator: str, account_key: int, stp_group: int
    ) -> None:
        if account_key not in self.accounts:
            raise No("UNKNOWN_ACCOUNT", "account_id")
        if stp_group < 0:
            raise No("FIELD_INVALID", "stp_group")
        self.books.groups[account_key] = stp_group
        answer.key = account_key

    def do_masscancel(
        self,
        answer: Answer,
        operator: str,
        account_key: int,
        market_index: int,
        side: int,
        cause: int,
    ) -> None:
        """In order of keys; only an operator's own reaches halted markets."""
        books = self.books
        if cause not in (BY_OPERATOR, BY_DISCONNECT):
            raise No("FIELD_INVALID", "cause")
        if side not in (0, BUY, SELL):
            raise No("FIELD_INVALID", "side")
        # A session belongs to one account.
        if account_key not in self.accounts and (account_key or cause == BY_DISCONNECT):
            raise No("UNKNOWN_ACCOUNT", "account_id")
        if market_index != ANY_MARKET:
            books.market(market_index)
        count = 0
        for order in books.open_orders(account_key or None):
            halted = order.market.status == "HALTED" and cause != BY_OPERATOR
            if (
                market_index in (ANY_MARKET, order.market.index)
                and side in (0, order.side)
                and not halted
            ):
                books.close(order, "CANCELLED")
                count += 1
        answer.key, answer.counts = account_key, (count, 0)

    def do_deposit(self, answer: Answer, operator: str, **booking: Any) -> None:
        if self._fresh("deposit", booking, answer):
            asset, amount = booking["asset_id"], booking["amount_atoms"]
            if self.supply.get(asset, 0) + amount > INT64_MAX:
                raise No("AMOUNT_OUT_OF_RANGE", "amount_atoms")
            self._book("deposit", booking, answer, amount)

    def do_withdraw(self, answer: Answer, operator: str, **booking: Any) -> None:
        if self._fresh("withdrawal", booking, answer):
            asset, amount = booking["asset_id"], booking["amount_atoms"]
            if amount > self.books.available(booking["account_key"], asset):
                raise No("INSUFFICIENT_FUNDS", "amount_atoms")
            self._book("withdrawal", booking, answer, -amount)

    def _fresh(self, kind: str, booking: dict[str, Any], answer: Answer) -> bool:
        if booking["asset_id"] not in self.scales:
            raise No("UNKNOWN_ASSET", "asset_id")
        if booking["account_key"] not in self.accounts:
            raise No("UNKNOWN_ACCOUNT", "account_id")
        if not 0 < booking["amount_atoms"] <= INT64_MAX:
            raise No("AMOUNT_OUT_OF_RANGE", "amount_atoms")
        known = self.booked.get((kind, booking["reference"]))
        if known is None:
            return True
        if known[0] != booking:
            raise No("REFERENCE_REUSED", "reference")
        answer.repeated = True
        answer.sequence, answer.time_ns = known[1:]
        return False

    def _book(self, kind: str, booking: dict[str, Any], answer: Answer, change: int) -> None:
        asset = booking["asset_id"]
        self.books.own(booking["account_key"], asset, change)
        self.supply[asset] = self.supply.get(asset, 0) + change
        self.booked[(kind, booking["reference"])] = (booking, answer.sequence, answer.time_ns)

    def do_recordtrades(
        self,
        answer: Answer,
        operator: str,
        market_index: int,
        watermark_ns: int,
        trades: list[tuple[int, int, int, int, int]],
    ) -> None:
        market, now_ns = self.books.market(market_index), self.books.time_ns
        if market.spec["kind"] != 2:
            raise No("FIELD_INVALID", "market_id")
        if market.status == "HALTED":
            raise No("MARKET_NOT_OPEN", "market_id")
        if watermark_ns > now_ns:
            raise No("TRADE_OUT_OF_ORDER", "watermark_time")
        last = 0
        for number, time_ns, price, lots, side in trades:
            if number <= last:
                raise No("TRADE_OUT_OF_ORDER", "trades.external_id")
            if not 0 <= time_ns <= now_ns:
                raise No("TRADE_OUT_OF_ORDER", "trades.time")
            if not 0 < price <= market.spec["price_ticks_max"]:
                raise No("PRICE_OUT_OF_RANGE", "trades.price_ticks")
            if not 0 < lots <= market.spec["quantity_lots_max"]:
                raise No("QUANTITY_OUT_OF_RANGE", "trades.quantity_lots")
            if side not in (BUY, SELL):
                raise No("FIELD_INVALID", "trades.taker_side")
            last = number
        fresh = [trade for trade in trades if trade[0] > market.last_external]
        market.trade_sequence += len(fresh)
        market.last_external = max([market.last_external, *[trade[0] for trade in fresh]])
        market.watermark_ns = max(market.watermark_ns, watermark_ns)
        answer.key = market_index
        answer.counts = (len(fresh), len(trades) - len(fresh))
