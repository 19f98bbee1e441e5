"""Writes the golden vectors: `python tests/vectors/make.py`. Every SDK must pass them.

They are frozen: a change that alters a line of them breaks clients in the field. int64 values are
decimal strings (JSON numbers lose digits past 2^53), bytes are lower-case hex.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from google.protobuf.json_format import MessageToDict
from google.protobuf.timestamp_pb2 import Timestamp

from dex.orders.v1 import signed_payload_pb2 as wire
from dexsdk import Interval, Key, format_id, open_time_ns
from dexsdk.mac_session import (
    MAC_DOMAIN,
    SESSION_DOMAIN,
    KeyShare,
    Mac,
    handshake_hash,
    next_hash,
    opened_signing_bytes,
    payload_hash,
)
from dexsdk.signing import (
    ACCESS_DOMAIN,
    PAYLOAD_DOMAIN,
    access_signing_bytes,
    access_token,
    authorization_header,
    payload_signing_bytes,
)

FOLDER: Final = Path(__file__).parent
NETWORK: Final = "triodex-demo"
ACCOUNT: Final = "0000010000000000002001"
OTHER_ACCOUNT: Final = "0000010000000000003001"
EXPIRE: Final = Timestamp(seconds=1_767_225_630, nanos=123_456_789)
INT64_MAX: Final = (1 << 63) - 1
# Test keys. Never use them for anything else: their secrets stand here.
SEEDS: Final = {"counting": bytes(range(32)), "ones": b"\x01" * 32, "zeros": bytes(32)}


def payloads() -> dict[str, wire.Payload]:
    """One payload for each action, and the edges of the fields."""
    limit = wire.NewOrder(
        market_id="BTC-USDT",
        side=wire.SIDE_BUY,
        type=wire.ORDER_TYPE_LIMIT,
        time_in_force=wire.TIME_IN_FORCE_GTC,
        price_ticks=6_500_000,
        quantity_lots=1_000,
        post_only=True,
        client_order_id=42,
    )
    market = wire.NewOrder(
        market_id="BTC-USDC.eth",
        side=wire.SIDE_SELL,
        type=wire.ORDER_TYPE_MARKET,
        time_in_force=wire.TIME_IN_FORCE_IOC,
        quantity_lots=INT64_MAX,
    )
    cancel = wire.OrderCancel(order_id="0000010000000000004002")
    amend = wire.OrderAmend(client_order_id=42, quantity_lots=900, price_ticks=6_400_000)
    items = [
        wire.BatchItem(place=limit),
        wire.BatchItem(cancel=cancel),
        wire.BatchItem(amend=amend),
    ]
    counting = Key(SEEDS["counting"]).public_bytes
    transfer = wire.FundsTransfer(
        to_account_id=OTHER_ACCOUNT, asset_id="USDC.eth", amount_atoms=INT64_MAX
    )
    actions: dict[str, dict[str, Any]] = {
        "place_limit": {"place": limit},
        "place_market": {"place": market, "nonce": INT64_MAX},
        "cancel": {"cancel": cancel},
        "amend": {"amend": amend},
        "cancel_all": {"cancel_all": wire.OrderCancelAll(market_id="BTC-USDT")},
        "cancel_all_markets": {"cancel_all": wire.OrderCancelAll()},
        "batch": {"batch": wire.Batch(items=items)},
        "register_key_of_new_account": {
            "register_key": wire.KeyRegistration(public_key=counting),
            "account_id": "",
        },
        "transfer": {"transfer": transfer},
        "network_outside_ascii": {"cancel": cancel, "network_id": "börse-測試"},
        "register_key_with_limits": {
            "register_key": wire.KeyRegistration(
                public_key=Key(SEEDS["ones"]).public_bytes,
                scopes=[wire.KEY_SCOPE_READ, wire.KEY_SCOPE_TRADE],
                expire_time=Timestamp(seconds=1_798_761_600),
                label="market maker, Zürich",
            )
        },
        "revoke_key": {
            "revoke_key": wire.KeyRevocation(
                public_key=Key(SEEDS["ones"]).public_bytes, cancel_all=True
            )
        },
    }
    common = {"network_id": NETWORK, "account_id": ACCOUNT, "nonce": 1, "expire_time": EXPIRE}
    return {name: wire.Payload(**{**common, **action}) for name, action in actions.items()}


def signing_vectors() -> dict[str, Any]:
    """Payload bytes -> signing bytes -> signature, and signatures that must be refused."""
    accepted = []
    for index, (name, payload) in enumerate(payloads().items()):
        seed = list(SEEDS)[index % len(SEEDS)]
        data = payload.SerializeToString(deterministic=True)
        accepted.append(_signed(name, seed, data, MessageToDict(payload)))
    data = payloads()["cancel"].SerializeToString(deterministic=True)
    # Field 2000 (a varint) is unknown, and stands first: the node keeps and checks bytes as sent.
    accepted.append(_signed("unknown_field_first", "counting", b"\x80\x7d\x01" + data, None))
    good = _signed("good", "counting", data, None)
    key = Key(SEEDS["counting"])
    flipped = bytearray(bytes.fromhex(good["signature"]))
    flipped[63] ^= 1
    wrong = {
        "one_bit_of_the_signature": {"signature": flipped.hex()},
        "one_bit_of_the_payload": {"payload": data[:-1].hex() + f"{data[-1] ^ 1:02x}"},
        "another_key": {"public_key": Key(SEEDS["ones"]).public_bytes.hex()},
        "no_domain": {"signature": key.sign(data).hex()},
        "domain_of_access": {"signature": key.sign(ACCESS_DOMAIN + data).hex()},
        "no_zero_byte": {"signature": key.sign(PAYLOAD_DOMAIN[:-1] + data).hex()},
        "short_signature": {"signature": good["signature"][:-2]},
    }
    keep = ("payload", "signature", "public_key")
    refused = [
        {"name": name, **{field: good[field] for field in keep}, **change}
        for name, change in wrong.items()
    ]
    return {"domain": PAYLOAD_DOMAIN.hex(), "accepted": accepted, "refused": refused}


def _signed(name: str, seed: str, payload: bytes, fields: dict[str, Any] | None) -> dict[str, Any]:
    key = Key(SEEDS[seed])
    return {
        "name": name,
        "fields": fields,
        "seed": SEEDS[seed].hex(),
        "public_key": key.public_bytes.hex(),
        "payload": payload.hex(),
        "signing_bytes": payload_signing_bytes(payload).hex(),
        "signature": key.sign(payload_signing_bytes(payload)).hex(),
    }


def access_vectors() -> dict[str, Any]:
    """Access tokens and the metadata value they travel as."""
    tokens = []
    for seed, network_id, expire_time_ns in (
        ("counting", NETWORK, EXPIRE.ToNanoseconds()),
        ("ones", "n", 1_000_000_000),
        ("zeros", "x" * 64, INT64_MAX),
    ):
        token = access_token(Key(SEEDS[seed]), network_id, expire_time_ns)
        tokens.append(
            {
                "seed": SEEDS[seed].hex(),
                "network_id": network_id,
                "expire_time_ns": str(expire_time_ns),
                "grant": token.grant.hex(),
                "signing_bytes": access_signing_bytes(token.grant).hex(),
                "signature": token.signature.hex(),
                "public_key": token.public_key.hex(),
                "authorization": authorization_header(token),
            }
        )
    return {"domain": ACCESS_DOMAIN.hex(), "tokens": tokens}


def id_vectors() -> dict[str, Any]:
    """Ids and their parts, and texts that are no ids."""
    sequence_max = (1 << 51) - 1
    parts = (
        (0, 0, 0, 0),
        (0, 1, 1, 0),
        (0, 1, 2, 1),
        (0, 1, 2, 4_095),
        (1, 65_535, 1_234_567_890, 17),
        (255, 65_535, sequence_max, 4_095),
    )
    ids: list[dict[str, Any]] = [
        {
            "shard": shard,
            "epoch": epoch,
            "sequence": str(sequence),
            "index": index,
            "id": format_id(shard, epoch, sequence, index),
        }
        for shard, epoch, sequence, index in parts
    ]
    good = ids[2]["id"]
    invalid = ["", good[:-1], good + "0", good[:-1] + "A", good[:-1] + "g", " " + good[1:]]
    invalid += ["0000018000000000000000", good + "\n"]
    return {"ids": ids, "invalid": invalid}


def window_vectors() -> dict[str, Any]:
    """Times and the open time of their window, at the edges of every interval."""
    day_ns = 86_400_000_000_000
    leap_day_ns = 19_782 * day_ns  # 2024-02-29
    times = [0, 1, 999_999_999, 1_000_000_000, 59_999_999_999, 60_000_000_000, 300_000_000_000]
    times += [3_599_999_999_999, 3_600_000_000_000, day_ns - 1, day_ns]
    times += [leap_day_ns - 1, leap_day_ns, leap_day_ns + 45_296_789_123_456, INT64_MAX]
    return {
        "windows": [
            {
                "time_ns": str(time_ns),
                "interval": f"INTERVAL_{interval.name[1:]}{interval.name[0]}",
                "open_time_ns": str(open_time_ns(time_ns, interval)),
            }
            for time_ns in times
            for interval in Interval
        ]
    }


def session_vectors() -> dict[str, Any]:
    """A session from its handshake to its countersignature."""
    client_secret, node_secret = bytes(range(64, 96)), bytes(range(96, 128))
    client = KeyShare(client_secret, bytes(range(128, 160)))
    node = KeyShare(node_secret, bytes(range(160, 192)))
    key, node_key = Key(SEEDS["counting"]), Key(SEEDS["ones"])
    session_id = format_id(0, 1, 3, 0)
    common: dict[str, Any] = {
        "network_id": NETWORK,
        "account_id": ACCOUNT,
        "expire_time": EXPIRE,
    }
    said = wire.SessionOpening(key_share=client.public_bytes, random=client.random)
    opening = wire.Payload(**common, nonce=1, session_opening=said).SerializeToString(
        deterministic=True
    )
    handshake = handshake_hash(opening, key.public_bytes, node.public_bytes, node.random)
    mac_key = client.mac_key(node.public_bytes, handshake)
    mac, running_hash = Mac(mac_key, session_id), handshake
    orders = []
    for number, name in enumerate(("place_limit", "batch", "cancel_all"), 1):
        payload = payloads()[name].SerializeToString(deterministic=True)
        running_hash = next_hash(running_hash, number, payload_hash(payload))
        orders.append(
            {
                "order_number": str(number),
                "payload": payload.hex(),
                "mac": mac.of(number, payload).hex(),
                "running_hash": running_hash.hex(),
            }
        )
    signed = wire.SessionCountersignature(
        session_id=session_id, order_number=len(orders), running_hash=running_hash
    )
    countersignature = wire.Payload(
        **common, nonce=2, session_countersignature=signed
    ).SerializeToString(deterministic=True)
    node_bytes = opened_signing_bytes(handshake, session_id)
    return {
        "domain": SESSION_DOMAIN.hex(),
        "mac_domain": MAC_DOMAIN.hex(),
        "seed": SEEDS["counting"].hex(),
        "public_key": key.public_bytes.hex(),
        "client_secret": client_secret.hex(),
        "client_share": client.public_bytes.hex(),
        "opening": opening.hex(),
        "opening_signature": key.sign(payload_signing_bytes(opening)).hex(),
        "node_seed": SEEDS["ones"].hex(),
        "node_public_key": node_key.public_bytes.hex(),
        "node_secret": node_secret.hex(),
        "node_share": node.public_bytes.hex(),
        "node_random": node.random.hex(),
        "handshake_hash": handshake.hex(),
        "session_id": session_id,
        "node_signing_bytes": node_bytes.hex(),
        "node_signature": node_key.sign(node_bytes).hex(),
        "mac_key": mac_key.hex(),
        "orders": orders,
        "countersignature": countersignature.hex(),
        "countersignature_signature": key.sign(payload_signing_bytes(countersignature)).hex(),
    }


FILES: Final = {
    "signing.json": signing_vectors,
    "access.json": access_vectors,
    "sessions.json": session_vectors,
    "ids.json": id_vectors,
    "windows.json": window_vectors,
}


def text_of(name: str) -> str:
    """What a vector file holds."""
    return json.dumps(FILES[name](), indent=1, ensure_ascii=True) + "\n"


if __name__ == "__main__":
    for file_name in FILES:
        (FOLDER / file_name).write_text(text_of(file_name), encoding="ascii")
