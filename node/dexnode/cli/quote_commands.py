"""``dex quote``: ask makers for a firm price on a large size, accept one, or make."""

from __future__ import annotations

from decimal import Decimal

import click

from dex.matching.v1.quote_pb2 import Quote, QuoteStatus
from dexnode.cli.common import DECIMAL, Target, print_json, print_table, target_options
from dexsdk import Market, Side, SyncClient, from_rejection

SIDE = click.Choice(["buy", "sell"])


@click.group()
def quote() -> None:
    """Trade large sizes beside the book, on request."""


@quote.command()
@click.argument("market_id")
@click.argument("quantity", type=DECIMAL)
@click.option("--side", type=SIDE, help="What you want to do.  [default: hidden, both are quoted]")
@click.option("--seconds", type=float, default=60.0, show_default=True, help="Open so long.")
@click.option("--maker", "makers", multiple=True, help="Ask this account only; may be repeated.")
@target_options
def request(
    target: Target,
    market_id: str,
    quantity: Decimal,
    side: str | None,
    seconds: float,
    makers: tuple[str, ...],
) -> None:
    """Ask for quotes on QUANTITY and show them as they come.

    It ends when you accept one (dex quote accept, in another terminal) or its time is
    over. Ctrl-C withdraws the request.

    \b
    Example:
      dex quote request BTC-USDC.eth 25 --seconds 30
    """
    with target.client() as client:
        market = client.get_market(market_id)
        lots = market.quantity_lots(quantity)
        wanted = Side[side.upper()] if side else None
        asked = client.request_quote(market_id, lots, side=wanted, seconds=seconds, makers=makers)
        with asked:
            for item in asked:
                if target.as_json:
                    print_json(item)
                elif not item.HasField("quote"):
                    click.echo(f"request {item.quote_request_id} is open")
                else:
                    click.echo(_line(market, item.quote))


@quote.command()
@click.argument("quote_id")
@click.argument("side", type=SIDE)
@click.option("--price", type=DECIMAL, required=True, help="The quote's price, as you saw it.")
@target_options
def accept(target: Target, quote_id: str, side: str, price: Decimal) -> None:
    """Trade the whole size of a quote: buy at its ask, or sell at its bid."""
    with target.client() as client:
        known = [each for each in client.list_quotes() if each.quote_id == quote_id]
        if not known:
            raise click.ClickException(f"no quote {quote_id} on a request of yours")
        market = client.get_market(known[0].market_id)
        done = client.accept_quote(quote_id, Side[side.upper()], market.price_ticks(price))
    if target.as_json:
        print_json(done)
        return
    fee = market.format_amount(market.quote_asset_id, done.fill.fee_atoms)
    click.echo(
        f"{market.format_quantity(done.fill.quantity_lots)} traded at "
        f"{market.format_price(done.fill.price_ticks)}, fee {fee}"
    )


@quote.command(name="list")
@click.option("--request", "request_id", default="", help="Only quotes on this request.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True)
@target_options
def list_(target: Target, request_id: str, limit: int) -> None:
    """List quotes you gave and quotes on your requests, newest first."""
    with target.client() as client:
        found = client.list_quotes(quote_request_id=request_id, limit=limit)
        if target.as_json:
            print_json(found)
            return
        markets = {each.market_id: each for each in client.list_markets()}
    print_table(
        ("quote", "market", "quantity", "bid", "ask", "status"),
        [(each.quote_id, each.market_id, *_cells(markets[each.market_id], each)) for each in found],
    )


@quote.command()
@click.argument("market_id")
@click.option("--bid", type=DECIMAL, help="Buy at this price.")
@click.option("--ask", type=DECIMAL, help="Sell at this price.")
@click.option("--seconds", type=float, default=30.0, show_default=True, help="Firm so long.")
@click.option("--keep", is_flag=True, help="Leave open quotes standing at the end.")
@target_options
def make(
    target: Target,
    market_id: str,
    bid: Decimal | None,
    ask: Decimal | None,
    seconds: float,
    keep: bool,
) -> None:
    """Answer every request in MARKET_ID with your prices, until Ctrl-C.

    Each quote holds what it may cost you until it ends.
    """
    if bid is None and ask is None:
        raise click.UsageError("say --bid, --ask or both")
    with target.client() as client:
        market = client.get_market(market_id)
        bid_ticks = 0 if bid is None else market.price_ticks(bid)
        ask_ticks = 0 if ask is None else market.price_ticks(ask)
        _make(client, target, market, (bid_ticks, ask_ticks), seconds, keep=keep)


def _make(
    client: SyncClient,
    target: Target,
    market: Market,
    prices: tuple[int, int],
    seconds: float,
    *,
    keep: bool,
) -> None:
    with client.quote_session(keep_quotes=keep) as session:
        while True:
            item = session.receive()
            if target.as_json:
                print_json(item)
            asked = [*item.opened.requests]
            if item.HasField("request"):
                asked.append(item.request)
            for each in asked:
                if each.market_id == market.market_id:
                    # A price on the side that was not asked for would be refused.
                    bid = prices[0] if each.side != Side.BUY else 0
                    ask = prices[1] if each.side != Side.SELL else 0
                    if bid or ask:
                        session.quote(
                            each.quote_request_id,
                            bid_price_ticks=bid,
                            ask_price_ticks=ask,
                            seconds=seconds,
                        )
            if target.as_json:
                continue
            if item.HasField("quote"):
                click.echo(_line(market, item.quote))
            elif item.result.HasField("quote"):
                click.echo(_line(market, item.result.quote))
            elif item.result.HasField("rejection"):
                click.echo(f"refused: {from_rejection(item.result.rejection)}")


def _cells(market: Market, each: Quote) -> tuple[str, str, str, str]:
    return (
        market.format_quantity(each.quantity_lots),
        market.format_price(each.bid_price_ticks) if each.bid_price_ticks else "-",
        market.format_price(each.ask_price_ticks) if each.ask_price_ticks else "-",
        QuoteStatus.Name(each.status).removeprefix("QUOTE_STATUS_").lower(),
    )


def _line(market: Market, each: Quote) -> str:
    quantity, bid, ask, status = _cells(market, each)
    return f"quote {each.quote_id} is {status}: {quantity} at {bid} / {ask}"
