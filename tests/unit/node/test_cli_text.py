"""What others wrote is shown on a terminal, and never obeyed by it."""

from __future__ import annotations

import pytest

from dexnode.cli.common import print_table, printable, report_error
from dexsdk import DexError


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
