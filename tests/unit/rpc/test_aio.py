"""The grpc.aio backend tells handlers what the own server tells them."""

from __future__ import annotations

from typing import Any

import trio
from grpc import aio

from dexrpc import Method, MethodKind
from dexrpc.aio_backend import _AioSender, run_with_aio


class Gone:
    """A call whose client is gone, which only writing to it shows."""

    async def write(self, _data: bytes) -> None:
        raise aio.InternalError("the batch failed")


def test_a_write_to_nobody_cancels_the_handler() -> None:
    nothing: Any = None
    method = Method("/a.B/C", MethodKind.UNARY_STREAM, nothing, bytes, bytes)

    async def main() -> bool:
        with trio.CancelScope() as call:
            await _AioSender(method, Gone(), call).send(b"")
        return call.cancelled_caught

    assert run_with_aio(main), "the handler was told of a fault"
