"""Orders as CSV through the matcher: what each column does, and what a bad row says."""

from __future__ import annotations

import signal
import subprocess
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from dexnode.backtest.engine import MatcherEngine
from dexnode.backtest.model import BacktestError, Grid, Step, units_of
from dexnode.backtest.runner import Wanted, run_backtest
from tests.support.command_line import call_dex

HEADER = "time_ns,account,action,order_id,side,price,quantity"
TERMS = "type,time_in_force,post_only,display_quantity,min_quantity,expire_time_ns"
MORE = f"{HEADER},{TERMS},self_trade_prevention,market"


def csv_file(tmp_path: Path, *rows: str, header: str = HEADER) -> Path:
    path = tmp_path / "orders.csv"
    path.write_text("\n".join((header, *rows)) + "\n")
    return path


def run(path: Path, output: Path | None = None, **wanted: Any) -> dict[str, Any]:
    return run_backtest(Wanted([path], output=output, **wanted))


def read(output: Path, name: str) -> list[dict[str, Any]]:
    """Rows with their time in nanoseconds: a datetime of Python holds none."""
    table = pq.read_table(output / f"{name}.parquet")
    return table.set_column(0, "time", table["time"].cast("int64")).to_pylist()  # type: ignore[no-any-return]


def fills(output: Path) -> list[tuple[Any, ...]]:
    rows = read(output, "fills")
    return [
        (
            *(row["maker_account"], row["maker_order_id"]),
            *(row["taker_account"], row["taker_order_id"]),
            *(
                row["taker_side"],
                f"{row['price'].normalize():f}",
                f"{row['quantity'].normalize():f}",
            ),
        )
        for row in rows
    ]


def test_orders_trade_by_price_and_time(tmp_path: Path) -> None:
    path = csv_file(
        tmp_path,
        "10,1,place,1,buy,99.5,2",
        "11,2,place,1,buy,99.5,2",
        "12,3,place,9,buy,100,0.5",
        # A smaller order stays in its place, a larger one goes behind.
        "13,1,amend,1,,99.5,1.5",
        "14,2,amend,1,,99.5,3",
        "15,4,place,1,buy,99.5,1",
        "16,5,place,1,sell,99.5,6",
    )
    report = run(path, tmp_path / "out")
    assert fills(tmp_path / "out") == [
        (3, 9, 5, 1, "sell", "100", "0.5"),
        (1, 1, 5, 1, "sell", "99.5", "1.5"),
        (2, 1, 5, 1, "sell", "99.5", "3"),
        (4, 1, 5, 1, "sell", "99.5", "1"),
    ]
    assert report["refused"] == {}
    assert (report["command_count"], report["fill_count"]) == (7, 4)
    (market,) = report["markets"]
    assert market["market"] == "orders"
    assert (market["quantity"], market["notional"]) == ("6", "597.25")
    closes = read(tmp_path / "out", "closes")
    assert [(row["account"], row["status"]) for row in closes] == [
        *((account, "filled") for account in (3, 1, 2, 4, 5)),
    ]
    tops = read(tmp_path / "out", "top_of_book")
    assert [row["time"] for row in tops] == [10, 11, 12, 16]
    assert [row["bid_quantity"] for row in tops] == [2, 4, Decimal("0.5"), None]


def test_terms_are_those_of_the_exchange(tmp_path: Path) -> None:
    path = csv_file(
        tmp_path,
        "1,1,place,1,sell,10,5,limit,gtc,,2,,,,A-B",
        "2,2,place,1,sell,10,2,limit,gtd,,,,50,,A-B",
        "3,3,place,1,buy,10,3,limit,ioc,,,,,,A-B",
        "4,2,place,2,buy,10,1,limit,ioc,,,,,cancel_newest,A-B",
        "5,4,place,1,buy,11,1,,,yes,,,,,A-B",
        "6,4,place,2,buy,,9,market,fok,,,,,,A-B",
        "60,5,place,1,buy,10,9,limit,ioc,,,,,,A-B",
        "61,6,place,1,buy,7,1,,,,,,,,C-D",
        "62,6,place,1,buy,7,1,,,,,,,,C-D",
        "63,6,cancel_all,,,,,,,,,,,,",
        "64,6,cancel,1,,,,,,,,,,,C-D",
        header=MORE,
    )
    report = run(path, tmp_path / "out")
    assert fills(tmp_path / "out") == [
        # Two are shown; then the second order, one of its two; the rest of that expired at 50.
        (1, 1, 3, 1, "buy", "10", "2"),
        (2, 1, 3, 1, "buy", "10", "1"),
        (1, 1, 5, 1, "buy", "10", "2"),
        (1, 1, 5, 1, "buy", "10", "1"),
    ]
    assert report["refused"] == {
        "POST_ONLY_WOULD_TAKE post_only": 1,
        "FILL_OR_KILL_UNFILLABLE quantity_lots": 1,
        "CLIENT_ORDER_ID_IN_USE client_order_id": 1,
        "UNKNOWN_ORDER client_order_id": 1,
    }
    closes = read(tmp_path / "out", "closes")
    ends = [(row["order_id"], row["status"], row["time"]) for row in closes if row["account"] == 2]
    # It would have traded with itself; and the first ended when its time came, between commands.
    assert ends == [(2, "cancelled", 4), (1, "expired", 50)]
    assert [each["market"] for each in report["markets"]] == ["A-B", "C-D"]


def test_stops_trail_pegs_and_amended_triggers(tmp_path: Path) -> None:
    path = csv_file(
        tmp_path,
        "1,1,place,1,buy,10,9,,,",
        "2,2,place,1,sell,12,9,,,",
        "3,3,place,1,sell,,1,stop,11,",
        "4,4,place,1,buy,13,2,stop_limit,12.5,",
        "5,4,amend,1,,13,2,,12,",
        "6,5,place,1,buy,11,3,pegged,,primary",
        # Trades at 12 and triggers the second stop, at 10 and triggers the first.
        "7,6,place,1,buy,12,1,,,",
        "8,6,place,2,sell,10,4,,,",
        "9,3,place,2,sell,,1,stop,9,",
        header=f"{HEADER},type,trigger_price,peg",
    )
    report = run(path, tmp_path / "out", grid=Grid(10**7, 10**9, protection=10**9))
    assert fills(tmp_path / "out") == [
        (2, 1, 6, 1, "buy", "12", "1"),
        (2, 1, 4, 1, "buy", "12", "2"),
        (1, 1, 6, 2, "sell", "10", "4"),
        (1, 1, 3, 1, "sell", "10", "1"),
    ]
    assert report["refused"] == {}
    assert report["markets"][0]["end"]["bid_quantity"] == "7"
    assert {name for name in run(path)["refused"] if name.startswith("PROTECTION_REQUIRED")}


def test_prices_off_the_grid_that_is_asked_for_are_refused(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "1,1,place,1,buy,9.505,1", "1,1,place,2,buy,9.50,1.5")
    report = run(path, grid=Grid(10**7, 10**9))
    assert report["refused"] == {
        "PRICE_OFF_TICK price_ticks": 1,
        "QUANTITY_OFF_LOT quantity_lots": 1,
    }


def test_the_spread_is_weighed_by_time(tmp_path: Path) -> None:
    path = csv_file(
        tmp_path,
        "0,1,place,1,buy,9,1",
        "10,1,place,2,sell,10,1",
        "40,1,place,3,sell,9.5,1",
        "50,1,cancel,1,,,",
        "90,1,cancel,2,,,",
    )
    # 30 ns of 1, 10 ns of 0.5, and none while there is no bid.
    assert run(path)["markets"][0]["mean_spread"] == "0.875"


def test_sums_that_no_float_holds_are_exact(tmp_path: Path) -> None:
    size, price = "123456789012345.123456789", "987654321098765.000000001"
    rows = (f"1,1,place,1,buy,{price},{size}", f"2,2,place,1,sell,{price},{size}")
    report = run(csv_file(tmp_path, *rows), tmp_path / "out")
    units = units_of(size) * units_of(price)
    assert report["markets"][0]["notional"].replace(".", "") == str(units)
    (row,) = read(tmp_path / "out", "fills")
    assert (str(row["price"]), str(row["quantity"])) == (f"{price}{'0' * 9}", f"{size}{'0' * 9}")


GOOD = "1,1,place,1,buy,1,1"
BAD_ROWS = {
    "-5,1,place,2,buy,1,1": "field time_ns: '-5' is no whole number",
    "0,1,place,2,buy,1,1": "field time_ns: 0 is before 1: time may not fall",
    "2,0,place,2,buy,1,1": "field account: 0 is not between 1 and",
    "2,1,replace,2,buy,1,1": "field action: 'replace' is none of place, cancel, amend, cancel_all",
    "2,1,,2,buy,1,1": "field action: missing: place, cancel, amend, cancel_all",
    "2,1,place,99999999999999999999,buy,1,1": "field order_id: 99999999999999999999 is not",
    "2,1,place,2,hold,1,1": "field side: 'hold' is none of buy, sell",
    "2,1,place,2,,1,1": "field side: missing: buy or sell",
    "2,1,place,2,buy,1e3,1": "field price: '1e3' is no decimal number",
    "2,1,place,2,buy,0.0000000001,1": "field price: 0.0000000001 has more than 9 decimals",
    "2,1,place,2,buy,1,1234567890123456": "field quantity: 1234567890123456 has more than 15",
    "2,1,place,2,buy,1": "6 values, the header has 7",
    '2,1,"place"x,2,buy,1,1': "',' expected after '\"'",
}


@pytest.mark.parametrize("row", BAD_ROWS)
def test_a_bad_row_is_named_with_its_field(tmp_path: Path, row: str) -> None:
    path = csv_file(tmp_path, GOOD, row)
    with pytest.raises(BacktestError) as error:
        run(path)
    assert error.value.message.startswith(f"{path}, line 3")
    assert BAD_ROWS[row] in error.value.message
    assert "\n" not in error.value.message


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("time_ns,action,order_id", "line 1, field account: no such column; needed are time_ns"),
        (f"{HEADER},colour", "line 1, field colour: unknown column; known are time_ns"),
    ],
)
def test_a_bad_header_is_named(tmp_path: Path, header: str, said: str) -> None:
    with pytest.raises(BacktestError, match=said):
        run(csv_file(tmp_path, header=header))


def test_text_of_another_encoding_and_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_bytes(f"{HEADER}\n1,1,place,1,buy,\xe9,1\n".encode("latin-1"))
    with pytest.raises(BacktestError, match="not UTF-8"):
        run(path)
    path.write_bytes(b"")
    with pytest.raises(BacktestError, match=r"orders\.csv: is empty"):
        run(path)


def said_by(*arguments: str) -> subprocess.CompletedProcess[str]:
    return call_dex("backtest", *arguments)


def test_the_command_says_what_it_did_and_what_is_wrong(tmp_path: Path) -> None:
    path = csv_file(tmp_path, GOOD, "2,2,place,1,sell,1,1")
    done = said_by(str(path))
    assert done.returncode == 0
    for part in ("commands   2", "fills      1", "1 traded, notional 1", "commands/s", "core "):
        assert part in done.stdout
    first = said_by(str(path), "--output", str(tmp_path / "out"))
    assert "fills.parquet, 1 rows" in first.stdout
    again = said_by(str(path), "--output", str(tmp_path / "out"))
    assert again.returncode == 1
    assert again.stderr.endswith("fills.parquet exists: give --output another folder\n")
    bad = csv_file(tmp_path, "1,1,place,1,buy,x,1")
    wrong = said_by(str(bad))
    assert wrong.returncode == 1
    assert wrong.stderr == f"Error: {bad}, line 2, field price: 'x' is no decimal number\n"
    tick = said_by(str(bad), "--tick-size", "0")
    assert tick.returncode == 2
    assert "--tick-size 0 is not above zero" in tick.stderr


def test_help_teaches_the_columns(tmp_path: Path) -> None:
    shown = said_by("--help").stdout
    rows = [line.strip() for line in shown.splitlines()]
    at = rows.index(HEADER)
    path = csv_file(tmp_path, *rows[at + 1 : at + 5])
    report = run(path)
    assert (report["command_count"], report["fill_count"], report["refused_count"]) == (4, 1, 0)


def test_formats_are_not_mixed(tmp_path: Path) -> None:
    path = csv_file(tmp_path, GOOD)
    other = tmp_path / "other.jsonl"
    other.write_text('1 {"e":"trade"}\n')
    with pytest.raises(BacktestError, match=r"is binance, .* is orders: one a run"):
        run_backtest(Wanted([path, other]))
    with pytest.raises(BacktestError, match="no journal here"):
        run(tmp_path)
    with pytest.raises(BacktestError, match="the format orders is a file"):
        run(tmp_path, format_name="orders")


def test_an_interrupt_waits_until_nothing_is_half_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compiled code would end the process in the middle of a large integer."""
    carried_out: list[int] = []
    run_chunk = MatcherEngine.run

    def interrupted(engine: MatcherEngine, chunk: list[Step]) -> None:
        signal.raise_signal(signal.SIGINT)
        run_chunk(engine, chunk)
        carried_out.append(len(chunk))

    monkeypatch.setattr(MatcherEngine, "run", interrupted)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(csv_file(tmp_path, "10,1,place,1,buy,99.5,2"), tmp_path / "out")
    assert carried_out == [1]
    assert not list((tmp_path / "out").iterdir())
    assert signal.getsignal(signal.SIGINT) is before
