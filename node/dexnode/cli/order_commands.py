"""``dex order``: place, check, list, amend and cancel, and the dead man's switch."""

from __future__ import annotations

import sys
from decimal import Decimal

import click

from dex.orders.v1.order_intake_pb2 import OrderResult
from dexnode.cli.common import (
    DECIMAL,
    POSITIVE,
    Function,
    Target,
    duration_ns,
    print_json,
    print_table,
    printable,
    target_options,
)
from dexnode.cli.order_options import CLIENT_ORDER_ID, EXAMPLES, new_order, order_options
from dexnode.cli.order_table import print_orders
from dexsdk import Market, NewOrder, OrderStatus, Side, from_rejection, pair_of


@click.group()
def order() -> None:
    """Place, list, amend and cancel orders of your account."""


@order.command(epilog=EXAMPLES)
@order_options
@target_options
def place(target: Target, market_id: str, **terms: object) -> None:
    """Place an order: MARKET_ID buy|sell QUANTITY, and at which price or when.

    QUANTITY and prices are decimals; one that is not a whole number of lots or
    ticks is refused before anything is sent.
    """
    with target.client() as client:
        market = client.get_market(market_id)
        result = client.place_order(new_order(market, **terms))  # type: ignore[arg-type]
    _say_result(target, market, result)


def _say_result(target: Target, market: Market, result: OrderResult) -> None:
    if target.as_json:
        print_json(result)
        return
    status = OrderStatus(result.status).name.lower().replace("_", " ")
    has_ended = result.status in (OrderStatus.EXPIRED, OrderStatus.CANCELLED)
    click.echo(
        f"order {result.order_id} is {status}: "
        f"{market.format_quantity(result.filled_lots)} filled, "
        f"{market.format_quantity(result.remaining_lots)} {'unfilled' if has_ended else 'open'}"
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
@click.argument("market_id")
@click.argument("side", type=click.Choice(["buy", "sell"]))
@click.argument("quantity", type=DECIMAL)
@click.option("--price", type=POSITIVE, required=True, help="Where to take the profit.")
@click.option("--stop-price", type=POSITIVE, required=True, help="Where to stop the loss.")
@click.option("--stop-limit", type=POSITIVE, help="Worst price of the stop.  [default: the band]")
@target_options
def oco(
    target: Target,
    market_id: str,
    side: str,
    quantity: Decimal,
    price: Decimal,
    stop_price: Decimal,
    stop_limit: Decimal | None,
) -> None:
    """Place a limit order and a stop of which one cancels the other.

    They hold your funds once. The first fill or the end of the limit order ends
    the stop; when the stop awakes it ends the limit order first.

    \b
    Example:
      dex order oco BTC-USDC.eth sell 0.5 --price 70000 --stop-price 55000
    """
    with target.client() as client:
        market = client.get_market(market_id)
        lots = market.quantity_lots(quantity)
        limit = NewOrder(market_id, Side[side.upper()], lots, price_ticks=market.price_ticks(price))
        stop = NewOrder(
            market_id,
            Side[side.upper()],
            lots,
            price_ticks=0 if stop_limit is None else market.price_ticks(stop_limit),
            trigger_price_ticks=market.price_ticks(stop_price),
        )
        results = client.submit_batch(pair_of(limit, stop))
    if target.as_json:
        print_json(results)
    for name, result in zip(("limit order", "stop"), results, strict=True):
        error = from_rejection(result.rejection)
        if error is not None:
            is_alone = name == "stop" and not results[0].rejection.reason
            note = f"\nThe limit order stays without it: {results[0].order_id}" if is_alone else ""
            raise click.ClickException(f"{name}: {printable(error)}{note}")
        if not target.as_json:
            _say_result(target, market, result)


@order.command()
@order_options
@target_options
def check(target: Target, market_id: str, **terms: object) -> None:
    """Say what an order would do, without placing it. Same arguments as place."""
    with target.client() as client:
        market = client.get_market(market_id)
        answer = client.check_order(new_order(market, **terms))  # type: ignore[arg-type]
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


@order.command("list")
@click.option("--market", "market_id", help="Only in this market.")
@click.option("--limit", type=click.IntRange(min=1), help="At most this many.  [default: all]")
@target_options
def list_(target: Target, market_id: str | None, limit: int | None) -> None:
    """Open orders of the account, oldest first, waiting ones too."""
    with target.client() as client:
        found = client.list_open_orders(market_id, limit=limit)
        markets = {market.market_id: market for market in client.list_markets()}
    if target.as_json:
        print_json(found)
    elif found:
        print_orders(markets, found)
    else:
        click.echo("no open orders")


@order.command("cancel-all")
@click.option("--market", "market_id", help="Only in this market.")
@click.option("--side", type=click.Choice(["buy", "sell"]), help="Only orders of this side.")
@target_options
def cancel_all(target: Target, market_id: str | None, side: str | None) -> None:
    """Cancel every open order of the account, waiting ones too."""
    with target.client() as client:
        results = client.cancel_all(market_id, side=None if side is None else Side[side.upper()])
    if target.as_json:
        print_json(results)
    else:
        click.echo(f"{len(results)} orders cancelled")


@order.command("dead-mans-switch")
@click.argument("timeout", metavar="DURATION|off")
@target_options
def dead_mans_switch(target: Target, timeout: str) -> None:
    """Cancel all your orders unless this is run again within DURATION: 1s to 24h.

    Every run starts the time anew; `off` disarms. Orders in halted markets stay.
    The switch is the exchange's own: it works when your program, its connection
    or the node is gone. A program sets it every few seconds.

    \b
    Examples:
      dex order dead-mans-switch 30s
      dex order dead-mans-switch off
    """
    timeout_ns = 0 if timeout == "off" else duration_ns(timeout)
    if timeout_ns is None:
        raise click.BadParameter(f"{timeout!r} is not like 30s, 15m or off", param_hint="DURATION")
    with target.client() as client:
        answer = client.set_dead_mans_switch(timeout_ns / 10**9)
    if target.as_json:
        print_json(answer)
    elif answer.HasField("cancel_time"):
        click.echo(f"all orders are cancelled at {answer.cancel_time.ToJsonString()}")
    else:
        click.echo("the switch is off")


@order.command()
@_which
@click.option("--market", "market_id", required=True, help="The order's market, for its units.")
@click.option("--quantity", type=DECIMAL, required=True, help="New total, filled part included.")
@click.option("--price", type=POSITIVE, help="New limit price; unset keeps it.")
@click.option("--stop-price", type=POSITIVE, help="New trigger of a stop; unset keeps it.")
@target_options
def amend(
    target: Target,
    order_id: str,
    client_order_id: int,
    market_id: str,
    quantity: Decimal,
    price: Decimal | None,
    stop_price: Decimal | None,
) -> None:
    """Change size, price or trigger of one open order.

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
            trigger_price_ticks=0 if stop_price is None else market.price_ticks(stop_price),
        )
    _say_result(target, market, result)
