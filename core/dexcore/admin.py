"""What operators do: markets, fees, money in and out, recorded trades."""

from __future__ import annotations

from typing import final

from dexcore.accounts import Accounts
from dexcore.commands import (
    EXTERNAL_TRADE,
    BeginEpoch,
    CreateMarket,
    Deposit,
    RecordOperation,
    RecordTrades,
    SetFees,
    Withdraw,
)
from dexcore.events import (
    Deposited,
    EpochBegan,
    ExternalTrade,
    FeesChanged,
    MarketCreated,
    OperationRecorded,
    WatermarkMoved,
    Withdrawn,
)
from dexcore.ledger import FEE_ACCOUNT_KEY, Asset, Ledger
from dexcore.limits import (
    ASSET_SCALE_MAX,
    EXTERNAL_TRADES_PER_COMMAND_MAX,
    FEE_PPM_MAX,
    INT64_MAX,
)
from dexcore.market import Market, MarketKind, MarketSpec, MarketStatus
from dexcore.reasons import Reason, Refused
from dexcore.results import Outcome

MARKETS_MAX = 10_000
# (journal sequence, epoch, first sequence of trades and feeds) of every epoch, oldest first; a
# shard that was never restored has none.
Epochs = list[tuple[int, int, int]]
References = dict[tuple[str, str], tuple[int, int, int, int, int]]


@final
class OperatorDesk:
    """Handles operator commands on the exchange's state."""

    __slots__ = ("_accounts", "_epochs", "_ledger", "_markets", "_markets_by_id", "_references")

    def __init__(
        self,
        accounts: Accounts,
        ledger: Ledger,
        markets: list[Market],
        markets_by_id: dict[str, Market],
        references: References,
        epochs: Epochs,
    ) -> None:
        self._accounts = accounts
        self._ledger = ledger
        self._markets = markets
        self._markets_by_id = markets_by_id
        self._references = references
        self._epochs = epochs

    # --- markets

    def create_market(self, command: CreateMarket, outcome: Outcome) -> None:
        """Open a market; the same market again is answered and changes nothing."""
        spec = command.spec
        known = self._markets_by_id.get(spec.market_id)
        if known is not None:
            if known.spec != spec:
                raise Refused(Reason.MARKET_EXISTS, "market.market_id")
            outcome.repeated = True
            outcome.key = known.index
            return
        _check_spec(spec)
        if len(self._markets) >= MARKETS_MAX:
            raise Refused(Reason.FIELD_INVALID, "market")
        for asset_id, scale, field in (
            (spec.base_asset_id, spec.base_scale, "market.base_asset"),
            (spec.quote_asset_id, spec.quote_scale, "market.quote_asset"),
        ):
            asset = self._ledger.assets_by_id.get(asset_id)
            if asset is not None and asset.scale != scale:
                raise Refused(Reason.ASSET_MISMATCH, field)
        base = self._asset(spec.base_asset_id, spec.base_scale)
        quote = self._asset(spec.quote_asset_id, spec.quote_scale)
        fees = self._ledger.cell(FEE_ACCOUNT_KEY, quote)
        market = Market(len(self._markets), spec, base, quote, fees)
        if self._epochs:
            market.trade_sequence = self._epochs[-1][2]
        self._markets.append(market)
        self._markets_by_id[spec.market_id] = market
        outcome.key = market.index
        outcome.logged.append(MarketCreated(market.index, spec.market_id))

    def set_fees(self, command: SetFees, outcome: Outcome) -> None:
        """Set the fees of orders placed from now on."""
        market = self._market(command.market_index)
        _check_fee(command.maker_fee_ppm, "maker_fee_ppm")
        _check_fee(command.taker_fee_ppm, "taker_fee_ppm")
        market.maker_fee_ppm = command.maker_fee_ppm
        market.taker_fee_ppm = command.taker_fee_ppm
        outcome.key = market.index
        outcome.logged.append(FeesChanged(market.index, market.maker_fee_ppm, market.taker_fee_ppm))

    def _asset(self, asset_id: str, scale: int) -> Asset:
        return self._ledger.assets_by_id.get(asset_id) or self._ledger.add_asset(asset_id, scale)

    def _market(self, market_index: int) -> Market:
        if not 0 <= market_index < len(self._markets):
            raise Refused(Reason.UNKNOWN_MARKET, "market_id")
        return self._markets[market_index]

    # --- money

    def deposit(self, command: Deposit, outcome: Outcome) -> None:
        """Book money that came in, once per reference."""
        asset = self._booking("deposit", command, outcome)
        if asset is None:
            return
        if not self._ledger.can_deposit(asset, command.amount_atoms):
            raise Refused(Reason.AMOUNT_OUT_OF_RANGE, "amount_atoms")
        self._ledger.deposit(command.account_key, asset, command.amount_atoms)
        self._book("deposit", command, asset, outcome)
        outcome.logged.append(
            Deposited(command.account_key, asset.index, command.amount_atoms, command.reference)
        )

    def withdraw(self, command: Withdraw, outcome: Outcome) -> None:
        """Book money that went out, once per reference."""
        asset = self._booking("withdrawal", command, outcome)
        if asset is None:
            return
        if command.amount_atoms > self._ledger.cell(command.account_key, asset).available:
            raise Refused(Reason.INSUFFICIENT_FUNDS, "amount_atoms")
        self._ledger.withdraw(command.account_key, asset, command.amount_atoms)
        self._book("withdrawal", command, asset, outcome)
        outcome.logged.append(
            Withdrawn(command.account_key, asset.index, command.amount_atoms, command.reference)
        )

    def _booking(self, kind: str, command: Deposit | Withdraw, outcome: Outcome) -> Asset | None:
        """Check a booking; None when its reference was booked with the same content."""
        asset = self._ledger.assets_by_id.get(command.asset_id)
        if asset is None:
            raise Refused(Reason.UNKNOWN_ASSET, "asset_id")
        if command.account_key not in self._accounts.by_key:
            raise Refused(Reason.UNKNOWN_ACCOUNT, "account_id")
        if not 0 < command.amount_atoms <= INT64_MAX:
            raise Refused(Reason.AMOUNT_OUT_OF_RANGE, "amount_atoms")
        booked = self._references.get((kind, command.reference))
        if booked is None:
            return asset
        if booked[:3] != (command.account_key, asset.index, command.amount_atoms):
            raise Refused(Reason.REFERENCE_REUSED, "reference")
        outcome.repeated = True
        outcome.sequence, outcome.time_ns = booked[3:]
        return None

    def _book(self, kind: str, command: Deposit | Withdraw, asset: Asset, outcome: Outcome) -> None:
        self._references[(kind, command.reference)] = (
            command.account_key,
            asset.index,
            command.amount_atoms,
            outcome.sequence,
            outcome.time_ns,
        )

    # --- operations of the node around the exchange

    def record_operation(self, command: RecordOperation, outcome: Outcome) -> None:
        """Keep in the history who asked for what."""
        outcome.logged.append(OperationRecorded(command.operator, command.method))

    def begin_epoch(self, command: BeginEpoch, outcome: Outcome) -> None:
        """Leave the numbers behind that the history after the backup may have used."""
        epochs = self._epochs
        newest = max((market.trade_sequence for market in self._markets), default=0)
        if epochs and command.previous_epoch != epochs[-1][1]:
            raise Refused(Reason.FIELD_INVALID, "previous_epoch")
        if command.epoch <= command.previous_epoch:
            raise Refused(Reason.FIELD_INVALID, "epoch")
        if not newest <= command.first_sequence < INT64_MAX // 2:
            raise Refused(Reason.FIELD_INVALID, "first_sequence")
        if not epochs:
            epochs.append((0, command.previous_epoch, 0))
        epochs.append((outcome.sequence, command.epoch, command.first_sequence))
        for market in self._markets:
            market.trade_sequence = command.first_sequence
        outcome.logged.append(EpochBegan(command.epoch, command.first_sequence))

    # --- recorded trades

    def record_trades(self, command: RecordTrades, outcome: Outcome) -> None:
        """Take external trades into the market's record, each external id once."""
        market = self._market(command.market_index)
        if market.spec.kind != MarketKind.EXTERNAL:
            raise Refused(Reason.FIELD_INVALID, "market_id")
        if market.status == MarketStatus.HALTED:
            raise Refused(Reason.MARKET_NOT_OPEN, "market_id")
        trades = list(EXTERNAL_TRADE.iter_unpack(command.trades))
        if len(trades) > EXTERNAL_TRADES_PER_COMMAND_MAX:
            raise Refused(Reason.BATCH_SIZE, "trades")
        if command.watermark_ns > outcome.time_ns:
            raise Refused(Reason.TRADE_OUT_OF_ORDER, "watermark_time")
        self._check_trades(market, trades, outcome.time_ns)
        fresh = [trade for trade in trades if trade[0] > market.last_external_id]
        for external_id, time_ns, price_ticks, quantity_lots, side in fresh:
            market.trade_sequence += 1
            outcome.logged.append(
                ExternalTrade(
                    market.index,
                    market.trade_sequence,
                    external_id,
                    time_ns,
                    price_ticks,
                    quantity_lots,
                    side,
                )
            )
        if fresh:
            market.last_external_id = fresh[-1][0]
        if command.watermark_ns > market.watermark_ns:
            market.watermark_ns = command.watermark_ns
            outcome.logged.append(WatermarkMoved(market.index, market.watermark_ns))
        outcome.key = market.index
        outcome.counts = (len(fresh), len(trades) - len(fresh))

    @staticmethod
    def _check_trades(market: Market, trades: list[tuple[int, ...]], now_ns: int) -> None:
        previous_id = 0
        for external_id, time_ns, price_ticks, quantity_lots, side in trades:
            if external_id <= previous_id:
                raise Refused(Reason.TRADE_OUT_OF_ORDER, "trades.external_id")
            if not 0 <= time_ns <= now_ns:
                raise Refused(Reason.TRADE_OUT_OF_ORDER, "trades.time")
            if not 0 < price_ticks <= market.spec.price_ticks_max:
                raise Refused(Reason.PRICE_OUT_OF_RANGE, "trades.price_ticks")
            if not 0 < quantity_lots <= market.spec.quantity_lots_max:
                raise Refused(Reason.QUANTITY_OUT_OF_RANGE, "trades.quantity_lots")
            if side not in (1, 2):
                raise Refused(Reason.FIELD_INVALID, "trades.taker_side")
            previous_id = external_id


def _check_fee(fee_ppm: int, field: str) -> None:
    if not 0 <= fee_ppm <= FEE_PPM_MAX:
        raise Refused(Reason.FIELD_INVALID, field)


def _check_spec(spec: MarketSpec) -> None:
    """Refuse a market whose units do not fit together."""
    for scale, field in (
        (spec.base_scale, "market.base_asset.scale"),
        (spec.quote_scale, "market.quote_asset.scale"),
    ):
        if not 0 <= scale <= ASSET_SCALE_MAX:
            raise Refused(Reason.FIELD_INVALID, field)
    if spec.base_asset_id == spec.quote_asset_id:
        raise Refused(Reason.FIELD_INVALID, "market.quote_asset.asset_id")
    if spec.market_id != f"{spec.base_asset_id}-{spec.quote_asset_id}" and (
        spec.kind == MarketKind.ORDER_BOOK
    ):
        raise Refused(Reason.FIELD_INVALID, "market.market_id")
    for name in (
        "quote_atoms_per_tick_lot",
        "base_atoms_per_lot",
        "price_increment_ticks",
        "quantity_increment_lots",
        "price_ticks_max",
        "quantity_lots_max",
    ):
        if not 0 < getattr(spec, name) <= INT64_MAX:
            raise Refused(Reason.FIELD_INVALID, f"market.{name}")
    # One tick must be a finite decimal of the quote unit: at most 18 places.
    tick_numerator = spec.quote_atoms_per_tick_lot * 10 ** (spec.base_scale + ASSET_SCALE_MAX)
    if tick_numerator % (spec.base_atoms_per_lot * 10**spec.quote_scale):
        raise Refused(Reason.SCALE_INEXACT, "market.quote_atoms_per_tick_lot")
    _check_fee(spec.maker_fee_ppm, "market.maker_fee_ppm")
    _check_fee(spec.taker_fee_ppm, "market.taker_fee_ppm")
    if spec.kind not in tuple(MarketKind):
        raise Refused(Reason.FIELD_INVALID, "market.kind")
