"""Numbers, times and colours of the screen."""

from __future__ import annotations

from typing import Final

from dexsdk import Market, Side

BUY_STYLE: Final = "#26a69a"
SELL_STYLE: Final = "#ef5350"
DIM_STYLE: Final = "#78909c"
ACCENT_STYLE: Final = "bold #ffca28"

_EIGHTHS: Final = " ▏▎▍▌▋▊▉█"
_NS_PER_SECOND: Final = 1_000_000_000


def side_style(side: int) -> str:
    """Colour of a side; buys are green."""
    return BUY_STYLE if side == Side.BUY else SELL_STYLE


def price(market: Market, price_ticks: int) -> str:
    """A price with thousands set apart."""
    return thousands(market.format_price(price_ticks))


def thousands(number: str) -> str:
    """A decimal with commas: "61023.45" -> "61,023.45"."""
    whole, point, fraction = number.partition(".")
    return f"{int(whole):,}{point}{fraction}"


def percent(ppm: int) -> str:
    """Parts per million as a signed percentage with two decimals."""
    hundredths = (abs(ppm) + 50) // 100
    sign = "-" if ppm < 0 else "+"
    return f"{sign}{hundredths // 100}.{hundredths % 100:02d} %"


def clock(time_ns: int, *, seconds: bool = True) -> str:
    """Time of day in UTC."""
    minutes, second = divmod(time_ns // _NS_PER_SECOND % 86_400, 60)
    hours = f"{minutes // 60:02d}:{minutes % 60:02d}"
    return f"{hours}:{second:02d}" if seconds else hours


def bar(value: int, value_max: int, width: int) -> str:
    """A bar of `value` where `value_max` fills `width` cells, in eighths of a cell."""
    if value_max <= 0 or width <= 0:
        return ""
    eighths = max(1, min(value, value_max) * width * 8 // value_max) if value > 0 else 0
    full, rest = divmod(eighths, 8)
    return _EIGHTHS[8] * full + (_EIGHTHS[rest] if rest else "")
