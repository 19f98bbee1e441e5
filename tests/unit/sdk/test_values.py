"""Keys, markets, local books, enums, errors: values without a connection."""

from __future__ import annotations

import copy
import random
import subprocess
import sys
from decimal import Decimal
from enum import IntEnum
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import EnumDescriptor

import dexsdk
from dex.accounts.v1 import accounts_pb2
from dex.errors.v1 import errors_pb2
from dex.kline.v1 import kline_query_pb2
from dex.matching.v1 import matching_pb2 as matching
from dex.matching.v1 import swap_pb2
from dex.orders.v1 import order_intake_pb2, signed_payload_pb2
from dex.pools.v1 import pools_pb2
from dexsdk import (
    CallerError,
    Key,
    LocalBook,
    Market,
    NewOrder,
    OffGrid,
    OrderType,
    PeerError,
    PegReference,
    SelfTradePrevention,
    Side,
    TimeInForce,
    Unavailable,
    from_rejection,
    pair_of,
)
from dexsdk.errors import from_status

BTC_USDT = Market.define(
    "BTC-USDT", base_scale=8, quote_scale=8, tick_size="0.01", lot_size="0.00001"
)


def test_a_key_file_is_private_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    key = Key.generate()
    key.save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert Key.load(path).sign(b"x") == key.sign(b"x")
    with pytest.raises(FileExistsError):
        key.save(path)
    for mode in (0o640, 0o604, 0o610):
        path.chmod(mode)
        with pytest.raises(CallerError, match="chmod 600"):
            Key.load(path)


def test_openssl_reads_and_writes_the_key_file(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    key = Key(bytes(range(32)))
    key.save(path)
    try:
        command = ["openssl", "pkey", "-in", str(path), "-pubout", "-outform", "DER"]
        public = subprocess.run(command, check=True, capture_output=True).stdout
    except FileNotFoundError:
        pytest.skip("no openssl on this machine")
    assert public.endswith(key.public_bytes)
    other = tmp_path / "other.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", other], check=True)
    other.chmod(0o600)
    assert len(Key.load(other).public_bytes) == 32


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\n!!!\n-----END PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAAA\n-----END PRIVATE KEY-----",
    ],
)
def test_a_file_without_a_key_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key.pem"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(CallerError):
        Key.load(path)


def test_a_key_never_shows_its_secret() -> None:
    seed = bytes(range(32))
    key = Key(seed)
    assert seed.hex() not in repr(key) + str(key) + f"{key}"
    for leak in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            leak(key)
    with pytest.raises(CallerError):
        Key(b"short")


def test_a_market_is_defined_by_its_grid() -> None:
    message = BTC_USDT.message
    assert (message.base_atoms_per_lot, message.quote_atoms_per_tick_lot) == (1_000, 10)
    assert (message.base_asset.asset_id, message.quote_asset.asset_id) == ("BTC", "USDT")
    assert (BTC_USDT.tick_size, BTC_USDT.lot_size) == (Decimal("0.01"), Decimal("0.00001"))
    assert BTC_USDT.notional_atoms(6_500_000, 100_000) == 65_000 * 10**8
    assert BTC_USDT.format_price(6_500_000) == "65000.00"
    assert BTC_USDT.format_quantity(1) == "0.00001"
    with pytest.raises(OffGrid) as caught:  # one tick of one lot is a tenth of an atom
        Market.define("BTC-USDT", base_scale=8, quote_scale=6, tick_size="0.01", lot_size="0.00001")
    assert caught.value.reason == "SCALE_INEXACT"
    assert caught.value.field == "tick_size"


@pytest.mark.parametrize("price", ["100.001", "0.005", "-0.001", "1e-30", "65000.0000000001"])
def test_a_price_off_tick_names_the_field(price: str) -> None:
    with pytest.raises(OffGrid) as caught:
        BTC_USDT.price_ticks(price)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, CallerError)
    assert caught.value.reason == "PRICE_OFF_TICK"
    assert caught.value.field == "price_ticks"


@pytest.mark.parametrize("price", ["", "abc", "NaN", "Infinity", "1e999999999", "1,5"])
def test_no_number_is_no_price(price: str) -> None:
    with pytest.raises(OffGrid, match="price_ticks"):
        BTC_USDT.price_ticks(price)


def test_a_float_is_no_price() -> None:
    with pytest.raises(TypeError):
        BTC_USDT.price_ticks(1.5)  # type: ignore[arg-type]


def test_increments_coarsen_the_grid() -> None:
    message = matching.Market()
    message.CopyFrom(BTC_USDT.message)
    message.price_increment_ticks, message.quantity_increment_lots = 5, 10
    market = Market(message)
    assert market.price_ticks("1.05") == 105
    with pytest.raises(OffGrid, match="PRICE_OFF_TICK"):
        market.price_ticks("1.04")
    with pytest.raises(OffGrid, match="QUANTITY_OFF_LOT"):
        market.quantity_lots("0.00015")


def test_prices_and_sizes_go_there_and_back() -> None:
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    for _ in range(500):
        ticks, lots = dice.randint(0, 10**12), dice.randint(0, 10**12)
        assert BTC_USDT.price_ticks(BTC_USDT.format_price(ticks)) == ticks
        assert BTC_USDT.quantity_lots(BTC_USDT.quantity(lots)) == lots
        amount = BTC_USDT.format_amount("USDT", ticks)
        assert BTC_USDT.amount_atoms("USDT", amount) == ticks


def levels(side: dict[int, int]) -> list[matching.BookLevel]:
    return [matching.BookLevel(price_ticks=p, quantity_lots=q) for p, q in side.items()]


def test_a_local_book_is_the_sum_of_its_deltas() -> None:
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    bids: dict[int, int] = {}
    asks: dict[int, int] = {}
    book = LocalBook()
    assert book.best_bid() is None
    book.apply(matching.StreamBookResponse(snapshot=matching.Book(sequence=4)))
    for sequence in range(5, 505):
        changed = {dice.randint(1, 30): dice.choice([0, 1, 7]) for _ in range(3)}
        side = dice.choice([bids, asks])
        side.update(changed)
        delta = matching.BookDelta(
            sequence=sequence,
            bids=levels(changed) if side is bids else [],
            asks=levels(changed) if side is asks else [],
        )
        book.apply(matching.StreamBookResponse(delta=delta))
        assert book.bids() == sorted(((p, q) for p, q in bids.items() if q), reverse=True)
        assert book.asks(3) == sorted((p, q) for p, q in asks.items() if q)[:3]
        assert book.best_ask() == next(iter(book.asks(1)), None)
    with pytest.raises(PeerError):
        book.apply(matching.StreamBookResponse(delta=matching.BookDelta(sequence=506)))
    whole = matching.Book(sequence=900, bids=levels({3: 1, 2: 5}))
    book.apply(matching.StreamBookResponse(snapshot=whole))
    assert (book.sequence, book.bids(), book.asks()) == (900, [(3, 1), (2, 5)], [])


ENUMS: dict[type[IntEnum], EnumDescriptor] = {
    dexsdk.Side: signed_payload_pb2.Side.DESCRIPTOR,
    dexsdk.OrderType: signed_payload_pb2.OrderType.DESCRIPTOR,
    dexsdk.TimeInForce: signed_payload_pb2.TimeInForce.DESCRIPTOR,
    dexsdk.OrderStatus: order_intake_pb2.OrderStatus.DESCRIPTOR,
    dexsdk.PegReference: signed_payload_pb2.PegReference.DESCRIPTOR,
    dexsdk.SelfTradePrevention: signed_payload_pb2.SelfTradePrevention.DESCRIPTOR,
    dexsdk.MarketStatus: matching.MarketStatus.DESCRIPTOR,
    dexsdk.MarketKind: matching.MarketKind.DESCRIPTOR,
    dexsdk.LedgerEntryKind: accounts_pb2.LedgerEntryKind.DESCRIPTOR,
    dexsdk.PoolKind: pools_pb2.PoolKind.DESCRIPTOR,
    dexsdk.SwapExact: signed_payload_pb2.SwapExact.DESCRIPTOR,
    dexsdk.SwapSource: swap_pb2.SwapSource.DESCRIPTOR,
}


@pytest.mark.parametrize("enum", ENUMS, ids=lambda enum: enum.__name__)
def test_enums_are_the_contracts(enum: type[IntEnum]) -> None:
    values = {value.name: value.number for value in ENUMS[enum].values}
    contract = {name.rpartition("_")[2]: number for name, number in values.items() if number}
    ours = {member.name.rpartition("_")[2]: int(member) for member in enum}
    assert ours == contract


def test_an_order_is_what_its_fields_make_it() -> None:
    def order(**more: Any) -> NewOrder:
        return NewOrder("BTC-USDT", Side.SELL, 5, **more)

    kinds = {
        OrderType.LIMIT: [order(price_ticks=9), order(), order(price_ticks=9, display_lots=1)],
        OrderType.STOP: [order(trigger_price_ticks=9)],
        OrderType.STOP_LIMIT: [order(trigger_price_ticks=9, price_ticks=8)],
        OrderType.TRAILING_STOP: [order(trail_ticks=9)],
        OrderType.PEGGED: [order(peg=PegReference.MARKET, price_ticks=9)],
        OrderType.MARKET: [order(type=OrderType.MARKET)],
    }
    for kind, orders in kinds.items():
        assert [each.message().type for each in orders] == [kind] * len(orders)
    assert order().message().time_in_force == TimeInForce.GTC
    assert order(type=OrderType.MARKET).message().time_in_force == TimeInForce.IOC
    assert order(expire_time=10**18).message().time_in_force == TimeInForce.GTD
    day = order(expire_time=10**18, time_in_force=TimeInForce.DAY)
    assert day.message().time_in_force == TimeInForce.DAY, "what was said is changed"


def test_only_an_order_with_terms_says_so() -> None:
    plain = NewOrder("BTC-USDT", Side.BUY, 5, 9, post_only=True, client_order_id=3).message()
    assert not plain.HasField("terms")
    every = NewOrder(
        "BTC-USDT",
        Side.BUY,
        5,
        9,
        slide=True,
        trigger_price_ticks=1,
        trail_ticks=2,
        display_lots=3,
        min_lots=4,
        peg=PegReference.MIDPOINT,
        peg_offset_ticks=-5,
        expire_time=10**18,
        self_trade_prevention=SelfTradePrevention.CANCEL_BOTH,
        oco=True,
    ).message()
    assert every.post_only, "what slides is post-only"
    said = signed_payload_pb2.OrderTerms(
        trigger_price_ticks=1,
        trail_ticks=2,
        display_lots=3,
        min_lots=4,
        peg=signed_payload_pb2.PEG_REFERENCE_MIDPOINT,
        peg_offset_ticks=-5,
        self_trade_prevention=signed_payload_pb2.SELF_TRADE_PREVENTION_CANCEL_BOTH,
        slide=True,
        oco=True,
    )
    said.expire_time.FromSeconds(10**9)
    assert every.terms == said
    assert len(said.ListFields()) == len(said.DESCRIPTOR.fields)
    limit, stop = pair_of(
        NewOrder("M-M", Side.SELL, 5, 9), NewOrder("M-M", Side.SELL, 5, trigger_price_ticks=1)
    )
    assert not limit.message().HasField("terms")
    assert stop.message().terms.oco


def test_intervals_are_the_contracts() -> None:
    ours = {f"INTERVAL_{each.name[1:]}{each.name[0]}": int(each) for each in dexsdk.Interval}
    contract = {name: number for name, number in kline_query_pb2.Interval.items() if number}
    assert ours == contract
    assert kline_query_pb2.INTERVAL_1M == dexsdk.Interval.M1


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, CallerError),
        (grpc.StatusCode.NOT_FOUND, CallerError),
        (grpc.StatusCode.UNIMPLEMENTED, CallerError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, CallerError),
        (grpc.StatusCode.UNAVAILABLE, Unavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, Unavailable),
        (grpc.StatusCode.INTERNAL, Unavailable),  # gRPC's own: the stream broke
        (grpc.StatusCode.DATA_LOSS, PeerError),
    ],
)
def test_a_bare_status_is_sorted_by_its_code(
    code: grpc.StatusCode, kind: type[dexsdk.DexError]
) -> None:
    for details in (None, b"\xff"):
        error = from_status(code, "why", details)
        assert type(error) is kind
        assert (error.code, error.reason) == (code, code.name)


def test_a_rejection_is_an_error_when_there_is_one() -> None:
    assert from_rejection(errors_pb2.Rejection()) is None
    rejection = errors_pb2.Rejection(
        reason=errors_pb2.ERROR_REASON_INSUFFICIENT_FUNDS, field="quantity_lots"
    )
    error = from_rejection(rejection)
    assert isinstance(error, CallerError)
    assert (error.reason, error.field) == ("INSUFFICIENT_FUNDS", "quantity_lots")
    busy = from_rejection(errors_pb2.Rejection(reason=errors_pb2.ERROR_REASON_OVERLOADED))
    assert isinstance(busy, Unavailable)


def test_both_clients_have_the_same_methods() -> None:
    def names(kind: type) -> set[str]:
        return {name for name in dir(kind) if not name.startswith("_")}

    assert names(dexsdk.Client) == names(dexsdk.SyncClient)


def test_pyarrow_is_loaded_only_for_a_pull() -> None:
    probe = "import sys, dexsdk; sys.exit('pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], check=False).returncode == 0
