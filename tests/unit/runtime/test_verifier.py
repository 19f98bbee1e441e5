"""Signatures off the loop: good and bad ones, in batches, on every worker."""

from __future__ import annotations

import os
import random
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import trio
import trio.testing
from nacl.signing import SigningKey

from dexruntime.promise import Promise
from dexruntime.storage import PosixStorage
from dexruntime.verifier import (
    QUEUE_SIGNATURES_MAX,
    SignatureVerifier,
    VerifierFailed,
    VerifierFull,
    verify_one,
)
from tests.support.processes import children_running
from tests.unit.core.exchanges import seed_of
from tests.unit.runtime.shards import open_market, running

KEY = SigningKey(bytes(range(32)))
PUBLIC = bytes(KEY.verify_key)


def signed(message: bytes) -> bytes:
    return KEY.sign(message).signature


def test_the_first_vector_of_rfc_8032_verifies() -> None:
    public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    signature = (
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701c"
        "f9b46bd25bf5f0595bbe24655141438e7a100b"
    )
    assert verify_one(b"", bytes.fromhex(signature), bytes.fromhex(public))
    assert not verify_one(b"x", bytes.fromhex(signature), bytes.fromhex(public))


def test_every_changed_bit_is_noticed() -> None:
    message = b"a payload"
    signature = signed(message)
    assert verify_one(message, signature, PUBLIC)
    for name, data in (("message", message), ("signature", signature), ("key", PUBLIC)):
        for bit in range(len(data) * 8):
            changed = bytearray(data)
            changed[bit // 8] ^= 1 << bit % 8
            parts = {"message": message, "signature": signature, "key": PUBLIC}
            parts[name] = bytes(changed)
            assert not verify_one(*parts.values()), (name, bit)


@pytest.mark.parametrize("signature", [b"", bytes(63), bytes(65), bytes(64)])
def test_signatures_of_a_wrong_size_are_bad(signature: bytes) -> None:
    assert not verify_one(b"message", signature, PUBLIC)


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33), bytes(32), b"\xff" * 32])
def test_keys_of_a_wrong_size_or_off_the_curve_are_bad(key: bytes) -> None:
    assert not verify_one(b"message", signed(b"message"), key)


async def test_each_promise_gets_its_own_verdict() -> None:
    seed = seed_of("tests/unit/runtime/test_verifier.py -k own_verdict")
    chance = random.Random(seed)
    verifier = SignatureVerifier()
    async with trio.open_nursery() as nursery:
        await nursery.start(verifier.run)
        promises: list[tuple[bool, Promise[bool]]] = []
        for number in range(500):
            message = b"payload %d" % number
            good = chance.random() < 0.7
            signature = signed(message if good else message + b"!")
            promises.append((good, verifier.enqueue(message, signature, PUBLIC)))
            if chance.random() < 0.05:
                await trio.lowlevel.checkpoint()
        # In the order of arrival, as a stream releases them.
        for good, promise in promises:
            assert await promise.wait() is good
        assert verifier.queue_depth == 0
        nursery.cancel_scope.cancel()


async def test_a_shard_verifies_while_it_serves(tmp_path: Path) -> None:
    async with running(PosixStorage(tmp_path), signed=True) as shard:
        await open_market(shard, 1)
        promises = [
            shard.verifier.enqueue(b"payload", signed(message), PUBLIC)
            for message in (b"payload", b"another") * 40
        ]
        assert [await promise.wait() for promise in promises] == [True, False] * 40


def verifying_processes() -> list[int]:
    return children_running(os.getpid(), "dexruntime.verifier")


async def serve_and_kill_one() -> None:
    verifier = SignatureVerifier(workers=2)
    async with trio.open_nursery() as nursery:
        await nursery.start(verifier.run)
        assert await verifier.enqueue(b"payload", signed(b"payload"), PUBLIC).wait()
        first, _second = verifying_processes()
        os.kill(first, signal.SIGKILL)
        with trio.fail_after(20):
            await trio.sleep_forever()


async def test_a_verifying_process_that_dies_ends_the_run() -> None:
    with pytest.raises(BaseExceptionGroup) as ended:
        await serve_and_kill_one()
    assert ended.group_contains(VerifierFailed)
    assert not verifying_processes()


async def test_processes_ignore_signals_and_end_with_the_run() -> None:
    verifier = SignatureVerifier(workers=1)
    async with trio.open_nursery() as nursery:
        await nursery.start(verifier.run)
        assert await verifier.enqueue(b"payload", signed(b"payload"), PUBLIC).wait()
        (process,) = verifying_processes()
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(process, number)
        assert await verifier.enqueue(b"payload", signed(b"payload"), PUBLIC).wait()
        nursery.cancel_scope.cancel()
    assert not verifying_processes()


def test_a_process_ends_when_its_pipe_does() -> None:
    message = b"payload"
    request = b"".join((struct.pack("<I", len(message)), PUBLIC, signed(message), message))
    done = subprocess.run(
        [sys.executable, "-m", "dexruntime.verifier"],
        input=request * 20 + request[:-1] + b"x" + request[:50],
        stdout=subprocess.PIPE,
        check=True,
        timeout=30,
    )
    assert done.stdout == b"\1" * 20 + b"\0"


async def test_the_queue_is_bounded_and_streams_wait_for_room() -> None:
    verifier = SignatureVerifier(1)
    signature = signed(b"payload")
    promises = [
        verifier.enqueue(b"payload", signature, PUBLIC) for _ in range(QUEUE_SIGNATURES_MAX)
    ]
    with pytest.raises(VerifierFull):
        verifier.enqueue(b"payload", signature, PUBLIC)
    depths: list[int] = []

    async def wait_room() -> None:
        await verifier.wait_room()
        depths.append(verifier.queue_depth)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_room)
        await trio.testing.wait_all_tasks_blocked()
        assert depths == []
        await nursery.start(verifier.run)
        for promise in promises:
            assert await promise.wait()
        nursery.cancel_scope.cancel()
    assert depths[0] < QUEUE_SIGNATURES_MAX // 2


async def test_a_verdict_nobody_waits_for_is_not_worked_out() -> None:
    verifier = SignatureVerifier(1)
    given_up = [verifier.enqueue(b"payload", signed(b"payload"), PUBLIC) for _ in range(100)]
    for promise in given_up:
        with trio.move_on_after(0):
            await promise.wait()
    last = verifier.enqueue(b"payload", signed(b"payload"), PUBLIC)
    async with trio.open_nursery() as nursery:
        await nursery.start(verifier.run)
        assert await last.wait()
        nursery.cancel_scope.cancel()
    assert not any(promise.done for promise in given_up), "a call that was given up was worked on"
