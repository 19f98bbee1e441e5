"""Market by order through the matcher: its fills are those of a naive venue, file by file."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from dexnode.backtest.files import Inputs
from dexnode.backtest.mbo import MboFile
from dexnode.backtest.model import BacktestError
from dexnode.backtest.runner import Wanted, run_backtest
from tests.reference.mbo_venue import LAST, Fill, Record, Venue, busy_day
from tests.support import mbo_files

SEED = int(os.environ.get("BACKTEST_SEED", "5"))
COMMANDS = 3_000
NAMES = {1: "ESM4", 2: "NQM4"}
U = 10**9


def run(path: Path, output: Path | None = None) -> dict[str, Any]:
    return run_backtest(Wanted([path], output=output))


def fills_of(output: Path, market: str = "ESM4") -> list[Fill]:
    rows = pq.read_table(output / "fills.parquet").to_pylist()
    return [
        Fill(
            row["maker_order_id"],
            row["taker_order_id"],
            int(row["price"] * U),
            int(row["quantity"]),
        )
        for row in rows
        if row["market"] == market
    ]


def write(tmp_path: Path, records: Sequence[Record], name: str = "day.dbn") -> Path:
    return mbo_files.write(tmp_path / name, mbo_files.dbn(records, 3, NAMES))


def record(action: str, side: str, price: int, size: int, order_id: int, flags: int) -> Record:
    return Record(1_000, 1, action, side, price * U, size, order_id, flags)


def test_fills_are_those_of_the_first_in_first_out_venue(tmp_path: Path) -> None:
    print(f"BACKTEST_SEED={SEED} pytest {__file__}")
    venue = busy_day(SEED, COMMANDS)
    report = run(write(tmp_path, venue.records), tmp_path / "out")
    fills = fills_of(tmp_path / "out")
    assert len(fills) > COMMANDS // 5
    assert venue.prevented > 30
    assert fills == venue.fills
    assert report["refused_count"] == 0
    assert report["source"] == {
        "recorded_fill_count": len(venue.fills),
        "differently_filled_count": 0,
        "unknown_order_count": 0,
        "hidden_quantity": "0",
        "auction_quantity": "0",
    }
    assert report["markets"][0]["end"]["order_count"] == len(venue.orders)
    assert report["fill_count"] == len(venue.fills)
    traded = sum(fill.size for fill in venue.fills)
    notional = sum(fill.size * fill.price for fill in venue.fills) // U
    assert report["markets"][0]["quantity"] == str(traded)
    assert report["markets"][0]["notional"] == str(notional)


@pytest.mark.parametrize("name", ["day.dbn", "day.dbn.zst", "day.dbn.gz", "day.csv", "day.csv.zst"])
def test_every_kind_of_file_says_the_same(tmp_path: Path, name: str) -> None:
    venue, other = busy_day(SEED, 300), busy_day(SEED + 1, 300, instrument_id=2)
    records = sorted(venue.records + other.records, key=lambda each: each.time_ns)
    for version in (1, 2, 3):
        if ".csv" in name:
            data = mbo_files.csv_text(records, NAMES).encode()
        else:
            data = mbo_files.dbn(records, version, NAMES)
        folder = tmp_path / str(version)
        path = mbo_files.write(tmp_path / name, data)
        assert run(path, folder)["format"] == "databento"
        assert fills_of(folder, "ESM4") == venue.fills
        assert fills_of(folder, "NQM4") == other.fills


def test_files_continue_each_other(tmp_path: Path) -> None:
    venue = busy_day(SEED, 400)
    cut = next(i for i in range(500, 1_000) if venue.records[i].flags & LAST) + 1
    paths = [write(tmp_path, venue.records[:cut], "a.dbn")]
    paths.append(write(tmp_path, venue.records[cut:], "b.dbn"))
    run_backtest(Wanted(paths, output=tmp_path / "out"))
    assert fills_of(tmp_path / "out") == venue.fills


def test_what_an_owner_would_trade_with_itself_leaves_before_the_aggressor(tmp_path: Path) -> None:
    venue = Venue()
    venue.add(1, 10, "A", 100 * U, 5, ioc=False)
    venue.add(2, 20, "A", 100 * U, 5, ioc=False)
    venue.add(3, 30, "A", 100 * U, 5, ioc=False)
    venue.add(4, 20, "B", 100 * U, 8, ioc=True)
    assert [each.action for each in venue.records[3:]] == ["T", "F", "C", "C", "F", "C"]
    run(write(tmp_path, venue.records), tmp_path / "out")
    assert fills_of(tmp_path / "out") == [Fill(1, 4, 100 * U, 5), Fill(3, 4, 100 * U, 3)]


def test_an_iceberg_that_shows_more_within_an_event_is_hidden_until_then(tmp_path: Path) -> None:
    records = [
        record("A", "A", 100, 10, 1, LAST),
        record("A", "A", 100, 10, 2, LAST),
        record("T", "B", 100, 25, 9, 0),
        record("F", "A", 100, 10, 1, 0),
        record("M", "A", 100, 10, 1, 0),
        record("F", "A", 100, 10, 2, 0),
        record("C", "A", 100, 10, 2, 0),
        record("F", "A", 100, 5, 1, 0),
        record("M", "A", 100, 5, 1, LAST),
        record("T", "B", 100, 5, 10, 0),
        record("F", "A", 100, 5, 1, 0),
        record("C", "A", 100, 5, 1, LAST),
    ]
    report = run(write(tmp_path, records), tmp_path / "out")
    price = 100 * U
    wanted = [Fill(1, 9, price, 10), Fill(2, 9, price, 10), Fill(1, 10, price, 5)]
    assert fills_of(tmp_path / "out") == wanted
    assert report["source"]["hidden_quantity"] == "5"
    assert report["markets"][0]["end"]["order_count"] == 0


def test_trades_with_hidden_orders_and_crosses_take_nobody_elses_place(tmp_path: Path) -> None:
    records = [
        record("A", "A", 100, 10, 1, LAST),
        record("A", "B", 99, 10, 2, LAST),
        # Inside the spread, with an order that nobody saw.
        record("T", "B", 100, 4, 0, LAST),
        # A cross of the venue: no side, both filled.
        record("T", "N", 99, 3, 0, 0),
        record("F", "B", 99, 3, 2, 0),
        record("C", "B", 99, 3, 2, LAST),
    ]
    report = run(write(tmp_path, records), tmp_path / "out")
    assert fills_of(tmp_path / "out") == []
    assert report["source"]["hidden_quantity"] == "7"
    assert report["source"]["auction_quantity"] == "3"
    end = report["markets"][0]["end"]
    assert (end["bid_quantity"], end["ask_quantity"]) == ("7", "10")


def test_a_clear_takes_every_order_out_and_a_snapshot_puts_them_in(tmp_path: Path) -> None:
    records = [
        record("A", "A", 100, 10, 1, LAST),
        record("R", "N", 0, 0, 0, 0),
        record("A", "A", 101, 1, 1, 0),
        record("A", "A", 101, 2, 5, LAST),
        record("C", "A", 101, 2, 77, LAST),
    ]
    report = run(write(tmp_path, records))
    end = report["markets"][0]["end"]
    assert (end["ask_price"], end["ask_quantity"], end["order_count"]) == ("101", "3", 2)
    assert report["source"]["unknown_order_count"] == 1


def test_the_vendors_library_reads_what_these_tests_write(tmp_path: Path) -> None:
    databento_dbn = pytest.importorskip("databento_dbn", reason="not installed: make dev")
    venue = busy_day(SEED, 200)
    for version in (1, 2, 3):
        decoder = databento_dbn.DBNDecoder()
        decoder.write(mbo_files.dbn(venue.records, version, NAMES))
        metadata, *decoded = decoder.decode()
        assert metadata.symbols == list(NAMES.values())
        mapped = {name: spans[0]["symbol"] for name, spans in metadata.mappings.items()}
        assert mapped == {name: str(instrument_id) for instrument_id, name in NAMES.items()}
        assert [
            (m.ts_recv, m.instrument_id, str(m.action), str(m.side), m.price, m.size, m.order_id)
            for m in decoded
        ] == [tuple(each[:7]) for each in venue.records]
        assert [int(m.flags) for m in decoded] == [each.flags for each in venue.records]


def test_what_the_vendors_library_writes_is_read(tmp_path: Path) -> None:
    dbn = pytest.importorskip("databento_dbn", reason="not installed: make dev")
    said = dbn.Metadata(
        dataset="GLBX.MDP3",
        start=1,
        stype_in=dbn.SType.RAW_SYMBOL,
        stype_out=dbn.SType.INSTRUMENT_ID,
        schema=dbn.Schema.MBO,
    )
    message = dbn.MBOMsg(
        publisher_id=3,
        instrument_id=4,
        ts_event=5,
        order_id=2**64 - 1,
        price=-7,
        size=8,
        action=dbn.Action.MODIFY,
        side=dbn.Side.ASK,
        ts_recv=2**64 - 1,
        flags=128,
    )
    path = tmp_path / "a.dbn"
    path.write_bytes(bytes(said) + bytes(message))
    (read,) = MboFile(path, Inputs([path]))
    assert read == (5, 3, 4, ord("M"), ord("A"), -7, 8, 2**64 - 1, 128, "")


def test_prices_and_times_of_a_csv_may_be_pretty(tmp_path: Path) -> None:
    header, row = mbo_files.csv_text([record("A", "B", 100, 1, 9, LAST)], NAMES).splitlines()
    pretty = row.replace("1000,500", "2024-06-17T00:00:00.000000007Z,", 1).replace(
        "100000000000", "100.250000000"
    )
    path = tmp_path / "a.csv"
    path.write_text(f"{header}\n{pretty}\n")
    (read,) = MboFile(path, Inputs([path]))
    assert (read.time_ns, read.price) == (1_718_582_400_000_000_007, 100_250_000_000)
    assert read.symbol == "ESM4"


BAD_RECORDS = {
    "action": (
        record("X", "B", 1, 1, 1, 0),
        "record 2, field action: 'X' is none of A C M R T F N",
    ),
    "side": (record("A", "X", 1, 1, 1, 0), "record 2, field side: 'X' is none of B A N"),
    "no side": (record("A", "N", 1, 1, 1, 0), "record 2, field side: 'N': an order that rests has"),
    "top of book": (record("A", "B", 1, 1, 1, 0x40), "record 2, field flags: 64: a top of book"),
}


@pytest.mark.parametrize("name", BAD_RECORDS)
def test_a_bad_record_is_named(tmp_path: Path, name: str) -> None:
    bad, said = BAD_RECORDS[name]
    path = write(tmp_path, [record("A", "B", 1, 1, 7, LAST), bad])
    with pytest.raises(BacktestError) as error:
        run(path)
    assert error.value.message.startswith(f"{path}, {said}")


def test_an_order_without_a_price_is_named(tmp_path: Path) -> None:
    bad = record("A", "B", 1, 1, 7, LAST)._replace(price=2**63 - 1)
    with pytest.raises(BacktestError, match="record 1, field price: undefined"):
        run(write(tmp_path, [bad]))


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("price", "1e5", "line 2, field price: '1e5' is no price"),
        ("size", "-1", "line 2, field size: '-1' is no whole number"),
        ("ts_recv", "today", "line 2, field ts_recv: 'today' is no time"),
        ("flags", "", "line 2, field flags: '' is no whole number"),
        ("order_id", "9" * 5_000, "line 2, field order_id: 99999999999999999999 is more than"),
        ("price", "9" * 19, f"line 2, field price: {'9' * 19} is more than"),
        ("ts_recv", "9" * 20, f"line 2, field ts_recv: {'9' * 20} is after the year 2262"),
        ("action", "", "line 2, field action: '' is none of"),
    ],
)
def test_a_bad_value_of_a_csv_is_named(tmp_path: Path, column: str, value: str, said: str) -> None:
    header, row = mbo_files.csv_text([record("A", "B", 1, 1, 7, LAST)], NAMES).splitlines()
    values = row.split(",")
    values[header.split(",").index(column)] = value
    path = tmp_path / "a.csv"
    path.write_text(f"{header}\n{','.join(values)}\n")
    with pytest.raises(BacktestError) as error:
        run(path)
    assert error.value.message.startswith(f"{path}, {said}")


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(mbo_files.HEADER.replace("side,", "") + "\n")
    with pytest.raises(BacktestError, match=r"line 1, field side: no such column"):
        run(path)


def test_another_schema_and_version_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.dbn"
    path.write_bytes(mbo_files.metadata(3, NAMES, schema=4))
    with pytest.raises(BacktestError, match="metadata, field schema: number 4: not market by"):
        run(path)
    path.write_bytes(b"DBN\x09" + mbo_files.metadata(3, NAMES)[4:])
    with pytest.raises(BacktestError, match="metadata, field version: DBN 9; known are 1 to 3"):
        run(path)


def test_a_file_cut_anywhere_is_told_or_whole(tmp_path: Path) -> None:
    records = [record("A", "B", 1, 1, 7, LAST), record("A", "A", 2, 1, 8, LAST)]
    whole = mbo_files.dbn(records, 3, NAMES)
    path = tmp_path / "a.dbn"
    first = len(mbo_files.metadata(3, NAMES))
    for length in (*range(4, first, 17), *range(first, len(whole), 5), first + 56):
        path.write_bytes(whole[:length])
        if length in (first, first + 56):
            run(path)
        else:
            with pytest.raises(BacktestError, match="the file ends within it"):
                run(path)
    packed = mbo_files.write(tmp_path / "a.dbn.zst", whole).read_bytes()
    path.write_bytes(packed[:-9])
    with pytest.raises(BacktestError):
        run(path)


def test_a_byte_that_changed_is_told_or_another_stream(tmp_path: Path) -> None:
    print(f"BACKTEST_SEED={SEED} pytest {__file__}")
    chance = random.Random(SEED)
    records = busy_day(SEED, 20).records
    wholes = [mbo_files.dbn(records, 3, NAMES), mbo_files.csv_text(records, NAMES).encode()]
    said: list[str] = []
    path = tmp_path / "a"
    for _ in range(150):
        data = bytearray(chance.choice(wholes))
        for _ in range(chance.randrange(1, 4)):
            data[chance.randrange(3, len(data))] = chance.randrange(256)
        path.write_bytes(data)
        try:
            run_backtest(Wanted([path], "databento"))
        except BacktestError as error:
            said.append(error.message)
    assert 0 < len(said) < 150
    assert not [line for line in said if not line.startswith(f"{path}, ") or "\n" in line]


def test_results_are_kept_only_when_the_run_is_done(tmp_path: Path) -> None:
    bad = BAD_RECORDS["action"][0]
    path = write(tmp_path, [record("A", "B", 1, 1, 7, LAST), bad])
    with pytest.raises(BacktestError):
        run(path, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    run(write(tmp_path, [record("A", "B", 1, 1, 7, LAST)]), tmp_path / "out")
    names = sorted(each.name for each in (tmp_path / "out").iterdir())
    assert names == ["closes.parquet", "fills.parquet", "top_of_book.parquet"]
