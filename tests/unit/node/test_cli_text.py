"""What others wrote is shown on a terminal, and never obeyed by it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dexcore.commands import RegisterKey
from dexnode.cli.common import print_table, printable, report_error
from dexruntime.storage import PosixStorage
from dexsdk import DexError
from tests.support.command_line import call_dex
from tests.unit.core.exchanges import Trader, orders, place, public_key, with_terms
from tests.unit.runtime.shards import do, running


def test_controls_are_shown_and_text_is_left_alone() -> None:
    assert (
        printable("Zürich \U0001f469\u200d\U0001f680 [x]")
        == "Zürich \U0001f469\u200d\U0001f680 [x]"
    )
    assert printable("a\x1b[2J\r\nb\x9b\x7f") == r"a\x1b[2J\r\nb\x9b\x7f"
    assert printable("\u202eabc\u2028") == r"\u202eabc\u2028"


def test_a_cell_forges_no_row_and_no_style(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("key", "label"), [("00", "\x1b[2Jbot\nff  forged"), ("11", "[bold]x[/red]")])
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert len(out.splitlines()) == 3
    assert r"\x1b[2Jbot\nff  forged" in out
    assert "[bold]x[/red]" in out


def test_what_a_node_answers_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    report_error(DexError("INTERNAL", "gone\n\x1b]0;title\x07dex: all is well"), as_json=False)
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert "\x1b" not in err
    assert "\x07" not in err


async def test_a_dump_shows_what_a_client_signed_and_the_exchange_refused(tmp_path: Path) -> None:
    storage = PosixStorage(tmp_path / "journal")
    key = public_key(5)
    async with running(storage) as shard:
        refused = RegisterKey(0, 1, 10**18, bytes(16), key, key, 0, 0, "\x1b[2J\nforged")
        await do(shard, refused)
    dumped = call_dex("journal", "dump", str(storage.directory))
    assert r"label=\x1b[2J\nforged" in dumped.stdout
    assert "\x1b" not in dumped.stdout
    empty = tmp_path / "\x1b[2J"
    empty.mkdir()
    failed = call_dex("journal", "dump", str(empty))
    assert failed.returncode == 1
    assert r"\x1b[2J" in failed.stderr
    assert "\x1b" not in failed.stderr


async def test_a_dump_shows_what_an_order_says(tmp_path: Path) -> None:
    storage = PosixStorage(tmp_path / "journal")
    trader = Trader(1, public_key(5))
    async with running(storage) as shard:
        items = (place(), with_terms(place(), display_lots=3, stp=2))
        await do(shard, orders(trader, 1, items, phased=True))
    dumped = call_dex("journal", "dump", str(storage.directory))
    assert " terms=[(3, 0, 0, 0, 0, 0, 2, 0)] phased=1 " in dumped.stdout
