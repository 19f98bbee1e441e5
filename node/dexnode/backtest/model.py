"""What sources and engines agree on: steps, the grid of numbers, and how an error is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple, Protocol, TypeAlias

import click

from dexcore.items import Item, Terms

# Nanoseconds since the epoch, account, item, and what only some orders say. An item says its order
# by client_order_id, which is the number the file knows the order by.
Step: TypeAlias = tuple[int, int, Item, Terms | None]

# Prices and sizes count in this unit, Databento's own: nothing is rounded, and no file has to be
# read once before to learn how fine it is.
DECIMALS: Final = 9
UNIT: Final = 10**DECIMALS
WHOLE_DIGITS_MAX: Final = 15
INT64_MAX: Final = 2**63 - 1
UINT64_MAX: Final = 2**64 - 1
CHUNK_STEPS: Final = 4_096
# Stands for every account in a step that cancels all.
EVERY_ACCOUNT: Final = 0

# Streams of other venues name no accounts. Orders are spread over some, so that none has more open
# orders than an account may; whoever takes has one of its own, for its number may rest meanwhile.
_ACCOUNTS_PER_MARKET: Final = 256
_RESTING_ACCOUNTS: Final = 251


class BacktestError(click.ClickException):
    """A file is not what is documented: which file, where in it, which field, and why.

    ``place`` says where ("line 12", "record 3"); it and ``field`` are empty for a whole file.
    """

    def __init__(self, path: Path, place: str, field: str, problem: str) -> None:
        """Keeps the parts and makes one line of them."""
        parts = [str(path), place, f"field {field}" if field else ""]
        super().__init__(f"{', '.join(filter(None, parts))}: {problem}")
        self.path = path
        self.place = place
        self.field = field


class Grid(NamedTuple):
    """What holds for every market of a run, in units of 10^-9."""

    price_increment: int = 1
    quantity_increment: int = 1
    protection: int = 0
    """How far market orders and triggered stops trade from where they begin; 0 is any distance."""


class Source(Protocol):
    """Files of one format as steps."""

    @property
    def format_name(self) -> str:
        """One of files.FORMATS."""
        ...

    def chunks(self) -> Iterator[list[Step]]:
        """Steps in the order of the files; raises BacktestError."""
        ...

    def notes(self) -> dict[str, int | str]:
        """What the format cannot say or the files did not, counted; for the summary."""
        ...


OpenMarket: TypeAlias = Callable[[str], int]
"""Makes a market of this name and gives its index."""


def resting_account(market_index: int, order_id: int) -> int:
    """The account that holds an order of a stream without accounts."""
    return 1 + market_index * _ACCOUNTS_PER_MARKET + order_id % _RESTING_ACCOUNTS


def taking_account(market_index: int) -> int:
    """The account that takes in a stream without accounts."""
    return (market_index + 1) * _ACCOUNTS_PER_MARKET


@lru_cache(1 << 16)
def units_of(text: str) -> int:
    """A decimal number in units of 10^-9; raises ValueError for what that cannot say exactly."""
    digits = text[1:] if text[:1] == "-" else text
    whole, _, part = digits.partition(".")
    part = part.rstrip("0")
    if not (whole + part).isascii() or not (whole or "0").isdigit() or not (part or "0").isdigit():
        raise ValueError(f"{text!r} is no decimal number")
    if not whole and not part:
        raise ValueError(f"{text!r} is no decimal number")
    if len(part) > DECIMALS:
        raise ValueError(f"{text} has more than {DECIMALS} decimals")
    if len(whole.lstrip("0")) > WHOLE_DIGITS_MAX:
        raise ValueError(f"{text} has more than {WHOLE_DIGITS_MAX} digits before the point")
    units = int(whole or "0") * UNIT + int(part.ljust(DECIMALS, "0") or "0")
    return -units if digits is not text else units


def decimal_text(number: Decimal) -> str:
    """A number without needless zeros: 1.500000000 is 1.5."""
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
