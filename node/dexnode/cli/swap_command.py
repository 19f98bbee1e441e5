"""``dex swap``: what a whole size costs or brings now, by whoever is better, and taking it."""

from __future__ import annotations

import sys
from decimal import Decimal

import click

from dex.errors.v1.errors_pb2 import Rejection
from dex.matching.v1.swap_pb2 import QuoteSwapResponse
from dexnode.cli.common import (
    DECIMAL,
    POSITIVE,
    Target,
    print_json,
    print_table,
    printable,
    target_options,
)
from dexsdk import Market, Side, SwapSource, SwapTaken


@click.command()
@click.argument("market_id")
@click.argument("side", type=click.Choice(["buy", "sell"]))
@click.argument("quantity", type=DECIMAL)
@click.option("--take", is_flag=True, help="Take the better one at once.")
@click.option("--limit", type=POSITIVE, help="With --take: nothing beyond this price.")
@target_options
def swap(
    target: Target,
    market_id: str,
    side: str,
    quantity: Decimal,
    take: bool,
    limit: Decimal | None,
) -> None:
    """Say what QUANTITY would cost or bring as a whole, and with --take trade it.

    Two ways are held beside each other: an order that takes book and pool, in
    full or not at all, and the best quote that makers have given you on this very
    size (dex quote request, in another terminal). Taking signs one message. A quote
    trades at its price; the order trades nothing beyond the limit shown, and not at
    all if prices have moved further.

    \b
    Examples:
      dex swap BTC-USDC.eth buy 0.1
      dex swap BTC-USDC.eth sell 0.1 --take --limit 60000
    """
    if limit is not None and not take:
        raise click.UsageError("--limit is for --take")
    with target.client() as client:
        market = client.get_market(market_id)
        lots = market.quantity_lots(quantity)
        quoted = client.quote_swap(market_id, Side[side.upper()], lots)
        if not take:
            _say_quoted(target, market, quoted)
            return
        if limit is not None:
            _check_limit(market, quoted, market.price_ticks(limit))
        _say_taken(target, market, client.take_swap(quoted))


def _check_limit(market: Market, quoted: QuoteSwapResponse, limit_ticks: int) -> None:
    """What is taken trades at the price of its quote, or nothing beyond the limit of its order."""
    is_order = quoted.better == SwapSource.ORDER
    price_ticks = quoted.order.limit_price_ticks if is_order else quoted.quote.price_ticks
    beyond = price_ticks - limit_ticks if quoted.side == Side.BUY else limit_ticks - price_ticks
    if quoted.better and beyond > 0:
        price = market.format_price(price_ticks)
        raise click.ClickException(f"it would trade as far as {price}, beyond --limit; not taken")


def _say_quoted(target: Target, market: Market, quoted: QuoteSwapResponse) -> None:
    if target.as_json:
        print_json(quoted)
    else:
        _print_quoted(market, quoted)
    if not quoted.better:
        sys.exit(1)


def _print_quoted(market: Market, quoted: QuoteSwapResponse) -> None:
    def amount(atoms: int) -> str:
        return market.format_amount(market.quote_asset_id, atoms)

    order, rows = quoted.order, []
    parts = f"book {market.format_quantity(order.book_lots)}"
    if order.pool_lots:
        parts += f", pool {market.format_quantity(order.pool_lots)}"
    available_lots = order.book_lots + order.pool_lots
    if available_lots < quoted.quantity_lots:
        # What a part costs would be read as the price of the whole.
        rows.append((f"order ({parts})", "-", "-", "-", "-"))
    else:
        limit, worst = market.format_price(order.limit_price_ticks), amount(order.limit_quote_atoms)
        rows.append(
            (f"order ({parts})", limit, amount(order.quote_atoms), worst, amount(order.fee_atoms))
        )
    if quoted.HasField("quote"):
        from_quote = quoted.quote
        total = amount(from_quote.quote_atoms)
        price = market.format_price(from_quote.price_ticks)
        name = f"quote {from_quote.quote.quote_id}"
        rows.append((name, price, total, total, amount(from_quote.fee_atoms)))
    verb = "pay" if quoted.side == Side.BUY else "get"
    print_table(("by", "limit", f"you {verb}", "at worst", "fee in it"), rows)
    if available_lots < quoted.quantity_lots:
        available = market.format_quantity(available_lots)
        wanted = f"{market.format_quantity(quoted.quantity_lots)} {market.base_asset_id}"
        click.echo(printable(f"an order finds {available} of {wanted}: not the whole of it"))
    for name, rejection in (("order", order.rejection), ("quote", quoted.quote.rejection)):
        _say_refused(name, rejection)
    if quoted.better:
        click.echo(f"better: the {SwapSource(quoted.better).name.lower()}")


def _say_refused(name: str, rejection: Rejection) -> None:
    if rejection.reason:
        click.echo(printable(f"the {name} would be refused: {rejection.message}"))


def _say_taken(target: Target, market: Market, taken: SwapTaken) -> None:
    source = taken.source.name.lower()
    if target.as_json:
        print_json({"source": source, "id": taken.id, "fills": taken.fills})
        return
    click.echo(f"taken by {source} {taken.id}")
    print_table(
        ("price", "quantity", "fee"),
        [
            (
                market.format_price(fill.price_ticks),
                market.format_quantity(fill.quantity_lots),
                market.format_amount(market.quote_asset_id, fill.fee_atoms),
            )
            for fill in taken.fills
        ],
    )
