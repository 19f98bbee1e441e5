"""``dex order``: place, check, amend and cancel."""

from __future__ import annotations

import sys
from decimal import Decimal

import click

from dexnode.cli.common import (
    DECIMAL,
    Function,
    Target,
    print_json,
    print_table,
    printable,
    target_options,
)
from dexsdk import Market, NewOrder, OrderStatus, OrderType, Side, TimeInForce

CLIENT_ORDER_ID = click.IntRange(0, 2**63 - 1)


@click.group()
def order() -> None:
    """Place, amend and cancel orders of your account."""


def _terms(function: Function) -> Function:
    for option in (
        click.option(
            "--client-order-id",
            type=CLIENT_ORDER_ID,
            default=0,
            help="Your own number for the order.",
        ),
        click.option("--post-only", is_flag=True, help="Refuse the order rather than take."),
        click.option(
            "--tif",
            type=click.Choice(["gtc", "ioc", "fok"]),
            help="How long it lives.  [default: gtc; ioc with --market]",
        ),
        click.option("--market", "at_market", is_flag=True, help="At any price, now."),
        click.option("--price", type=DECIMAL, help="Limit price, e.g. 61000.50."),
        click.argument("quantity", type=DECIMAL),
        click.argument("side", type=click.Choice(["buy", "sell"])),
        click.argument("market_id"),
    ):
        function = option(function)
    return function


def _new_order(
    market: Market,
    side: str,
    quantity: Decimal,
    price: Decimal | None,
    at_market: bool,
    tif: str | None,
    post_only: bool,
    client_order_id: int,
) -> NewOrder:
    if at_market == (price is not None):
        raise click.UsageError("give either --price or --market")
    tif = tif or ("ioc" if at_market else "gtc")
    return NewOrder(
        market=market.market_id,
        side=Side[side.upper()],
        type=OrderType.MARKET if at_market else OrderType.LIMIT,
        time_in_force=TimeInForce[tif.upper()],
        price_ticks=0 if price is None else market.price_ticks(price),
        quantity_lots=market.quantity_lots(quantity),
        post_only=post_only,
        client_order_id=client_order_id,
    )


@order.command()
@_terms
@target_options
def place(target: Target, market_id: str, **terms: object) -> None:
    """Place an order: MARKET_ID buy|sell QUANTITY, with --price or --market.

    QUANTITY and price are decimals; one that is not a whole number of lots or
    ticks is refused before anything is sent.

    \b
    Examples:
      dex order place BTC-USDC.eth buy 0.01 --market
      dex order place BTC-USDC.eth sell 0.5 --price 70000 --post-only
    """
    with target.client() as client:
        market = client.get_market(market_id)
        result = client.place_order(_new_order(market, **terms))  # type: ignore[arg-type]
    if target.as_json:
        print_json(result)
        return
    status = OrderStatus(result.status).name.lower().replace("_", " ")
    click.echo(
        f"order {result.order_id} is {status}: "
        f"{market.format_quantity(result.filled_lots)} filled, "
        f"{market.format_quantity(result.remaining_lots)} open"
    )
    if result.fills:
        print_table(
            ("trade", "price", "quantity", "fee"),
            [
                (
                    fill.trade_sequence,
                    market.format_price(fill.price_ticks),
                    market.format_quantity(fill.quantity_lots),
                    market.format_amount(market.quote_asset_id, fill.fee_atoms),
                )
                for fill in result.fills
            ],
        )


@order.command()
@_terms
@target_options
def check(target: Target, market_id: str, **terms: object) -> None:
    """Say what an order would do, without placing it. Same arguments as place."""
    with target.client() as client:
        market = client.get_market(market_id)
        answer = client.check_order(_new_order(market, **terms))  # type: ignore[arg-type]
    if target.as_json:
        print_json(answer)
    elif answer.HasField("rejection"):
        click.echo(f"would be refused: {printable(answer.rejection.message)}")
        sys.exit(1)
    else:
        reserve = market.format_amount(answer.reserve_asset_id, answer.reserve_atoms)
        click.echo(
            f"would reserve {reserve} {answer.reserve_asset_id} "
            f"and fill {market.format_quantity(answer.fillable_lots)} now"
        )


def _which(function: Function) -> Function:
    function = click.option(
        "--client-order-id", type=CLIENT_ORDER_ID, default=0, help="Instead of ORDER_ID."
    )(function)
    return click.argument("order_id", default="")(function)


def _need_one(order_id: str, client_order_id: int) -> None:
    if bool(order_id) == bool(client_order_id):
        raise click.UsageError("give either ORDER_ID or --client-order-id")


@order.command()
@_which
@target_options
def cancel(target: Target, order_id: str, client_order_id: int) -> None:
    """Cancel one open order, by ORDER_ID or by --client-order-id."""
    _need_one(order_id, client_order_id)
    with target.client() as client:
        result = client.cancel_order(order_id=order_id, client_order_id=client_order_id)
    if target.as_json:
        print_json(result)
    else:
        click.echo(f"order {result.order_id} cancelled, {result.remaining_lots} lots were open")


@order.command("cancel-all")
@click.option("--market", "market_id", help="Only in this market.")
@target_options
def cancel_all(target: Target, market_id: str | None) -> None:
    """Cancel every open order of the account."""
    with target.client() as client:
        results = client.cancel_all(market_id)
    if target.as_json:
        print_json(results)
    else:
        click.echo(f"{len(results)} orders cancelled")


@order.command()
@_which
@click.option("--market", "market_id", required=True, help="The order's market, for its units.")
@click.option("--quantity", type=DECIMAL, required=True, help="New total, filled part included.")
@click.option("--price", type=DECIMAL, help="New limit price; unset keeps it.")
@target_options
def amend(
    target: Target,
    order_id: str,
    client_order_id: int,
    market_id: str,
    quantity: Decimal,
    price: Decimal | None,
) -> None:
    """Change size or price of one open order.

    A smaller size keeps the order's place in the queue; a larger one or a new
    price gives it up.
    """
    _need_one(order_id, client_order_id)
    with target.client() as client:
        market = client.get_market(market_id)
        result = client.amend_order(
            order_id=order_id,
            client_order_id=client_order_id,
            quantity_lots=market.quantity_lots(quantity),
            price_ticks=0 if price is None else market.price_ticks(price),
        )
    if target.as_json:
        print_json(result)
    else:
        click.echo(
            f"order {result.order_id}: filled {market.format_quantity(result.filled_lots)}, "
            f"open {market.format_quantity(result.remaining_lots)}"
        )
