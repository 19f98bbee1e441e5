"""Checking ed25519 signatures off the loop.

Verifying takes tens of microseconds and PyNaCl releases the GIL for it, but one
hop to a thread costs as much as two or three verifications. So a hop takes every
signature that waits: alone when the node is idle, by the dozen when it is busy.
"""

from __future__ import annotations

from collections import deque
from typing import final

import trio
from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

from dexruntime.promise import Promise

# One hop must not hold its first caller back for long: 64 x 57 us is under 4 ms.
HOP_SIGNATURES_MAX = 64


def verify_one(message: bytes, signature: bytes, public_key: bytes) -> bool:
    """Say whether the 64-byte signature over the message is the 32-byte key's (RFC 8032)."""
    if len(signature) != 64 or len(public_key) != 32:
        return False
    try:
        crypto_sign_open(signature + message, public_key)
    except (BadSignatureError, ValueError):
        return False
    return True


_Request = tuple[bytes, bytes, bytes]


def _verify_many(requests: list[_Request]) -> list[bool]:
    return [verify_one(*request) for request in requests]


@final
class SignatureVerifier:
    """A queue of signatures in front of a few worker threads."""

    def __init__(self, workers: int = 2) -> None:
        self._workers = workers
        self._waiting: deque[tuple[_Request, Promise[bool]]] = deque()
        self._wake = trio.Event()
        self._threads = trio.CapacityLimiter(workers)

    @property
    def queue_depth(self) -> int:
        """Signatures that wait for a thread."""
        return len(self._waiting)

    def enqueue(self, message: bytes, signature: bytes, public_key: bytes) -> Promise[bool]:
        """Ask for a verdict on one signature."""
        promise: Promise[bool] = Promise()
        self._waiting.append(((message, signature, public_key), promise))
        self._wake.set()
        return promise

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as nursery:
            for _ in range(self._workers):
                nursery.start_soon(self._work)
            task_status.started()

    async def _work(self) -> None:
        waiting = self._waiting
        while True:
            while not waiting:
                # All idle workers wait for one event: one made anew would strand the others.
                if self._wake.is_set():
                    self._wake = trio.Event()
                await self._wake.wait()
            count = min(len(waiting), HOP_SIGNATURES_MAX)
            taken = [waiting.popleft() for _ in range(count)]
            requests = [request for request, _ in taken]
            verdicts = await trio.to_thread.run_sync(
                _verify_many, requests, limiter=self._threads, abandon_on_cancel=True
            )
            for (_, promise), verdict in zip(taken, verdicts, strict=True):
                promise.set(verdict)
