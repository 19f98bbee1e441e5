"""Accounts and keys pay for what they signed, connections for what proved nothing."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, final

import pytest
import trio
from google.rpc.error_details_pb2 import RetryInfo
from msgspec import structs
from nacl.signing import SigningKey

from dex.matching.v1 import matching_pb2
from dex.orders.v1 import order_intake_pb2
from dex.orders.v1 import signed_payload_pb2 as wire
from dex.pools.v1 import pools_pb2
from dexnode import admission
from dexnode.admission import Admission
from dexnode.admission_interceptor import READS, ReadBudgetInterceptor
from dexnode.authz import IDENTITY_STATE, Identity, IdentityKind, PermissionTable
from dexnode.errors import error_info
from dexnode.ids import IdFormat
from dexnode.intake import Intake
from dexnode.settings import LimitSettings
from dexrpc import Peer, RpcError
from dexruntime.promise import Promise
from dexruntime.shard import Shard
from tests.sim.disk import SimulatedDisk
from tests.unit.core.exchanges import START_NS
from tests.unit.runtime.shards import IDENTITY, fixed_clock_ns, open_market, running

NS = 10**9
KEY, STRANGER = (SigningKey(bytes([number]) * 32) for number in (7, 8))
LIMITS = LimitSettings(
    account_orders_per_second=500,
    account_cancels_per_second=500,
    key_orders_per_second=500,
    key_cancels_per_second=500,
    bad_signatures_per_minute=5,
    cool_down_seconds=10,
)
CAPACITY = 1_000  # two seconds' worth


class Clock:
    """Nanoseconds that only the test moves."""

    def __init__(self) -> None:
        self.now_ns = NS

    def __call__(self) -> int:
        return self.now_ns


@final
class Desk:
    """An intake under limits, an account on it, and connections to it."""

    def __init__(self, shard: Shard) -> None:
        self.shard = shard
        self.clock = Clock()
        self.admission = Admission(LIMITS, self.clock)
        self.ids = IdFormat(IDENTITY.shard, IDENTITY.epoch)
        self.intake = Intake(shard, self.ids, fixed_clock_ns, self.admission)
        self.account_id = ""
        self.peer, self.other_peer = Peer("1.1.1.1:1", False), Peer("2.2.2.2:2", False)
        self._nonce = 0

    async def open_account(self) -> None:
        signed = self.sign(KEY, register_key=wire.KeyRegistration(public_key=bytes(KEY.verify_key)))
        outcome = await self.intake.run(signed, "register_key")
        self.account_id = self.ids.format(outcome.key)

    def sign(self, key: SigningKey, **action: Any) -> wire.SignedEnvelope:
        self._nonce += 1
        payload = wire.Payload(
            network_id=IDENTITY.network_id,
            account_id=self.account_id,
            nonce=self._nonce,
            **action,
        )
        payload.expire_time.FromNanoseconds(START_NS + 60 * NS)
        data = payload.SerializeToString()
        signature = key.sign(b"triodex.payload.v1\0" + data).signature
        return wire.SignedEnvelope(
            payload=data, signature=signature, public_key=bytes(key.verify_key)
        )

    def batch(self, places: int, cancels: int = 0, key: SigningKey = KEY) -> wire.SignedEnvelope:
        """A batch whose items the core refuses, which costs the same."""
        batch = wire.Batch()
        for _ in range(places):
            batch.items.add(place=wire.NewOrder(market_id="none"))
        for _ in range(cancels):
            batch.items.add(cancel=wire.OrderCancel(client_order_id=1))
        return self.sign(key, batch=batch)

    def forged(self, places: int = 100) -> wire.SignedEnvelope:
        """A batch that claims the account and its key; the signature is another's."""
        envelope = self.batch(places, key=STRANGER)
        envelope.public_key = bytes(KEY.verify_key)
        return envelope

    async def send(
        self, envelope: wire.SignedEnvelope, peer: Peer | None = None
    ) -> RpcError | None:
        """What the envelope was refused with, as a call on that connection."""
        peer = peer or self.peer
        try:
            verdict = self.intake.verify(envelope, peer)
            signed = self.intake.check(envelope, await verdict.wait())
            self.intake.charge(signed, peer)
            await self.intake.submit(signed).wait()
        except RpcError as error:
            self.admission.note_refusal(peer, error)
            return error
        return None


@asynccontextmanager
async def open_desk() -> AsyncIterator[Desk]:
    async with running(SimulatedDisk(random.Random(1)), signed=True) as shard:
        await open_market(shard, 0)
        desk = Desk(shard)
        await desk.open_account()
        yield desk


def reason(error: RpcError | None) -> str:
    if error is None:
        return "accepted"
    info = error_info(error)
    assert info is not None
    return str(info.reason)


def retry_ns(error: RpcError | None) -> int:
    """The delay of RetryInfo."""
    assert error is not None, "nothing was refused"
    [retry] = [detail for detail in error.details if isinstance(detail, RetryInfo)]
    return int(retry.retry_delay.ToNanoseconds())


async def test_a_batch_costs_its_items_and_is_refused_whole() -> None:
    async with open_desk() as desk:
        assert reason(await desk.send(desk.batch(CAPACITY - 10))) == "accepted"
        refused = await desk.send(desk.batch(20))
        assert reason(refused) == "RATE_LIMITED"
        assert retry_ns(refused) == 10 * NS // 500
        assert reason(await desk.send(desk.batch(10))) == "accepted"
        desk.clock.now_ns += retry_ns(refused) + 10 * NS // 500
        assert reason(await desk.send(desk.batch(20))) == "accepted"


async def test_a_refusal_says_what_is_left_and_when_it_is_more() -> None:
    async with open_desk() as desk:
        await desk.send(desk.batch(CAPACITY - 1))
        refused = await desk.send(desk.batch(2))
        assert refused is not None
        said = dict(refused.trailing_metadata)
        assert said == {
            "ratelimit-limit": "1000",
            "ratelimit-remaining": "1",
            "ratelimit-reset": "2",
        }
        info = error_info(refused)
        assert info is not None
        assert info.metadata["budget"] in {"account_orders", "key_orders"}


async def test_cancels_are_not_kept_out_by_orders() -> None:
    async with open_desk() as desk:
        await desk.send(desk.batch(CAPACITY))
        assert reason(await desk.send(desk.batch(1))) == "RATE_LIMITED"
        cancels = await desk.send(desk.batch(0, cancels=CAPACITY))
        assert reason(cancels) == "accepted", "an account out of orders cannot cancel"
        assert reason(await desk.send(desk.batch(0, cancels=1))) == "RATE_LIMITED"


async def test_two_keys_of_one_account_share_its_budget() -> None:
    async with open_desk() as desk:
        second = wire.KeyRegistration(public_key=bytes(STRANGER.verify_key))
        assert await desk.send(desk.sign(KEY, register_key=second)) is None
        assert await desk.send(desk.batch(CAPACITY - 1)) is None
        refused = await desk.send(desk.batch(1, key=STRANGER))
        assert refused is not None
        info = error_info(refused)
        assert info is not None
        assert info.metadata["budget"] == "account_orders"


async def test_who_claims_an_account_uses_up_nothing_of_it() -> None:
    async with open_desk() as desk:
        for _ in range(9):
            assert reason(await desk.send(desk.forged(), desk.other_peer)) == "SIGNATURE_INVALID"
        assert await desk.send(desk.batch(CAPACITY)) is None, "a forger used up the budget"


async def test_bad_signatures_cool_the_connection_and_not_the_account() -> None:
    async with open_desk() as desk:
        for _ in range(LIMITS.bad_signatures_per_minute + 1):
            await desk.send(desk.forged(), desk.other_peer)
        cooling = desk.admission.cooling(desk.other_peer)
        assert reason(cooling) == "COOLING_DOWN"
        assert retry_ns(cooling) == 10 * NS
        assert desk.admission.cooling(desk.peer) is None, "the owner is locked out"
        assert await desk.send(desk.batch(1)) is None
        desk.clock.now_ns += 10 * NS
        assert desk.admission.cooling(desk.other_peer) is None


async def test_a_strangers_good_signature_is_a_strike_too() -> None:
    async with open_desk() as desk:
        for _ in range(LIMITS.bad_signatures_per_minute + 1):
            assert reason(await desk.send(desk.batch(1, key=STRANGER))) == "UNKNOWN_KEY"
        assert reason(desk.admission.cooling(desk.peer)) == "COOLING_DOWN"


async def test_honest_mistakes_do_not_cool() -> None:
    async with open_desk() as desk:
        for _ in range(LIMITS.bad_signatures_per_minute + 5):
            assert reason(await desk.send(desk.batch(CAPACITY + 1))) == "BATCH_SIZE"
        assert desk.admission.cooling(desk.peer) is None


async def test_a_known_key_that_is_short_is_refused_before_its_signature_is_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with open_desk() as desk:
        await desk.send(desk.batch(CAPACITY))
        await desk.send(desk.batch(1))
        desk.clock.now_ns += NS // 500
        verified: list[bytes] = []
        enqueue = desk.shard.verifier.enqueue

        def noting(message: bytes, signature: bytes, public_key: bytes) -> Promise[bool]:
            verified.append(message)
            return enqueue(message, signature, public_key)

        monkeypatch.setattr(desk.shard.verifier, "enqueue", noting)
        assert reason(await desk.send(desk.batch(100))) == "RATE_LIMITED"
        assert not verified, "a refusal cost a signature"
        assert reason(await desk.send(desk.forged(), desk.other_peer)) == "SIGNATURE_INVALID"
        assert len(verified) == 1, "a stranger was told how busy the account is"
        assert await desk.send(desk.batch(1)) is None, "it was refused though it fits"


async def test_opening_accounts_is_charged_to_the_connection() -> None:
    async with running(SimulatedDisk(random.Random(1)), signed=True) as shard:
        desk = Desk(shard)
        desk.admission = Admission(LimitSettings(connection_reads_per_second=1), desk.clock)
        desk.intake = Intake(shard, desk.ids, fixed_clock_ns, desk.admission)
        answers = []
        for number in range(4):
            key = SigningKey(bytes([100 + number]) * 32)
            opening = wire.KeyRegistration(public_key=bytes(key.verify_key))
            answers.append(reason(await desk.send(desk.sign(key, register_key=opening))))
        assert answers == ["accepted", "accepted", "RATE_LIMITED", "RATE_LIMITED"]


async def test_accounts_are_bounded_on_a_connection_and_in_all() -> None:
    """They are kept for good, and anyone may open one."""
    async with running(SimulatedDisk(random.Random(1)), signed=True) as shard:
        desk = Desk(shard)
        limits = LimitSettings(connection_accounts_per_minute=2, accounts_per_minute=3)
        desk.admission = Admission(limits, desk.clock)
        desk.intake = Intake(shard, desk.ids, fixed_clock_ns, desk.admission)
        keys = (SigningKey(bytes([100 + number]) * 32) for number in range(20))

        async def open_one(peer: Peer) -> RpcError | None:
            opening = wire.KeyRegistration(public_key=bytes((key := next(keys)).verify_key))
            return await desk.send(desk.sign(key, register_key=opening), peer)

        def budget(error: RpcError | None) -> str:
            info = None if error is None else error_info(error)
            return "none" if info is None else str(info.metadata["budget"])

        assert [budget(await open_one(desk.peer)) for _ in range(3)] == [
            "none",
            "none",
            "connection_accounts",
        ], "one connection opens as many as it likes"
        assert await open_one(desk.other_peer) is None
        refused = await open_one(desk.other_peer)
        assert budget(refused) == "accounts", "many connections open as many as they like"
        assert retry_ns(refused) == 20 * NS
        desk.clock.now_ns += 20 * NS
        assert await open_one(desk.other_peer) is None


def test_a_connection_remembers_no_more_keys_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "PROVEN_KEYS_MAX", 3)
    budgets, peer = Admission(LIMITS, Clock()), Peer("1.1.1.1:1", False)
    keys = [bytes([number]) * 32 for number in range(10)]
    for number, key in enumerate(keys):
        budgets.charge_signed(peer, number + 1, key, admission.Cost(CAPACITY, 0))
        with pytest.raises(RpcError):
            budgets.charge_signed(peer, number + 1, key, admission.Cost(1, 0))
    remembered = [budgets.is_short(peer, key) for key in keys]
    assert remembered[-1], "the last key is forgotten"
    assert sum(remembered) <= 3, "a connection remembers every key it ever saw"


@pytest.mark.parametrize("path", sorted(READS), ids=lambda path: path.rpartition("/")[2])
async def test_a_preview_costs_more_than_a_read(path: str) -> None:
    """It walks what an order would: cheap to ask, dear to answer."""
    table = PermissionTable.from_services(
        [
            order_intake_pb2.DESCRIPTOR.services_by_name["OrderIntake"],
            matching_pb2.DESCRIPTOR.services_by_name["Matching"],
            pools_pb2.DESCRIPTOR.services_by_name["Pools"],
        ]
    )
    assert table.asked(path) is not None, "a method that is not in the contract"
    limits = LimitSettings(
        account_reads_per_second=30, key_reads_per_second=30, connection_reads_per_second=30
    )
    for settings, served in ((limits, 3), (structs.replace(limits, burst_seconds=1), 1)):
        charge = ReadBudgetInterceptor(Admission(settings, Clock()), table)
        identity = Identity(IdentityKind.ACCOUNT, "a", public_key=bytes(32))
        ctx: Any = SimpleNamespace(
            method=SimpleNamespace(path=path),
            peer=Peer("1.1.1.1:1", False),
            state={IDENTITY_STATE: identity},
            trailing_metadata=(),
            set_trailing_metadata=lambda _: None,
        )
        for _ in range(served):
            await charge(ctx, trio.lowlevel.checkpoint)
        with pytest.raises(RpcError) as refused:
            await charge(ctx, trio.lowlevel.checkpoint)
        assert reason(refused.value) == "RATE_LIMITED"


def test_a_budget_smaller_than_a_preview_lets_one_through() -> None:
    limits = LimitSettings(connection_reads_per_second=1)
    budgets, peer = Admission(limits, Clock()), Peer("1.1.1.1:1", False)
    assert budgets.charge_anonymous(peer, admission.PREVIEW_READS) is not None
    with pytest.raises(RpcError):
        budgets.charge_anonymous(peer)


async def test_limits_of_zero_limit_nothing() -> None:
    off = LimitSettings(
        account_orders_per_second=0,
        account_cancels_per_second=0,
        account_reads_per_second=0,
        key_orders_per_second=0,
        key_cancels_per_second=0,
        key_reads_per_second=0,
        connection_reads_per_second=0,
        connection_accounts_per_minute=0,
        accounts_per_minute=0,
        bad_signatures_per_minute=0,
    )
    async with open_desk() as desk:
        desk.admission = Admission(off, desk.clock)
        desk.intake = Intake(desk.shard, desk.ids, fixed_clock_ns, desk.admission)
        for _ in range(5):
            assert await desk.send(desk.batch(CAPACITY)) is None
            assert reason(await desk.send(desk.forged())) == "SIGNATURE_INVALID"
        assert desk.admission.charge_anonymous(desk.peer) is None
        assert desk.admission.charge_opening(desk.peer) is None
        assert desk.admission.cooling(desk.peer) is None
