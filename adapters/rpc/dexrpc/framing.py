"""gRPC messages in a byte stream: a flag, a length, the bytes (gRPC over HTTP/2, "Requests").

Theory of operation
-------------------
`MessageReader.feed` takes whatever DATA arrived and returns the messages it completed. A message's
declared length is checked before a byte of it is kept, and a compressed one is inflated no further
than the limit, so what is held is bounded whatever the peer says. `partial_bytes` is what is held
of the message under way: the owner credits it early, or a message larger than the flow-control
window could never arrive.
"""

from __future__ import annotations

import zlib
from typing import Final, final

from dexrpc.status import RpcError, StatusCode

PREFIX_BYTES: Final = 5
ENCODINGS: Final = ("identity", "gzip")
_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS


def frame_message(message: bytes) -> bytes:
    """One uncompressed message as it goes on the wire."""
    return b"\0" + len(message).to_bytes(4, "big") + message


@final
class MessageReader:
    """Cuts one request stream into messages."""

    __slots__ = ("_buffer", "_encoding", "_max_message_bytes", "_needed")

    def __init__(self, encoding: str, max_message_bytes: int) -> None:
        self._encoding = encoding
        self._max_message_bytes = max_message_bytes
        self._buffer = bytearray()
        self._needed = PREFIX_BYTES

    @property
    def partial_bytes(self) -> int:
        """Bytes held of the message that is not complete."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[tuple[bytes, int]]:
        """Messages completed by `data`, each with its size on the wire in bytes.

        Raises RpcError: RESOURCE_EXHAUSTED for a message over the limit, INTERNAL for a flag or a
        compression that contradicts `grpc-encoding`.
        """
        buffer = self._buffer
        if buffer:
            buffer += data
            if len(buffer) < self._needed:
                return []
            data = bytes(buffer)
            buffer.clear()
        messages = []
        at, size = 0, len(data)
        needed = PREFIX_BYTES
        while size - at >= PREFIX_BYTES:
            needed = PREFIX_BYTES + int.from_bytes(data[at + 1 : at + PREFIX_BYTES], "big")
            if needed - PREFIX_BYTES > self._max_message_bytes:
                raise self._too_large(needed - PREFIX_BYTES)
            if size - at < needed:
                break
            message = data[at + PREFIX_BYTES : at + needed]
            if data[at]:
                message = self._decompress(data[at], message)
            messages.append((message, needed))
            at += needed
            needed = PREFIX_BYTES
        if at < size:
            buffer += data[at:]
        self._needed = needed
        return messages

    def _decompress(self, flag: int, message: bytes) -> bytes:
        if flag != 1 or self._encoding != "gzip":
            raise RpcError(
                StatusCode.INTERNAL,
                f"message flag {flag} does not fit grpc-encoding {self._encoding}",
            )
        inflater = zlib.decompressobj(_GZIP_WINDOW)
        try:
            inflated = inflater.decompress(message, self._max_message_bytes + 1)
        except zlib.error:
            raise RpcError(StatusCode.INTERNAL, "the message is not valid gzip") from None
        if len(inflated) > self._max_message_bytes:
            raise self._too_large(len(inflated))
        if not inflater.eof:
            raise RpcError(StatusCode.INTERNAL, "the gzip stream of the message is cut short")
        return inflated

    def _too_large(self, size: int) -> RpcError:
        return RpcError(
            StatusCode.RESOURCE_EXHAUSTED,
            f"the message has {size} bytes or more, over the limit of {self._max_message_bytes}",
        )
