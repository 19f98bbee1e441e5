"""The client's end of a session: what it sends, signs for, sends again, and whom it believes."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from nacl.bindings import crypto_scalarmult, crypto_scalarmult_base

from dex.errors.v1 import errors_pb2
from dex.orders.v1 import order_intake_pb2 as orders
from dex.orders.v1 import signed_payload_pb2 as wire
from dexsdk import CallerError, DexError, Key, PeerError, Unavailable
from dexsdk.effects import Effect, Open, Operation, Read, Sleep, Write
from dexsdk.keys import verify
from dexsdk.mac_session import KeyShare, Mac, handshake_hash, next_hash, payload_hash
from dexsdk.order_window import OrderWindow
from dexsdk.session import Session
from dexsdk.types import CancelAll

NS = 10**9
NODE = Key(bytes([9]) * 32)
PAGE = Path(__file__).parents[3] / "docs" / "reference" / "sessions.md"
VECTOR = json.loads((Path(__file__).parents[2] / "vectors" / "sessions.json").read_text())


def data(name: str) -> bytes:
    return bytes.fromhex(VECTOR[name])


def hash_of(*parts: bytes) -> bytes:
    return blake2b(b"".join(parts), digest_size=32).digest()


class Node:
    """What a node says to one client; it checks every MAC and hash by the page."""

    def __init__(self) -> None:
        self.now_ns = 1_700_000_000 * NS
        self.client = Session(
            "test", Key(bytes([1]) * 32), "account", now_ns=lambda: self.now_ns, uniform=lambda: 0.5
        )
        self.opened = 0
        self.seen: list[wire.Payload] = []
        self.signed: list[int] = []
        self.answers: list[Message | BaseException] = []
        # What the next answers are instead, by the position among all of them.
        self.instead: dict[int, Message | BaseException] = {}
        self.while_asleep: Callable[[], object] = lambda: None
        self.given = 0
        self.change: Callable[[orders.SessionOpened], None] = lambda _: None

    def play(self, operation: Operation[Any]) -> Any:
        answer: Any = None
        step = operation.send
        try:
            while True:
                effect: Effect = step(answer)
                step, answer = operation.send, b""
                if isinstance(effect, Read):
                    assert self.answers, "it waits for what will not come"
                    found = self.answers.pop(0)
                    if isinstance(found, BaseException):
                        step, answer = operation.throw, found
                    else:
                        answer = found.SerializeToString()
                elif isinstance(effect, Open):
                    self.answers.clear()
                    for request in effect.requests:
                        self.take(request)
                elif isinstance(effect, Write):
                    self.take(effect.request)
                elif isinstance(effect, Sleep):
                    self.now_ns += effect.duration_ns
                    self.while_asleep()
        except StopIteration as stop:
            return stop.value

    def take(self, request: bytes) -> None:
        said = orders.OrderStreamRequest.FromString(request)
        answer = orders.OrderStreamResponse()
        if said.HasField("session_order"):
            answer.nonce = self._order(said.session_order)
        else:
            envelope = said.envelope
            message = b"triodex.payload.v1\0" + envelope.payload
            assert verify(envelope.public_key, message, envelope.signature)
            payload = wire.Payload.FromString(envelope.payload)
            answer.nonce = payload.nonce
            if payload.WhichOneof("action") == "session_opening":
                self._open(envelope, payload, answer.session_opened)
            elif payload.WhichOneof("action") == "session_countersignature":
                signed = payload.session_countersignature
                assert (signed.session_id, signed.running_hash) == (self.id, self.running_hash)
                assert signed.order_number == self.number
                self.signed.append(signed.order_number)
            else:
                self.seen.append(payload)
        self.given += 1
        self.answers.append(self.instead.pop(self.given, answer))

    def _open(
        self, envelope: wire.SignedEnvelope, payload: wire.Payload, opened: orders.SessionOpened
    ) -> None:
        self.opened += 1
        secret = bytes([self.opened]) * 32
        opened.key_share, opened.random = crypto_scalarmult_base(secret), bytes(32)
        length = struct.pack("<I", len(envelope.payload))
        said = (b"triodex.session.v1\0", length, envelope.payload, envelope.public_key)
        handshake = hash_of(*said, opened.key_share, opened.random)
        opened.session_id = self.id = f"{self.opened:022x}"
        opened.signature = NODE.sign(b"triodex.session.v1\0" + handshake + self.id.encode())
        opened.public_key = NODE.public_bytes
        opened.unsigned_orders_max = 8
        shared = crypto_scalarmult(secret, payload.session_opening.key_share)
        key = b"triodex.mac.v1\0" + handshake
        self.mac_key = blake2b(key, key=shared, digest_size=32).digest()
        self.number, self.running_hash = 0, handshake
        self.change(opened)

    def _order(self, order: orders.SessionOrder) -> int:
        self.number += 1
        number = struct.pack("<Q", self.number)
        said = self.id.encode() + number + order.payload
        assert order.mac == blake2b(said, key=self.mac_key, digest_size=16).digest()
        assert (order.session_id, order.order_number) == (self.id, self.number)
        self.running_hash = hash_of(self.running_hash, number, hash_of(order.payload))
        self.seen.append(wire.Payload.FromString(order.payload))
        return self.seen[-1].nonce

    def window(self, limit: int = 100, node_key: bytes | None = None) -> OrderWindow:
        return OrderWindow(self.client, limit, False, True, node_key)

    def send(self, window: OrderWindow) -> int:
        nonce, requests = window.add(CancelAll())
        for request in requests:
            self.take(request)
        return nonce


@pytest.fixture
def node() -> Node:
    return Node()


def rejected(reason: str) -> orders.OrderStreamResponse:
    number = errors_pb2.ErrorReason.Value(f"ERROR_REASON_{reason}")
    return orders.OrderStreamResponse(rejection=errors_pb2.Rejection(reason=number))


def test_orders_are_answered_and_signed_for_when_nothing_is_left(node: Node) -> None:
    window = node.window(node_key=NODE.public_bytes)
    node.play(window.start())
    nonces = [node.send(window) for _ in range(3)]
    answers = [node.play(window.receive()).nonce for _ in nonces]
    assert answers == nonces
    assert node.signed == [3]
    nonces = [node.send(window)]
    assert node.play(window.receive()).nonce == nonces[0], (
        "a countersignature is taken for an order"
    )
    assert node.signed == [3, 4]
    node.play(window.finish())
    assert window.breaks == 0


def test_a_busy_session_is_signed_for_every_second_and_at_half_the_bound(node: Node) -> None:
    window = node.window()
    node.play(window.start())
    node.send(window)
    node.now_ns += NS
    node.send(window)
    assert node.signed == [1], "a busy client does not sign"
    for _ in range(8):
        node.send(window)
    assert node.signed == [1, 5, 9]


@pytest.mark.parametrize("fault", ["broken", "ended", "UNKNOWN_SESSION", "SESSION_UNSIGNED"])
def test_a_session_that_ends_is_opened_anew_and_nothing_is_sent_with_another_nonce(
    node: Node, fault: str
) -> None:
    window = node.window()
    node.play(window.start())
    nonces = [node.send(window) for _ in range(3)]
    assert node.play(window.receive()).nonce == nonces[0]
    faults: dict[str, Message | DexError] = {
        "broken": Unavailable("UNAVAILABLE", "lost"),
        "ended": CallerError("SESSION_UNSIGNED", "the stream ended"),
    }
    node.answers[0] = faults.get(fault) or rejected(fault)
    assert [node.play(window.receive()).nonce for _ in nonces[1:]] == nonces[1:]
    assert (node.opened, window.breaks) == (2, 1)
    assert [payload.nonce for payload in node.seen] == [*nonces, *nonces[1:]]
    payloads = [payload.SerializeToString() for payload in node.seen]
    assert payloads[1:3] == payloads[3:], "what is sent again is another order"


def test_orders_sent_while_a_session_opens_go_out_in_it(node: Node) -> None:
    window = node.window()
    nonce = node.send(window)
    assert not node.seen
    node.play(window.start())
    assert node.play(window.receive()).nonce == nonce


def test_orders_sent_while_a_session_is_over_go_out_in_the_next(node: Node) -> None:
    window = node.window()
    node.play(window.start())
    nonces = [node.send(window)]
    node.answers[0] = rejected("UNKNOWN_SESSION")
    node.while_asleep = lambda: nonces.append(node.send(window))
    assert node.play(window.receive()).nonce == nonces[0]
    assert [payload.nonce for payload in node.seen] == [nonces[0], *nonces], "sent to the old one"
    assert node.play(window.receive()).nonce == nonces[1]


def test_a_receive_given_up_while_a_session_opens_leaves_it_to_the_next(node: Node) -> None:
    window = node.window()
    node.play(window.start())
    nonce = node.send(window)
    node.answers[0] = Unavailable("UNAVAILABLE", "lost")
    node.instead[node.given + 1] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        node.play(window.receive())
    assert node.play(window.receive()).nonce == nonce
    assert node.opened == 3


def test_a_refused_handshake_is_the_callers(node: Node) -> None:
    node.instead[1] = rejected("KEY_REVOKED")
    with pytest.raises(CallerError, match="KEY_REVOKED"):
        node.play(node.window().start())


def test_a_node_that_is_not_there_is_asked_again_for_a_while(node: Node) -> None:
    node.instead[1] = Unavailable("UNAVAILABLE", "not yet")
    node.play(node.window().start())
    assert node.opened == 2
    started_ns = node.now_ns
    node.instead = {number: Unavailable("UNAVAILABLE", "gone") for number in range(1_000)}
    with pytest.raises(Unavailable):
        node.play(node.window().start())
    assert node.now_ns <= started_ns + node.client.reconnect_timeout_ns


@pytest.mark.parametrize("part", ["key_share", "random", "session_id", "signature"])
def test_a_node_that_did_not_sign_its_half_is_not_believed(node: Node, part: str) -> None:
    def change(opened: orders.SessionOpened) -> None:
        value = getattr(opened, part)
        forged = value[:-1] + ("0" if isinstance(value, str) else b"\0")
        setattr(opened, part, forged if forged != value else type(value)())

    node.change = change
    with pytest.raises(PeerError, match="SIGNATURE_INVALID"):
        node.play(node.window().start())


def test_a_node_with_another_key_is_not_believed(node: Node) -> None:
    with pytest.raises(PeerError, match="SIGNATURE_INVALID"):
        node.play(node.window(node_key=bytes(32)).start())


def test_an_envelope_that_is_signed_already_is_sent_as_it_is(node: Node) -> None:
    window = node.window()
    node.play(window.start())
    signed = node.client.sign_action(CancelAll())
    [request] = window.add(signed)[1]
    assert orders.OrderStreamRequest.FromString(request).envelope == signed.envelope


def test_the_vector_is_what_the_page_says() -> None:
    """By hashlib and PyNaCl alone."""
    client_secret, node_share = data("client_secret"), data("node_share")
    assert crypto_scalarmult_base(client_secret) == data("client_share")
    assert crypto_scalarmult_base(data("node_secret")) == node_share
    opening = data("opening")
    said = (b"triodex.session.v1\0", struct.pack("<I", len(opening)), opening, data("public_key"))
    handshake = hash_of(*said, node_share, data("node_random"))
    assert handshake == data("handshake_hash")
    session_id = VECTOR["session_id"].encode()
    assert data("node_signing_bytes") == b"triodex.session.v1\0" + handshake + session_id
    shared = crypto_scalarmult(client_secret, node_share)
    mac_key = blake2b(b"triodex.mac.v1\0" + handshake, key=shared, digest_size=32).digest()
    assert mac_key == data("mac_key")
    running_hash = handshake
    for order in VECTOR["orders"]:
        number, payload = (
            struct.pack("<Q", int(order["order_number"])),
            bytes.fromhex(order["payload"]),
        )
        mac = blake2b(session_id + number + payload, key=mac_key, digest_size=16).hexdigest()
        assert mac == order["mac"]
        running_hash = hash_of(running_hash, number, hash_of(payload))
        assert running_hash.hex() == order["running_hash"]
    signed = wire.Payload.FromString(data("countersignature")).session_countersignature
    assert (signed.order_number, signed.running_hash) == (len(VECTOR["orders"]), running_hash)
    for key, message, signature in (
        ("public_key", b"triodex.payload.v1\0" + opening, "opening_signature"),
        ("node_public_key", data("node_signing_bytes"), "node_signature"),
        (
            "public_key",
            b"triodex.payload.v1\0" + data("countersignature"),
            "countersignature_signature",
        ),
    ):
        assert verify(data(key), message, data(signature))


def test_the_library_makes_the_vector() -> None:
    share = KeyShare(data("client_secret"), bytes(32))
    assert share.public_bytes == data("client_share")
    handshake = handshake_hash(
        data("opening"), data("public_key"), data("node_share"), data("node_random")
    )
    assert handshake == data("handshake_hash")
    mac = Mac(share.mac_key(data("node_share"), handshake), VECTOR["session_id"])
    running_hash = handshake
    for number, order in enumerate(VECTOR["orders"], 1):
        payload = bytes.fromhex(order["payload"])
        assert mac.of(number, payload).hex() == order["mac"]
        assert mac.holds(number, payload, bytes.fromhex(order["mac"]))
        assert not mac.holds(number + 1, payload, bytes.fromhex(order["mac"]))
        running_hash = next_hash(running_hash, number, payload_hash(payload))
        assert running_hash.hex() == order["running_hash"]
    with pytest.raises(PeerError):
        share.mac_key(bytes(32), handshake)


def test_the_page_shows_the_vector() -> None:
    squeezed = "".join(PAGE.read_text().split())
    names = ("client_secret", "client_share", "node_secret", "node_share", "node_random", "opening")
    for name in (*names, "handshake_hash", "session_id", "node_signature", "mac_key"):
        assert VECTOR[name] in squeezed, name
    for name in ("mac", "running_hash"):
        assert VECTOR["orders"][0][name] in squeezed, name
