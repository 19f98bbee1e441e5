"""A market, and the exact way between decimals for people and the contract's whole numbers."""

from __future__ import annotations

from decimal import Context, Decimal, DecimalException, DivisionByZero, Inexact, InvalidOperation
from typing import Final, cast, final

from dex.matching.v1 import matching_pb2 as wire
from dexsdk.errors import CallerError, OffGrid, checked_fields
from dexsdk.types import MarketKind, MarketStatus

# Wide enough for any int64 at any scale; whatever would need rounding is an error instead.
_EXACT: Final = Context(prec=80, traps=[Inexact, InvalidOperation, DivisionByZero])

DIGITS_MAX: Final = 38


@final
class Market:
    """The contract's market (`message`) with its decimal grid.

    One tick is `tick_size` quote units for one base unit; one lot is `lot_size` base units.
    """

    __slots__ = ("lot_size", "message", "tick_size")

    def __init__(self, message: wire.Market) -> None:
        """Wraps a market; CallerError when its tick has no exact decimal."""
        self.message: Final = message
        base, quote = message.base_asset, message.quote_asset
        self.lot_size: Final = _units(message.base_atoms_per_lot, base.scale).normalize(_EXACT)
        notional = _units(message.quote_atoms_per_tick_lot, quote.scale)
        try:
            self.tick_size: Final = _EXACT.divide(notional, self.lot_size).normalize(_EXACT)
        except DecimalException as error:
            problem = f"{message.market_id}: one tick is not an exact decimal"
            raise CallerError("SCALE_INEXACT", problem, field="quote_atoms_per_tick_lot") from error

    @classmethod
    def define(
        cls,
        market_id: str,
        *,
        base_scale: int,
        quote_scale: int,
        tick_size: Decimal | str,
        lot_size: Decimal | str,
        maker_fee_ppm: int = 0,
        taker_fee_ppm: int = 0,
        kind: MarketKind = MarketKind.ORDER_BOOK,
    ) -> Market:
        """A new market for `admin.create_market`; the assets' names come from the market id."""
        base_id, _, quote_id = market_id.partition("-")
        lot, tick = _decimal(lot_size, "lot_size"), _decimal(tick_size, "tick_size")
        with checked_fields():
            message = wire.Market(
                market_id=market_id,
                base_asset=wire.Asset(asset_id=base_id, scale=base_scale),
                quote_asset=wire.Asset(asset_id=quote_id, scale=quote_scale),
                base_atoms_per_lot=_atoms(lot, base_scale, "lot_size"),
                quote_atoms_per_tick_lot=_atoms(
                    _EXACT.multiply(lot, tick), quote_scale, "tick_size"
                ),
                maker_fee_ppm=maker_fee_ppm,
                taker_fee_ppm=taker_fee_ppm,
                kind=cast("wire.MarketKind.ValueType", kind),
            )
        return cls(message)

    @property
    def market_id(self) -> str:
        """Name of the market."""
        return self.message.market_id

    @property
    def base_asset_id(self) -> str:
        """What is bought and sold."""
        return self.message.base_asset.asset_id

    @property
    def quote_asset_id(self) -> str:
        """What prices are in."""
        return self.message.quote_asset.asset_id

    @property
    def status(self) -> MarketStatus:
        """What the market lets its users do."""
        return MarketStatus(self.message.status)

    def price_ticks(self, price: Decimal | str) -> int:
        """A price in ticks; OffGrid (PRICE_OFF_TICK) when it is none of the market's prices."""
        increment = self.message.price_increment_ticks or 1
        return _steps(price, self.tick_size, increment, "PRICE_OFF_TICK", "price_ticks")

    def quantity_lots(self, quantity: Decimal | str) -> int:
        """A size in lots; OffGrid (QUANTITY_OFF_LOT) when it is none of the market's sizes."""
        increment = self.message.quantity_increment_lots or 1
        return _steps(quantity, self.lot_size, increment, "QUANTITY_OFF_LOT", "quantity_lots")

    def price(self, price_ticks: int) -> Decimal:
        """Ticks as quote units for one base unit."""
        return _EXACT.multiply(Decimal(price_ticks), self.tick_size)

    def quantity(self, quantity_lots: int) -> Decimal:
        """Lots as base units."""
        return _EXACT.multiply(Decimal(quantity_lots), self.lot_size)

    def format_price(self, price_ticks: int) -> str:
        """A price for people, with all the decimals of a tick."""
        return _format(self.price(price_ticks), self.tick_size)

    def format_quantity(self, quantity_lots: int) -> str:
        """A size for people, with all the decimals of a lot."""
        return _format(self.quantity(quantity_lots), self.lot_size)

    def amount_atoms(self, asset_id: str, amount: Decimal | str) -> int:
        """Units of the base or quote asset in atoms; OffGrid when it is no whole number."""
        return _atoms(_decimal(amount, "amount_atoms"), self._scale(asset_id), "amount_atoms")

    def format_amount(self, asset_id: str, amount_atoms: int) -> str:
        """Atoms of the base or quote asset for people."""
        scale = self._scale(asset_id)
        return format(_units(amount_atoms, scale), "f")

    def notional_atoms(self, price_ticks: int, quantity_lots: int) -> int:
        """Value of a trade in atoms of the quote asset, before fees."""
        return price_ticks * quantity_lots * self.message.quote_atoms_per_tick_lot

    def _scale(self, asset_id: str) -> int:
        for asset in (self.message.base_asset, self.message.quote_asset):
            if asset.asset_id == asset_id:
                return asset.scale
        problem = f"{self.market_id} does not trade {asset_id!r}"
        raise CallerError("UNKNOWN_ASSET", problem, field="asset_id")

    def __repr__(self) -> str:
        return f"Market({self.market_id}, tick_size={self.tick_size}, lot_size={self.lot_size})"


def _decimal(value: Decimal | str, field: str) -> Decimal:
    if not isinstance(value, Decimal | str):
        raise TypeError(f"{field}: give a Decimal or a str, not {type(value).__name__}")
    try:
        number = Decimal(value)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise OffGrid("FIELD_INVALID", f"{str(value)!r} is no decimal number", field=field)
    if number.adjusted() > DIGITS_MAX:
        raise OffGrid("FIELD_INVALID", f"{value} is too large", field=field)
    return number


def _steps(value: Decimal | str, step: Decimal, increment: int, reason: str, field: str) -> int:
    count, rest = _EXACT.divmod(_decimal(value, field), step)
    if rest or int(count) % increment:
        raise OffGrid(reason, f"{value} is not a multiple of {step * increment}", field=field)
    return _int64(int(count), field)


def _units(atoms: int, scale: int) -> Decimal:
    return Decimal(atoms).scaleb(-scale, _EXACT)


def _atoms(units: Decimal, scale: int, field: str) -> int:
    atoms = units.scaleb(scale, _EXACT)
    if atoms != int(atoms):
        raise OffGrid("SCALE_INEXACT", f"{units} has more than {scale} decimals", field=field)
    return _int64(int(atoms), field)


def _int64(number: int, field: str) -> int:
    if not -(2**63) <= number < 2**63:
        raise OffGrid("FIELD_INVALID", f"{number} does not fit 64 bits", field=field)
    return number


def _format(value: Decimal, step: Decimal) -> str:
    exponent = step.as_tuple().exponent
    return format(value.quantize(Decimal(1).scaleb(min(0, int(exponent))), context=_EXACT), "f")
