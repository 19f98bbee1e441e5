"""What the intake refuses before the journal: a payload of somebody, somewhere or somewhen else."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from nacl.signing import SigningKey

from dex.orders.v1 import signed_payload_pb2 as wire
from dexnode.errors import error_info
from dexnode.ids import IdFormat
from dexnode.intake import Intake
from dexrpc import RpcError
from tests.sim.disk import SimulatedDisk
from tests.unit.core.exchanges import SECOND_NS, START_NS
from tests.unit.runtime.shards import IDENTITY, fixed_clock_ns, open_market, running

KEY = SigningKey(bytes(range(32)))


def envelope(key: SigningKey = KEY, **changes: Any) -> wire.SignedEnvelope:
    """A registration that is good but for the changes."""
    payload = wire.Payload(network_id=IDENTITY.network_id, nonce=1)
    payload.expire_time.FromNanoseconds(START_NS + 60 * SECOND_NS)
    payload.register_key.public_key = bytes(KEY.verify_key)
    payload.MergeFrom(wire.Payload(**changes))
    data = payload.SerializeToString()
    signature = key.sign(b"triodex.payload.v1\0" + data).signature
    return wire.SignedEnvelope(payload=data, signature=signature, public_key=bytes(key.verify_key))


@asynccontextmanager
async def open_intake() -> AsyncIterator[tuple[Intake, list[int]]]:
    """An intake, and a list whose only item is the sequence of its journal."""
    async with running(SimulatedDisk(random.Random(1)), signed=True) as shard:
        await open_market(shard, 0)
        yield (
            Intake(shard, IdFormat(IDENTITY.shard, IDENTITY.epoch), fixed_clock_ns),
            [shard.exchange.sequence],
        )


async def refusal(intake: Intake, signed: wire.SignedEnvelope) -> str:
    """The reason an envelope is refused for, or what became of it."""
    try:
        outcome = await intake.run(signed, "register_key")
    except RpcError as error:
        info = error_info(error)
        assert info is not None
        return str(info.reason)
    return f"applied as {outcome.sequence}"


async def test_a_good_envelope_is_applied() -> None:
    async with open_intake() as (intake, [sequence]):
        assert await refusal(intake, envelope()) == f"applied as {sequence + 1}"


@pytest.mark.parametrize("part", ["payload", "signature", "public_key"])
async def test_a_changed_envelope_is_refused(part: str) -> None:
    signed = envelope()
    data = bytearray(getattr(signed, part))
    data[-1] ^= 1
    setattr(signed, part, bytes(data))
    async with open_intake() as (intake, _):
        assert await refusal(intake, signed) == "SIGNATURE_INVALID"


async def test_a_payload_of_another_network_is_refused() -> None:
    async with open_intake() as (intake, _):
        assert await refusal(intake, envelope(network_id="elsewhere")) == "NETWORK_MISMATCH"


async def test_an_expired_payload_is_refused() -> None:
    signed = envelope(expire_time={"seconds": START_NS // SECOND_NS})
    async with open_intake() as (intake, _):
        assert await refusal(intake, signed) == "PAYLOAD_EXPIRED"


async def test_a_retry_passes_though_its_key_was_revoked() -> None:
    """Only what was answered: anything else of an ended key leaves no record."""
    bot = SigningKey(bytes(range(1, 33)))
    async with open_intake() as (intake, _):
        opened = await intake.run(envelope(), "register_key")
        account_id = IdFormat(IDENTITY.shard, IDENTITY.epoch).format(opened.key)
        bots_key = wire.KeyRegistration(public_key=bytes(bot.verify_key))
        await intake.run(
            envelope(account_id=account_id, nonce=2, register_key=bots_key), "register_key"
        )
        another = wire.KeyRegistration(public_key=bytes(range(32)))
        sent = envelope(bot, account_id=account_id, nonce=3, register_key=another)
        revocation = wire.KeyRevocation(public_key=bytes(bot.verify_key))
        first = await refusal(intake, sent)
        assert first.startswith("applied as")
        ended = envelope(account_id=account_id, nonce=4, revoke_key=revocation)
        outcome = await intake.run(ended, "revoke_key")
        sequence = outcome.sequence
        assert await refusal(intake, sent) == first
        other = envelope(bot, account_id=account_id, nonce=3, register_key={"label": "other"})
        assert await refusal(intake, other) == "KEY_REVOKED"
        assert await refusal(intake, envelope(bot, account_id=account_id, nonce=5)) == "KEY_REVOKED"
        assert intake._shard.exchange.sequence == sequence + 1, "the retry alone"


async def test_a_strangers_copy_of_what_was_answered_is_no_retry() -> None:
    stranger = SigningKey(bytes(range(2, 34)))
    async with open_intake() as (intake, _):
        opened = await intake.run(envelope(), "register_key")
        account_id = IdFormat(IDENTITY.shard, IDENTITY.epoch).format(opened.key)
        another = wire.KeyRegistration(public_key=bytes(range(32)))
        changes: dict[str, Any] = {
            "account_id": account_id,
            "nonce": 2,
            "register_key": another,
        }
        assert (await refusal(intake, envelope(**changes))).startswith("applied as")
        sequence = intake._shard.exchange.sequence
        assert await refusal(intake, envelope(stranger, **changes)) == "UNKNOWN_KEY"
        assert intake._shard.exchange.sequence == sequence


async def test_a_label_with_control_characters_leaves_no_record() -> None:
    async with open_intake() as (intake, _):
        key = SigningKey(bytes(32)).verify_key
        labelled = wire.KeyRegistration(public_key=bytes(key), label="bot\x1b[2J")
        before = intake._shard.exchange.sequence
        signed = envelope(register_key=labelled)
        assert await refusal(intake, signed) == "FIELD_INVALID"
        assert intake._shard.exchange.sequence == before


async def test_a_stranger_fills_no_journal() -> None:
    """A key signs for its own account alone, and the attempt leaves no record."""
    async with running(SimulatedDisk(random.Random(1)), signed=True) as shard:
        victim, _ = await open_market(shard, 2)
        ids = IdFormat(IDENTITY.shard, IDENTITY.epoch)
        intake = Intake(shard, ids, fixed_clock_ns)
        await intake.run(envelope(), "register_key")
        sequence = shard.exchange.sequence
        signed = envelope(account_id=ids.format(victim.account_key), nonce=2)
        assert await refusal(intake, signed) == "UNKNOWN_KEY"
        signed = envelope(account_id=ids.format(12_345), nonce=3)
        assert await refusal(intake, signed) == "UNKNOWN_ACCOUNT"
        assert shard.exchange.sequence == sequence
