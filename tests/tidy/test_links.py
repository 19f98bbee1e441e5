"""Links between pages lead somewhere, and docs/README.md lists every decision."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("docs", "sdk", "examples", "deploy", "tests")
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)\s#]+)(?:#[^)\s]*)?\)")


def pages() -> Iterator[Path]:
    """Every hand-written page."""
    yield from ROOT.glob("*.md")
    for folder in FOLDERS:
        yield from (p for p in (ROOT / folder).rglob("*.md") if "node_modules" not in p.parts)


def dead_links(page: Path, text: str) -> list[str]:
    """Relative links of a page that lead nowhere."""
    prose = re.sub(r"^```.*?^```|`[^`\n]*`", "", text, flags=re.MULTILINE | re.DOTALL)
    return [link for link in LINK.findall(prose) if not (page.parent / link).exists()]


def test_every_link_leads_somewhere() -> None:
    dead = [
        f"{page.relative_to(ROOT)}: {link}"
        for page in pages()
        for link in dead_links(page, page.read_text())
    ]
    assert not dead, "\n".join(sorted(dead))


def test_a_dead_link_is_found() -> None:
    page = ROOT / "docs" / "README.md"
    text = "[a](architecture.md) [b](nowhere.md#part) [c](https://example.com) `[d](code.md)`"
    assert dead_links(page, text) == ["nowhere.md"]


def test_every_decision_is_listed() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    names = sorted(path.name for path in (ROOT / "docs" / "adr").glob("[0-9]*.md"))
    missing = [name for name in names if f"adr/{name}" not in index and not name.startswith("0000")]
    assert not missing, f"docs/README.md does not list {missing}"
