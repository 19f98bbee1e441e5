"""``dex pool``: liquidity pools: look at them, provide liquidity, trade with one alone."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Final

import click

from dex.pools.v1.pools_pb2 import Pool, Position
from dexnode.cli.common import (
    DECIMAL,
    Target,
    print_json,
    print_table,
    printable,
    target_options,
)
from dexsdk import Market, PoolKind, Side, SwapExact, SyncClient, pool_tick, price_at

PPM_PER_PERCENT: Final = 10_000
KINDS: Final = [kind.name.lower().replace("_", "-") for kind in PoolKind]
FEES: Final = ["0.01", "0.05", "0.3", "1"]


@click.group()
def pool() -> None:
    """Liquidity pools: show, provide, take back, trade with one alone.

    A pool is an account that trades by a formula. Every order in its market is
    routed over book and pool, so plain orders need nothing of this; here you
    provide what the pool trades with and earn its fees.

    \b
    Amounts are units of the asset as in `dex account show` (1.5 is 1.5 BTC), prices
    are quote units for one base unit. A worked example, in a market of BTC for USDC:
      dex pool create BTC-USDC.eth --kind constant-product --fee 0.3     (operators)
      dex pool add BTC-USDC.eth --base 1 --quote 61000     first in: sets price 61000
      dex pool swap BTC-USDC.eth buy --pay 610 --dry-run   about 0.00987 BTC: 610 less
                                  0.3% fee, and the price moves by 1% on the way
      dex pool positions                                   what you have in it now
      dex pool remove BTC-USDC.eth --percent 100           all back, fees included
    """


@pool.command()
@click.argument("market_id")
@click.option("--kind", type=click.Choice(KINDS), required=True)
@click.option("--fee", type=click.Choice(FEES), required=True, help="Percent a taker pays.")
@click.option("--price", type=DECIMAL, help="Where a concentrated pool begins.")
@target_options
def create(target: Target, market_id: str, kind: str, fee: str, price: Decimal | None) -> None:
    """Give a market its pool, for good (operators only).

    \b
    constant-product  everybody provides at all prices, in shares of two reserves;
                      its price is what its first provider makes it
    concentrated      everybody chooses prices between which to provide; it begins
                      at --price

    \b
    Example:
      dex pool create ETH-USDC.eth --kind concentrated --fee 0.05 --price 2650
    """
    wanted = PoolKind[kind.upper().replace("-", "_")]
    if (price is None) == (wanted is PoolKind.CONCENTRATED):
        raise click.UsageError("--price is for concentrated pools, which need it")
    with target.operator() as client:
        market = client.get_market(market_id)
        created = client.admin.create_pool(
            market_id,
            wanted,
            int(Decimal(fee) * PPM_PER_PERCENT),
            price_ticks=0 if price is None else market.price_ticks(price),
        )
        _say_pool(target, market, created)


@pool.command(name="list")
@target_options
def list_(target: Target) -> None:
    """All pools, with their price and what they hold."""
    with target.client(signed=False) as client:
        found = client.list_pools()
        if target.as_json:
            print_json(found)
            return
        markets = {each.market_id: each for each in client.list_markets()}
    print_table(
        ("market", "kind", "fee", "price", "base", "quote", "positions"),
        [
            (
                each.market_id,
                _kind(each),
                f"{_percent(each.fee_ppm)} %",
                _price(each),
                _amount(markets[each.market_id], each.base_atoms, is_base=True),
                _amount(markets[each.market_id], each.quote_atoms, is_base=False),
                each.position_count,
            )
            for each in found
        ],
    )


@pool.command()
@click.argument("market_id")
@target_options
def show(target: Target, market_id: str) -> None:
    """One pool as it is."""
    with target.client(signed=False) as client:
        market = client.get_market(market_id)
        _say_pool(target, market, client.get_pool(market_id))


@pool.command()
@click.argument("market_id")
@target_options
def watch(target: Target, market_id: str) -> None:
    """A line for each change of a pool, until Ctrl-C."""
    with target.client(signed=False) as client:
        market = client.get_market(market_id)
        with client.stream_pool(market_id) as feed:
            for each in feed:
                if target.as_json:
                    print_json(each)
                    continue
                click.echo(f"{each.sequence:>10}  {_price(each)}  {_holds(market, each)}")


@pool.command()
@click.option("--market", "market_id", default="", help="Only in this market.")
@target_options
def positions(target: Target, market_id: str) -> None:
    """What you have in pools: what taking all of it back would give, and fees that wait.

    The range of a concentrated pool is in pool ticks, with their prices; shares
    of a constant product have no range.
    """
    with target.client() as client:
        found = client.list_positions(market=market_id)
        if target.as_json:
            print_json(found)
            return
        markets = {each.market_id: each for each in client.list_markets()}
    rows = []
    for each in found:
        market = markets[each.market_id]
        rows.append(
            (
                each.market_id,
                f"{each.lower_tick}:{each.upper_tick}" if _has_range(each) else "-",
                _range(market, each),
                each.liquidity,
                _amount(market, each.base_atoms, is_base=True),
                _amount(market, each.quote_atoms, is_base=False),
                _amount(market, each.fee_base_atoms, is_base=True),
                _amount(market, each.fee_quote_atoms, is_base=False),
            )
        )
    head = ("market", "ticks", "prices", "liquidity", "base", "quote", "base fees", "quote fees")
    print_table(head, rows)


@pool.command()
@click.argument("market_id")
@click.option("--base", type=DECIMAL, required=True, help="The most of the base asset to give.")
@click.option("--quote", type=DECIMAL, required=True, help="The most of the quote asset to give.")
@click.option("--lower", type=DECIMAL, help="Concentrated: from this price or a little below.")
@click.option("--upper", type=DECIMAL, help="Concentrated: up to this price or a little above.")
@click.option("--min-base", type=DECIMAL, default=Decimal(0), help="Refuse to give less base.")
@click.option("--min-quote", type=DECIMAL, default=Decimal(0), help="Refuse to give less quote.")
@target_options
def add(
    target: Target,
    market_id: str,
    base: Decimal,
    quote: Decimal,
    lower: Decimal | None,
    upper: Decimal | None,
    min_base: Decimal,
    min_quote: Decimal,
) -> None:
    """Provide as much as --base and --quote allow at the pool's ratio; the rest stays yours.

    If the price moves before it arrives, another ratio is taken: --min-base and
    --min-quote bound that. Prices of a range are widened to the pool's ticks.

    \b
    Examples:
      dex pool add BTC-USDC.eth --base 1 --quote 61000
      dex pool add ETH-USDC.eth --base 10 --quote 26500 --lower 2400 --upper 2900
    """
    if (lower is None) != (upper is None):
        raise click.UsageError("--lower and --upper go together")
    if lower is not None and upper is not None and upper <= lower:
        raise click.UsageError(f"--upper {upper:f} must be above --lower {lower:f}")
    with target.client() as client:
        market = client.get_market(market_id)
        spacing = client.get_pool(market_id).tick_spacing
        if (lower is None) == bool(spacing):
            kind = "concentrated: it needs" if spacing else "a constant product: it has no"
            raise click.UsageError(f"the pool is {kind} --lower and --upper")
        ticks = (0, 0)
        if lower is not None and upper is not None:
            ticks = (
                pool_tick(market, lower, spacing),
                pool_tick(market, upper, spacing, up=True),
            )
        done = client.add_liquidity(
            market_id,
            base_atoms_max=_atoms(market, base, is_base=True),
            quote_atoms_max=_atoms(market, quote, is_base=False),
            lower_tick=ticks[0],
            upper_tick=ticks[1],
            base_atoms_min=_atoms(market, min_base, is_base=True),
            quote_atoms_min=_atoms(market, min_quote, is_base=False),
        )
    if target.as_json:
        print_json(done)
        return
    given = _both(market, done.base_atoms, done.quote_atoms)
    place = f" in pool ticks {ticks[0]}:{ticks[1]}" if spacing else ""
    click.echo(f"gave {given} for {done.liquidity} of liquidity{place}")


@pool.command()
@click.argument("market_id")
@click.option("--percent", type=DECIMAL, help="How much of the position.")
@click.option("--fees-only", is_flag=True, help="Take the fees and leave the rest (concentrated).")
@click.option("--ticks", help="Which position, as `dex pool positions` shows it: LOWER:UPPER.")
@click.option("--min-base", type=DECIMAL, default=Decimal(0), help="Refuse to get less base.")
@click.option("--min-quote", type=DECIMAL, default=Decimal(0), help="Refuse to get less quote.")
@target_options
def remove(
    target: Target,
    market_id: str,
    percent: Decimal | None,
    fees_only: bool,
    ticks: str | None,
    min_base: Decimal,
    min_quote: Decimal,
) -> None:
    """Take liquidity back with all fees of the position. Works until the market is halted.

    The minimums are of what comes without fees. --ticks is needed where you have
    more than one position in the pool.

    \b
    Examples:
      dex pool remove BTC-USDC.eth --percent 50
      dex pool remove ETH-USDC.eth --fees-only --ticks 77820:79710
    """
    if (percent is None) != fees_only or (percent is not None and not 0 < percent <= 100):
        raise click.UsageError("give --percent, more than 0 and at most 100, or --fees-only")
    with target.client() as client:
        market = client.get_market(market_id)
        position = _position(client, market_id, ticks)
        if fees_only and not _has_range(position):
            raise click.UsageError(
                "--fees-only is for concentrated pools: the fees of a constant product are in its "
                "shares, and come with --percent"
            )
        part = _part(position, percent)
        done = client.remove_liquidity(
            market_id,
            part,
            lower_tick=position.lower_tick,
            upper_tick=position.upper_tick,
            base_atoms_min=_atoms(market, min_base, is_base=True),
            quote_atoms_min=_atoms(market, min_quote, is_base=False),
        )
    if target.as_json:
        print_json(done)
        return
    click.echo(f"got {_both(market, done.base_atoms, done.quote_atoms)}, fees included")


@pool.command()
@click.argument("market_id")
@click.argument("side", type=click.Choice(["buy", "sell"]))
@click.option("--pay", type=DECIMAL, help="Give exactly so much: quote to buy, base to sell.")
@click.option("--get", type=DECIMAL, help="Get exactly so much: base to buy, quote to sell.")
@click.option(
    "--slippage",
    type=DECIMAL,
    default=Decimal("0.5"),
    show_default=True,
    help="Percent that it may be worse than it is quoted now; beyond that nothing is traded.",
)
@click.option("--dry-run", is_flag=True, help="Say what it would give, and trade nothing.")
@target_options
def swap(
    target: Target,
    market_id: str,
    side: str,
    pay: Decimal | None,
    get: Decimal | None,
    slippage: Decimal,
    dry_run: bool,
) -> None:
    """Buy or sell the base asset from the pool alone, exact to the atom.

    No order, no trade of the market, no fee but the pool's. For the better of
    book, pool and makers' quotes see `dex swap`.

    \b
    Examples, in a market of BTC for USDC:
      dex pool swap BTC-USDC.eth buy --pay 610           610 USDC for what it brings
      dex pool swap BTC-USDC.eth sell --get 610          BTC for exactly 610 USDC
      dex pool swap BTC-USDC.eth buy --get 0.01 --slippage 0    not a bit dearer
    """
    if (pay is None) == (get is None):
        raise click.UsageError("give --pay or --get")
    if slippage > 100:
        raise click.UsageError("--slippage is at most 100")
    wanted = Side[side.upper()]
    exact = SwapExact.IN if pay is not None else SwapExact.OUT
    # A buyer pays quote and gets base.
    is_base = (wanted == Side.SELL) == (exact == SwapExact.IN)
    with target.client(signed=not dry_run) as client:
        market = client.get_market(market_id)
        amount_atoms = _atoms(market, pay or get or Decimal(0), is_base=is_base)
        quoted = client.quote_pool_swap(market_id, wanted, exact, amount_atoms)
        other_atoms = quoted.quote_atoms if is_base else quoted.base_atoms
        if dry_run:
            if target.as_json:
                print_json(quoted)
                return
            said = _swapped(market, wanted, quoted.base_atoms, quoted.quote_atoms)
            click.echo(f"would have {said}")
            return
        limit_atoms = _limit(other_atoms, slippage, exact)
        done = client.swap_with_pool(
            market_id, wanted, exact, amount_atoms, limit_atoms=limit_atoms
        )
    if target.as_json:
        print_json(done)
        return
    click.echo(_swapped(market, wanted, done.base_atoms, done.quote_atoms))


# --- parts


def _limit(quoted_atoms: int, slippage: Decimal, exact: SwapExact) -> int:
    """What is quoted, worse by so many percent, rounded in the caller's favour."""
    change = -slippage if exact == SwapExact.IN else slippage
    rounding = ROUND_CEILING if exact == SwapExact.IN else ROUND_FLOOR
    return int((quoted_atoms * (100 + change) / 100).to_integral_value(rounding))


def _position(client: SyncClient, market_id: str, ticks: str | None) -> Position:
    found = client.list_positions(market=market_id)
    if ticks is not None:
        found = [each for each in found if f"{each.lower_tick}:{each.upper_tick}" == ticks]
    if not found:
        place = f" at {ticks}" if ticks else ""
        raise click.ClickException(f"you have nothing in the pool of {market_id}{place}")
    if len(found) > 1:
        choices = ", ".join(f"{each.lower_tick}:{each.upper_tick}" for each in found)
        raise click.UsageError(f"say which position: --ticks {choices}")
    return found[0]


def _part(position: Position, percent: Decimal | None) -> int:
    """So much of the position's liquidity; zero, which takes its fees alone, without a percent."""
    if percent is None:
        return 0
    part = int(position.liquidity * percent / 100)
    if not part:
        fees = ", or --fees-only for the fees" if _has_range(position) else ""
        raise click.UsageError(
            f"--percent {percent:f} of the {position.liquidity} of liquidity you have comes to "
            f"nothing: give more{fees}"
        )
    return part


def _atoms(market: Market, amount: Decimal, *, is_base: bool) -> int:
    return market.amount_atoms(market.base_asset_id if is_base else market.quote_asset_id, amount)


def _amount(market: Market, atoms: int, *, is_base: bool) -> str:
    return market.format_amount(market.base_asset_id if is_base else market.quote_asset_id, atoms)


def _both(market: Market, base_atoms: int, quote_atoms: int) -> str:
    base = f"{_amount(market, base_atoms, is_base=True)} {market.base_asset_id}"
    quote = f"{_amount(market, quote_atoms, is_base=False)} {market.quote_asset_id}"
    return printable(f"{base} and {quote}")


def _swapped(market: Market, side: Side, base_atoms: int, quote_atoms: int) -> str:
    base = f"{_amount(market, base_atoms, is_base=True)} {market.base_asset_id}"
    quote = f"{_amount(market, quote_atoms, is_base=False)} {market.quote_asset_id}"
    paid, got = (quote, base) if side == Side.BUY else (base, quote)
    return printable(f"paid {paid} for {got}")


def _kind(each: Pool) -> str:
    return PoolKind(each.kind).name.lower().replace("_", " ")


def _percent(ppm: int) -> str:
    return f"{(Decimal(ppm) / PPM_PER_PERCENT).normalize():f}"


def _price(each: Pool) -> str:
    return f"{Decimal(each.price):.8g}" if each.price else "-"


def _holds(market: Market, each: Pool) -> str:
    return _both(market, each.base_atoms, each.quote_atoms)


def _has_range(each: Position) -> bool:
    return each.lower_tick != each.upper_tick


def _range(market: Market, each: Position) -> str:
    if not _has_range(each):
        return "all"
    low, high = price_at(market, each.lower_tick), price_at(market, each.upper_tick)
    return f"{low:.8g} to {high:.8g}"


def _say_pool(target: Target, market: Market, each: Pool) -> None:
    if target.as_json:
        print_json(each)
        return
    lines = [
        f"pool         {_kind(each)}, fee {_percent(each.fee_ppm)} %",
        f"price        {_price(each)}",
        f"holds        {_holds(market, each)}",
    ]
    if each.kind == PoolKind.CONCENTRATED:
        used = f"{each.liquidity} at this price of {each.liquidity_total}"
        lines.append(f"liquidity    {used}, in {each.position_count} positions")
        lines.append(f"pool tick    {each.pool_tick}, positions end every {each.tick_spacing}")
    else:
        lines.append(f"shares       {each.liquidity}, of {each.position_count} accounts")
    click.echo(printable("\n".join(lines), keep="\n"))
