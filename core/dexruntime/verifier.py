"""Checking ed25519 signatures off the loop, in processes of their own.

Theory of operation. Verifying takes tens of microseconds and PyNaCl releases the GIL for it, but a
thread must have the GIL back after each signature: beside a busy loop it waits for it every time,
and then takes it from the loop. A process waits for nobody. Requests go down a pipe, everything
that waits in one write; verdicts come back in the same order, one byte each. The processes keep
nothing, ignore signals, and end when their pipe does, whatever ended the node.
"""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
from collections import deque
from typing import Final, final

import trio
from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

from dexruntime.promise import Promise

SIGNATURE_BYTES: Final = 64
PUBLIC_KEY_BYTES: Final = 32
# Signatures that wait: half a second of work of one process, and at most 8 MiB of orders or half a
# GiB of payloads of the largest size.
QUEUE_SIGNATURES_MAX: Final = 8_192
# What one process takes at a time, so that the others get their share: 64 x 57 us is under 4 ms.
TAKEN_MAX: Final = 64
# Verdicts of one write: the loop goes on with the first while the rest is verified.
VERDICTS_PER_WRITE: Final = 16
_READ_BYTES: Final = 1 << 18
# Length of the message; key, signature and message follow.
_HEAD: Final = struct.Struct("<I")
_FIXED_BYTES: Final = _HEAD.size + PUBLIC_KEY_BYTES + SIGNATURE_BYTES


class VerifierFull(Exception):
    """Too many signatures wait; this one was not taken."""


class VerifierFailed(Exception):
    """A verifying process ended by itself."""


def verify_one(message: bytes, signature: bytes, public_key: bytes) -> bool:
    """Say whether the 64-byte signature over the message is the 32-byte key's (RFC 8032)."""
    if len(signature) != SIGNATURE_BYTES or len(public_key) != PUBLIC_KEY_BYTES:
        return False
    try:
        crypto_sign_open(signature + message, public_key)
    except (BadSignatureError, ValueError):
        return False
    return True


@final
class SignatureVerifier:
    """A queue of signatures in front of a few processes."""

    def __init__(self, workers: int | None = None) -> None:
        """``workers`` defaults to one for every core but the loop's, four at most."""
        self._workers = workers or max(1, min(4, (os.cpu_count() or 1) - 1))
        self._waiting: deque[tuple[bytes, Promise[bool]]] = deque()
        self._wake = trio.Event()
        self._room = trio.Event()

    @property
    def queue_depth(self) -> int:
        """Signatures that no process has taken yet."""
        return len(self._waiting)

    def enqueue(self, message: bytes, signature: bytes, public_key: bytes) -> Promise[bool]:
        """Ask for a verdict on one signature.

        Raises:
            VerifierFull: too many wait.
        """
        promise: Promise[bool] = Promise()
        if len(signature) != SIGNATURE_BYTES or len(public_key) != PUBLIC_KEY_BYTES:
            promise.set(False)
            return promise
        if len(self._waiting) >= QUEUE_SIGNATURES_MAX:
            raise VerifierFull
        request = b"".join((_HEAD.pack(len(message)), public_key, signature, message))
        self._waiting.append((request, promise))
        self._wake.set()
        return promise

    async def wait_room(self) -> None:
        """Wait until no more than half of the queue is taken: how a stream holds its sender
        back."""
        while len(self._waiting) >= QUEUE_SIGNATURES_MAX // 2:
            await self._room.wait()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled.

        Raises:
            VerifierFailed: a process ended by itself.
        """
        async with trio.open_nursery() as nursery:
            for _ in range(self._workers):
                await nursery.start(self._serve)
            task_status.started()

    async def _serve(self, task_status: trio.TaskStatus[None]) -> None:
        """One process and what it was asked."""
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", "dexruntime.verifier"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        asked: deque[Promise[bool]] = deque()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._ask, process.stdin, asked)
                nursery.start_soon(self._answer, process.stdout, asked)
                task_status.started()
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
                await process.stdin.aclose()
                await process.stdout.aclose()

    async def _ask(self, pipe: trio.abc.SendStream, asked: deque[Promise[bool]]) -> None:
        waiting = self._waiting
        while True:
            while not waiting:
                # All idle processes wait for one event: one made anew would strand the others.
                if self._wake.is_set():
                    self._wake = trio.Event()
                await self._wake.wait()
            taken = self._take()
            asked.extend([promise for _, promise in taken])
            try:
                await pipe.send_all(b"".join([request for request, _ in taken]))
            except trio.BrokenResourceError:
                raise VerifierFailed("a verifying process takes no more signatures") from None

    def _take(self) -> list[tuple[bytes, Promise[bool]]]:
        """The oldest requests, without those nobody waits for any more: their call was cancelled
        or ran out of time."""
        waiting = self._waiting
        taken: list[tuple[bytes, Promise[bool]]] = []
        while waiting and len(taken) < TAKEN_MAX:
            request = waiting.popleft()
            if not request[1].abandoned:
                taken.append(request)
        if len(waiting) < QUEUE_SIGNATURES_MAX // 2 and self._room.statistics().tasks_waiting:
            self._room.set()
            self._room = trio.Event()
        return taken

    async def _answer(self, pipe: trio.abc.ReceiveStream, asked: deque[Promise[bool]]) -> None:
        while True:
            verdicts = await pipe.receive_some()
            if not verdicts:
                raise VerifierFailed("a verifying process ended")
            for verdict in verdicts:
                asked.popleft().set(verdict == 1)


def serve(requests: int, verdicts: int) -> None:
    """The process: requests come from one descriptor, verdicts go to the other, until the end."""
    data = bytearray()
    while chunk := os.read(requests, _READ_BYTES):
        data += chunk
        at = 0
        found = bytearray()
        while len(data) - at >= _FIXED_BYTES:
            (message_bytes,) = _HEAD.unpack_from(data, at)
            end = at + _FIXED_BYTES + message_bytes
            if len(data) < end:
                break
            body = bytes(data[at + _HEAD.size : end])
            message = body[PUBLIC_KEY_BYTES + SIGNATURE_BYTES :]
            signature = body[PUBLIC_KEY_BYTES : PUBLIC_KEY_BYTES + SIGNATURE_BYTES]
            found.append(verify_one(message, signature, body[:PUBLIC_KEY_BYTES]))
            at = end
            if len(found) == VERDICTS_PER_WRITE:
                _write_all(verdicts, found)
                found = bytearray()
        del data[:at]
        _write_all(verdicts, found)


def _write_all(descriptor: int, data: bytearray) -> None:
    rest = bytes(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def main() -> None:
    """Serve the standard streams; the node alone says when to stop, by closing them."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    try:
        serve(0, 1)
    except BrokenPipeError:
        pass


if __name__ == "__main__":
    main()
