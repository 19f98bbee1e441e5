"""Commands: everything that may change the exchange, and their journal bytes.

A command is one type byte, one version byte, then its values
(:mod:`dexcore.codec`). Each type has versions of its own. Once released, a (type,
version) pair keeps its layout and its meaning for good: an old journal must replay to
the same events. What else would change either gets the next version of its type, or a
new type; docs/reference/journal-format.md lists all of them and the steps.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final, NamedTuple

from dexcore.codec import CodecError, ValueReader, encode_values
from dexcore.items import ITEM, TERMS, items_of_rules_1
from dexcore.market import MarketSpec, MarketStatus
from dexcore.pool_commands import (
    AddLiquidity,
    CreatePool,
    PoolSwap,
    RemoveLiquidity,
    read_add_liquidity,
    read_create_pool,
    read_pool_swap,
    read_remove_liquidity,
)
from dexcore.quote_commands import (
    AcceptQuote,
    EndQuoteSession,
    GiveQuote,
    QuoteCommand,
    RequestQuote,
    WithdrawQuotes,
    WithdrawRequest,
    check_keys,
    read_acceptance,
    read_quote,
    read_request,
    read_request_withdrawal,
    read_session_end,
    read_withdrawal,
)
from dexcore.session_commands import (
    CountersignSession,
    EndSession,
    OpenSession,
    SessionCommand,
    SessionOrders,
    check_hashes,
    orders_head,
    read_countersignature,
    read_end,
    read_opening,
    read_orders_head,
)

# A recorded trade: external_id, time_ns, price_ticks, quantity_lots, taker side.
EXTERNAL_TRADE: Final = struct.Struct("<qqqqB")


# Rules that an order command was written under: its version in the journal.
RULES_1: Final = 1
RULES: Final = 2


class OrderCommand(NamedTuple):
    """Signed items of one account, applied in one piece.

    ``items`` are packed as ITEM, and ``terms`` as TERMS: one for each item with HAS_TERMS. They
    are applied in order, or with ``phased`` in phases. ``rules`` is RULES, and RULES_1 for what
    a journal of an earlier release holds.
    """

    account_key: int
    nonce: int
    expire_time_ns: int
    digest: bytes
    public_key: bytes
    items: bytes
    terms: bytes = b""
    phased: int = 0
    rules: int = RULES


class RegisterKey(NamedTuple):
    """Signed: add ``new_public_key``; ``account_key`` zero opens an account.

    ``scopes`` are bits of :mod:`dexcore.accounts`; zero, and a
    ``key_expire_time_ns`` of zero, are those of the signing key.
    """

    account_key: int
    nonce: int
    expire_time_ns: int
    digest: bytes
    public_key: bytes
    new_public_key: bytes
    scopes: int = 0
    key_expire_time_ns: int = 0
    label: str = ""


class RevokeKey(NamedTuple):
    """Signed: end a key of the account, and with ``cancel_all`` its open orders too."""

    account_key: int
    nonce: int
    expire_time_ns: int
    digest: bytes
    public_key: bytes
    revoked_public_key: bytes
    cancel_all: int


class Transfer(NamedTuple):
    """Signed: move available money to another account."""

    account_key: int
    nonce: int
    expire_time_ns: int
    digest: bytes
    public_key: bytes
    to_account_key: int
    asset_id: str
    amount_atoms: int


class CreateMarket(NamedTuple):
    """Operator: open a market."""

    operator: str
    spec: MarketSpec


class SetMarketStatus(NamedTuple):
    """Operator: change what a market allows."""

    operator: str
    market_index: int
    status: int


class SetFees(NamedTuple):
    """Operator: change the fees of orders placed from now on."""

    operator: str
    market_index: int
    maker_fee_ppm: int
    taker_fee_ppm: int


class SetMarketLimits(NamedTuple):
    """Operator: change a market's :class:`~dexcore.market.MarketLimits`."""

    operator: str
    market_index: int
    protection_ticks: int
    price_band_ppm: int
    notional_min_atoms: int
    notional_max_atoms: int


class SetStpGroup(NamedTuple):
    """Operator: make an account one owner with others for self-trade prevention; zero ends it."""

    operator: str
    account_key: int
    stp_group: int


# Why orders are cancelled at once.
CAUSE_OPERATOR: Final = 1
CAUSE_DISCONNECT: Final = 2
# Of events alone: no command asks for it.
CAUSE_DEAD_MANS_SWITCH: Final = 3


class MassCancel(NamedTuple):
    """Cancel many orders at once: an operator's wish, or a session that ended.

    ``account_key`` and ``side`` zero and ``market_index`` NO_MARKET name all. ``operator`` is empty
    when the node cancels for a session.
    """

    operator: str
    account_key: int
    market_index: int
    side: int
    cause: int


class SetDeadMansSwitch(NamedTuple):
    """Signed: cancel all orders of the account after so long without another; zero disarms."""

    account_key: int
    nonce: int
    expire_time_ns: int
    digest: bytes
    public_key: bytes
    timeout_ns: int


class Deposit(NamedTuple):
    """Operator: money came in; idempotent by reference."""

    operator: str
    account_key: int
    asset_id: str
    amount_atoms: int
    reference: str


class Withdraw(NamedTuple):
    """Operator: money went out; idempotent by reference."""

    operator: str
    account_key: int
    asset_id: str
    amount_atoms: int
    reference: str


class RecordTrades(NamedTuple):
    """Operator: trades recorded elsewhere, packed as EXTERNAL_TRADE."""

    operator: str
    market_index: int
    watermark_ns: int
    trades: bytes


class RecordOperation(NamedTuple):
    """Operator: asked the node for something that changes nothing here, such as a snapshot."""

    operator: str
    method: str


class BeginEpoch(NamedTuple):
    """A restore from a backup: from here on the history is another one.

    ``previous_epoch`` is the one that ends here, ``first_sequence`` the least number that trades
    and feeds of the new epoch may have.
    """

    previous_epoch: int
    epoch: int
    first_sequence: int


class ClockTick(NamedTuple):
    """Time went by; alone fires what is due."""


Command = (
    OrderCommand
    | RegisterKey
    | Transfer
    | CreateMarket
    | SetMarketStatus
    | SetFees
    | Deposit
    | Withdraw
    | RecordTrades
    | RecordOperation
    | BeginEpoch
    | RevokeKey
    | SetMarketLimits
    | SetStpGroup
    | MassCancel
    | SetDeadMansSwitch
    | ClockTick
    | CreatePool
    | AddLiquidity
    | RemoveLiquidity
    | PoolSwap
    | QuoteCommand
    | SessionCommand
)


class CommandType(NamedTuple):
    """A command's number in the journal and the version in which it is written."""

    number: int
    version: int


# Numbers are never given to another command, and versions only grow.
COMMAND_TYPES: Final[dict[type, CommandType]] = {
    OrderCommand: CommandType(1, 2),
    RegisterKey: CommandType(2, 2),
    Transfer: CommandType(3, 1),
    CreateMarket: CommandType(4, 1),
    SetMarketStatus: CommandType(5, 2),
    SetFees: CommandType(6, 1),
    Deposit: CommandType(7, 1),
    Withdraw: CommandType(8, 1),
    RecordTrades: CommandType(9, 1),
    ClockTick: CommandType(10, 1),
    RecordOperation: CommandType(11, 1),
    BeginEpoch: CommandType(12, 1),
    RevokeKey: CommandType(13, 1),
    SetMarketLimits: CommandType(14, 1),
    SetStpGroup: CommandType(15, 1),
    MassCancel: CommandType(16, 1),
    SetDeadMansSwitch: CommandType(17, 1),
    CreatePool: CommandType(20, 1),
    AddLiquidity: CommandType(21, 1),
    RemoveLiquidity: CommandType(22, 1),
    PoolSwap: CommandType(23, 1),
    RequestQuote: CommandType(40, 1),
    GiveQuote: CommandType(41, 1),
    WithdrawQuotes: CommandType(42, 1),
    AcceptQuote: CommandType(43, 1),
    EndQuoteSession: CommandType(44, 1),
    WithdrawRequest: CommandType(45, 1),
    OpenSession: CommandType(50, 1),
    SessionOrders: CommandType(51, 1),
    CountersignSession: CommandType(52, 1),
    EndSession: CommandType(53, 1),
}
_HEADS: Final = {command: bytes(known) for command, known in COMMAND_TYPES.items()}


class UnknownCommand(CodecError):
    """A type, or a version of a type, that this release does not know; the message names it."""

    def __init__(self, number: int, version: int) -> None:
        names = {known.number: (command, known) for command, known in COMMAND_TYPES.items()}
        if number in names:
            command, known = names[number]
            what = f"command {command.__name__} version {version}"
            most = f"version {known.version}"
        else:
            what = f"command type {number} version {version}"
            most = f"type {max(names)}"
        super().__init__(f"{what}; this version of Triodex reads up to {most}")
        self.number = number
        self.version = version


DIGEST_BYTES: Final = 16
PUBLIC_KEY_BYTES: Final = 32
_SIGNED_HEAD: Final = struct.Struct(f"<2sqqq{DIGEST_BYTES}s{PUBLIC_KEY_BYTES}s")
# The same without type and version.
_SIGNED_VALUES: Final = struct.Struct(f"<2xqqq{DIGEST_BYTES}s{PUBLIC_KEY_BYTES}s")
_SIGNED_BYTES: Final = _SIGNED_VALUES.size
# An order command has these behind its head: phased, counts of items and of terms; these follow.
_ORDERS_HEAD: Final = struct.Struct(_SIGNED_HEAD.format + "BII")
_ORDERS_VALUES: Final = struct.Struct(_SIGNED_VALUES.format + "BII")
_ORDERS_BYTES: Final = _ORDERS_VALUES.size
_ITEM_BYTES: Final = ITEM.size
_TERMS_BYTES: Final = TERMS.size
_unpack_signed: Final = _SIGNED_VALUES.unpack_from
_unpack_orders: Final = _ORDERS_VALUES.unpack_from
_new: Final = tuple.__new__


def encode_command(command: Command) -> bytes:
    """The journal bytes of a command.

    Raises:
        CodecError: a value does not fit its field. What could not be read back must
            never reach the journal.
    """
    head = _HEADS[type(command)]
    try:
        if isinstance(command, OrderCommand):
            return _orders_bytes(head, command)
        if isinstance(command, SessionOrders):
            orders = _orders_bytes(_HEADS[OrderCommand], command.orders)
            return orders_head(head, command) + orders
        if isinstance(command, CreateMarket):
            return head + encode_values((command.operator, *command.spec))
        if isinstance(command, RecordTrades):
            _check_trades(command)
        if isinstance(command, RequestQuote):
            check_keys(command.maker_account_keys)
        if isinstance(command, EndQuoteSession):
            check_keys(command.quote_keys)
        if isinstance(command, CountersignSession):
            check_hashes(command.skipped)
        return head + encode_values(command)
    except (struct.error, UnicodeEncodeError) as error:
        raise CodecError(f"a value of {type(command).__name__} does not fit") from error


def _orders_bytes(head: bytes, command: OrderCommand) -> bytes:
    """The hot one: a fixed head, then the packed items, then the packed terms."""
    items, terms, phased, rules = command[5:]
    if not items or len(items) % _ITEM_BYTES or len(terms) % _TERMS_BYTES:
        raise CodecError("order items do not fit")
    if phased not in (0, 1) or rules != RULES:
        raise CodecError("orders that are not written any more")
    # struct would cut or pad these without a word.
    if len(command.digest) != DIGEST_BYTES or len(command.public_key) != PUBLIC_KEY_BYTES:
        raise CodecError("digest or public key of another length")
    counts = len(items) // _ITEM_BYTES, len(terms) // _TERMS_BYTES
    return _ORDERS_HEAD.pack(head, *command[:5], phased, *counts) + items + terms


def decode_command(data: bytes) -> Command:
    """The command in the journal bytes.

    Raises:
        UnknownCommand: the type, or this version of it, is not known here.
        CodecError: the bytes do not fit their type and version.
    """
    if len(data) < 2:
        raise CodecError("bytes end early")
    reader = _READERS.get(data[:2])
    if reader is None:
        raise UnknownCommand(data[0], data[1])
    if reader in _READ_WHOLE:
        orders: Command = reader(data)
        return orders
    values = ValueReader(data, 2)
    command = reader(values)
    values.end()
    return command


def _read_orders_v1(data: bytes) -> OrderCommand:
    items = data[_SIGNED_BYTES:]
    if not items or len(items) % _ITEM_BYTES:
        raise CodecError("order items do not fit")
    signed: tuple[int, int, int, bytes, bytes] = _unpack_signed(data)
    return OrderCommand(*signed, items_of_rules_1(items), rules=RULES_1)


def _read_orders(data: bytes) -> OrderCommand:
    if len(data) <= _ORDERS_BYTES:
        raise CodecError("bytes end early")
    *signed, phased, items_count, terms_count = _unpack_orders(data)
    end = _ORDERS_BYTES + items_count * _ITEM_BYTES
    if not items_count or end + terms_count * _TERMS_BYTES != len(data) or phased > 1:
        raise CodecError("order items do not fit")
    # Half the price of OrderCommand(...).
    return _new(OrderCommand, (*signed, data[_ORDERS_BYTES:end], data[end:], phased, RULES))


def _read_session_orders(data: bytes) -> SessionOrders:
    session_key, order_number, payload_hash, skipped, rest = read_orders_head(data)
    if rest[:2] != _HEADS[OrderCommand]:
        raise CodecError("a session holds orders alone")
    orders = _read_orders(rest)
    return SessionOrders(session_key, order_number, payload_hash, skipped, orders)


def _read_register_v1(r: ValueReader) -> RegisterKey:
    return RegisterKey(r.integer(), r.integer(), r.integer(), r.data(), r.data(), r.data())


def _read_register(r: ValueReader) -> RegisterKey:
    return RegisterKey(*_read_register_v1(r)[:6], r.integer(), r.integer(), r.text())


def _read_revoke(r: ValueReader) -> RevokeKey:
    return RevokeKey(
        r.integer(), r.integer(), r.integer(), r.data(), r.data(), r.data(), r.integer()
    )


def _read_transfer(r: ValueReader) -> Transfer:
    return Transfer(
        r.integer(),
        r.integer(),
        r.integer(),
        r.data(),
        r.data(),
        r.integer(),
        r.text(),
        r.integer(),
    )


def _read_market(r: ValueReader) -> CreateMarket:
    operator = r.text()
    market_id = r.text()
    base_asset_id, base_scale = r.text(), r.integer()
    quote_asset_id, quote_scale = r.text(), r.integer()
    rest = [r.integer() for _ in range(len(MarketSpec._fields) - 5)]
    spec = MarketSpec(market_id, base_asset_id, base_scale, quote_asset_id, quote_scale, *rest)
    return CreateMarket(operator, spec)


def _read_status_v1(r: ValueReader) -> SetMarketStatus:
    """Version 1 knew three statuses and refused all others."""
    command = _read_status(r)
    known = MarketStatus.OPEN <= command.status <= MarketStatus.HALTED
    return command if known else command._replace(status=0)


def _read_status(r: ValueReader) -> SetMarketStatus:
    return SetMarketStatus(r.text(), r.integer(), r.integer())


def _read_fees(r: ValueReader) -> SetFees:
    return SetFees(r.text(), r.integer(), r.integer(), r.integer())


def _read_limits(r: ValueReader) -> SetMarketLimits:
    return SetMarketLimits(
        r.text(), r.integer(), r.integer(), r.integer(), r.integer(), r.integer()
    )


def _read_stp_group(r: ValueReader) -> SetStpGroup:
    return SetStpGroup(r.text(), r.integer(), r.integer())


def _read_mass_cancel(r: ValueReader) -> MassCancel:
    return MassCancel(r.text(), r.integer(), r.integer(), r.integer(), r.integer())


def _read_switch(r: ValueReader) -> SetDeadMansSwitch:
    return SetDeadMansSwitch(r.integer(), r.integer(), r.integer(), r.data(), r.data(), r.integer())


def _read_deposit(r: ValueReader) -> Deposit:
    return Deposit(r.text(), r.integer(), r.text(), r.integer(), r.text())


def _read_withdraw(r: ValueReader) -> Withdraw:
    return Withdraw(r.text(), r.integer(), r.text(), r.integer(), r.text())


def _read_trades(r: ValueReader) -> RecordTrades:
    command = RecordTrades(r.text(), r.integer(), r.integer(), r.data())
    _check_trades(command)
    return command


def _check_trades(command: RecordTrades) -> None:
    if len(command.trades) % EXTERNAL_TRADE.size:
        raise CodecError("recorded trades do not fit")


def _read_epoch(r: ValueReader) -> BeginEpoch:
    return BeginEpoch(r.integer(), r.integer(), r.integer())


def _read_tick(_r: ValueReader) -> ClockTick:
    return ClockTick()


def _read_operation(r: ValueReader) -> RecordOperation:
    return RecordOperation(r.text(), r.text())


# Every version ever written has its reader: one that reads an older version answers with
# the command as it is now.
_READERS: Final[dict[bytes, Callable[..., Command]]] = {
    bytes((1, 1)): _read_orders_v1,
    bytes((1, 2)): _read_orders,
    bytes((2, 1)): _read_register_v1,
    bytes((2, 2)): _read_register,
    bytes((3, 1)): _read_transfer,
    bytes((4, 1)): _read_market,
    bytes((5, 1)): _read_status_v1,
    bytes((5, 2)): _read_status,
    bytes((6, 1)): _read_fees,
    bytes((7, 1)): _read_deposit,
    bytes((8, 1)): _read_withdraw,
    bytes((9, 1)): _read_trades,
    bytes((10, 1)): _read_tick,
    bytes((11, 1)): _read_operation,
    bytes((12, 1)): _read_epoch,
    bytes((13, 1)): _read_revoke,
    bytes((14, 1)): _read_limits,
    bytes((15, 1)): _read_stp_group,
    bytes((16, 1)): _read_mass_cancel,
    bytes((17, 1)): _read_switch,
    bytes((20, 1)): read_create_pool,
    bytes((21, 1)): read_add_liquidity,
    bytes((22, 1)): read_remove_liquidity,
    bytes((23, 1)): read_pool_swap,
    bytes((40, 1)): read_request,
    bytes((41, 1)): read_quote,
    bytes((42, 1)): read_withdrawal,
    bytes((43, 1)): read_acceptance,
    bytes((44, 1)): read_session_end,
    bytes((45, 1)): read_request_withdrawal,
    bytes((50, 1)): read_opening,
    bytes((51, 1)): _read_session_orders,
    bytes((52, 1)): read_countersignature,
    bytes((53, 1)): read_end,
}
# These take all bytes; the others read values behind type and version.
_READ_WHOLE: Final = (_read_orders, _read_orders_v1, _read_session_orders)


def readable_commands() -> list[CommandType]:
    """Every (type, version) this release reads."""
    return sorted(CommandType(*head) for head in _READERS)
