"""The drivers over real gRPC, against a fake node that misbehaves on cue."""

from __future__ import annotations

from functools import partial

import grpc
import pytest
import trio
import trio.testing

from dex.matching.v1 import matching_pb2 as matching
from dex.orders.v1 import order_intake_pb2 as orders
from dex.orders.v1 import signed_payload_pb2 as wire
from dexsdk import (
    CallerError,
    Client,
    LocalBook,
    NewOrder,
    OrderStatus,
    PeerError,
    Side,
    SyncClient,
    Unavailable,
    methods,
)
from dexsdk.keys import verify
from dexsdk.signing import payload_signing_bytes
from dexsdk.trio_driver import TrioOrderStream
from tests.unit.sdk.fake_node import FakeNode, Hang, Refuse

ORDER = NewOrder("BTC-USDT", Side.BUY, quantity_lots=3, price_ticks=100)
PLACED = orders.PlaceOrderResponse(
    result=orders.OrderResult(order_id="00", status=orders.ORDER_STATUS_OPEN)
)
LOST = Refuse(grpc.StatusCode.UNAVAILABLE)


def book_delta(sequence: int) -> matching.StreamBookResponse:
    level = matching.BookLevel(price_ticks=sequence, quantity_lots=1)
    return matching.StreamBookResponse(delta=matching.BookDelta(sequence=sequence, bids=[level]))


def snapshot(sequence: int) -> matching.StreamBookResponse:
    book = matching.Book(market_id="BTC-USDT", sequence=sequence)
    return matching.StreamBookResponse(snapshot=book)


def stream_answer(data: bytes) -> orders.OrderStreamResponse:
    envelope = orders.OrderStreamRequest.FromString(data).envelope
    return orders.OrderStreamResponse(nonce=wire.Payload.FromString(envelope.payload).nonce)


async def test_a_mutation_is_retried_with_the_same_bytes(
    client: Client, fake_node: FakeNode
) -> None:
    busy = Refuse(grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", retry_after_ns=1_000_000)
    for step in (LOST, busy, PLACED):
        fake_node.script(methods.PLACE_ORDER, step)
    async with client as dex:
        result = await dex.place_order(ORDER)
    assert result.status == OrderStatus.OPEN
    first, second, third = fake_node.requests(methods.PLACE_ORDER)
    assert first == second == third
    envelope = orders.PlaceOrderRequest.FromString(first).envelope
    assert verify(envelope.public_key, payload_signing_bytes(envelope.payload), envelope.signature)
    payload = wire.Payload.FromString(envelope.payload)
    assert payload.network_id == "triodex-test"
    assert payload.place.price_ticks == 100


async def test_a_refusal_is_typed_and_not_retried(client: Client, fake_node: FakeNode) -> None:
    refusal = Refuse(
        grpc.StatusCode.FAILED_PRECONDITION, "PRICE_OFF_TICK", {"field": "price_ticks"}
    )
    fake_node.script(methods.PLACE_ORDER, refusal)
    async with client as dex:
        with pytest.raises(CallerError) as caught:
            await dex.place_order(ORDER)
    assert caught.value.reason == "PRICE_OFF_TICK"
    assert caught.value.field == "price_ticks"
    assert caught.value.code is grpc.StatusCode.FAILED_PRECONDITION
    assert len(fake_node.requests(methods.PLACE_ORDER)) == 1


async def test_a_restart_of_the_node_is_survived(client: Client, fake_node: FakeNode) -> None:
    fake_node.script(methods.GET_BOOK, matching.GetBookResponse())
    fake_node.script(methods.GET_BOOK, matching.GetBookResponse())
    async with client as dex, trio.open_nursery() as nursery:
        await dex.get_book("BTC-USDT")
        fake_node.stop()
        nursery.start_soon(dex.get_book, "BTC-USDT")
        await trio.to_thread.run_sync(fake_node.restart)
    assert len(fake_node.requests(methods.GET_BOOK)) == 2


async def test_a_cancelled_call_is_cancelled_at_the_node(
    client: Client, fake_node: FakeNode
) -> None:
    fake_node.script(methods.GET_BOOK, Hang())
    async with client as dex, trio.open_nursery() as nursery:
        nursery.start_soon(dex.get_book, "BTC-USDT")
        with trio.fail_after(5):
            while not fake_node.requests(methods.GET_BOOK):
                await trio.sleep(0.001)
        nursery.cancel_scope.cancel()
    assert await trio.to_thread.run_sync(fake_node.cancelled.wait, 5)


async def test_a_silent_node_ends_in_unavailable(fake_node: FakeNode) -> None:
    fake_node.script(methods.GET_BOOK, Hang())
    async with Client(fake_node.address, network_id="n", timeout_seconds=0.1) as dex:
        with pytest.raises(Unavailable) as caught:
            await dex.get_book("BTC-USDT")
    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_book_resumes_where_it_was(client: Client, fake_node: FakeNode) -> None:
    gone = Refuse(grpc.StatusCode.OUT_OF_RANGE, "SEQUENCE_GONE")
    fake_node.script(methods.STREAM_BOOK, snapshot(7), book_delta(8), LOST)
    fake_node.script(methods.STREAM_BOOK, book_delta(9), book_delta(11))
    fake_node.script(methods.STREAM_BOOK, snapshot(11), LOST)
    fake_node.script(methods.STREAM_BOOK, gone)
    fake_node.script(methods.STREAM_BOOK, snapshot(20), book_delta(21), Hang())
    book = LocalBook()
    sequences = []
    async with client as dex, dex.stream_book("BTC-USDT") as feed:
        async for item in feed:
            book.apply(item)
            sequences.append(book.sequence)
            if book.sequence == 21:
                break
    assert sequences == [7, 8, 9, 11, 20, 21]
    asked = [
        matching.StreamBookRequest.FromString(data).after_sequence
        for data in fake_node.requests(methods.STREAM_BOOK)
    ]
    assert asked == [0, 8, 0, 11, 0]
    assert book.best_bid() == (21, 1)


async def test_a_cancelled_wait_loses_no_item(client: Client, fake_node: FakeNode) -> None:
    fake_node.script(methods.STREAM_BOOK, snapshot(1), Hang())
    async with client as dex, dex.stream_book("BTC-USDT") as feed:
        with trio.move_on_after(0):
            await anext(feed)
        item = await anext(feed)
    assert item.snapshot.sequence == 1


async def test_an_order_stream_resends_what_is_unanswered(
    client: Client, fake_node: FakeNode
) -> None:
    fake_node.script(methods.ORDER_STREAM, stream_answer, LOST)
    fake_node.script(methods.ORDER_STREAM, stream_answer, stream_answer, Hang())
    async with client as dex, dex.order_stream() as stream:
        nonces = [await stream.send(ORDER), await stream.send([ORDER]), await stream.send(ORDER)]
        answers = [await stream.receive() for _ in nonces]
        assert stream.unanswered() == 0
    assert [answer.nonce for answer in answers] == nonces
    seen = fake_node.requests(methods.ORDER_STREAM)
    assert [stream_answer(data).nonce for data in seen] == nonces


async def test_what_is_sent_while_a_stream_is_opened_again_goes_out_in_it(
    client: Client, fake_node: FakeNode
) -> None:
    fake_node.script(methods.ORDER_STREAM, stream_answer, LOST)
    fake_node.script(methods.ORDER_STREAM, *[stream_answer] * 100_000, Hang())
    sent: list[int] = []
    is_back = False

    async def send(stream: TrioOrderStream) -> None:
        while not is_back:
            sent.append(await stream.send(ORDER))

    async with client as dex, dex.order_stream(window=100_000) as stream:
        sent.append(await stream.send(ORDER))
        answers = [await stream.receive()]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send, stream)
            answers.append(await stream.receive())
            is_back = True
        with trio.fail_after(60):
            answers += [await stream.receive() for _ in range(stream.unanswered())]
    assert [answer.nonce for answer in answers] == sent


async def test_an_order_stream_that_cannot_start_ends_its_call(
    client: Client, fake_node: FakeNode
) -> None:
    fake_node.script(methods.ORDER_STREAM, stream_answer, Hang())
    async with client as dex:
        with pytest.raises(PeerError):
            async with dex.order_stream(session=True):
                pass
        has_left = partial(fake_node.cancelled.wait, 5)
        assert await trio.to_thread.run_sync(has_left), "the call stays open"


async def test_a_full_window_waits_for_an_answer(client: Client, fake_node: FakeNode) -> None:
    fake_node.script(methods.ORDER_STREAM, *[stream_answer] * 2, Hang())
    async with client as dex, dex.order_stream(window=1) as stream, trio.open_nursery() as nursery:
        await stream.send(ORDER)
        nursery.start_soon(stream.send, ORDER)
        await trio.testing.wait_all_tasks_blocked()
        assert stream.unanswered() == 1
        await stream.receive()
        await stream.receive()
    assert stream.unanswered() == 0


def test_the_sync_face_shares_the_rules(sync_client: SyncClient, fake_node: FakeNode) -> None:
    fake_node.script(methods.PLACE_ORDER, LOST)
    fake_node.script(methods.PLACE_ORDER, PLACED)
    assert sync_client.place_order(ORDER).status == OrderStatus.OPEN
    first, second = fake_node.requests(methods.PLACE_ORDER)
    assert first == second
    fake_node.script(methods.STREAM_BOOK, snapshot(1), LOST)
    fake_node.script(methods.STREAM_BOOK, book_delta(2), Hang())
    with sync_client.stream_book("BTC-USDT") as feed:
        assert next(feed).snapshot.sequence == 1
        assert next(feed).delta.sequence == 2
    fake_node.script(methods.ORDER_STREAM, stream_answer, Hang())
    with sync_client.order_stream(window=1) as stream:
        nonce = stream.send(ORDER)
        with pytest.raises(CallerError, match="OVERLOADED"):
            stream.send(ORDER)
        assert stream.receive().nonce == nonce


def test_a_sync_order_stream_that_cannot_start_ends_its_call(
    sync_client: SyncClient, fake_node: FakeNode
) -> None:
    fake_node.script(methods.ORDER_STREAM, stream_answer, Hang())
    with pytest.raises(PeerError), sync_client.order_stream(session=True):
        pass
    assert fake_node.cancelled.wait(5), "the call stays open"


async def test_a_token_goes_where_it_is_asked_for(client: Client, fake_node: FakeNode) -> None:
    fake_node.script(methods.GET_ACCOUNT, b"")
    fake_node.script(methods.GET_BOOK, b"")
    async with client as dex:
        await dex.get_account()
        await dex.get_book("BTC-USDT")
    assert fake_node.seen[methods.GET_ACCOUNT.path][0].metadata["authorization"].startswith("Dex ")
    assert "authorization" not in fake_node.seen[methods.GET_BOOK.path][0].metadata
